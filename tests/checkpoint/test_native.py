"""Native checkpoints: whole or ignored, ours or refused."""

import errno
import json
import os
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from corpus_builder import compose_train
from hydra.utils import instantiate
from omegaconf import OmegaConf

from llamalab.checkpoint import native
from llamalab.common.errors import UserError
from llamalab.common.files import sha256_file
from llamalab.training.checkpointing import NativeCheckpointIO

SMALL = ("scale=smoke", "scale.vocab_size=64", "scale.dim=16", "scale.n_heads=2", "scale.seq_len=8")
TOKENS = torch.tensor([[1, 5, 9, 60, 2]])


def write_run(run_dir: Path, *steps: int) -> torch.nn.Module:
    """A run directory with a checkpoint at each of `steps`, all of one random model."""
    config = compose_train(*SMALL)
    torch.manual_seed(0)
    model = instantiate(config.model).eval()
    run_dir.mkdir(exist_ok=True)
    OmegaConf.save(
        OmegaConf.create({"model": OmegaConf.to_container(config.model, resolve=True)}), run_dir / "config.yaml"
    )
    for step in steps:
        native.save(native.step_directory(run_dir, step), model.state_dict(), {"global_step": step}, {"step": step})
    return model


def edit_config(run_dir: Path, key: str, value: object) -> None:
    config = OmegaConf.load(run_dir / "config.yaml")
    OmegaConf.update(config, key, value)
    OmegaConf.save(config, run_dir / "config.yaml")


@pytest.mark.parametrize("which", ["run", "checkpoint"])
def test_a_saved_model_computes_the_same(tmp_path, which):
    model = write_run(tmp_path / "run", 7)
    path = tmp_path / "run" if which == "run" else native.step_directory(tmp_path / "run", 7)
    loaded, config = native.load_model(path)
    assert torch.equal(loaded(TOKENS), model(TOKENS))
    assert not loaded.training
    assert config["model"]["dim"] == 16
    half, _ = native.load_model(path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}


def test_meta_tells_sizes_and_hash(tmp_path):
    write_run(tmp_path, 7)
    checkpoint = native.step_directory(tmp_path, 7)
    assert checkpoint == tmp_path / "checkpoints/step=00000007"
    meta = json.loads((checkpoint / "meta.json").read_text())
    assert meta["step"] == 7
    assert meta["weights_sha256"] == sha256_file(checkpoint / "model.safetensors") == native.weights_sha256(checkpoint)
    assert meta["sizes"] == {name: (checkpoint / name).stat().st_size for name in ("model.safetensors", "trainer.pt")}
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [checkpoint.name]


def test_steps_are_ordered_by_number(tmp_path):
    write_run(tmp_path, 99_999_999, 100_000_000, 5)
    assert [native.step_of(path) for path in native.checkpoints(tmp_path)] == [5, 99_999_999, 100_000_000]
    assert native.step_of(native.newest_checkpoint(tmp_path)) == 100_000_000


def lose_meta(checkpoint: Path) -> None:
    (checkpoint / "meta.json").unlink()


def cut_weights(checkpoint: Path) -> None:
    with (checkpoint / "model.safetensors").open("r+b") as file:
        file.truncate(100)


def lose_trainer(checkpoint: Path) -> None:
    (checkpoint / "trainer.pt").unlink()


def cut_meta(checkpoint: Path) -> None:
    (checkpoint / "meta.json").write_text('{"sizes": {')


@pytest.mark.parametrize("damage", [lose_meta, cut_weights, lose_trainer, cut_meta])
def test_an_incomplete_checkpoint_is_ignored_with_a_warning_and_left_alone(tmp_path, damage):
    write_run(tmp_path, 7, 14)
    damaged = native.step_directory(tmp_path, 14)
    damage(damaged)
    with pytest.warns(UserWarning, match=r"step=00000014 is incomplete"):
        assert native.newest_checkpoint(tmp_path) == native.step_directory(tmp_path, 7)
    assert damaged.is_dir()
    with pytest.raises(UserError, match=r"step=00000014: incomplete checkpoint"):
        native.load_model(damaged)


