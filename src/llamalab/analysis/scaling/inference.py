"""Which size costs least over training and use together (Sardana et al. 2024, arXiv:2401.00448).

A smaller model trained on more tokens reaches the same loss; every token it serves is cheaper.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from llamalab.analysis.scaling.law import ScalingLaw, training_flops


def inference_flops(n: float, tokens: float) -> float:
    """2 N FLOP for each token, of prompt and of answer alike (Kaplan et al. 2020, section 2.1)."""
    return 2.0 * n * tokens


@dataclass(frozen=True)
class Demand:
    """Tokens over a model's life: read as prompts (prefill) and written as answers (decode)."""

    prompt_tokens: float
    answer_tokens: float

    def __post_init__(self) -> None:
        for key in ("prompt_tokens", "answer_tokens"):
            if not (math.isfinite(getattr(self, key)) and getattr(self, key) >= 0):
                raise ValueError(f"{key}: {getattr(self, key)} must be finite and at least 0")


@dataclass(frozen=True)
class Prices:
    """What a FLOP costs in training, in prefill and in decoding: three prices in one unit, all above 0."""

    training: float
    prefill: float
    decode: float

    def __post_init__(self) -> None:
        for key in ("training", "prefill", "decode"):
            if not (math.isfinite(getattr(self, key)) and getattr(self, key) > 0):
                raise ValueError(f"{key}: {getattr(self, key)} must be finite and above 0")


# A FLOP is a FLOP: costs are then in FLOP.
COMPUTE = Prices(training=1.0, prefill=1.0, decode=1.0)


def price_per_flop(per_hour: float, peak_flops: float, mfu: float) -> float:
    """Price of a useful FLOP on a device.

    Args:
        per_hour: price of a device hour.
        peak_flops: peak FLOP/s in the precision used.
        mfu: the part of the peak that is reached, at most 1. Decoding reaches far less than prefill.
    """
    if per_hour <= 0 or peak_flops <= 0 or not 0 < mfu <= 1:
        raise ValueError(f"per_hour {per_hour:g}, peak_flops {peak_flops:g} must be above 0, mfu {mfu:g} in (0, 1]")
    return per_hour / 3600 / (peak_flops * mfu)


@dataclass(frozen=True)
class Plan:
    """A model of N parameters trained on D tokens, with what it costs in the unit of the prices."""

    n: float
    d: float
    training: float
    inference: float

    @property
    def total(self) -> float:
        """Cost of training and inference."""
        return self.training + self.inference


def plan(n: float, d: float, demand: Demand, prices: Prices) -> Plan:
    """The costs of one model: 6 N D of training, 2 N for every token of prompt and answer."""
    inference = inference_flops(n, demand.prompt_tokens) * prices.prefill
    inference += inference_flops(n, demand.answer_tokens) * prices.decode
    return Plan(float(n), float(d), float(training_flops(n, d) * prices.training), float(inference))


def cheapest(law: ScalingLaw, loss: float, demand: Demand, prices: Prices) -> Plan:
    """The model that reaches a loss and serves a demand at the lowest total cost.

    With s the part of the loss above E that size accounts for, s = A / N^alpha / (loss - E), the derivative of the cost
    is zero where alpha s / (beta (1 - s)) = 1 + q / (3 p D(s)); p is the price of a training FLOP and q the sum of
    inference tokens, each times the price of its FLOP. The left side grows with s and the right side falls, so there is
    one root, found in x = log(s / (1 - s)). Without demand it is Hoffmann's optimum, which is also its lower bound.

    Raises:
        ValueError: a loss at or below the law's E.
    """
    above = law.above(loss)
    served = (demand.prompt_tokens * prices.prefill + demand.answer_tokens * prices.decode) / (3 * prices.training)

    def tokens(x: float) -> float:
        return float((law.B / (above * expit(-x))) ** (1 / law.beta))

    def slope(x: float) -> float:
        return math.log1p(served / tokens(x)) - (x - training_only)

    training_only = math.log(law.beta / law.alpha)
    # D(x) grows with x, so that the first term is largest here
    highest = training_only + math.log1p(served / tokens(training_only))
    x = brentq(slope, training_only, highest, xtol=1e-13) if served else training_only
    return plan((law.A / (above * expit(x))) ** (1 / law.alpha), tokens(x), demand, prices)


def break_even_tokens(n: float, d: float, other_n: float, other_d: float) -> float:
    """Inference tokens after which a smaller model, trained with more FLOP, has cost no more than an equally good one.

    6 N D + 2 N T = 6 N' D' + 2 N' T gives T = 3 (N D - N' D') / (N' - N).

    Args:
        n: parameters of the smaller model.
        d: its training tokens.
        other_n: parameters of the larger one.
        other_d: its training tokens.

    Returns:
        0 where the smaller model's training is no dearer: it is ahead from the start.

    Raises:
        ValueError: the first model is not the smaller one.
    """
    if n >= other_n:
        raise ValueError(f"n: {n:g} must be below other_n {other_n:g}; give the smaller model first")
    return max(0.0, 3 * (n * d - other_n * other_d) / (other_n - n))


@dataclass(frozen=True)
class AgainstOptimal:
    """A model beside the one that reaches the same loss with the fewest training FLOP."""

    loss: float
    optimal_n: float
    optimal_d: float
    overhead: float  # training FLOP, as a multiple of the optimal model's
    break_even: float  # inference tokens; NaN where the model is larger than the optimal one and never earns it back


def against_optimal(law: ScalingLaw, n: float, d: float) -> AgainstOptimal:
    """How much more a model's training costs than the optimal one for its loss, and when use has paid for it."""
    loss = float(law.loss(n, d))
    best_n, best_d = law.optimum_for(loss)
    even = break_even_tokens(n, d, best_n, best_d) if n < best_n else float(np.nan)
    return AgainstOptimal(loss, best_n, best_d, n * d / (best_n * best_d), even)
