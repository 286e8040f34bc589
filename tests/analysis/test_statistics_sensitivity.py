"""Learning-rate sweeps with a known optimum."""

import math

import numpy as np
import pytest

from llamalab.analysis.statistics.sensitivity import loss_at, lr_sensitivity, quadratic_optimum
from llamalab.common.errors import UserError

GRID = [2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3]


def bowl(lrs, best, loss=3.5, curvature=0.1):
    return [loss + curvature * math.log(lr / best) ** 2 for lr in lrs]


@pytest.mark.parametrize("best", [4e-4, 5e-4, 7e-4, 1.2e-3, 2.4e-3])
@pytest.mark.parametrize("grid", [GRID, [2e-4, 5e-4, 6e-4, 2e-3, 5e-3], GRID[::-1]])
def test_a_parabola_in_log_lr_is_found_exactly(best, grid):
    found = quadratic_optimum(grid, bowl(grid, best))
    assert (found.lr, found.loss) == pytest.approx((best, 3.5), rel=1e-9)
    assert found.interpolated
    assert found.at_edge is None


@pytest.mark.parametrize(("best", "edge", "lr"), [(1e-5, "low", 2.5e-4), (1.0, "high", 4e-3)])
def test_an_optimum_beyond_the_grid_is_flagged(best, edge, lr):
    found = quadratic_optimum(GRID, bowl(GRID, best))
    assert (found.lr, found.at_edge, found.interpolated) == (lr, edge, False)


@pytest.mark.parametrize("diverged", [math.nan, math.inf])
def test_a_diverged_neighbour_brackets_but_does_not_bend(diverged):
    found = quadratic_optimum(GRID, [3.7, 3.6, 3.5, diverged, diverged])
    assert (found.lr, found.loss, found.at_edge, found.interpolated) == (1e-3, 3.5, None, False)
    assert quadratic_optimum(GRID, [diverged, *bowl(GRID[1:], 1.2e-3)]).lr == pytest.approx(1.2e-3)


def test_losses_equal_up_to_rounding_have_no_vertex():
    found = quadratic_optimum(GRID, [3.6, 3.5 + 1e-15, 3.5, 3.5 + 1e-15, 3.6])
    assert (found.lr, found.interpolated, found.at_edge) == (1e-3, False, None)


def test_two_equal_best_points_share_the_vertex():
    assert quadratic_optimum(GRID, bowl(GRID, math.sqrt(5e-4 * 1e-3))).lr == pytest.approx(math.sqrt(5e-4 * 1e-3))


def test_the_vertex_stays_between_the_neighbours():
    random = np.random.default_rng(0)
    for _ in range(300):
        lrs, losses = np.sort(np.exp(random.uniform(-9, -4, 5))), random.normal(3.5, 0.1, 5)
        found, best = quadratic_optimum(lrs, losses), int(np.argmin(losses))
        assert lrs[max(best - 1, 0)] <= found.lr <= lrs[min(best + 1, 4)]
        assert found.loss <= losses[best] + 1e-12


def test_a_sweep_that_diverged_everywhere():
    assert math.isnan(quadratic_optimum(GRID, [math.nan] * 5).lr)
    assert math.isnan(lr_sensitivity([math.nan, math.inf], 10.0))


def test_sensitivity_by_hand():
    """Best 3.5: excess 0.5, 0, 0.2, and 6.5 for both the loss above the cap and the diverged run."""
    assert lr_sensitivity([4.0, 3.5, 3.7, 12.0, math.nan], 10.0) == pytest.approx((0.5 + 0.2 + 6.5 + 6.5) / 5)
    assert lr_sensitivity([3.5, 3.5], 10.0) == 0


def test_sensitivity_of_a_wider_bowl_is_smaller():
    narrow, wide = (lr_sensitivity(bowl(GRID, 1e-3, curvature=c), 10.0) for c in (0.2, 0.1))
    assert narrow == pytest.approx(2 * wide)


def test_loss_at_another_arms_rate():
    losses = [3.9, 3.7, 3.5, 3.6, math.nan]
    assert loss_at(1e-3, GRID, losses) == 3.5
    assert loss_at(2e-3, GRID[::-1], losses[::-1]) == 3.6  # on the grid, beside a diverged run
    assert loss_at(math.sqrt(5e-4 * 1e-3), GRID, losses) == pytest.approx(3.6)
    assert math.isnan(loss_at(3e-3, GRID, losses))
    assert math.isnan(loss_at(1e-4, GRID, losses))
    assert math.isnan(loss_at(1e-2, GRID, losses))


@pytest.mark.parametrize(
    ("lrs", "losses"), [([1e-3], [3.5, 3.6]), ([], []), ([1e-3, 1e-3], [3.5, 3.6]), ([0.0, 1e-3], [3.5, 3.6])]
)
def test_a_sweep_has_one_loss_for_each_positive_rate(lrs, losses):
    with pytest.raises(UserError, match="lrs"):
        quadratic_optimum(lrs, losses)
