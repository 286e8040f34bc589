"""Bootstrap over seeds and over documents, and sign flips: exact cases, known standard errors, coverage."""

import itertools
import math

import numpy as np
import pytest

from llamalab.analysis.statistics import compare
from llamalab.analysis.statistics.resampling import (
    Resampling,
    document_bootstrap,
    seed_bootstrap,
    sign_permutation,
)

RESAMPLING = Resampling(resamples=2000, seed=0, confidence=0.95)
ARM = {0: 3.71, 1: 3.74, 2: 3.69, 3: 3.73, 4: 3.70, 5: 3.72}
BASELINE = {0: 3.66, 1: 3.68, 2: 3.65, 3: 3.67, 4: 3.69, 5: 3.64, 6: 3.66}


@pytest.mark.parametrize("paired", [True, False])
def test_agrees_with_the_t_interval_on_many_normal_seeds(paired):
    random = np.random.default_rng(0)
    arm, baseline = (dict(enumerate(random.normal(mean, 0.01, 200))) for mean in (3.72, 3.70))
    t = compare(arm, baseline, paired=paired, confidence=0.95).difference
    found = seed_bootstrap(arm, baseline, paired=paired, resampling=RESAMPLING)
    assert found.estimate == t.estimate
    assert (found.low, found.high) == pytest.approx((t.low, t.high), abs=0.1 * (t.high - t.low))


@pytest.mark.parametrize("paired", [True, False])
def test_the_seed_of_the_generator_decides_the_interval(paired):
    first, again = (seed_bootstrap(ARM, BASELINE, paired=paired, resampling=RESAMPLING) for _ in range(2))
    assert first == again
    assert first.low < first.estimate < first.high
    assert seed_bootstrap(ARM, BASELINE, paired=paired, resampling=Resampling(2000, 1, 0.95)) != first


@pytest.mark.parametrize(("arm", "baseline"), [({0: 3.7}, BASELINE), ({0: 3.7, 1: 3.7}, {0: 3.6, 1: 3.6}), ({}, {})])
@pytest.mark.parametrize("paired", [True, False])
def test_degenerate_seeds_have_no_interval(arm, baseline, paired):
    assert not seed_bootstrap(arm, baseline, paired=paired, resampling=RESAMPLING).has_interval


def documents(random, n=400, seeds=3):
    tokens = random.integers(10, 500, n)
    text = random.normal(3.5, 0.5, n)  # documents differ far more than arms do
    gap = random.normal(0.02, 0.05, n)
    arm, baseline = (tokens * (text + side * gap / 2 + random.normal(0, 0.01, (seeds, n))) for side in (1, -1))
    return arm, baseline, tokens


def test_documents_are_weighted_by_their_tokens():
    arm, baseline, tokens = documents(np.random.default_rng(1))
    found = document_bootstrap(arm, baseline, tokens, resampling=RESAMPLING)
    assert found.estimate == pytest.approx(np.mean((arm - baseline).sum(axis=1)) / tokens.sum())
    assert found.low < found.estimate < found.high


def test_document_interval_is_that_of_the_ratio_estimator():
    """Linearised standard error of a ratio of sums: sd(nats - ratio x tokens) sqrt(N) / sum of tokens."""
    arm, baseline, tokens = documents(np.random.default_rng(2))
    found = document_bootstrap(arm, baseline, tokens, resampling=RESAMPLING)
    residual = (arm - baseline).mean(axis=0) - found.estimate * tokens
    error = residual.std() * math.sqrt(len(tokens)) / tokens.sum()
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.08)


def test_document_interval_knows_nothing_of_seeds():
    """An offset between the seeds that all documents share moves no document against another."""
    arm, baseline, tokens = documents(np.random.default_rng(3))
    offset = np.array([[-1.0], [0.0], [1.0]]) * tokens
    plain = document_bootstrap(arm, baseline, tokens, resampling=RESAMPLING)
    scattered = document_bootstrap(arm + offset, baseline, tokens, resampling=RESAMPLING)
    assert (scattered.low, scattered.high) == pytest.approx((plain.low, plain.high))


def test_document_interval_covers_the_truth():
    random, covered, studies = np.random.default_rng(4), 0, 200
    for _ in range(studies):
        arm, baseline, tokens = documents(random, n=80)
        found = document_bootstrap(arm, baseline, tokens, resampling=Resampling(400, 0, 0.95))
        covered += found.low <= 0.02 <= found.high
    assert 0.90 <= covered / studies <= 0.99


def test_documents_that_say_nothing():
    assert math.isnan(document_bootstrap(np.empty((2, 0)), np.empty((2, 0)), [], resampling=RESAMPLING).estimate)
    one = document_bootstrap(np.array([[70.0]]), np.array([[69.0]]), np.array([20]), resampling=RESAMPLING)
    assert one.estimate == pytest.approx(0.05)
    assert not one.has_interval


def test_documents_must_match():
    with pytest.raises(ValueError, match="documents"):
        document_bootstrap(np.ones((2, 5)), np.ones((2, 4)), np.ones(5), resampling=RESAMPLING)
    with pytest.raises(ValueError, match="tokens"):
        document_bootstrap(np.ones((2, 2)), np.ones((2, 2)), np.array([3, 0]), resampling=RESAMPLING)


def test_sign_flips_by_enumeration():
    differences = np.array([ARM[s] - BASELINE[s] for s in ARM]) - 0.03
    flipped = [abs(np.mean(differences * signs)) for signs in itertools.product([1, -1], repeat=6)]
    expected = np.mean(np.array(flipped) >= abs(differences.mean()) - 1e-12)
    shifted = {seed: value - 0.03 for seed, value in ARM.items()}
    assert sign_permutation(shifted, BASELINE, resampling=RESAMPLING) == pytest.approx(expected)


def test_six_differences_of_one_sign_reach_two_in_sixty_four():
    assert sign_permutation(ARM, BASELINE, resampling=RESAMPLING) == pytest.approx(2 / 64)


def test_five_seeds_cannot_be_significant():
    five = {seed: ARM[seed] for seed in range(5)}
    assert math.isnan(sign_permutation(five, BASELINE, resampling=RESAMPLING))
