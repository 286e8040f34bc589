"""Our own checkpoint: a folder `step=NNNNNNNN` that is either complete or ignored.

run directory/
  config.yaml                     the resolved config the model is built from
  checkpoints/step=00000400/
    model.safetensors             weights by parameter name
    trainer.pt                    optimizer, schedule, loops, random states (read with weights_only=True)
    meta.json                     step, tokens, sizes and the weights' sha256; its presence says "complete"
"""

import contextlib
import errno
import functools
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from llamalab.checkpoint.hugging_face_tokenizer import SETTINGS, TOKENIZER, open_tokenizer, tokenizer_files
from llamalab.checkpoint.older_configs import completed
from llamalab.checkpoint.source import Source
from llamalab.checkpoint.tensor_files import read_tensors
from llamalab.checkpoint.text_tokenizer import TextTokenizer
from llamalab.checkpoint.tokenizer import FILE_NAME, load_tokenizer
from llamalab.common.configs import check_targets, nodes
from llamalab.common.errors import UserError
from llamalab.common.files import published_directory, read_json, sha256_file, write_json

WEIGHTS, TRAINER, META = "model.safetensors", "trainer.pt", "meta.json"
MODEL_PREFIX = "llamalab.model."
STEP_NAME = re.compile(r"step=(\d{8,})")


def step_directory(run_dir: Path, step: int) -> Path:
    """Where the checkpoint after optimizer step `step` lives."""
    return run_dir / "checkpoints" / f"step={step:08d}"


