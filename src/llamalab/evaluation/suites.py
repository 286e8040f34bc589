"""Suites that are made of other suites."""

from pathlib import Path
from typing import Any

import yaml

from llamalab.common.configs import check_type, closest, repository_folder
from llamalab.common.errors import UserError

KINDS = {
    "name": str,
    "version": int,
    "tasks": list[str],
    "heldout": dict[str, dict[str, Any]],
    "suites": list[str],
    "limit": int | None,
}
OPTIONAL: dict[str, Any] = {"suites": [], "limit": None}


def composed(suite: dict[str, Any]) -> dict[str, Any]:
    """The suite with the tasks of the suites it names, its own last; each task once.

    Args:
        suite: `name, version, tasks, heldout` and optionally `suites` (names of files in eval/suites) and `limit`
            (documents of each task).

    Returns:
        `name, version, tasks, heldout, limit`, and `suites`: the version of each suite that went into it.

    Raises:
        UserError: a missing or wrong key, or an unknown suite.
    """
    _check(suite)
    whole: dict[str, Any] = {"name": suite["name"], "version": suite["version"], "limit": suite.get("limit")}
    whole |= {"tasks": [], "heldout": {}, "suites": {}}
    for name in suite.get("suites", []):
        part = composed(_read(name))
        whole["suites"] |= {name: part["version"], **part["suites"]}
        whole["tasks"] += part["tasks"]
        whole["heldout"] |= part["heldout"]
    whole["tasks"] = [*dict.fromkeys(whole["tasks"] + suite["tasks"])]
    whole["heldout"] |= suite["heldout"]
    for name in whole["heldout"]:
        if name not in whole["tasks"]:
            raise UserError(f"suite.heldout.{name}: is not in suite.tasks; add it there or take it out here")
    if not whole["tasks"]:
        raise UserError("suite.tasks: names no task; add one, or a suite under suite.suites")
    return whole


def _check(suite: dict[str, Any]) -> None:
    for key, annotation in KINDS.items():
        if key not in suite and key not in OPTIONAL:
            raise UserError(f"suite.{key}: missing; add it to the suite's file in eval/suites")
        check_type(f"suite.{key}", suite.get(key, OPTIONAL.get(key)), annotation)
    if suite.get("limit") is not None and suite["limit"] < 1:
        raise UserError(f"suite.limit: {suite['limit']} must be at least 1")


def _read(name: str) -> dict[str, Any]:
    folder: Path = repository_folder("eval") / "suites"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = [found.stem for found in folder.glob("*.yaml")]
        raise UserError(f"suite.suites: no suite '{name}' in {folder}{closest(name, known)}")
    suite: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return suite
