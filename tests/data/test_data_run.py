"""The verb `data` on a small corpus of local files: every stage, the skipping, the audit, the errors."""

import re
from pathlib import Path
from typing import Any

import pytest
from corpus_texts import BOILERPLATE, data_config, planted, prose, small_config, source_config, write_jsonl
from omegaconf import DictConfig, OmegaConf

from llamalab.checkpoint.tokenizer import load_tokenizer
from llamalab.common.errors import UserError
from llamalab.common.files import read_json, sha256_file, write_json
from llamalab.data.documents import Document, read_documents
from llamalab.data.run import STAGES, run
from llamalab.data.token_shards import TokenShards

SPLITS = ("train", "validation")


def stages(config: DictConfig, *names: str) -> DictConfig:
    changed = config.copy()
    changed.stages = list(names)
    return changed


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[DictConfig, Path]:
    folder = tmp_path_factory.mktemp("built")
    config = small_config(folder, planted())
    run(config)
    return config, folder / "artifacts/small"


def side(corpus: Path, split: str) -> list[Document]:
    return [d for name in ("news", "notes") for d in read_documents(corpus / f"split/{split}/{name}.jsonl.zst")]


def outputs(corpus: Path) -> dict[str, str]:
    """Every file but the audits, which carry a date, to its hash."""
    files = (path for path in corpus.rglob("*") if path.is_file() and path.suffix not in (".json", ".md"))
    return {str(path.relative_to(corpus)): sha256_file(path) for path in files}


def modified(corpus: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in corpus.rglob("*.*") if "audit" not in path.name}


def test_planted_copies_and_boilerplate_are_gone(built: tuple[DictConfig, Path]) -> None:
    texts = [document.text for split in SPLITS for document in side(built[1], split)]
    assert len(texts) == 30 + 29
    assert len(set(texts)) == len(texts)
    assert not any(BOILERPLATE in text for text in texts)
    assert not any("Updated." in text for text in texts)


def test_near_copies_across_sources_are_on_one_side(built: tuple[DictConfig, Path]) -> None:
    train, validation = (side(built[1], split) for split in SPLITS)
    for seed in range(10, 14):
        family = [prose(seed) in document.text for document in train]
        assert sum(family) in (0, 2)

    def grams(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"\w+", text.lower())
        return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}

    known = [grams(document.text) for document in train]
    for document in validation:
        held = grams(document.text)
        assert max(len(held & other) / len(held | other) for other in known) < 0.5


def test_tokens_are_the_documents(built: tuple[DictConfig, Path]) -> None:
    config, corpus = built
    tokenizer = load_tokenizer(corpus / "bpe384/tokenizer")
    assert tokenizer.vocab_size == config.scale.vocab_size == 384
    for split in SPLITS:
        for name in ("news", "notes"):
            documents = list(read_documents(corpus / f"split/{split}/{name}.jsonl.zst"))
            shards = TokenShards(corpus / f"bpe384/tokens/{name}/{split}", verify_hashes=True)
            ids = [token for document in documents for token in tokenizer.encode(document.text, eos=True)]
            assert shards.read(0, len(shards)).tolist() == ids
            assert shards.bytes == sum(document.bytes for document in documents)
            assert (shards.index["source"], shards.index["split"]) == (name, split)
            assert (shards.tokenizer_sha256, shards.vocab_size) == (tokenizer.sha256, 384)
            assert shards.index["made_by"]["versions"]["sentencepiece"]
    assert len(read_json(corpus / "bpe384/tokens/news/train/index.json")["shards"]) > 1


def test_the_tokenizer_never_saw_validation(tmp_path: Path, built: tuple[DictConfig, Path]) -> None:
    """It is the one that the training files alone give."""
    config, corpus = built
    other = small_config(tmp_path, planted())
    run(stages(other, *STAGES[:4]))
    for path in (tmp_path / "artifacts/small/split/validation").iterdir():
        path.write_bytes(b"not to be read")
    stamp = tmp_path / "artifacts/small/split/split.json"
    record = read_json(stamp)
    record["files"] = {name: facts for name, facts in record["files"].items() if name.startswith("train/")}
    write_json(stamp, record)
    run(stages(other, "tokenizer"))
    model = "bpe384/tokenizer/tokenizer.model"
    assert sha256_file(tmp_path / "artifacts/small" / model) == sha256_file(corpus / model)
    assert config.scale.vocab_size == 384


