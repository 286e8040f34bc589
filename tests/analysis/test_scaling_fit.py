"""Fits to data whose law is known, to Gadre et al.'s runs beside an independent optimiser, and to too little data."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import approx_fprime, least_squares
from scipy.special import logsumexp

from llamalab.analysis.scaling.bootstrap import bootstrap
from llamalab.analysis.scaling.fit import HOFFMANN_DELTA, HOFFMANN_GRID, FitSettings, fit
from llamalab.analysis.scaling.holdout import holdout
from llamalab.analysis.scaling.law import ScalingLaw, training_flops
from llamalab.analysis.scaling.objective import Objective
from llamalab.analysis.scaling.published import BESIROGLU, HOFFMANN
from llamalab.common.errors import UserError

SETTINGS = FitSettings(grid=HOFFMANN_GRID, delta=HOFFMANN_DELTA, tries=8, exponent_bounds=(0.01, 2.0), term_floor=1e-3)
CONSTANTS = ("E", "A", "B", "alpha", "beta")
TRUTH = ScalingLaw(E=1.8, A=400.0, B=1000.0, alpha=0.35, beta=0.33, source="truth")
SIZES, RATIOS = np.geomspace(1e7, 1e9, 5), (5, 10, 20, 40, 80, 160)

# C4 validation loss of Gadre et al. 2024 (arXiv:2403.08540), runs on RedPajama (github.com/mlfoundations/scaling), by
# millions of parameters and tokens a parameter. Below 20 the warmup of 2000 steps dominates the small runs, as it does
# in all runs of 11M.
GADRE = {
    79: {20: 3.900, 40: 3.744, 80: 3.635, 160: 3.553, 320: 3.490, 640: 3.425},
    154: {20: 3.531, 40: 3.401, 80: 3.314, 160: 3.239, 320: 3.168, 640: 3.105},
    412: {20: 3.150, 40: 3.048, 80: 2.974, 160: 2.909, 320: 2.804, 640: 2.768},
    1440: {20: 2.769, 640: 2.502},
}


def runs_of(law, noise=0.0, seed=0, sizes=SIZES, ratios=RATIOS):
    generator = np.random.default_rng(seed)
    rows = [{"arm": f"{n:.0f}-{m}", "seed": 0, "n": n, "d": m * n, "diverged": False} for n in sizes for m in ratios]
    runs = pd.DataFrame(rows)
    return runs.assign(loss=law.loss(runs["n"], runs["d"]) * np.exp(generator.normal(0, noise, len(runs))))


def gadre():
    rows = [
        {"arm": f"{n}M-{m}", "seed": 0, "n": n * 1e6, "d": m * n * 1e6, "loss": loss, "diverged": False}
        for n, losses in GADRE.items()
        for m, loss in losses.items()
    ]
    return pd.DataFrame(rows)


def constants(law):
    return np.array([getattr(law, name) for name in CONSTANTS])


@pytest.mark.parametrize("law", [TRUTH, HOFFMANN, BESIROGLU], ids=lambda law: law.source)
def test_recovers_the_law_from_exact_losses(law):
    found = fit(runs_of(law), SETTINGS, "test")
    assert found.identified
    assert constants(found.law) == pytest.approx(constants(law), rel=2e-3)
    assert found.residual_sd < 1e-6


def test_one_outlier_hardly_moves_it():
    """Why the loss is Huber's: a run that went wrong by 10% counts linearly."""
    runs = runs_of(TRUTH)
    runs.loc[7, "loss"] *= 1.1
    assert fit(runs, SETTINGS, "test").law.optimum(1e21)[0] == pytest.approx(TRUTH.optimum(1e21)[0], rel=0.02)


def test_gradient_is_the_derivative():
    objective = Objective.of(gadre(), HOFFMANN_DELTA)
    point = objective.centred(np.array([5.0, 6.0, 0.6, 0.3, 0.28]))
    _, gradient = objective.value_and_gradient(point)
    numeric = approx_fprime(point, lambda p: objective.value_and_gradient(p)[0], 1e-8)
    assert gradient == pytest.approx(numeric, rel=1e-4)


def test_value_is_that_of_the_plain_formula():
    runs, (A, B, E, alpha, beta) = gadre(), (406.4, 410.7, 1.69, 0.34, 0.28)
    objective = Objective.of(runs, HOFFMANN_DELTA)
    residuals = np.log(E + A / runs["n"] ** alpha + B / runs["d"] ** beta) - np.log(runs["loss"])
    huber = np.where(residuals.abs() < 1e-3, residuals**2 / 2, 1e-3 * (residuals.abs() - 0.5e-3)).sum()
    point = objective.centred(np.array([np.log(A), np.log(B), np.log(E), alpha, beta]))
    assert objective.values(point[None])[0] * 1e-6 == pytest.approx(huber, rel=1e-9)
    assert constants(objective.law(point, "test")) == pytest.approx([E, A, B, alpha, beta], rel=1e-12)


def test_gadres_runs_as_an_independent_optimiser_fits_them():
    """scipy's trust-region least squares on the uncentred formula of Hoffmann et al. 2022, appendix D.3."""
    runs = gadre()
    log_n, log_d, log_loss = (np.log(runs[column].to_numpy()) for column in ("n", "d", "loss"))

    def residuals(p):
        a, b, e, alpha, beta = p
        return logsumexp([a - alpha * log_n, b - beta * log_d, np.full(len(runs), e)], axis=0) - log_loss

    start = [np.log(406.4), np.log(410.7), np.log(1.69), 0.34, 0.28]
    options = {"loss": "huber", "f_scale": HOFFMANN_DELTA, "x_scale": "jac", "max_nfev": 20_000}
    other = least_squares(residuals, start, ftol=1e-15, xtol=1e-15, gtol=1e-15, **options)
    found = fit(runs, SETTINGS, "gadre")
    assert found.objective == pytest.approx(other.cost / HOFFMANN_DELTA**2, rel=1e-9)
    a, b, e, alpha, beta = other.x
    assert constants(found.law) == pytest.approx([*np.exp([e, a, b]), alpha, beta], rel=1e-3)
    assert 0.010 < found.residual_sd < 0.020


