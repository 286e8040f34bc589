"""`llamalab eval` from a run directory to its scores; repeated, interrupted, and with bad input."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import zstandard
from evaluation_builders import CONF, documents, write_documents, write_run
from hydra import compose, initialize_config_dir

from llamalab.common.errors import UserError
from llamalab.evaluation import run as run_module
from llamalab.evaluation.run import run

SMALL = [
    "suite.heldout.heldout_continuation.items_per_domain=12",
    "suite.heldout.heldout_continuation.context_characters=100",
    "suite.heldout.heldout_continuation.continuation_characters=40",
    "suite.heldout.heldout_bits_per_byte.characters_per_domain=1500",
    "suite.heldout.heldout_bits_per_byte.characters_per_document=500",
]


@pytest.fixture
def place(tmp_path: Path, tokenizer_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one run and the corpus it names."""
    # lm-eval asks pip and other programs about the machine, a second each time
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
    write_run(tmp_path / "run", tokenizer_bytes)
    for kind in ("code", "prose"):
        write_documents(tmp_path / f"artifacts/corpus/split/validation/{kind}.jsonl.zst", documents(kind, 8, 40))
    return tmp_path


def evaluate(place: Path, *overrides: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        base = [f"checkpoint={place / 'run'}", f"artifacts_dir={place / 'artifacts'}", "accelerator=cpu"]
        run(compose("eval", [*base, *SMALL, *overrides]))


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_everything_is_written_and_agrees(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(place)
    scores = place / "run/scores/embedded"
    summary, results = read(scores / "summary.json"), read(scores / "results.json")
    assert summary["suite"] == "embedded"
    assert (summary["step"], summary["tokens"]) == (7, 7000)
    assert summary["weights_sha256"] == read(place / "run/checkpoints/step=00000007/meta.json")["weights_sha256"]
    tasks = {(row["task"], row["domain"], row["metric"]) for row in summary["rows"]}
    assert tasks == {
        (task, domain, metric)
        for domain in (None, "code", "prose")
        for task, metric in (
            ("heldout_bits_per_byte", "bits_per_byte"),
            ("heldout_continuation", "acc_norm"),
            ("heldout_continuation", "acc_neutral"),
        )
    }
    for row in summary["rows"]:
        if row["domain"] is not None:
            name = f"{row['task']}_{row['domain']}"
            assert row["value"] == pytest.approx(results["results"][name][f"{row['metric']},none"])
            samples = (scores / f"samples_{name}.jsonl").read_text().splitlines()
            items = (scores / f"items/{row['task']}/{row['domain']}.jsonl").read_text().splitlines()
            assert row["n"] == len(samples) == len(items)
    assert summary["truncated_requests"] > 0
    printed = capsys.readouterr().out
    assert "heldout_continuation" in printed
    assert "longer than the model's context" in printed


def test_a_second_time_does_nothing_until_something_changes(
    place: Path, capsys: pytest.CaptureFixture[str], tokenizer_bytes: bytes
) -> None:
    evaluate(place)
    summary = place / "run/scores/embedded/summary.json"
    written = summary.stat().st_mtime_ns

    def changed(*overrides: str) -> bool:
        nonlocal written
        evaluate(place, *overrides)
        before, written = written, summary.stat().st_mtime_ns
        return written != before

    capsys.readouterr()
    assert not changed("batch_tokens=100")
    assert "nothing to do" in capsys.readouterr().out
    assert changed("limit=5")
    assert {row["n"] for row in read(summary)["rows"] if row["domain"]} <= {5, 3}
    assert changed("limit=5", "suite.heldout.heldout_continuation.seed=1")
    write_run(place / "run", tokenizer_bytes, seed=1)
    assert changed("limit=5", "suite.heldout.heldout_continuation.seed=1")
    write_documents(place / "artifacts/corpus/split/validation/prose.jsonl.zst", documents("prose", 9, 40))
    assert changed("limit=5", "suite.heldout.heldout_continuation.seed=1")
    assert not changed("limit=5", "suite.heldout.heldout_continuation.seed=1")


def test_interrupted_scores_are_never_taken_for_whole(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate(place, "limit=3")
    scores = place / "run/scores/embedded"
    assert (scores / "summary.json").exists()

    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "rows_of", interrupt)
        with pytest.raises(KeyboardInterrupt):
            evaluate(place, "limit=4")
    assert not (scores / "summary.json").exists()
    evaluate(place, "limit=4")
    assert read(scores / "summary.json")["inputs"]["limit"] == 4


def test_outside_a_checkout_nothing_complains(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    evaluate(place, "limit=2")
    assert "fatal" not in capfd.readouterr().err


def test_scores_go_where_they_are_told(place: Path) -> None:
    evaluate(place, "limit=2", f"out={place / 'elsewhere'}", f"checkpoint='{place / 'run/checkpoints/step=00000007'}'")
    assert (place / "elsewhere/summary.json").exists()
    assert not (place / "run/scores").exists()


def test_a_domain_with_too_few_documents_is_listed_as_missing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_documents(place / "artifacts/corpus/split/validation/tiny.jsonl.zst", documents("prose", 2, 3))
    evaluate(place, "limit=2")
    summary = read(place / "run/scores/embedded/summary.json")
    assert [(gap["task"], gap["domain"]) for gap in summary["missing"]] == [("heldout_continuation", "tiny")]
    assert "Missing: heldout_continuation on tiny" in capsys.readouterr().out
    assert ("heldout_bits_per_byte", "tiny") in {(row["task"], row["domain"]) for row in summary["rows"]}


def test_a_task_with_data_of_its_own_runs_beside_the_heldout_ones(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = place / "tasks"
    shutil.copytree(CONF.parent / "eval/tasks", folder)
    rows = [{"question": f"{i} plus one is", "answers": [str(i + 1), "none"], "right": 0} for i in range(6)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "sums.yaml").write_text(
        "task: sums\ndataset_path: json\ntest_split: test\noutput_type: multiple_choice\n"
        f"dataset_kwargs: {{data_files: {{test: {folder / 'sums.jsonl'}}}, cache_dir: {place / 'cache'}}}\n"
        "doc_to_text: question\ndoc_to_choice: answers\ndoc_to_target: right\n"
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\nmetadata: {chance: {acc: 0.5}}\n"
    )
    monkeypatch.setattr(run_module.tasks, "tasks_folder", lambda: folder)
    evaluate(place, "suite.tasks=[sums,heldout_continuation,heldout_bits_per_byte]", "limit=5")
    summary = read(place / "run/scores/embedded/summary.json")
    first = summary["rows"][0]
    assert (first["task"], first["domain"], first["n"], first["chance"]) == ("sums", None, 5, 0.5)
    assert len(summary["rows"]) == 10
    assert len((place / "run/scores/embedded/samples_sums.jsonl").read_text().splitlines()) == 5


def remove(name: str) -> Any:
    return lambda place: (place / name).unlink()


def other_tokenizer(place: Path) -> None:
    from evaluation_builders import train_tokenizer

    text = "\n".join(str(row["text"]) for row in documents("prose", 30, 40))
    (place / "run/tokenizer.model").write_bytes(train_tokenizer(text, vocab_size=380))


def other_architecture(place: Path) -> None:
    config = (place / "run/config.yaml").read_text()
    (place / "run/config.yaml").write_text(config.replace("n_kv_heads: null", "n_kv_heads: 2"))


def empty_documents(place: Path) -> None:
    (place / "artifacts/corpus/split/validation/prose.jsonl.zst").write_bytes(zstandard.compress(b""))


def no_corpus_name(place: Path) -> None:
    config = (place / "run/config.yaml").read_text()
    (place / "run/config.yaml").write_text(config.replace("name: corpus", "nome: corpus"))


@pytest.mark.parametrize(
    ("spoil", "overrides", "message"),
    [
        (remove("run/tokenizer.model"), [], r"run/tokenizer\.model: missing"),
        (other_tokenizer, [], r"tokenizer\.model: has 380 tokens but the model has vocab_size=400"),
        (remove("run/config.yaml"), [], r"no config\.yaml"),
        (other_architecture, [], r"tensor 'layers\.0\.attention\.wk\.weight' has shape \(48, 48\).* \(24, 48\)"),
        (empty_documents, [], r"prose\.jsonl\.zst: holds no text"),
        (no_corpus_name, [], r"has no data\.name"),
        (None, ["checkpoint=/absent"], r"/absent: no such folder"),
        (None, ["artifacts_dir=/absent"], r"/absent/corpus/split/validation: no held-out documents"),
        (None, ["limit=0"], r"limit: 0 must be at least 1"),
        (None, ["limit=many"], r"limit: 'many' is not"),
        (None, ["batch_tokens=0"], r"batch_tokens: 0 must be at least 1"),
        (None, ["dtype=float23"], r"dtype: 'float23' is unknown; did you mean 'float32'"),
        (None, ["accelerator=tpu9"], r"accelerator: 'tpu9' cannot be used here"),
        (None, ["suite.tasks=[heldout_bits]", "suite.heldout={}"], r"suite\.heldout\.heldout_bits_per_byte: is not in"),
        (None, ["suite.tasks=[heldout_bits_per_byte,heldout_continuation,piqua]"], r"no task 'piqua'"),
        (None, ["suite.heldout.heldout_continuation.seed=x"], r"suite\.heldout\.heldout_continuation\.seed: 'x'"),
        (None, ["~suite.version"], r"suite\.version: missing"),
    ],
)
def test_bad_input_is_one_line(place: Path, spoil: Any, overrides: list[str], message: str) -> None:
    if spoil is not None:
        spoil(place)
    with pytest.raises(UserError, match=message) as error:
        evaluate(place, *overrides)
    assert "\n" not in str(error.value)
    assert not (place / "run/scores/embedded/summary.json").exists()
