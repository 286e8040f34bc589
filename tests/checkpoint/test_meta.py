"""Meta's folders: read as released, merged from shards, refused in one line where something is wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_builders import converted, edit_json, meta_folder, tensors
from corpus_builder import TinyCorpus

from llamalab.checkpoint.formats import open_checkpoint
from llamalab.checkpoint.meta import feed_forward_width
from llamalab.common.errors import UserError


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_corpus: TinyCorpus) -> Path:
    """`one` and `two`: the same checkpoint in one shard and in two."""
    path = tmp_path_factory.mktemp("meta")
    meta_folder(path / "one", tiny_corpus.tokenizer)
    converted(path / "one", "meta", path / "two", shards=2)
    return path


@pytest.fixture
def copies(folders: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders, tmp_path / "copies"))


def test_a_folder_as_released_is_read(folders: Path) -> None:
    source = open_checkpoint(folders / "one")
    assert source.format == "meta"
    model = source.model_config
    assert (model["vocab_size"], model["max_seq_len"], model["feed_forward"]["width"]) == (512, 2048, 96)
    assert {tensor.dtype for tensor in source.weights.values()} == {torch.float16}
    assert source.tokenizer.encode("hello")[0] == 1


@pytest.mark.parametrize(
    ("dim", "multiple_of", "multiplier", "width"),
    [
        (4096, 256, None, 11008),  # LLaMA 7B
        (8192, 256, None, 22016),  # LLaMA 65B
        (8192, 4096, 1.3, 28672),  # Llama 2 70B
        (4096, 1024, 1.3, 14336),  # Llama 3 8B
    ],
)
def test_widths_are_those_of_the_released_models(
    dim: int, multiple_of: int, multiplier: float | None, width: int
) -> None:
    assert feed_forward_width(dim, multiple_of, multiplier) == width


def test_keys_of_llama_2_and_3(tmp_path: Path, tiny_corpus: TinyCorpus) -> None:
    meta_folder(
        tmp_path / "later",
        tiny_corpus.tokenizer,
        torch.bfloat16,
        config={"num_key_value_heads": 2, "intermediate_size": 112},
        n_kv_heads=2,
        ffn_dim_multiplier=1.3,
        multiple_of=16,
        rope_theta=500000.0,
        use_scaled_rope=False,
        vocab_size=512,
    )
    model = open_checkpoint(tmp_path / "later").model_config
    assert (model["n_kv_heads"], model["feed_forward"]["width"], model["position"]["theta"]) == (2, 112, 500000.0)


def test_the_tokenizer_may_lie_beside_the_folder(copies: Path) -> None:
    (copies / "one/tokenizer.model").rename(copies / "tokenizer.model")
    assert open_checkpoint(copies / "one").tokenizer.vocab_size == 512


def test_shards_hold_metas_parts(folders: Path) -> None:
    whole = tensors(folders / "one")
    parts = [torch.load(folders / f"two/consolidated.0{index}.pth") for index in range(2)]
    for name, dimension in (
        ("tok_embeddings", 1),
        ("output", 0),
        ("layers.1.attention.wo", 1),
        ("layers.0.feed_forward.w2", 1),
    ):
        key = f"{name}.weight"
        assert parts[0][key].shape[dimension] * 2 == whole[key].shape[dimension]
        assert torch.equal(torch.cat([part[key] for part in parts], dimension), whole[key])
    for part in parts:
        assert torch.equal(part["norm.weight"], whole["norm.weight"])


def lose(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def edit(**values: Any) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "params.json", **values)


def cut(folder: Path) -> None:
    with (folder / "consolidated.01.pth").open("r+b") as file:
        file.truncate(3000)


def change(name: str, tensor: Any) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        file = folder / "consolidated.01.pth"
        torch.save({**torch.load(file), name: tensor}, file)

    return act


def change_both(name: str, tensor: Any) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        for file in folder.glob("*.pth"):
            torch.save({**torch.load(file), name: tensor}, file)

    return act


class Payload:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


def nine_shards(folder: Path) -> None:
    for index in range(2, 9):
        shutil.copyfile(folder / "consolidated.00.pth", folder / f"consolidated.0{index}.pth")


def other_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.model").write_text("IQ== 0\n")  # Llama 3's tokenizer.model is a list for tiktoken


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose("consolidated.01.pth"), r"consolidated\.01\.pth: missing; the checkpoint has 2 shards, here are 1"),
        (lose("consolidated.00.pth"), r"consolidated\.00\.pth: missing, but there is consolidated\.01\.pth"),
        (lose("params.json"), r"params\.json: no such file"),
        (lose("tokenizer.model"), r"tokenizer\.model: missing, and not beside the folder"),
        (other_tokenizer, r"tokenizer\.model: not a SentencePiece model"),
        (cut, r"consolidated\.01\.pth: cannot be read \(cut short or damaged\)"),
        (nine_shards, r"has 9 shards; up to 8"),
        (change("norm.weight", Payload()), r"consolidated\.01\.pth: holds more than tensors, perhaps code"),
        (change("norm.weight", 3), r"consolidated\.01\.pth: is no mapping of names to tensors"),
        (
            change("layers.0.attention.wq.weight", torch.ones(3, 3)),
            r"'layers\.0\.attention\.wq\.weight' has another shape",
        ),
        (change("more.weight", torch.ones(3)), r"consolidated\.01\.pth: tensor 'more\.weight' is in some shards"),
        (change_both("more.weight", torch.ones(3)), r"tensor 'more\.weight' is unknown to this architecture"),
        (change_both("norm.weight", torch.ones(31)), r"tensor 'norm\.weight' has shape \(31,\).*needs \(32,\)"),
        (edit(n_layers=3), r"has no tensor 'layers\.2"),
        (edit(dim="32"), r"params\.json: dim: '32' is not a int"),
        (edit(dim=0), r"params\.json: dim: 0 is not a positive number"),
        (edit(moe={"experts": 8}), r"params\.json: moe: .* is not supported"),
        (edit(use_scaled_rope=True), r"use_scaled_rope: True is not supported, since the factor is not said"),
        (edit(vocab_size=500), r"tensor 'tok_embeddings\.weight' has shape \(512, 32\).*\(500, 32\)"),
    ],
)
def test_damage_is_one_line_and_no_code_runs(
    copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    edit_json(copies / "two/params.json", vocab_size=-1)
    damage(copies / "two")
    with pytest.raises(UserError, match=message) as error:
        open_checkpoint(copies / "two")
    assert "\n" not in str(error.value)
    assert not Path("executed").exists()
    assert json.loads((copies / "one/params.json").read_text())["vocab_size"] == -1