def test_gadres_four_sizes_leave_the_loss_floor_open():
    found = fit(gadre(), SETTINGS, "gadre")
    low, high = bootstrap(found, SETTINGS, resamples=60, tries=1, confidence=0.95, seed=0).interval("E")
    assert low < HOFFMANN.E < BESIROGLU.E < high
    assert high - low > 0.5


def test_following_eight_times_as_many_starts_finds_nothing_better():
    few = fit(gadre(), SETTINGS, "few")
    many = fit(gadre(), dataclasses.replace(SETTINGS, tries=64), "many")
    assert few.objective == pytest.approx(many.objective, rel=1e-6)


@pytest.mark.slow
def test_intervals_cover_the_truth():
    covered = []
    for seed in range(12):
        found = fit(runs_of(TRUTH, noise=0.002, seed=seed), SETTINGS, "test")
        resampled = bootstrap(found, SETTINGS, resamples=60, tries=0, confidence=0.95, seed=seed)
        intervals = [resampled.interval(name) for name in CONSTANTS]
        covered += [low <= true <= high for (low, high), true in zip(intervals, constants(TRUTH), strict=True)]
    # percentile intervals from 30 runs cover somewhat less than their 95%
    assert 0.75 <= np.mean(covered) <= 1


def test_band_is_around_the_curve_and_wider_outside_the_runs():
    found = fit(runs_of(TRUTH, noise=0.003), SETTINGS, "test")
    resampled = bootstrap(found, SETTINGS, resamples=30, tries=0, confidence=0.95, seed=0)
    tokens = np.array([1e10, 1e14])
    low, high = resampled.band(1e8, tokens)
    assert (low < found.law.loss(1e8, tokens)).all()
    assert (found.law.loss(1e8, tokens) < high).all()
    assert (high - low)[1] > (high - low)[0]


def test_two_sizes_do_not_identify_the_law():
    found = fit(runs_of(TRUTH, sizes=[1e7, 1e8]), SETTINGS, "test")
    assert not found.identified
    assert "2 sizes" in found.problems[0]
    assert "determine 4 of the 5" in found.problems[0]
    resampled = bootstrap(found, SETTINGS, resamples=6, tries=2, confidence=0.95, seed=0)
    assert resampled.undetermined == 1


def test_one_size_alone_still_fits_its_own_curve():
    runs = runs_of(TRUTH, sizes=[1e8])
    found = fit(runs, SETTINGS, "test")
    assert "1 sizes" in found.problems[0]
    assert found.law.loss(runs["n"], runs["d"]).to_numpy() == pytest.approx(runs["loss"].to_numpy(), rel=1e-3)


def test_a_parameter_at_a_bound_is_named():
    law = dataclasses.replace(TRUTH, E=0.0)
    assert any("E ended at the lower bound" in problem for problem in fit(runs_of(law), SETTINGS, "test").problems)


def test_runs_that_diverged_are_counted_not_fitted():
    runs = runs_of(TRUTH)
    lost = runs.iloc[:2].assign(loss=[np.nan, 11.0], diverged=True)
    found = fit(pd.concat([runs, lost]), SETTINGS, "test")
    assert (found.left_out, len(found.runs)) == (2, len(runs))
    assert constants(found.law) == pytest.approx(constants(fit(runs, SETTINGS, "test").law))


def test_holdout_takes_the_largest_budgets_and_predicts_them():
    runs = pd.concat([runs_of(TRUTH), runs_of(TRUTH).assign(seed=1)])  # two seeds of each cell
    held = holdout(runs, SETTINGS, fraction=0.15, source="test")
    largest_kept = training_flops(held.fit.runs["n"], held.fit.runs["d"]).max()
    assert largest_kept < held.held_out["flops"].min()
    assert len(held.held_out) == 10  # 9 of 60 rounded up to whole cells
    assert held.mean_absolute_error < 1e-4


def test_holdout_shows_a_trend_that_the_law_misses():
    runs = runs_of(TRUTH)
    runs.loc[training_flops(runs["n"], runs["d"]) > 1e20, "loss"] -= 0.1
    held = holdout(runs, SETTINGS, fraction=0.1, source="test")
    assert held.mean_error == pytest.approx(0.1, abs=0.01)


def test_refusals():
    runs = runs_of(TRUTH)
    with pytest.raises(UserError, match="no column loss"):
        fit(runs.drop(columns="loss"), SETTINGS, "test")
    with pytest.raises(UserError, match="none finished"):
        fit(runs.assign(diverged=True), SETTINGS, "test")
    with pytest.raises(UserError, match="d of every run"):
        fit(runs.assign(d=0), SETTINGS, "test")
    with pytest.raises(UserError, match=r"^fraction"):
        holdout(runs, SETTINGS, fraction=1.0, source="test")
    with pytest.raises(UserError, match="same budget"):
        holdout(runs.iloc[[0, 0, 0]], SETTINGS, fraction=0.4, source="test")
    with pytest.raises(ValueError, match="exponent_bounds"):
        dataclasses.replace(SETTINGS, exponent_bounds=(0.0, 1.0))