def save(target: Path, weights: Mapping[str, torch.Tensor], trainer: dict[str, Any], meta: dict[str, Any]) -> None:
    """Writes a complete checkpoint folder at `target`: beside it first, fsynced, then renamed.

    Args:
        target: a `step=NNNNNNNN` folder; replaced if it exists.
        weights: parameters by name.
        trainer: everything else that resuming needs; tensors and plain containers only.
        meta: facts for people and tools; sizes and the sha256 of the weights are added.

    Raises:
        UserError: the disk is full; no earlier checkpoint was touched.
    """
    with published_directory(target) as folder, _full_disk_named(target):
        save_file({name: tensor.detach().contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)
        torch.save(trainer, folder / TRAINER)
        sizes = {name: (folder / name).stat().st_size for name in (WEIGHTS, TRAINER)}
        write_json(folder / META, {**meta, "weights_sha256": sha256_file(folder / WEIGHTS), "sizes": sizes})


@contextlib.contextmanager
def _full_disk_named(target: Path) -> Iterator[None]:
    """safetensors and torch wrap the operating system's error in classes of their own, torch without the reason."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        if "No space left" in str(error) or shutil.disk_usage(target.parent).free < 2**20:
            raise UserError(
                f"{target}: the disk is full ({errno.errorcode[errno.ENOSPC]}); earlier checkpoints are untouched. "
                "Free some space and repeat the command."
            ) from error
        raise


def is_complete(checkpoint: Path) -> bool:
    """Whether every file that meta.json lists is there in its full size."""
    if not (checkpoint / META).is_file():
        return False
    try:
        sizes = read_json(checkpoint / META)["sizes"]
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (UserError, KeyError, OSError):
        return False


def checkpoints(run_dir: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first. An incomplete one is left alone with a warning."""
    found = []
    named = [path for path in (run_dir / "checkpoints").glob("step=*") if STEP_NAME.fullmatch(path.name)]
    for path in sorted(named, key=step_of):
        if is_complete(path):
            found.append(path)
        else:
            warnings.warn(f"{path} is incomplete (an interrupted write?) and is ignored", stacklevel=2)
    return found


def remove_unfinished(run_dir: Path) -> None:
    """Deletes what a write that was killed left beside the checkpoints. Only the process that trains here may."""
    for path in (run_dir / "checkpoints").glob(".step=*"):
        shutil.rmtree(path, ignore_errors=True)


def step_of(checkpoint: Path) -> int:
    """The optimizer step in a checkpoint folder's name."""
    match = STEP_NAME.fullmatch(checkpoint.name)
    assert match is not None, checkpoint
    return int(match[1])


def newest_checkpoint(run_dir: Path) -> Path:
    """The newest complete checkpoint of a run directory. Raises UserError if there is none."""
    found = checkpoints(run_dir)
    if not found:
        raise UserError(f"{run_dir}: no complete checkpoint under checkpoints/; train it first or give another folder")
    return found[-1]


def locate(path: Path) -> tuple[Path, Path]:
    """(run directory, checkpoint folder) for either of the two. Raises UserError for anything else."""
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; give a run directory or one of its checkpoints/step=... folders")
    if STEP_NAME.fullmatch(path.name):
        if not is_complete(path):
            raise UserError(f"{path}: incomplete checkpoint; use another step of the same run")
        run_dir, checkpoint = path.parent.parent, path
    else:
        run_dir, checkpoint = path, newest_checkpoint(path)
    if not (run_dir / "config.yaml").is_file():
        raise UserError(f"{run_dir}: no config.yaml, so this is not a run directory")
    return run_dir, checkpoint


def read_config(run_dir: Path) -> dict[str, Any]:
    """The resolved config of a run as plain containers, its targets checked to be of the model room."""
    try:
        config = OmegaConf.to_container(OmegaConf.load(run_dir / "config.yaml"), resolve=True)
    except Exception as error:
        raise UserError(f"{run_dir / 'config.yaml'}: cannot be read ({str(error).splitlines()[0]})") from None
    if not isinstance(config, dict) or "model" not in config:
        raise UserError(f"{run_dir / 'config.yaml'}: has no 'model' section, so this is not a training run")
    completed(config["model"])
    for key, node in nodes({"model": config["model"]}):
        # a checkpoint may come from a stranger, and not every function of ours is harmless with arguments of theirs
        if not str(node["_target_"]).startswith(MODEL_PREFIX):
            raise UserError(f"{key}._target_: '{node['_target_']}' is no part of a model ({run_dir / 'config.yaml'})")
    check_targets({"model": config["model"]})
    return {str(key): value for key, value in config.items()}


def weights_sha256(checkpoint: Path) -> str:
    """The sha256 of a complete checkpoint's weights, as recorded when they were written."""
    return str(read_json(checkpoint / META)["weights_sha256"])


def is_native(path: Path) -> bool:
    """Whether a folder is a run directory or one of its checkpoints, whole or not."""
    return STEP_NAME.fullmatch(path.name) is not None or (path / "checkpoints").is_dir()


def open_checkpoint(path: Path) -> Source:
    """The newest checkpoint of a run directory, or the given checkpoint folder.

    Raises:
        UserError: nothing there, or what is there is damaged.
    """
    run_dir, checkpoint = locate(path)
    record = read_json(checkpoint / META)
    return Source(
        path=checkpoint,
        format="native",
        config=read_config(run_dir),
        weights=read_tensors(checkpoint / WEIGHTS),
        weight_files=(checkpoint / WEIGHTS,),
        home=run_dir,
        tokenizer_files=tuple(tokenizer_files(run_dir)),
        open_tokenizer=functools.partial(_tokenizer, run_dir),
        meta=record,
        recorded_sha256=str(record["weights_sha256"]),
    )


def _tokenizer(run_dir: Path) -> TextTokenizer:
    if (run_dir / TOKENIZER).is_file() or (run_dir / SETTINGS).is_file():  # converted from Hugging Face's format
        return open_tokenizer(run_dir)
    if (run_dir / FILE_NAME).is_file():
        return load_tokenizer(run_dir / FILE_NAME)
    raise UserError(f"{run_dir / FILE_NAME}: missing; copy the tokenizer that the run was trained with there")


def load_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The weights by name. Raises UserError if the file is damaged."""
    try:
        return load_file(checkpoint / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{checkpoint / WEIGHTS}: cannot be read ({error}); use another checkpoint") from None


def weight_shapes(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Empty tensors (on the meta device) of the names and shapes in a checkpoint; reads only the file's header."""
    try:
        with safe_open(checkpoint / WEIGHTS, "pt") as file:
            names = file.keys()
            return {name: torch.empty(file.get_slice(name).get_shape(), device="meta") for name in names}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{checkpoint / WEIGHTS}: cannot be read ({error}); delete {checkpoint} and repeat") from None


def check_fits(expected: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor], where: Path) -> None:
    """Raises UserError naming the first tensor by which weights and architecture differ."""
    for name, tensor in expected.items():
        if name not in given:
            raise UserError(f"{where}: has no tensor '{name}', which this architecture needs; check the model config")
        if given[name].shape != tensor.shape:
            raise UserError(
                f"{where}: tensor '{name}' has shape {tuple(given[name].shape)} but this architecture needs "
                f"{tuple(tensor.shape)}; it is a checkpoint of another architecture"
            )
    for name in given:
        if name not in expected:
            raise UserError(f"{where}: tensor '{name}' is unknown to this architecture; check the model config")


def load_model(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Builds the model of a run directory (its newest checkpoint) or of one checkpoint folder.

    Returns:
        The model in evaluation mode on `device` (in `dtype` if given, else as saved), and the run's config.
    """
    source = open_checkpoint(Path(path))
    saved = next(iter(source.weights.values())).dtype
    return source.load(device, dtype or saved), source.config
