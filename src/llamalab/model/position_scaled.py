"""Rotary embeddings stretched to longer sequences than the model was trained on.

None has parameters, so a checkpoint trained with `rope` loads into any of them. `factor` is the new length over the
old; at 1 all are `rope`. theta is the one of training.
"""

import math

import torch
from torch import Tensor

from llamalab.model.position import RotaryPosition, geometric_frequencies, rotary_tables


class StretchedRotaryPosition(RotaryPosition):
    """What they have in common: a factor.

    Args:
        theta: base of the frequencies in training.
        factor: length to reach over length in training.

    Raises:
        ValueError: factor is below 1.
    """

    def __init__(
        self, dim: int, n_heads: int, head_dim: int, max_seq_len: int, std: float, theta: float, factor: float
    ) -> None:
        super().__init__(dim, n_heads, head_dim, max_seq_len, std, theta)
        if factor < 1:
            raise ValueError(f"factor: {factor} would shrink the context; give 1 (no change) or more")
        self.factor = factor


class InterpolatedRotaryPosition(StretchedRotaryPosition):
    """Position interpolation: positions are divided by factor (Chen et al. 2023, equation 4)."""

    def frequencies(self, device: torch.device) -> Tensor:
        """Every frequency divided by factor, d/2."""
        return super().frequencies(device) / self.factor


class NTKRotaryPosition(StretchedRotaryPosition):
    """NTK-aware scaling: theta grows to theta * factor^(d/(d-2)).

    The slowest pair is interpolated by factor, the fastest hardly (bloc97 2023; Peng et al. 2023, section 3.1).

    Raises:
        ValueError: heads of one pair, whose only frequency no base changes.
    """

    def __init__(
        self, dim: int, n_heads: int, head_dim: int, max_seq_len: int, std: float, theta: float, factor: float
    ) -> None:
        if head_dim == 2:
            raise ValueError(f"dim: heads of width 2 have no base to change; use fewer n_heads than {n_heads}")
        super().__init__(dim, n_heads, head_dim, max_seq_len, std, theta, factor)
        self.theta = theta * factor ** (head_dim / (head_dim - 2))


class DynamicNTKRotaryPosition(StretchedRotaryPosition):
    """NTK-aware scaling by no more than a sequence needs: within the training length it is plain RoPE.

    A sequence of n tokens, longer than the training length L, is turned with theta * (factor n / L - factor + 1)^(d /
    (d - 2)) (emozilla 2023; transformers' `dynamic`). n is counted up to the last query, so keys in a key-value cache
    stay as they were turned when they were computed, as in transformers.

    Args:
        factor: how fast the base grows with the length.

    Raises:
        ValueError: heads of one pair, whose only frequency no base changes.
    """

    def __init__(
        self, dim: int, n_heads: int, head_dim: int, max_seq_len: int, std: float, theta: float, factor: float
    ) -> None:
        if head_dim == 2:
            raise ValueError(f"dim: heads of width 2 have no base to change; use fewer n_heads than {n_heads}")
        super().__init__(dim, n_heads, head_dim, max_seq_len, std, theta, factor)
        self.max_seq_len = max_seq_len

    def tables(self, positions: Tensor) -> tuple[Tensor, ...]:
        """Cosines and sines of the angles for a sequence that ends on the last of the positions, each T d/2."""
        length = (positions[-1] + 1).double()
        stretch = (self.factor * length / self.max_seq_len - (self.factor - 1)).clamp(min=1)
        theta = self.theta * stretch ** (self.head_dim / (self.head_dim - 2))  # 0-dimensional, float64
        return rotary_tables(positions, geometric_frequencies(self.head_dim, theta, positions.device))


class Llama3RotaryPosition(StretchedRotaryPosition):
    """Llama 3.1's scaling: slow pairs are interpolated, fast ones kept, by how often they turn in training.

    A pair that turns `high_freq_factor` times or more within the training length keeps its frequency, one that turns
    `low_freq_factor` times or fewer has it divided by factor; between the two the frequency moves linearly in the
    number of turns (`apply_scaling` in Meta's code of Llama 3.1).

    Args:
        low_freq_factor: turns up to which a frequency is divided by factor.
        high_freq_factor: turns from which on it is kept.
        original_seq_len: training length in tokens; None is the model's max_seq_len.

    Raises:
        ValueError: high_freq_factor does not exceed low_freq_factor, and as in StretchedRotaryPosition.
    """

    def __init__(
        self,
        dim: int,
        n_heads: int,
        head_dim: int,
        max_seq_len: int,
        std: float,
        theta: float,
        factor: float,
        low_freq_factor: float,
        high_freq_factor: float,
        original_seq_len: int | None,
    ) -> None:
        super().__init__(dim, n_heads, head_dim, max_seq_len, std, theta, factor)
        if high_freq_factor <= low_freq_factor:
            raise ValueError(
                f"high_freq_factor: {high_freq_factor} must be greater than low_freq_factor {low_freq_factor}"
            )
        self.low_freq_factor = low_freq_factor
        self.high_freq_factor = high_freq_factor
        self.original_seq_len = max_seq_len if original_seq_len is None else original_seq_len

    def frequencies(self, device: torch.device) -> Tensor:
        """Each frequency between itself / factor and itself, d/2."""
        own = super().frequencies(device)
        turns = self.original_seq_len * own / (2 * math.pi)
        kept = ((turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)).clamp(0, 1)
        return own * (kept + (1 - kept) / self.factor)


