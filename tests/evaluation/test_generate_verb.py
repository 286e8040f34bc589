"""`llamalab generate`: the same text as decoding by hand, streamed, and bad input refused."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluation_builders import CONF, write_run
from hydra import compose, initialize_config_dir

from llamalab.checkpoint.tokenizer import Tokenizer
from llamalab.common.errors import UserError
from llamalab.evaluation.generate import run
from llamalab.model import Llama


@pytest.fixture
def checkpoint(tmp_path: Path, tokenizer_bytes: bytes) -> tuple[Path, Llama]:
    return tmp_path, write_run(tmp_path, tokenizer_bytes)


def generate(folder: Path, *overrides: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        run(compose("generate", [f"checkpoint={folder}", "prompt=Gadibo frulo", "accelerator=cpu", *overrides]))


def test_greedy_text_is_the_argmax(
    checkpoint: tuple[Path, Llama], tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, model = checkpoint
    generate(folder, "temperature=0", "max_tokens=25")
    tokens = tokenizer.encode("Gadibo frulo")
    with torch.no_grad():
        for _ in range(25):
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    assert capsys.readouterr().out == tokenizer.decode(tokens) + "\n"


def test_a_seed_gives_one_text(checkpoint: tuple[Path, Llama], capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for seed in (0, 0, 1):
        generate(checkpoint[0], f"seed={seed}", "max_tokens=20", "temperature=1.5")
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


def test_text_is_written_as_it_comes(checkpoint: tuple[Path, Llama], monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[str] = []
    monkeypatch.setattr(sys.stdout, "write", pieces.append)
    generate(checkpoint[0], "temperature=1", "max_tokens=20")
    assert pieces[0] == "Gadibo frulo"
    assert len(pieces) > 10


def test_a_full_context_ends_the_text(checkpoint: tuple[Path, Llama], capsys: pytest.CaptureFixture[str]) -> None:
    generate(checkpoint[0], "max_tokens=500")
    assert "leaves room for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["checkpoint=/absent"], "/absent: no such folder"),
        (["max_tokens=0"], "max_tokens: 0 must be at least 1"),
        (["temperature=-1"], "temperature: -1 must be 0"),
        (["temperature=hot"], "temperature: 'hot' is not a float"),
        (["top_p=0"], "top_p: 0 must be above 0"),
        (["prompt=" + "gadibo " * 60], "prompt: has .* tokens but the model's context is 48"),
    ],
)
def test_bad_input_is_one_line(checkpoint: tuple[Path, Llama], overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        generate(checkpoint[0], *overrides)
    assert "\n" not in str(error.value)


def test_half_a_character_is_held_back(
    checkpoint: tuple[Path, Llama], tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte pieces of one character come out together, not as replacement characters."""
    from llamalab.evaluation import decoding

    def scripted(model: Any, prompts: Any, device: Any) -> list[list[int]]:
        new: list[int] = []
        for token in tokenizer.encode("Gadibo frulo日本")[len(tokenizer.encode("Gadibo frulo")) :]:
            new.append(token)
            prompts[0].finished(new)
        return [new]

    pieces: list[str] = []
    monkeypatch.setattr(decoding, "decode", scripted)
    monkeypatch.setattr(sys.stdout, "write", pieces.append)
    generate(checkpoint[0])
    assert "".join(pieces) == "Gadibo frulo日本\n"
    assert not any("\ufffd" in piece for piece in pieces)
