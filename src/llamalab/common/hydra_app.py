"""Hydra as an application runner whose errors come out as one line."""

import argparse
import os
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn, cast

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, OmegaConfBaseException

from llamalab.common.configs import closest, repository_folder
from llamalab.common.errors import UserError


def by_device(plain_cpu: object, bf16_cpu: object, gpu: object) -> object:
    """The `${by_device:a,b,c}` resolver: `a` on a CPU without bf16 arithmetic, `b` on one with it, `c` on a GPU."""
    import torch

    if torch.cuda.is_available():
        return gpu
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bf16_cpu if has_bf16 else plain_cpu


def budget_tokens(per_parameter: float, fraction: float, *, _root_: DictConfig) -> int:
    """The `${budget_tokens:m,f}` resolver: `f` times `m` tokens per parameter of the scale, in whole batches.

    Parameters are counted as 12 L D², without embeddings (Kaplan et al. 2020, section 2.1).
    """
    scale = _root_.scale
    tokens = 12 * scale.n_layers * scale.dim**2 * per_parameter * fraction
    return max(1, round(tokens / scale.batch_tokens)) * int(scale.batch_tokens)


def register_resolvers() -> None:
    """Makes `${by_device:...}` and `${budget_tokens:...}` known to OmegaConf."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("budget_tokens", budget_tokens, replace=True)
    OmegaConf.register_new_resolver("by_device", by_device, replace=True, use_cache=True)


def quoted(override: str) -> str:
    """Quotes the paths in an override: `checkpoint=runs/seed=0` has an = that Hydra's grammar does not take bare."""
    match = re.fullmatch(r"([~+]*[\w./@-]+)=([^'\"\[\]{}()]*=[^'\"\[\]{}()]*)", override)
    if match is None:
        return override
    values = (f"'{value}'" if "=" in value else value for value in match[2].split(","))
    return f"{match[1]}={','.join(values)}"


def argument_parser(command: str) -> argparse.ArgumentParser:
    """Hydra's parser; options may stand between overrides, and a mistake is one line instead of the usage."""
    parser = get_args_parser()

    def fail(message: str) -> NoReturn:
        raise UserError(f"{message} (see {command} --help)")

    vars(parser).update(error=fail, parse_args=parser.parse_intermixed_args)
    return parser


def hydra_main(config_name: str, overrides: list[str], run: Callable[[Any], None]) -> None:
    """Runs a function as a Hydra app on conf/<config_name>.yaml, with Hydra's own flags (-m, --cfg, --help)."""
    register_resolvers()
    # Hydra prints errors itself and exits with 1 unless this is set; ours are printed by the command line.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [f"llamalab {config_name}", *map(quoted, overrides)]
    vars(sys.modules["hydra.main"])["get_args_parser"] = lambda: argument_parser(sys.argv[0])
    caught: list[UserError] = []

    def task(cfg: Any) -> None:
        try:
            given = OmegaConf.to_container(HydraConfig.get().overrides, resolve=False)
            check_added_keys(cfg, cast(dict[str, list[str]], given)["task"])
            run(cfg)
        except UserError as error:
            # A single run keeps its error from Hydra, which would print a line of its own before it; the jobs of a
            # sweep must raise theirs, since they may run in other processes.
            if HydraConfig.get().mode != RunMode.RUN:
                raise
            caught.append(error)

    hydra.main(config_path=str(repository_folder("conf")), config_name=config_name, version_base="1.3")(task)()
    if caught:
        raise caught[0]


# Where an override may add a name of its own: the names in these mappings are the user's.
FREE = ("study.arms", "study.expected", "study.analyses", "study.probes", "data.sampling", "data.empty_slots")


def check_added_keys(cfg: DictConfig, overrides: list[str]) -> None:
    """Raises UserError for `+key=value` where nothing reads the key; Hydra adds whatever it is told to.

    Keys of a node with a `_target_` are held against its constructor, and so are not looked at here.
    """
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        if not override.startswith("+") or any(key.startswith(f"{free}.") for free in FREE):
            continue
        parents = [key.rpartition(".")[0]]
        while parents[-1]:
            parents.append(parents[-1].rpartition(".")[0])
        nodes = [OmegaConf.select(cfg, parent) for parent in parents if parent]
        if any(isinstance(node, DictConfig) and "_target_" in node for node in nodes):
            continue
        added, parent = key.rpartition(".")[2], OmegaConf.select(cfg, key.rpartition(".")[0]) if "." in key else cfg
        known = [str(name) for name in parent if name != added] if isinstance(parent, DictConfig) else []
        raise UserError(f"{key}: unknown key{closest(added, known) if known else '; see --cfg job'}")


def hydra_error_line(error: BaseException) -> str | None:
    """One line for what Hydra or OmegaConf raised about the user's input; None for any other error."""
    text = str(error)
    if isinstance(error, ValueError) and text.startswith("Config group override"):  # Hydra's only error of this kind
        return f"a config group cannot be null ({text}); name one of its files"
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    if isinstance(error, OverrideParseException):
        reason = text.splitlines()[0]
        return f"{error.override}: {reason}; an override is key=value, special characters in it need quotes"
    missing = re.search(r"Could not find '([^']+)'", text)
    if missing and "/" in missing[1]:
        group, _, choice = missing[1].rpartition("/")
        folder = repository_folder("conf") / group
        choices = sorted(path.stem for path in folder.glob("*.yaml"))
        return f"{group}={choice}: no such choice" + (closest(choice, choices) if choices else "")
    refused = next((e for e in (error, error.__cause__) if isinstance(e, ConfigAttributeError)), None)
    if refused is not None:
        known = refused.parent_node if isinstance(refused.parent_node, DictConfig) else {}
        return f"{refused.full_key}: unknown key{closest(str(refused.key), map(str, known))} (see --cfg job)"
    if unknown := re.search(r"Could not override '([^']+)'", text):
        return f"{unknown[1]}: this command has no such config group; see its config with --cfg job"
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    cause = error.__cause__ or error.__context__
    detail = "" if cause is None else next(iter(str(cause).splitlines()), "")
    return first if not detail or detail in first else f"{first} ({detail})"
