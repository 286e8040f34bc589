"""Paths with an = in them, as our run directories have, can be typed as they are."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from llamalab.common.hydra_app import quoted


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("checkpoint=runs/a/seed=0", ["runs/a/seed=0"]),
        ("checkpoint=runs/a/seed=0/checkpoints/step=00000040", ["runs/a/seed=0/checkpoints/step=00000040"]),
        ("checkpoint=a/seed=0,a/seed=1", ["a/seed=0", "a/seed=1"]),
        ("+scale.lr=0.1", [0.1]),
        ("prompt='a=b'", ["a=b"]),
        ("study.seeds=[0,1]", [[0, 1]]),
    ],
)
def test_a_path_with_an_equals_sign_reaches_hydra_whole(override: str, values: list[object]) -> None:
    parsed = OverridesParser.create().parse_override(quoted(override))
    found = list(parsed.sweep_string_iterator()) if parsed.is_sweep_override() else [parsed.value()]
    assert [str(value).strip("'") for value in found] == [str(value) for value in values]


def test_quoting_leaves_hydras_own_syntax_alone() -> None:
    for override in ("a=glob(*)", "a={b:c}", "~a", "a=${b}", "-m", "hydra.run.dir='x=1'"):
        assert quoted(override) == override