def test_what_a_killed_write_leaves_is_no_checkpoint(tmp_path):
    write_run(tmp_path, 7)
    hidden = tmp_path / "checkpoints/.step=00000014.abc"
    shutil.copytree(native.step_directory(tmp_path, 7), hidden)
    (tmp_path / "checkpoints/notes.txt").write_text("by hand")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [path.name for path in native.checkpoints(tmp_path)] == ["step=00000007"]
    native.remove_unfinished(tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["notes.txt", "step=00000007"]


def test_a_failed_write_leaves_nothing(tmp_path):
    model = write_run(tmp_path, 7)
    with pytest.raises(Exception, match="pickle"):
        native.save(native.step_directory(tmp_path, 14), model.state_dict(), {"bad": lambda: None}, {})
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step=00000007"]


def test_saving_the_same_step_again_replaces_it(tmp_path):
    model = write_run(tmp_path, 7)
    with torch.no_grad():
        model.norm.weight.add_(1)
    native.save(native.step_directory(tmp_path, 7), model.state_dict(), {}, {"step": 7})
    assert torch.equal(native.load_model(tmp_path)[0].norm.weight, model.norm.weight)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


@pytest.mark.parametrize("function", ["save_file", "torch.save", "write_json", "fsync_path"])
def test_a_full_disk_is_one_line_and_touches_nothing(tmp_path, monkeypatch, function):
    model = write_run(tmp_path, 7)
    before = {path: path.read_bytes() for path in native.step_directory(tmp_path, 7).iterdir()}

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    module = "llamalab.common.files" if function == "fsync_path" else "llamalab.checkpoint.native"
    monkeypatch.setattr(f"{module}.{function}", full)
    with pytest.raises(UserError, match=r"step=00000014.*: the disk is full.*Free some space") as error:
        native.save(native.step_directory(tmp_path, 14), model.state_dict(), {}, {})
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in native.step_directory(tmp_path, 7).iterdir()} == before
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step=00000007"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "model.dim",
            32,
            r"tensor 'tok_embeddings.weight' has shape \(64, 16\) but this architecture needs \(64, 32\)",
        ),
        ("model.n_layers", 3, r"has no tensor 'layers.2.*check the model config"),
        ("model.n_layers", 1, r"tensor 'layers.1.*' is unknown to this architecture"),
        ("model.tied_embeddings", True, r"tensor 'output.weight' is unknown"),
        (
            "model.position._target_",
            "llamalab.model.position.LearnedPosition",
            r"position\.theta: unknown key for LearnedPosition",
        ),
    ],
)
def test_another_architecture_is_named_by_the_tensor_that_differs(tmp_path, key, value, message):
    write_run(tmp_path, 7)
    edit_config(tmp_path, key, value)
    with pytest.raises(UserError, match=message):
        native.load_model(tmp_path)


@pytest.mark.parametrize("key", ["model._target_", "model.norm._target_", "model.attention.kernel._target_"])
@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "llamalabx.evil",
        "llamalab.common.files.write_text",
        "llamalab.checkpoint.native.os.system",
    ],
)
def test_a_config_names_only_the_model_rooms_classes(tmp_path, key, target):
    """A checkpoint may come from a stranger: nothing but the architecture is built from it."""
    write_run(tmp_path, 7)
    edit_config(tmp_path, key, target)
    with pytest.raises(UserError, match=rf"{key}: "):
        native.load_model(tmp_path)


class Payload:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def test_code_in_the_trainer_state_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path, 7)
    checkpoint = native.step_directory(tmp_path, 7)
    torch.save({"global_step": Payload()}, checkpoint / "trainer.pt")
    with pytest.raises(UserError, match=r"trainer\.pt: cannot be read .*delete .*step=00000007") as error:
        NativeCheckpointIO().load_checkpoint(checkpoint)
    assert "\n" not in str(error.value)
    assert not Path("executed").exists()
    torch.load(checkpoint / "trainer.pt", weights_only=False)  # the payload does work where it is let
    assert Path("executed").exists()


def test_the_trainer_state_comes_back(tmp_path):
    write_run(tmp_path, 7)
    checkpoint = NativeCheckpointIO().load_checkpoint(native.step_directory(tmp_path, 7))
    assert checkpoint["global_step"] == 7
    assert all(name.startswith("model.") for name in checkpoint["state_dict"])


def test_damaged_weights_are_named(tmp_path):
    write_run(tmp_path, 7)
    path = native.step_directory(tmp_path, 7) / "model.safetensors"
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(UserError, match=r"model\.safetensors: cannot be read"):
        native.load_model(tmp_path)
    with pytest.raises(UserError, match=r"model\.safetensors: cannot be read"):
        native.weight_shapes(path.parent)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "no such folder"),
        (lambda folder: folder.mkdir(), "no complete checkpoint"),
        (lambda folder: (write_run(folder, 7), (folder / "config.yaml").unlink()), r"no config\.yaml"),
        (
            lambda folder: (write_run(folder, 7), (folder / "config.yaml").write_text("a: [")),
            r"config\.yaml: cannot be read",
        ),
        (lambda folder: (write_run(folder, 7), (folder / "config.yaml").write_text("a: 1")), "has no 'model' section"),
    ],
)
def test_what_is_no_run_directory_is_said_in_one_line(tmp_path, make, message):
    make(tmp_path / "run")
    with pytest.raises(UserError, match=message) as error:
        native.load_model(tmp_path / "run")
    assert str(tmp_path / "run") in str(error.value)
    assert "\n" not in str(error.value)