def test_the_audit_accounts_for_every_document(built: tuple[DictConfig, Path]) -> None:
    config, corpus = built
    audit = read_json(corpus / "bpe384/audit.json")
    assert audit["empty_slots"] == {"empty": "nothing there."}
    assert audit["budget_tokens"] == config.scale.tokens
    raw = {name: len(texts) for name, texts in planted().items()}
    for name, source in audit["sources"].items():
        dropped = sum(size["documents"] for size in source["dropped"].values())
        assert source["documents"] + source["validation"]["documents"] + dropped == raw[name]
        removed = sum(size["bytes"] for size in source["dropped"].values())
        size = sum(len(text.encode()) for text in planted()[name])
        assert source["bytes"] + source["validation"]["bytes"] + removed == pytest.approx(size, abs=30)
        expected = config.scale.tokens * source["sampling_proportion"] / source["tokens"]
        assert source["epochs"] == pytest.approx(expected)
        assert source["one_epoch_at_tokens"] * expected == pytest.approx(config.scale.tokens, rel=1e-4)
        assert source["validation"]["overlap_with_training"] < 0.05
    news = audit["sources"]["news"]
    assert news["dropped"]["exact duplicate"]["documents"] == 2
    assert news["dropped"]["near duplicate"]["documents"] == 1
    assert news["dropped"]["repeated lines"]["bytes"] >= 30 * len(BOILERPLATE)
    assert sum(source["sampling_proportion"] for source in audit["sources"].values()) == pytest.approx(1)


def test_the_audit_reads_as_table_1(built: tuple[DictConfig, Path]) -> None:
    text = (built[1] / "bpe384/audit.md").read_text()
    assert (
        "| Source | Sampling prop. | Epochs | One epoch at | Documents | Size | Training tokens | Bytes per token |"
        in text
    )
    assert re.search(r"\| news \| 66\.7% \| \d+\.\d\d \|", text)
    assert "| empty | 0.0% | - | - | 0 |" in text
    assert "**news** (CC0): made up. It is upsampled: this budget reads every document" in text
    assert "**empty** is empty: nothing there." in text


def test_a_second_run_changes_nothing(built: tuple[DictConfig, Path], capsys: pytest.CaptureFixture[str]) -> None:
    config, corpus = built
    before = modified(corpus)
    run(config)
    assert modified(corpus) == before
    assert capsys.readouterr().err.count("unchanged") == 2 + 2 + 1 + 1 + 2


def test_two_workers_and_single_stages_give_the_same_files(built: tuple[DictConfig, Path], tmp_path: Path) -> None:
    config = small_config(tmp_path, planted())
    config.workers = 2
    for stage in STAGES:
        run(stages(config, stage))
    assert outputs(tmp_path / "artifacts/small") == outputs(built[1])


def test_a_changed_source_redoes_what_follows_and_nothing_else(tmp_path: Path) -> None:
    config = small_config(tmp_path, planted())
    run(config)
    corpus = tmp_path / "artifacts/small"
    before = modified(corpus)
    write_jsonl(tmp_path / "news/documents.jsonl", [*planted()["news"], prose(777)])
    run(config)
    changed = {Path(path).relative_to(corpus) for path, time in modified(corpus).items() if time != before.get(path)}
    assert Path("extracted/news.jsonl.zst") in changed
    assert Path("bpe384/tokenizer/tokenizer.model") in changed
    assert not {Path("extracted/notes.jsonl.zst"), Path("deduplicated/notes.jsonl.zst")} & changed
    assert any(prose(777) == document.text for split in SPLITS for document in side(corpus, split))


def test_a_half_written_stage_is_done_again(built: tuple[DictConfig, Path], tmp_path: Path) -> None:
    config = small_config(tmp_path, planted())
    run(config)
    corpus = tmp_path / "artifacts/small"
    whole = outputs(corpus)
    (corpus / "extracted/news.json").unlink()  # cut off before its stamp
    (corpus / "split/train/news.jsonl.zst").write_bytes(b"half")
    (corpus / "bpe384/tokens/notes/train/00000.bin").unlink()
    (corpus / "deduplicated/.notes.jsonl.zst.abc").write_bytes(b"left by a kill")
    run(config)
    (corpus / "deduplicated/.notes.jsonl.zst.abc").unlink()
    assert outputs(corpus) == whole


