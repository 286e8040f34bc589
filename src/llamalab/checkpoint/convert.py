"""`llamalab convert`: a checkpoint from one format into another."""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from llamalab.common.configs import check_type, closest, resolved
from llamalab.common.console import console
from llamalab.common.errors import UserError
from llamalab.common.files import published_directory, require_space, write_json
from llamalab.common.provenance import provenance

FORMATS = ("hf", "meta", "native")
KINDS = {
    "checkpoint": str,
    "to": str,
    "out": str,
    "shards": int | None,
    "dtype": str | None,
    "max_seq_len": int | None,
}


def run(cfg: DictConfig) -> None:
    """Writes `cfg.checkpoint` as `cfg.to` into `cfg.out`, which appears only when it is whole.

    Raises:
        UserError: a bad value, an unusable checkpoint, an architecture that the other format cannot say, a folder that
            is there already, or no room for it.
    """
    options = resolved(cfg)
    for key, kind in KINDS.items():
        check_type(key, options[key], kind)
    if options["to"] not in FORMATS:
        raise UserError(f"to: '{options['to']}' is no format{closest(options['to'], FORMATS)}")
    for key in ("shards", "max_seq_len"):
        if options[key] is not None and options[key] < 1:
            raise UserError(f"{key}: {options[key]} must be at least 1")
    out = Path(options["out"])
    if out.exists():
        raise UserError(f"{out}: is there already; remove it or give another out")
    others = {key: options[key] for key in ("shards", "dtype", "max_seq_len")}
    convert(Path(options["checkpoint"]), options["to"], out, **others)
    console.print(f"Written: {out}")


def convert(
    checkpoint: Path,
    to: str,
    out: Path,
    shards: int | None = None,
    dtype: str | None = None,
    max_seq_len: int | None = None,
) -> None:
    """Converts a checkpoint; the arguments are those of conf/convert.yaml.

    Raises:
        UserError: as in `run`.
    """
    # torch takes seconds to import, so wrong values are refused before
    from llamalab.checkpoint import hugging_face_writer, meta_writer, native_writer
    from llamalab.checkpoint.dtypes import dtype_of
    from llamalab.checkpoint.formats import open_checkpoint
    from llamalab.checkpoint.meta import CONVERSION

    kind = None if dtype is None else dtype_of(dtype)
    source = open_checkpoint(checkpoint)
    if max_seq_len is not None:
        if source.format != "meta":
            raise UserError(f"max_seq_len: {checkpoint} says its context itself; leave it out")
        config = copy.deepcopy(source.config)
        config["model"]["max_seq_len"] = max_seq_len
        source = dataclasses.replace(source, config=config)
    writers: dict[str, Callable[..., None]] = {
        "hf": hugging_face_writer.write,
        "meta": meta_writer.write,
        "native": native_writer.write,
    }
    size = sum(tensor.bytes_as(kind) for tensor in source.weights.values())
    require_space(out, size, "the converted checkpoint")
    with published_directory(out) as folder:
        writers[to](source, folder, kind, shards)
        record: dict[str, Any] = {
            "converted_from": {"path": str(source.path), "format": source.format},
            "weights_sha256": source.weights_sha256,
            "model": source.model_config,
            "made_by": provenance(),
        }
        write_json(folder / CONVERSION, record)
