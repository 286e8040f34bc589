"""Configs checked against the constructors they name, before anything runs."""

import difflib
import importlib
import inspect
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pydantic
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llamalab.common.errors import UserError

HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
# Only our own classes are ever built from a config, so a config file cannot name somebody else's code.
OWN_PREFIX = "llamalab."


def repository_folder(name: str) -> Path:
    """`conf`, `experiments` or `eval`: inside the package in a wheel, at the top of the repository in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / name
    return inside if inside.is_dir() else package.parents[1] / name


def closest(name: str, choices: Iterable[str]) -> str:
    """`; did you mean 'x'?` or the list of choices, to end an error message with."""
    choices = sorted(choices)
    near = difflib.get_close_matches(name, choices, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; choose from {', '.join(choices)}"


def resolved(config: DictConfig) -> dict[str, Any]:
    """The config as plain containers. Raises UserError naming the key that cannot be resolved."""
    try:
        container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{getattr(error, 'full_key', None) or 'config'}: {str(error).splitlines()[0]}") from None
    return typing.cast(dict[str, Any], container)


def target_of(path: str, key: str = "_target_") -> Callable[..., Any]:
    """The class or function that a `_target_` names. Raises UserError for foreign or unknown ones."""
    if not path.startswith(OWN_PREFIX):
        raise UserError(f"{key}: '{path}' is not a llamalab class; only targets under '{OWN_PREFIX}' are built")
    module, _, name = path.rpartition(".")
    try:
        return typing.cast(Callable[..., Any], getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError) as error:
        raise UserError(f"{key}: cannot load '{path}' ({error}); correct the name") from None


def nodes(config: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping with a `_target_` in plain containers, with its dotted key, outermost first."""
    if isinstance(config, dict):
        if "_target_" in config:
            yield key, config
        for name, value in config.items():
            yield from nodes(value, f"{key}.{name}" if key else str(name))
    elif isinstance(config, list):
        for index, value in enumerate(config):
            yield from nodes(value, f"{key}[{index}]")


def check_targets(config: DictConfig | ListConfig | dict[str, Any]) -> None:
    """Holds every `_target_` node against its constructor: names, types, required arguments.

    Raises:
        UserError: an unknown key (with the nearest known one), a wrong type, a missing argument, a foreign target.
    """
    container = resolved(config) if isinstance(config, DictConfig) else config
    for key, node in nodes(container):
        _check_node(key, node)


def _check_node(key: str, node: dict[str, Any]) -> None:
    target = target_of(node["_target_"], f"{key}._target_" if key else "_target_")
    function = target.__init__ if inspect.isclass(target) else target
    parameters = dict(inspect.signature(target).parameters)
    hints = typing.get_type_hints(function)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    prefix = f"{key}." if key else ""
    for name, value in node.items():
        if name in HYDRA_KEYS:
            continue
        if name not in parameters:
            if takes_any:
                continue
            raise UserError(f"{prefix}{name}: unknown key for {target.__qualname__}{closest(name, parameters)}")
        check_type(f"{prefix}{name}", value, hints.get(name, Any))
    if node.get("_partial_"):
        return
    for name, parameter in parameters.items():
        variadic = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if not variadic and parameter.default is parameter.empty and name not in node:
            raise UserError(f"{prefix}{name}: missing; {target.__qualname__} needs it")


def check_type(key: str, value: Any, annotation: Any) -> None:
    """Raises UserError unless the plain `value` fits the annotation.

    A value that holds `_target_` nodes is skipped: they are checked by themselves and become objects only later.
    """
    if annotation is Any or next(nodes(value), None) is not None:
        return
    try:
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(
            annotation, config=pydantic.ConfigDict(arbitrary_types_allowed=True)
        )
    except pydantic.PydanticUserError:  # an annotation pydantic has no schema for: left to the constructor
        return
    wanted = getattr(annotation, "__name__", None) or str(annotation)
    if typing.get_origin(annotation) is not None:
        wanted = str(annotation).replace("typing.", "")
    try:
        accepted = adapter.validate_python(value)
    except pydantic.ValidationError as error:
        detail = error.errors()[0]["msg"]
        raise UserError(f"{key}: {value!r} is not a {wanted} ({detail})") from None
    # pydantic reads 1e4, "5" and true as whole numbers, but the code that gets the value computes with what it is given
    if (
        isinstance(accepted, int | float)
        and type(accepted) is not type(value)
        and isinstance(value, str | float | bool)
    ):
        raise UserError(f"{key}: {value!r} is not a {wanted}; write {accepted!r}")
