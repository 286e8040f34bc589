"""Configs are held against the constructors they name before anything runs."""

from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf

from llamalab.common import configs
from llamalab.common.errors import UserError
from llamalab.common.provenance import git_commit, provenance

ENERGY = {"_target_": "llamalab.common.energy.EnergyModel", "pue": 1.1, "kg_per_kwh": 0.4}
DEVICE = {"_target_": "llamalab.common.energy.Device", "name": "x", "watts": 1, "memory_gib": None, "peak_flops": {}}


def test_what_fits_passes():
    configs.check_targets(OmegaConf.create({"energy": ENERGY, "devices": [DEVICE, DEVICE]}))
    configs.check_targets({"energy": {**ENERGY, "_convert_": "all", "_recursive_": False}})
    configs.check_targets({"energy": {"_target_": ENERGY["_target_"], "_partial_": True, "pue": 1}})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"energy": {**ENERGY, "pu": 1}}, r"energy\.pu: unknown key for EnergyModel; did you mean 'pue'\?"),
        (
            {"a": {"b": [ENERGY, {**ENERGY, "x": 1}]}},
            r"a\.b\[1\]\.x: unknown key for EnergyModel; choose from kg_per_kwh",
        ),
        ({"energy": {**ENERGY, "pue": "high"}}, r"energy\.pue: 'high' is not a float"),
        ({"energy": {**ENERGY, "pue": None}}, r"energy\.pue: None is not a float"),
        ({"device": {**DEVICE, "peak_flops": {"fp32": "x"}}}, r"device\.peak_flops: .* is not a dict\[str, float\]"),
        (
            {"energy": {"_target_": ENERGY["_target_"], "pue": 1.0}},
            r"energy\.kg_per_kwh: missing; EnergyModel needs it",
        ),
        ({"x": {"_target_": "os.system"}}, r"x\._target_: 'os.system' is not a llamalab class"),
        ({"x": {"_target_": "llamalab.nowhere.Thing"}}, r"x\._target_: cannot load 'llamalab.nowhere.Thing'"),
        ({"x": {"_target_": "llamalab.common.energy.Engine"}}, r"x\._target_: cannot load .*has no attribute 'Engine'"),
        (ENERGY | {"pu": 1}, r"^pu: unknown key"),
    ],
)
def test_what_does_not_fit_is_named(config, message):
    with pytest.raises(UserError, match=message) as error:
        configs.check_targets(config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (1, int),
        (1, float),
        (1.5, float),
        (None, int | None),
        ([0.9, 0.95], tuple[float, float]),
        ("a", Literal["a", "b"]),
        ("/tmp", Path),
        (object(), Any),
        ({"_target_": "llamalab.anything"}, int),  # checked by itself
        (True, bool),
    ],
)
def test_values_that_fit_their_annotation(value, annotation):
    configs.check_type("key", value, annotation)


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        (1e4, int, r"key: 10000\.0 is not a int; write 10000"),
        ("5", int, r"key: '5' is not a int; write 5"),
        (True, int, r"key: True is not a int; write 1"),
        (1.5, int, r"key: 1\.5 is not a int \(.*fractional"),
        ("x", float | None, r"key: 'x' is not a float \| None"),
        ([1.0], tuple[float, float], r"key: \[1\.0\] is not a tuple\[float, float\]"),
        ("c", Literal["a", "b"], r"key: 'c' is not a Literal\['a', 'b'\]"),
    ],
)
def test_values_that_do_not(value, annotation, message):
    with pytest.raises(UserError, match=message):
        configs.check_type("key", value, annotation)


def test_resolving_names_the_key_that_cannot_be():
    with pytest.raises(UserError, match=r"a\.b: Interpolation key 'c' not found"):
        configs.resolved(OmegaConf.create({"a": {"b": "${c}"}}))
    with pytest.raises(UserError, match=r"a: Missing mandatory value"):
        configs.resolved(OmegaConf.create({"a": "???"}))
    assert configs.resolved(OmegaConf.create({"a": 1, "b": "${a}"})) == {"a": 1, "b": 1}


def test_suggestions():
    assert configs.closest("rmsnrm", ["layernorm", "rmsnorm"]) == "; did you mean 'rmsnorm'?"
    assert configs.closest("x", ["b", "a"]) == "; choose from a, b"


def test_nodes_are_found_outermost_first():
    tree = {"a": {"_target_": "x", "inner": {"_target_": "y"}}, "b": [{"_target_": "z"}]}
    assert [(key, node["_target_"]) for key, node in configs.nodes(tree)] == [
        ("a", "x"),
        ("a.inner", "y"),
        ("b[0]", "z"),
    ]


def test_the_folders_a_user_edits():
    for name in ("conf", "experiments", "eval"):
        assert configs.repository_folder(name).is_dir()


def test_provenance_says_what_made_an_artifact():
    made_by = provenance()
    assert made_by["versions"]["torch"]
    assert made_by["cpu_count"] >= 1
    assert made_by["cpu"]
    commit = git_commit()
    assert commit is None or len(commit.removesuffix("+changes")) == 40
