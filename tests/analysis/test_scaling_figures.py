"""Figures and tables of a token study show the runs and the law they were given."""

import numpy as np
import pandas as pd
import pytest

from llamalab.analysis.figure_style import write_figure
from llamalab.analysis.scaling import figures, tables
from llamalab.analysis.scaling.bootstrap import bootstrap
from llamalab.analysis.scaling.fit import HOFFMANN_DELTA, HOFFMANN_GRID, FitSettings, fit
from llamalab.analysis.scaling.holdout import holdout
from llamalab.analysis.scaling.inference import break_even_tokens
from llamalab.analysis.scaling.published import HOFFMANN, SARDANA

SETTINGS = FitSettings(grid=HOFFMANN_GRID, delta=HOFFMANN_DELTA, tries=4, exponent_bounds=(0.01, 2.0), term_floor=1e-3)


@pytest.fixture(scope="module")
def runs():
    """Three sizes at five budgets with noise, and one run that diverged."""
    generator = np.random.default_rng(0)
    rows = [
        {"arm": f"{n:.0f}-{m}", "seed": 0, "n": n, "d": m * n, "diverged": False}
        for n in (2e6, 5e6, 12e6)
        for m in (5, 10, 20, 40, 80)
    ]
    table = pd.DataFrame(rows)
    table["loss"] = HOFFMANN.loss(table["n"], table["d"]) * np.exp(generator.normal(0, 0.002, len(table)))
    lost = {"arm": "lost", "seed": 1, "n": 5e6, "d": 1e8, "diverged": True, "loss": np.nan}
    return pd.concat([table, pd.DataFrame([lost])], ignore_index=True)


@pytest.fixture(scope="module")
def fitted(runs):
    return fit(runs, SETTINGS, "the runs")


@pytest.fixture(scope="module")
def resampled(fitted):
    return bootstrap(fitted, SETTINGS, resamples=10, tries=0, confidence=0.9, seed=0)


def lines_of(figure, marker):
    return [line for line in figure.axes[0].lines if line.get_marker() == marker]


def test_every_run_is_a_dot_and_every_divergence_a_cross(runs, fitted, resampled):
    figure = figures.loss_against_tokens(runs, fitted.law, resampled)
    dots = np.concatenate([line.get_xydata() for line in lines_of(figure, "o")])
    finished = runs[~runs["diverged"]]
    assert sorted(map(tuple, dots)) == sorted(zip(finished["d"], finished["loss"], strict=True))
    assert [x for line in lines_of(figure, "x") for x in line.get_xdata()] == [1e8]
    assert len(figure.axes[0].collections) == 3  # a band a size


def test_a_size_whose_runs_all_diverged_is_shown_too(runs, fitted):
    lost = runs["n"] == 12e6
    figure = figures.loss_against_tokens(runs.assign(diverged=runs["diverged"] | lost), fitted.law, None)
    assert sum(len(line.get_xdata()) for line in lines_of(figure, "x")) == 6


def test_lines_of_equal_loss_carry_their_loss(runs, fitted):
    figure = figures.iso_loss(runs, fitted.law)
    (contours,) = (c for c in figure.axes[0].collections if hasattr(c, "levels"))
    for level, path in zip(contours.levels, contours.get_paths(), strict=True):
        if len(path.vertices):
            tokens, sizes = path.vertices.T
            assert fitted.law.loss(sizes, tokens) == pytest.approx(np.full(len(sizes), level), abs=0.01)
    assert {text.get_text() for text in contours.labelTexts} <= {f"{level:.2f}" for level in contours.levels}
    assert len(contours.labelTexts) >= 4


def test_cost_curves_cross_one_where_the_smaller_model_has_earned_its_training():
    figure = figures.total_cost(SARDANA, 1.947, shares=(0.5, 1e-6), most_tokens=1e15)
    assert len(lines_of(figure, "o")) == 1  # a millionth of the size never reaches the loss
    best = SARDANA.optimum_for(1.947)
    n = 0.5 * best[0]
    even = break_even_tokens(n, SARDANA.tokens_for(1.947, n), *best)
    assert lines_of(figure, "o")[0].get_xdata()[0] == pytest.approx(even)
    curve = figure.axes[0].lines[1]
    assert np.interp(even, curve.get_xdata(), curve.get_ydata()) == pytest.approx(1, abs=0.01)


def test_the_cheapest_size_falls_with_use(fitted, resampled):
    figure = figures.cheapest_size(fitted.law, resampled, 4.0, most_tokens=1e11)
    training_only, line = figure.axes[0].lines
    assert (np.diff(line.get_ydata()) < 0).all()
    assert line.get_ydata()[0] == pytest.approx(training_only.get_ydata()[0], rel=0.05)


def test_a_refit_that_never_reaches_the_loss_counts_as_endless(fitted, resampled):
    unreachable = fitted.law.E + 1e-3  # some of the refits have an E above this
    assert any(unreachable < law.E for law in resampled.laws)
    top = figures.cheapest_size(fitted.law, resampled, unreachable, most_tokens=1e20).axes[0].get_ylim()[1]
    assert np.isfinite(top)


def test_figures_are_written_as_the_same_bytes(runs, fitted, tmp_path):
    first, second = (write_figure(figures.iso_loss(runs, fitted.law), tmp_path / name, "iso") for name in "ab")
    assert first == second


def test_parameters_stand_beside_the_published_ones(fitted, resampled):
    table = tables.parameter_table(fitted, resampled)
    rows = table.frame().set_index("parameter")
    assert rows.loc["E", "hoffmann"] == 1.6934
    assert (rows["low"] <= rows["high"]).all()
    assert rows.loc["alpha", "fitted"] == fitted.law.alpha
    assert "15 runs (1 without a loss left out)" in table.caption
    assert "NOT IDENTIFIED" not in table.caption


def test_a_law_that_is_not_identified_says_so_in_its_caption(runs):
    found = fit(runs[runs["n"] < 1e7], SETTINGS, "two sizes")
    table = tables.parameter_table(found, bootstrap(found, SETTINGS, resamples=2, tries=0, confidence=0.9, seed=0))
    assert "NOT IDENTIFIED: 10 runs with 2 sizes" in table.caption
    assert "100% of the 2 resamples" in table.caption


def test_holdout_rows_are_predictions_minus_losses(runs):
    held = holdout(runs, SETTINGS, fraction=0.2, source="the runs")
    rows = tables.holdout_table(held).frame()
    assert len(rows) == 3
    assert rows["error"].to_numpy() == pytest.approx((rows["predicted"] - rows["loss"]).to_numpy())
    assert rows["flops"].min() > (6 * held.fit.runs["n"] * held.fit.runs["d"]).max()


def test_inference_table_shows_the_published_optimum():
    """README beside arXiv:2401.00448."""
    rows = tables.inference_table(SARDANA, 1.947, [0.0, 2e12])
    nothing, much = (cells for cells in rows.cells())
    assert nothing[-2:] == ["100.0%", "100.0%"]
    assert much[:3] == ["2 T", "24.2 B", "2.66 T"]
    assert much[-2:] == ["71.0%", "95.2%"]
