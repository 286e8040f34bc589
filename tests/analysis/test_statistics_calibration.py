"""How often whole studies come to a wrong verdict, by simulation through `judge`; normal losses, fixed seeds.

Limits allow for the binomial's error of the simulation itself. Run as a program, this file prints the figures of
docs/statistics.md from longer simulations (about two minutes).
"""

import gc

import numpy as np
import pytest

from llamalab.analysis.statistics import Declaration, Outcomes, Verdict, judge
from llamalab.analysis.statistics.power import Paired, Unpaired, minimum_detectable
from llamalab.analysis.statistics.resampling import Resampling, seed_bootstrap

JUDGED = (Verdict.WORSE, Verdict.BETTER)
SD = 0.003  # nats; any would do, nothing depends on the unit


@pytest.fixture(autouse=True)
def _no_garbage_collection(monkeypatch):
    """statsmodels collects garbage in every multipletests, which takes longer than everything else here together."""
    monkeypatch.setattr(gc, "collect", lambda *_: 0)


def studies(number, *, effect=0.0, arms=5, seeds=5, baseline_seeds=10, rho=0.0, diverging=0.0, margin=None, seed=0):
    """Verdicts of simulated studies; the first arm has the effect (in sd), the others none; all diverge as often."""
    random = np.random.default_rng(seed)
    names = tuple(f"arm{i}" for i in range(arms))
    margin = None if margin is None else margin * SD
    declared = Declaration(names, rho > 0, margin, alpha=0.05, power=0.8, baseline_per_arm=2)
    for _ in range(number):
        shared = random.normal(size=baseline_seeds) * np.sqrt(rho)

        def run(n, mean, shared=shared):
            losses = 3.7 + SD * (mean + shared[:n] + np.sqrt(1 - rho) * random.normal(size=n))
            finished = np.flatnonzero(random.random(n) >= diverging)
            return Outcomes({int(i): float(losses[i]) for i in finished}, diverged=n - len(finished))

        baseline = run(baseline_seeds, 0.0)
        yield judge({name: run(seeds, effect * (name == "arm0")) for name in names}, baseline, declared)


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_without_effects_few_families_have_any_verdict(rho):
    found = list(studies(700, rho=rho, seed=1))
    false = np.mean([any(arm.verdict in JUDGED for arm in study.values()) for study in found])
    singles = [arm.comparison for study in found for arm in study.values()]
    assert false <= 0.06
    assert np.mean([c.p_value < 0.05 for c in singles]) == pytest.approx(0.05, abs=0.011)
    assert np.mean([c.difference.low <= 0 <= c.difference.high for c in singles]) == pytest.approx(0.95, abs=0.011)


def test_without_effect_few_single_comparisons_have_a_verdict():
    false = np.mean([study["arm0"].verdict in JUDGED for study in studies(1200, arms=1, seed=2)])
    assert false <= 0.06


def test_three_standard_deviations_are_found():
    assert np.mean([s["arm0"].verdict == Verdict.WORSE for s in studies(400, effect=3, arms=1, seed=3)]) > 0.95
    in_family = np.mean([s["arm0"].verdict == Verdict.WORSE for s in studies(300, effect=3, seed=3)])
    assert 0.85 < in_family < 0.97  # what Holm over five arms costs


@pytest.mark.parametrize("effect", [2.0, -2.0])
def test_at_the_margin_few_arms_are_called_equivalent(effect):
    found = [s["arm0"] for s in studies(1000, effect=effect, arms=1, margin=2, seed=4)]
    assert np.mean([arm.equivalence.p_value < 0.05 for arm in found]) <= 0.06
    assert np.mean([arm.verdict == Verdict.EQUIVALENT for arm in found]) <= 0.06


def test_equal_arms_are_called_equivalent_when_the_margin_is_wide():
    found = [s["arm0"].verdict for s in studies(300, arms=1, margin=3, seed=5)]
    assert np.mean([verdict == Verdict.EQUIVALENT for verdict in found]) > 0.95


def print_figures():
    """The tables of docs/statistics.md."""
    for n in (3, 4, 5, 8, 10):
        noises = [Unpaired(1, 1), *(Paired.correlated(1, 1, rho) for rho in (0, 0.5, 0.8))]
        print(n, *(f"{minimum_detectable(noise, n, n, alpha=0.05, power=0.8):.2f}" for noise in noises))
    print("5 and 10", f"{minimum_detectable(Unpaired(1, 1), 5, 10, alpha=0.05, power=0.8):.2f}")
    designs = [(3, 6), (5, 10), (8, 16)]
    nulls = [{"seeds": n, "baseline_seeds": m} for n, m in designs[:2]]
    nulls += [{"rho": 0.6}, {"diverging": 0.1}, {"diverging": 0.2}, {"diverging": 0.3}]
    for null in nulls:
        found = list(studies(1000, seed=6, **null))
        intervals = [arm.comparison.difference for study in found for arm in study.values()]
        covered = np.mean([d.low <= 0 <= d.high for d in intervals if d.has_interval])
        false = np.mean([any(arm.verdict in JUDGED for arm in study.values()) for study in found])
        print(
            "null", null, f"families with a false verdict {false:.3f}, intervals that cover {covered:.3f}", flush=True
        )
    for n, m in designs:
        for arms in (1, 5):
            powers = [
                np.mean([s["arm0"].verdict == Verdict.WORSE for s in found])
                for found in (
                    studies(500, effect=effect, arms=arms, seeds=n, baseline_seeds=m, seed=7) for effect in (2, 3, 4)
                )
            ]
            print(
                f"{n} and {m} seeds, family of {arms}: power at 2, 3, 4 sd", *(f"{p:.2f}" for p in powers), flush=True
            )
    for effect, margin in ((2, 2), (0, 2), (0, 3)):
        found = studies(1500, effect=effect, arms=1, margin=margin, seed=8)
        equal = np.mean([s["arm0"].verdict == Verdict.EQUIVALENT for s in found])
        print(f"difference {effect} sd, margin {margin} sd: equivalent {equal:.3f}", flush=True)
    random = np.random.default_rng(9)
    for n, m in designs:
        sides = [[dict(enumerate(random.normal(size=size))) for size in (n, m)] for _ in range(1000)]
        found = [seed_bootstrap(*side, paired=False, resampling=Resampling(1000, 0, 0.95)) for side in sides]
        print(f"BCa over {n} and {m} seeds covers {np.mean([d.low <= 0 <= d.high for d in found]):.2f}", flush=True)


if __name__ == "__main__":
    gc.collect = lambda *_: 0
    print_figures()
