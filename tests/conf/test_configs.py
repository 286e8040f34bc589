"""Every file in conf/ composes in every verb that offers it, and fits the constructors it names."""

import importlib
import inspect
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from llamalab.cli import VERBS
from llamalab.common.configs import check_targets, nodes, repository_folder, resolved
from llamalab.common.hydra_app import register_resolvers
from llamalab.training.settings import check_scale

CONF = repository_folder("conf")
# What has to be said on the command line.
MANDATORY = {"checkpoint": "somewhere", "prompt": "To", "run_dir": "somewhere", "to": "hf", "out": "somewhere"}
# Groups that no verb's defaults list names: sources are put into data configs, the rest into studies.
ELSEWHERE = {"source", "protocol", "hydra/launcher", "hydra/sweeper"}


def groups_of(verb: str) -> set[str]:
    """The groups in a verb's defaults list."""
    defaults = yaml.safe_load((CONF / f"{verb}.yaml").read_text())["defaults"]
    names = {key for entry in defaults if isinstance(entry, dict) for key in entry}
    return {name for name in names if not name.startswith("override ")}


# Beside the studies: what is claimed, for the report.
NO_CHOICE = {"claims"}
GROUPS = {verb: groups_of(verb) for verb in VERBS}


def choices() -> list[tuple[str, str]]:
    """(group, choice) for every file on disk, through symbolic links too."""
    found = []
    folders = [path for path in CONF.iterdir() if path.is_dir()]
    while folders:
        folder = folders.pop()
        folders += [path for path in folder.iterdir() if path.is_dir()]
        # a name with an underscore in front is no choice but what choices have in common
        found += [
            (str(folder.relative_to(CONF)), path.stem)
            for path in folder.glob("[!_]*.yaml")
            if path.stem not in NO_CHOICE
        ]
    return sorted(found)


def verbs_of(group: str) -> list[str]:
    """The verbs that offer a group, itself or (attention/kernel) through the group it is nested in."""
    return sorted(verb for verb, groups in GROUPS.items() if group in groups or group.partition("/")[0] in groups)


def composed(verb: str, *overrides: str):
    register_resolvers()
    keys = yaml.safe_load((CONF / f"{verb}.yaml").read_text())
    given = [f"{key}={value}" for key, value in MANDATORY.items() if key in keys]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(verb, [*given, *overrides])


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_composes_with_its_defaults(verb):
    config = composed(verb)
    check_targets(config)
    assert set(config) >= {group.partition("@")[0] for group in GROUPS[verb]} - {"experiments"}
    assert len(inspect.signature(importlib.import_module(VERBS[verb].module).run).parameters) == 1


def together(verb: str) -> list[dict[str, str]]:
    """Choices such that each one that a verb offers is in one of them; those of different groups share a composition.

    A study chooses for other groups, and a nested group depends on the choice around it, so these stay alone.
    """
    offered: dict[str, list[str]] = {}
    for group, choice in choices():
        if group not in ELSEWHERE and verb in verbs_of(group):
            offered.setdefault(group, []).append(choice)
    alone = [group for group in offered if group == "experiments" or "/" in group]
    found = [{group: choice} for group in alone for choice in offered.pop(group)]
    longest = max(map(len, offered.values()), default=0)
    found += [{group: names[i % len(names)] for group, names in offered.items()} for i in range(longest)]
    return found


@pytest.mark.parametrize(("verb", "chosen"), [(verb, chosen) for verb in VERBS for chosen in together(verb)])
def test_every_choice_composes_and_fits_its_constructors(verb, chosen):
    own = {group: yaml.safe_load((CONF / group / f"{choice}.yaml").read_text()) for group, choice in chosen.items()}
    given = [f"{group}.{key}=somewhere" for group, keys in own.items() for key in keys if keys[key] == "???"]
    config = composed(verb, *(f"{group}={choice}" for group, choice in chosen.items()), *given)
    check_targets(config)
    for group in chosen.keys() - {"experiments"}:
        assert own[group].keys() - {"defaults"} <= set(OmegaConf.select(config, group.replace("/", ".")))


@pytest.mark.parametrize("group", sorted({group for group, _ in choices()}))
def test_every_group_is_offered_by_a_verb_or_is_known_not_to_be(group):
    assert bool(verbs_of(group)) == (group not in ELSEWHERE)


@pytest.mark.parametrize("choice", [choice for group, choice in choices() if group == "source"])
def test_every_source_fits_its_constructors(choice):
    check_targets(OmegaConf.to_container(OmegaConf.load(CONF / f"source/{choice}.yaml"), resolve=False))


@pytest.mark.parametrize("choice", [choice for group, choice in choices() if group == "scale"])
def test_every_scale_is_whole(choice):
    scale = resolved(composed("train", f"scale={choice}"))["scale"]
    check_scale(scale)
    assert scale["name"] == choice
    assert scale["batch_tokens"] % scale["seq_len"] == 0
    assert scale["warmup_tokens"] % scale["batch_tokens"] == 0
    assert scale["eval_every_tokens"] % scale["batch_tokens"] == 0
    assert scale["checkpoint_every_tokens"] % scale["batch_tokens"] == 0
    assert scale["warmup_tokens"] < scale["tokens"]


def test_everything_built_is_ours():
    """No config names a class outside llamalab, wherever it stands."""
    for path in CONF.rglob("*.yaml"):
        for key, node in nodes(yaml.safe_load(path.read_text())):
            ours = ("llamalab.", "hydra_plugins.llamalab_study.")
            assert node["_target_"].startswith(ours), f"{path}: {key}"


def test_every_file_says_what_it_is():
    """A comment at the top, for whoever lists the choices; single words that say it already are let off."""
    silent = [path for path in CONF.rglob("*.yaml") if not path.read_text().startswith("#")]
    assert [str(path.relative_to(CONF)) for path in silent] == ["strategy/single.yaml"]


@pytest.mark.parametrize("link", ["experiments", "suite"])
def test_groups_that_live_at_the_top_of_the_repository_are_reachable(link):
    assert (CONF / link).is_symlink()
    assert list((CONF / link).glob("*.yaml"))
    assert Path(CONF / link).resolve().parent in (CONF.parent.resolve(), (CONF.parent / "eval").resolve())
