"""`llamalab generate` and the evaluated subject: the same from all three formats of one checkpoint."""

import json
from pathlib import Path

import pytest
import torch
from evaluation_builders import CONF, write_run
from hydra import compose, initialize_config_dir

from llamalab.checkpoint.convert import convert
from llamalab.common.errors import UserError
from llamalab.evaluation import items, subject
from llamalab.evaluation.generate import run


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tokenizer_bytes: bytes) -> Path:
    path = tmp_path_factory.mktemp("formats")
    write_run(path / "native", tokenizer_bytes)
    convert(path / "native", "hf", path / "hf")
    convert(path / "native", "meta", path / "meta", shards=2)
    return path


def test_every_format_generates_the_models_text(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A few tokens only: a random model soon writes bytes that are no character, which tokenizers show differently."""
    model = subject.find(folders / "native").load(torch.device("cpu"), torch.float32)
    tokens = subject.find(folders / "native").tokenizer.encode("Gadibo frulo")
    with torch.no_grad():
        for _ in range(3):
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    for name in ("native", "hf", "meta"):
        overrides = [f"checkpoint={folders / name}", "prompt='Gadibo frulo'", "accelerator=cpu", "max_tokens=3"]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            run(compose("generate", [*overrides, "temperature=0"]))
        assert capsys.readouterr().out == subject.find(folders / name).tokenizer.decode(tokens) + "\n"


def test_scores_lie_beside_the_checkpoint_and_are_its_own(folders: Path) -> None:
    found = {name: subject.find(folders / name) for name in ("native", "hf", "meta")}
    assert {name: one.run_dir for name, one in found.items()} == {name: folders / name for name in found}
    assert len({one.fingerprint for one in found.values()}) == 3
    assert found["native"].meta["step"] == 7
    tokens = torch.tensor([found["hf"].tokenizer.encode("Gadibo frulo")])
    with torch.no_grad():
        logits = [one.load(torch.device("cpu"), torch.float32)(tokens) for one in found.values()]
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])


def test_held_out_tasks_need_a_run_of_our_own(folders: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoint: has no data\.name, which only our own runs have"):
        items.validation_files("artifacts", subject.find(folders / "hf").config)


def test_a_vocabulary_that_does_not_fit_is_refused_and_padding_is_said(folders: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folders / "hf/model.safetensors")

    def with_rows(rows: int) -> Path:
        folder = tmp_path / str(rows)
        folder.mkdir()
        for file in (folders / "hf").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "vocab_size": rows}))
        changed = {
            name: torch.nn.functional.pad(tensor, (0, 0, 0, rows - 400))
            if name in ("model.embed_tokens.weight", "lm_head.weight")
            else tensor
            for name, tensor in weights.items()
        }
        save_file({name: tensor.contiguous() for name, tensor in changed.items()}, folder / "model.safetensors")
        return folder

    for rows in (399, 500):
        with pytest.raises(UserError, match=rf"has 400 tokens but the model has vocab_size={rows}"):
            subject.find(with_rows(rows))
    with pytest.warns(UserWarning, match=r"16 rows of the embeddings have no token"):
        assert subject.find(with_rows(416)).tokenizer.vocab_size == 400
