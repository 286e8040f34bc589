"""Optima over training and use against the published ones, and against a search over a grid."""

import math

import numpy as np
import pytest

from llamalab.analysis.scaling.inference import (
    COMPUTE,
    Demand,
    Prices,
    against_optimal,
    break_even_tokens,
    cheapest,
    plan,
    price_per_flop,
)
from llamalab.analysis.scaling.published import BESIROGLU, HOFFMANN, SARDANA


def ratios(law, loss, demand, prices):
    best, chinchilla = cheapest(law, loss, demand, prices), plan(*law.optimum_for(loss), demand, prices)
    return [f"{100 * x:.2f}%" for x in (best.n / chinchilla.n, best.d / chinchilla.d, best.total / chinchilla.total)]


def test_compute_optimum_of_sardana_et_al():
    """README beside arXiv:2401.00448: compute_optimal.py --loss 1.947 --inference_tokens 2e12."""
    demand = Demand(prompt_tokens=0.5e12, answer_tokens=1.5e12)
    best = cheapest(SARDANA, 1.947, demand, COMPUTE)
    assert (f"{best.n:.3e}", f"{best.d:.3e}") == ("2.418e+10", "2.657e+12")
    assert ratios(SARDANA, 1.947, demand, COMPUTE) == ["70.96%", "146.77%", "95.22%"]


def test_cost_optimum_of_sardana_et_al():
    """The same README: cost_optimal.py on A100s, $1.40/h in bf16 to train, $0.60/h in int8 to serve 1e10 requests."""
    prices = Prices(
        training=price_per_flop(1.40, peak_flops=312e12, mfu=0.5),
        prefill=price_per_flop(0.60, peak_flops=624e12, mfu=0.4),
        decode=price_per_flop(0.60, peak_flops=624e12, mfu=0.2),
    )
    demand = Demand(prompt_tokens=1e10 * 1000, answer_tokens=1e10 * 250)
    best = cheapest(SARDANA, 1.947, demand, prices)
    assert (f"{best.n:.3e}", f"{best.d:.3e}") == ("2.053e+10", "3.302e+12")
    assert ratios(SARDANA, 1.947, demand, prices) == ["60.23%", "182.41%", "88.76%"]


def test_costs_of_one_model_of_sardana_et_al():
    """The same README, cost_calculator.py --model 30e9 --chinchilla: 1e9 requests of 500 + 100 tokens, in FLOP."""
    used = plan(30e9, SARDANA.tokens_for(1.958253360475841, 30e9), Demand(1e9 * 500, 1e9 * 100), COMPUTE)
    assert f"{used.total:.3e}" == "3.161e+23"


@pytest.mark.parametrize("law", [HOFFMANN, BESIROGLU], ids=["hoffmann", "besiroglu"])
@pytest.mark.parametrize("tokens", [0.0, 1e9, 1e13, 1e18])
def test_nothing_on_a_grid_is_cheaper(law, tokens):
    demand, prices = Demand(tokens, tokens / 3), Prices(1.0, 0.5, 3.0)
    best = cheapest(law, 2.2, demand, prices)
    assert law.loss(best.n, best.d) == pytest.approx(2.2, rel=1e-9)
    sizes = np.geomspace(best.n / 30, best.n * 30, 20_001)
    sizes = sizes[np.isfinite(law.tokens_for(2.2, sizes))]
    totals = [plan(n, d, demand, prices).total for n, d in zip(sizes, law.tokens_for(2.2, sizes), strict=True)]
    assert best.total <= min(totals) * (1 + 1e-12)
    assert sizes[np.argmin(totals)] == pytest.approx(best.n, rel=2e-3)


def test_without_use_it_is_the_training_optimum():
    best = cheapest(HOFFMANN, 2.0, Demand(0.0, 0.0), COMPUTE)
    assert (best.n, best.d) == pytest.approx(HOFFMANN.optimum_for(2.0), rel=1e-9)


@pytest.mark.parametrize(
    ("law", "optimal", "overhead", "break_even"),
    [(HOFFMANN, ("11.4B", "531B"), "1.11", "0.43T"), (BESIROGLU, ("15.4B", "306B"), "1.43", "0.69T")],
    ids=["hoffmann", "besiroglu"],
)
def test_the_papers_7b_earns_its_training_back(law, optimal, overhead, break_even):
    """LLaMA-7B has 6,738,415,616 parameters and 1e12 tokens (Touvron et al. 2023, Table 2)."""
    found = against_optimal(law, 6_738_415_616, 1e12)
    assert (f"{found.optimal_n / 1e9:.1f}B", f"{found.optimal_d / 1e9:.0f}B") == optimal
    assert f"{found.overhead:.2f}" == overhead
    assert f"{found.break_even / 1e12:.2f}T" == break_even


def test_both_models_have_cost_the_same_at_the_break_even():
    small, large = (6.7e9, 1e12), HOFFMANN.optimum_for(HOFFMANN.loss(6.7e9, 1e12))
    tokens = break_even_tokens(*small, *large)
    costs = [plan(n, d, Demand(0.0, tokens), COMPUTE).total for n, d in (small, large)]
    assert costs[0] == pytest.approx(costs[1], rel=1e-12)


def test_a_model_above_the_optimal_size_never_earns_it_back():
    """LLaMA-65B is larger than what Hoffmann's constants call optimal for its loss."""
    assert math.isnan(against_optimal(HOFFMANN, 65.2e9, 1.4e12).break_even)
    with pytest.raises(ValueError, match="smaller model first"):
        break_even_tokens(2e9, 1e11, 1e9, 2e11)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Demand(-1.0, 0.0), "prompt_tokens"),
        (lambda: Prices(1.0, 0.0, 1.0), "prefill"),
        (lambda: price_per_flop(1.0, 3e14, 1.5), "mfu"),
        (lambda: cheapest(HOFFMANN, 1.5, Demand(0.0, 1.0), COMPUTE), "loss"),
    ],
)
def test_refuses_what_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()
