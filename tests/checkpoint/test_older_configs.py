"""Runs made before a constructor got an option keep loading, and keep their identity."""

import copy

import pytest
from corpus_builder import compose_train
from omegaconf import OmegaConf

from llamalab.checkpoint.older_configs import LATER, as_first_written, completed
from llamalab.common.configs import check_targets, nodes, target_of


def model(*overrides: str) -> dict:
    return OmegaConf.to_container(compose_train("scale=smoke", *overrides).model, resolve=True)


@pytest.mark.parametrize("overrides", [(), ("position=rope_yarn",), ("feed_forward=glu", "attention=sliding_window")])
def test_an_older_config_is_completed_to_what_conf_says_now(overrides):
    now = model(*overrides)
    older = copy.deepcopy(now)
    removed = 0
    for _, node in nodes(older):
        for key in LATER.get(node["_target_"], {}):
            del node[key]
            removed += 1
    assert removed >= 3
    assert as_first_written(now) == older == as_first_written(older)
    assert completed(copy.deepcopy(older)) == now
    check_targets({"model": now})


def test_an_option_that_acts_stays_part_of_the_identity():
    assert as_first_written(model("attention.bias=true"))["attention"]["bias"] is True
    assert completed(model("attention.bias=true"))["attention"]["bias"] is True


def test_every_constructor_listed_exists():
    for path in LATER:
        target_of(path)
