"""The model config of a checkpoint that others made, in the form of our own config.yaml.

What a foreign checkpoint does not decide (the attention kernel, the initialisation, ...) is as conf/train.yaml has it.
"""

import copy
import functools
from collections.abc import Mapping
from typing import Any

import hydra.utils
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from llamalab.common.configs import check_targets, repository_folder
from llamalab.common.errors import UserError
from llamalab.common.hydra_app import register_resolvers
from llamalab.model.llama import Llama

# A LLaMA's choice on each axis; the position is the checkpoint's.
CHOICES = ("norm=rmsnorm", "norm_placement=pre", "feed_forward=swiglu", "attention=multi_head")


def model_config(position: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved `model` section of a LLaMA.

    Args:
        position: a choice in conf/position.
        settings: values by key of the whole config, such as `scale.dim` or `norm.eps`.
    """
    config = copy.deepcopy(_composed(position))
    for key, value in settings.items():
        OmegaConf.update(config, key, value)
    model = OmegaConf.to_container(config.model, resolve=True)
    assert isinstance(model, dict)
    return {str(key): value for key, value in model.items()}


@functools.cache
def _composed(position: str) -> DictConfig:
    register_resolvers()
    application, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None  # a verb is composed already
    try:
        with initialize_config_dir(str(repository_folder("conf")), version_base="1.3"):
            return compose("train", [*CHOICES, f"position={position}"])
    finally:
        GlobalHydra.instance().hydra = application


def empty_model(model: Mapping[str, Any], where: object) -> Llama:
    """The model of a config on the meta device: its shapes, and no memory.

    Args:
        model: the `model` section.
        where: the file that the config came from, for messages.

    Raises:
        UserError: no such model can be built.
    """
    check_targets({"model": dict(model)})
    try:
        with torch.device("meta"):
            built = hydra.utils.instantiate(model)
    except hydra.errors.InstantiationException as error:
        if isinstance(error.__cause__, ValueError):
            raise UserError(f"{where}: {error.__cause__}") from None
        raise
    assert isinstance(built, Llama)
    return built
