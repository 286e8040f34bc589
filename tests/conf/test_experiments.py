"""Every study is declared whole, and its arms are fit to be compared."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from llamalab.common.configs import check_targets, repository_folder, resolved
from llamalab.common.hydra_app import register_resolvers
from llamalab.training import study
from llamalab.training.run_directory import config_hash

STUDIES = sorted(path.stem for path in repository_folder("experiments").glob("*.yaml") if path.stem != "claims")


def composed(*overrides: str, return_hydra_config: bool = False):
    register_resolvers()
    with initialize_config_dir(str(repository_folder("conf")), version_base="1.3"):
        return compose("train", [*overrides, "run_dir=somewhere"], return_hydra_config=return_hydra_config)


def arms_of(name: str) -> dict[str, dict]:
    """The resolved config of each arm at its first seed."""
    declared = OmegaConf.to_container(composed(f"experiments={name}").study)
    configs = {}
    one_seed = {**declared, "seeds": [0], "baseline_seeds": [0]}
    for overrides in study.final_jobs(one_seed, [f"experiments={name}"], None):
        config = composed(*overrides)
        configs[config.study.arm] = resolved(config)
    return configs


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_declared_whole(name):
    config = composed(f"experiments={name}", return_hydra_config=True)
    study.check(OmegaConf.to_container(config.study))
    assert config.study.name == config.name == name
    assert config.study.arm is None
    assert config.study.question.endswith("?")
    assert config.hydra.sweeper["_target_"].endswith("StudySweeper")


@pytest.mark.parametrize("name", STUDIES)
def test_arms_are_distinct_and_matched(name):
    """Within 0.5% of the baseline's non-embedding parameters, on the same data, schedule and initialisation."""
    configs = arms_of(name)
    baseline = configs[composed(f"experiments={name}").study.baseline]
    hashes, sizes = set(), {}
    for arm, config in configs.items():
        check_targets(config)
        study.check_arm(config["study"])
        with torch.device("meta"):
            sizes[arm] = instantiate(config["model"]).parameter_counts()["non_embedding"]
        hashes.add(config_hash({**config, "data_fingerprint": ""}))
        if name == "tokens":  # its arms differ in size and budget
            continue
        for same in ("data", "tokenizer", "schedule"):
            assert config[same] == baseline[same], (arm, same)
        assert config["model"]["initialisation"] == baseline["model"]["initialisation"]
        assert {k: v for k, v in config["scale"].items() if k != "lr"} == {
            k: v for k, v in baseline["scale"].items() if k != "lr"
        }
    # the pilot repeats its baseline on purpose
    assert len(hashes) == len(configs) - ("repeat" in configs)
    if name == "tokens":
        return
    expected = sizes[baseline["study"]["arm"]]
    assert sizes == pytest.approx(dict.fromkeys(sizes, expected), rel=0.005)
