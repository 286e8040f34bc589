"""Stages that know whether they are done: a JSON beside the output says what made it.

The stamp is written last, so a stage that was cut off never looks finished. A stage is done when its stamp names
the same inputs (config, input files, code of the classes it uses, library versions) and its outputs are unchanged.
"""

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from llamalab.common.configs import nodes
from llamalab.common.errors import UserError
from llamalab.common.files import hash_of, read_json, sha256_file, write_json
from llamalab.common.provenance import provenance
from llamalab.data.progress import say

Outcome = tuple[list[Path], dict[str, Any]]


def code_of(config: Any, *stage: str) -> dict[str, str]:
    """sha256 of the modules of a stage and of the modules of the classes that its config names."""
    modules = {*stage} | {node["_target_"].rpartition(".")[0] for _, node in nodes(config)}
    hashes = {}
    for module in sorted(modules):
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert spec.origin is not None, f"{module} has no file"
        hashes[module] = sha256_file(Path(spec.origin))
    return hashes


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions of the libraries that a stage's result depends on."""
    return {package: importlib.metadata.version(package) for package in packages}


def is_unchanged(path: Path, recorded: dict[str, Any]) -> bool:
    """Whether a file is the recorded one; the sha256 is read only where the time differs (as after a copy)."""
    if not path.is_file():
        return False
    status = path.stat()
    if status.st_size != recorded["size"]:
        return False
    return status.st_mtime_ns == recorded["mtime_ns"] or sha256_file(path) == recorded["sha256"]


def stage_output(stamp: Path, inputs: dict[str, Any], title: str, make: Callable[[], Outcome]) -> dict[str, Any]:
    """Makes an output unless it is there already, and returns its report.

    Args:
        stamp: the JSON beside the output; output paths are stored relative to its folder.
        inputs: everything the output depends on, as JSON.
        title: what the progress line calls it.
        make: writes the output and returns its files and a report for the audit.
    """
    wanted = hash_of(inputs)
    if stamp.is_file():
        record = read_json(stamp)
        files = record.get("files", {})
        same_inputs = record.get("inputs_hash") == wanted
        if same_inputs and all(is_unchanged(stamp.parent / name, facts) for name, facts in files.items()):
            say(f"{title}: unchanged")
            report: dict[str, Any] = record["report"]
            return report
        stamp.unlink()
    files, report = make()
    facts = {}
    for file in files:
        status = file.stat()
        facts[file.relative_to(stamp.parent).as_posix()] = {
            "size": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "sha256": sha256_file(file),
        }
    made_by = provenance()
    write_json(stamp, {"inputs_hash": wanted, "report": report, "files": facts, "inputs": inputs, "made_by": made_by})
    return report


def made_files(stamp: Path, stage: str) -> dict[str, str]:
    """Output name to sha256, as an earlier stage recorded them.

    Raises:
        UserError: the stage has not finished, or an output is not what it wrote.
    """
    if not stamp.is_file():
        raise UserError(f"{stamp}: stage '{stage}' has not finished; run `llamalab data stages=[{stage}]` first")
    files = read_json(stamp)["files"]
    for name, facts in files.items():
        if not is_unchanged(stamp.parent / name, facts):
            raise UserError(f"{stamp.parent / name}: missing or changed; run `llamalab data stages=[{stage}]` again")
    return {name: facts["sha256"] for name, facts in files.items()}


def report_of(stamp: Path, stage: str) -> dict[str, Any]:
    """The report that an earlier stage left. Raises UserError as `made_files`."""
    made_files(stamp, stage)
    report: dict[str, Any] = read_json(stamp)["report"]
    return report