class YarnRotaryPosition(StretchedRotaryPosition):
    """YaRN: interpolates slow pairs, leaves fast ones alone, and sharpens attention (Peng et al. 2023).

    A pair that turns `beta_fast` times or more within the training length keeps its frequency, one that turns
    `beta_slow` times or fewer has it divided by factor; between the two there is a ramp (section 3.2, "NTK-by-parts").
    The ramp is linear in the pair's index between the rounded ends, as in the authors' code and transformers; the
    paper's text has it linear in the number of turns. Queries and keys are both lengthened by 0.1 ln(factor) + 1, which
    multiplies the scores by its square (equation 15); checkpoints may say otherwise, in transformers' terms.

    Args:
        beta_fast: turns within the training length from which on a frequency is kept.
        beta_slow: turns up to which it is divided by factor.
        original_seq_len: training length in tokens; None is the model's max_seq_len.
        attention_factor: by what queries and keys are lengthened; None computes it.
        mscale, mscale_all_dim: where both are given and not 0, it is the ratio of 0.1 mscale ln(factor) + 1
            and 0.1 mscale_all_dim ln(factor) + 1 (DeepSeek's variant).
        truncate: whether the ends of the ramp are rounded outwards to whole pairs.
    """

    def __init__(
        self,
        dim: int,
        n_heads: int,
        head_dim: int,
        max_seq_len: int,
        std: float,
        theta: float,
        factor: float,
        beta_fast: float,
        beta_slow: float,
        original_seq_len: int | None,
        attention_factor: float | None,
        mscale: float | None,
        mscale_all_dim: float | None,
        truncate: bool,
    ) -> None:
        super().__init__(dim, n_heads, head_dim, max_seq_len, std, theta, factor)
        if not 0 < beta_slow < beta_fast:
            raise ValueError(f"beta_slow: {beta_slow} must be positive and below beta_fast {beta_fast}")
        length = max_seq_len if original_seq_len is None else original_seq_len
        first, last = (self._pair_that_turns(times, length) for times in (beta_fast, beta_slow))
        if truncate:
            first, last = math.floor(first), math.ceil(last)
        self.ramp_start: float = max(first, 0)
        self.ramp_end: float = min(last, head_dim - 1)
        if self.ramp_end == self.ramp_start:
            self.ramp_end += 0.001
        if attention_factor is None:
            attention_factor = lengthening(factor, 1.0)
            if mscale and mscale_all_dim:
                attention_factor = lengthening(factor, mscale) / lengthening(factor, mscale_all_dim)
        self.attention_factor = attention_factor

    def _pair_that_turns(self, times: float, length: int) -> float:
        """The (fractional) index of the pair that turns so many times in `length` tokens."""
        return self.head_dim * math.log(length / (2 * math.pi * times)) / (2 * math.log(self.theta))

    def frequencies(self, device: torch.device) -> Tensor:
        """Each frequency between itself and itself / factor, d/2."""
        own = super().frequencies(device)
        indices = torch.arange(len(own), device=device, dtype=torch.float32)
        interpolated = ((indices - self.ramp_start) / (self.ramp_end - self.ramp_start)).clamp(0, 1)
        return own * (1 - interpolated * (1 - 1 / self.factor))

    def tables(self, positions: Tensor) -> tuple[Tensor, ...]:
        """Cosines and sines times the lengthening of q and k, each T d/2."""
        return tuple(self.attention_factor * table for table in super().tables(positions))


def lengthening(factor: float, mscale: float) -> float:
    """By what YaRN lengthens queries and keys: 0.1 mscale ln(factor) + 1 (Peng et al. 2023, equation 15)."""
    return 0.1 * mscale * math.log(factor) + 1