def test_copied_files_count_as_unchanged(built: tuple[DictConfig, Path], tmp_path: Path) -> None:
    """As when DVC puts them back from its cache with another time."""
    config = small_config(tmp_path, planted())
    run(config)
    corpus = tmp_path / "artifacts/small"
    model = corpus / "bpe384/tokenizer/tokenizer.model"
    data = model.read_bytes()
    model.unlink()
    model.write_bytes(data)
    before = modified(corpus)
    run(config)
    assert modified(corpus) == before


def test_a_stage_needs_the_one_before(tmp_path: Path) -> None:
    config = small_config(tmp_path, planted())
    with pytest.raises(UserError, match=r"stage 'deduplicate' has not finished; run `llamalab data stages=\[dedup"):
        run(stages(config, "split"))
    run(stages(config, "extract", "deduplicate", "split"))
    (tmp_path / "artifacts/small/split/train/news.jsonl.zst").unlink()
    with pytest.raises(UserError, match=r"news\.jsonl\.zst: missing or changed; run .*stages=\[split\]"):
        run(stages(config, "tokenizer"))


def change(config: DictConfig, key: str, value: Any) -> DictConfig:
    changed = config.copy()
    OmegaConf.update(changed, key, value, force_add=True)
    return changed


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("stages", ["fetsh"], r"stages: no stage 'fetsh'; did you mean 'fetch'\?"),
        ("stages", "fetch", r"stages: 'fetch' is not a list; write stages=\[fetch\]"),
        ("workers", "many", "workers: 'many' is not"),
        ("workers", 0, "workers: 0 is too small"),
        ("data.sampling.more", 1.0, r"data\.sampling\.more: there is no data\.sources\.more"),
        ("data.sources.more", source_config(Path("/x")), r"data\.sources\.more: it has no proportion"),
        ("data.sources.news.noot", "x", r"data\.sources\.news\.noot: unknown key .*did you mean 'note'"),
        ("data.sources.news.extractor.text_key", [1], r"extractor\.text_key: \[1\] is not a str"),
        ("data.sources.news.extractor._target_", "os.system", r"'os\.system' is not a llamalab class"),
        ("data.split.share", 2.0, r"data\.split\.share: 2\.0 is not between 0 and 1"),
        ("data.shard_tokens", 0, r"data\.shard_tokens: 0 is too small"),
        ("tokenizer.vocab_size", 100, r"tokenizer\.vocab_size: 100 leaves no room"),
    ],
)
def test_bad_config_is_refused_before_anything_is_written(tmp_path: Path, key: str, value: Any, message: str) -> None:
    config = small_config(tmp_path, planted())
    with pytest.raises(UserError, match=message):
        run(change(config, key, value))
    assert not (tmp_path / "artifacts").exists()


def test_own_text_needs_nothing_but_its_folder(tmp_path: Path) -> None:
    """`llamalab data data=local data.text_folder=...`"""
    write_jsonl(tmp_path / "text/documents.jsonl", planted()["news"])
    overrides = ["data=local", f"data.text_folder={tmp_path}/text", f"artifacts_dir={tmp_path}/artifacts"]
    run(data_config([*overrides, "scale.vocab_size=384", "data.split.minimum_bytes=2000", "workers=1"]))
    shards = [
        TokenShards(tmp_path / f"artifacts/local/bpe384/tokens/Text/{split}", verify_hashes=True) for split in SPLITS
    ]
    assert sum(part.documents for part in shards) == 30
    with pytest.raises(UserError, match=r"data\.text_folder|text_folder"):
        run(data_config(["data=local", f"artifacts_dir={tmp_path}/artifacts"]))


def test_the_real_config_composes_for_other_folders() -> None:
    config = data_config(["artifacts_dir=/elsewhere"])
    assert config.data.tokenized == "/elsewhere/embedded/bpe2048"
    assert config.data.module.tokens_folder == "/elsewhere/embedded/bpe2048/tokens"
