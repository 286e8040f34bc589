"""Models built as users build them: composed from the YAML files in conf/ and instantiated by Hydra."""

import copy
import functools
import itertools
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from llamalab.model import Llama

CONF = Path(__file__).parents[2] / "conf"
AXES = ("norm", "norm_placement", "feed_forward", "position", "attention")
BASELINE = {
    "norm": "rmsnorm",
    "norm_placement": "pre",
    "feed_forward": "swiglu",
    "position": "rope",
    "attention": "multi_head",
}
# Small enough for milliseconds; odd sizes so that no two dimensions can be confused.
TINY = (
    "scale.dim=48",
    "scale.n_layers=3",
    "scale.n_heads=4",
    "scale.vocab_size=97",
    "scale.seq_len=32",
    "scale.multiple_of=8",
)


def choices(axis: str) -> list[str]:
    """The files of a config group."""
    return sorted(path.stem for path in (CONF / axis).glob("*.yaml"))


def combinations() -> list[list[str]]:
    """Overrides such that any two choices of different axes meet in one of them (all-pairs, greedily)."""
    available = {axis: choices(axis) for axis in AXES}
    unmet = {
        frozenset(((one, a), (other, b)))
        for one, other in itertools.combinations(AXES, 2)
        for a, b in itertools.product(available[one], available[other])
    }
    found = []
    while unmet:
        picked = dict(min(unmet, key=sorted))
        for axis in AXES:
            if axis not in picked:
                met = {
                    choice: sum(frozenset(((axis, choice), pair)) in unmet for pair in picked.items())
                    for choice in available[axis]
                }
                picked[axis] = max(met, key=met.__getitem__)
        unmet -= {frozenset(pair) for pair in itertools.combinations(picked.items(), 2)}
        found.append([f"{axis}={picked[axis]}" for axis in AXES])
    return found


def compose_model(*overrides: str) -> DictConfig:
    """The model's part of a training config."""
    return copy.deepcopy(_composed(*overrides))


@functools.cache  # many tests build the same model, and composing it takes longer than most of them
def _composed(*overrides: str) -> DictConfig:
    defaults = [
        "_self_",
        {"scale": "smoke"},
        *({axis: choice} for axis, choice in BASELINE.items()),
        {"model": "llama"},
    ]
    ConfigStore.instance().store("model_only", OmegaConf.create({"defaults": defaults}))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("model_only", list(overrides))


def build_model(*overrides: str, seed: int = 0) -> Llama:
    """A seeded model on the default device."""
    torch.manual_seed(seed)
    return instantiate(compose_model(*overrides).model)
