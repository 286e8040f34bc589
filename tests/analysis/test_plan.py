"""`llamalab plan` against the paper: Table 2's sizes, Table 15's energy, and the throughput they imply."""

import functools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from llamalab.analysis import plan
from llamalab.common.configs import repository_folder
from llamalab.common.errors import UserError
from llamalab.common.hydra_app import register_resolvers

PARAMETERS = {"7b": 6_738_415_616, "13b": 13_015_864_320, "33b": 32_528_943_616, "65b": 65_285_660_672}
NON_EMBEDDING = {"7b": 6_476_271_616, "13b": 12_688_184_320, "33b": 32_102_959_616, "65b": 64_761_372_672}
# Table 15: GPU-hours, MWh (decimals cut), tCO2eq; then what they imply: tokens/s/GPU and MFU counted as 6N.
TABLE_15 = {
    "7b": (82_432, 36, 14, 3392, 0.440),
    "13b": (135_168, 59, 23, 2069, 0.518),
    "33b": (530_432, 233, 90, 734, 0.459),
    "65b": (1_022_362, 449, 173, 381, 0.478),
}


@pytest.fixture(scope="module")
def configured() -> Callable[..., DictConfig]:
    register_resolvers()

    def make(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(repository_folder("conf")), version_base="1.3"):
            return compose("plan", overrides=list(overrides))

    return make


@pytest.fixture(scope="module")
def planned(configured: Callable[..., DictConfig]) -> Callable[..., dict[str, Any]]:
    """Plans by their overrides; each is computed once."""
    return functools.cache(lambda *overrides: plan.plan_of(configured(*overrides)))


def of_table_15(planned: Callable[..., dict[str, Any]], scale: str) -> dict[str, Any]:
    return planned(f"scale={scale}", "gpus=2048", f"gpu_hours={TABLE_15[scale][0]}")


@pytest.mark.parametrize("scale", PARAMETERS)
def test_parameters_of_the_paper(planned, scale):
    counts = of_table_15(planned, scale)["parameters"]
    assert counts["total"] == PARAMETERS[scale]
    assert counts["non_embedding"] == NON_EMBEDDING[scale]


@pytest.mark.parametrize("scale", TABLE_15)
def test_table_15(planned, scale):
    _, mwh, tonnes, speed, mfu = TABLE_15[scale]
    cost = of_table_15(planned, scale)["training"]
    assert int(cost["kwh"] / 1000) == mwh
    assert round(cost["tco2eq"]) == tonnes
    assert cost["tokens_per_second_per_gpu"] == pytest.approx(speed, abs=1)
    assert cost["mfu_6n"] == pytest.approx(mfu, abs=0.001)


def test_65b_takes_about_21_days(planned):
    """Section 2.4: some 380 tokens/s/GPU on 2048 A100, about 21 days for 1.4T tokens."""
    cost = of_table_15(planned, "65b")["training"]
    assert cost["hours"] / 24 == pytest.approx(21, abs=0.5)


@pytest.mark.parametrize("scale", ["smoke", "nano", "micro", "mini", "base"])
def test_every_other_scale_can_be_planned(planned, scale):
    found = planned(f"scale={scale}")
    assert found["memory"]["total"] > found["memory"]["total_checkpointed"] > 0
    assert found["training"]["hours"] > 0


def test_hours_from_mfu_and_mfu_from_hours_agree(planned):
    forth = planned("scale=base", "gpus=64", "mfu=0.4")["training"]
    back = planned("scale=base", "gpus=64", f"gpu_hours={forth['gpu_hours']}")["training"]
    assert back["mfu"] == pytest.approx(0.4)
    assert back["kwh"] == pytest.approx(forth["kwh"])


def test_figures_are_their_stated_formulas(planned):
    found = planned("scale=mini", "gpus=4", "mfu=0.3", "device=h100")
    cost, n = found["training"], found["parameters"]["total"]
    assert cost["flops_6n"] == 6 * n * cost["tokens"]
    assert found["inference"]["flops_per_token_2n"] == 2 * n
    assert cost["tokens_per_second_per_gpu"] == pytest.approx(0.3 * 989.4e12 / cost["flops_per_token"])
    assert cost["gpu_hours"] == pytest.approx(cost["tokens"] / cost["tokens_per_second_per_gpu"] / 3600)
    assert cost["kwh"] == pytest.approx(cost["gpu_hours"] * 700 * 1.1 / 1000)


def test_json_is_all_that_is_printed(configured, capsys):
    plan.run(configured("scale=7b", "json=true"))
    printed = json.loads(capsys.readouterr().out)
    assert printed["parameters"]["total"] == PARAMETERS["7b"]


def test_table_names_the_figures(configured, capsys):
    plan.run(configured("scale=7b", "gpus=2048"))
    printed = capsys.readouterr().out
    for text in ("6,738,415,616", "1,006,632,960,000", "tCO2eq", "checkpointed", "fits in 80 GiB"):
        assert text in printed


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sharding=ful", "sharding: 'ful' is not known; did you mean 'full'?"),
        ("precision=bf16", "precision: 'bf16' is not known"),
        ("gpus=0", "gpus: 0 must be above 0"),
        ("gpus=17", "gpus: 17 devices cannot share a batch of 8 sequences"),
        ("gpus=many", "gpus: 'many'"),
        ("mfu=50", "mfu: 50 is a fraction of the peak"),
        ("gpu_hours=-1", "gpu_hours: -1 must be above 0"),
        ("json=maybe", "json: 'maybe'"),
        ("scale.dim=130", "scale.dim: 130 is not divisible by n_heads 4"),
        ("~device.peak_flops.bf16", "device.peak_flops.bf16"),
        ("device.watts=lots", "device.watts: 'lots'"),
    ],
)
def test_bad_input_is_one_line(planned, override, message):
    with pytest.raises(UserError) as error:
        planned("scale=nano", override)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
