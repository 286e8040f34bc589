"""The law's optima against numerical minimisation, its inverses, and the figures that others computed with it."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from llamalab.analysis.scaling.law import ScalingLaw, training_flops
from llamalab.analysis.scaling.published import BESIROGLU, HOFFMANN, HOFFMANN_PRINTED, SARDANA

LAWS = [HOFFMANN, HOFFMANN_PRINTED, BESIROGLU, SARDANA]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.source)
@pytest.mark.parametrize("flops", [1e15, 1e20, 1e25])
def test_the_optimum_is_the_lowest_loss_on_the_budget(law, flops):
    n, d = law.optimum(flops)
    found = minimize_scalar(lambda x: law.loss(math.exp(x), flops / 6 / math.exp(x)), bounds=(5, 40), method="bounded")
    assert training_flops(n, d) == pytest.approx(flops, rel=1e-12)
    assert law.loss(n, d) <= found.fun * (1 + 1e-12)
    assert n == pytest.approx(math.exp(found.x), rel=1e-2)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.source)
def test_the_optimum_for_a_loss_is_the_optimum_of_its_budget(law):
    n, d = law.optimum_for(2.3)
    assert law.loss(n, d) == pytest.approx(2.3, rel=1e-12)
    assert law.optimum(training_flops(n, d)) == pytest.approx((n, d), rel=1e-9)


def test_inverses():
    sizes = np.array([1e7, 1e9, 1e10])
    tokens = HOFFMANN.tokens_for(2.5, sizes)
    assert math.isinf(tokens[0])  # too small: its term alone is 1.7 nats
    assert HOFFMANN.loss(sizes[1:], tokens[1:]) == pytest.approx([2.5, 2.5], rel=1e-12)
    assert HOFFMANN.parameters_for(2.5, tokens[1]) == pytest.approx(1e9, rel=1e-9)


def test_matches_figures_printed_by_the_code_of_sardana_et_al():
    """The README beside arXiv:2401.00448: what model_calculator.py and cost_calculator.py print."""
    assert f"{SARDANA.loss(70e9, 1e12):.3f}" == "1.947"
    n, d = SARDANA.optimum_for(1.958253360475841)
    assert (f"{n:.3e}", f"{d:.3e}") == ("3.000e+10", "1.556e+12")
    assert f"{training_flops(n, d):.3e}" == "2.801e+23"


def test_besiroglu_grows_size_and_tokens_alike():
    """Besiroglu et al. 2024: N_opt ~ C^0.513."""
    assert f"{BESIROGLU.size_exponent:.3f}" == "0.513"


@pytest.mark.parametrize(("key", "value"), [("A", 0.0), ("beta", -0.1), ("E", -1.0), ("alpha", math.nan)])
def test_refuses_constants_out_of_range(key, value):
    constants = {"E": 1.7, "A": 400.0, "B": 400.0, "alpha": 0.3, "beta": 0.3} | {key: value}
    with pytest.raises(ValueError, match=f"^{key}: "):
        ScalingLaw(**constants, source="test")


def test_refuses_a_loss_that_no_model_reaches():
    with pytest.raises(ValueError, match="above the law's E"):
        HOFFMANN.optimum_for(1.6)
