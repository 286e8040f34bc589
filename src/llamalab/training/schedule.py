"""The learning rate as a factor of its peak, step by step."""

import math


class WarmupCosine:
    """Linear warmup, then one cosine to a fraction of the peak (paper, section 2.3: 2,000 steps, 10%).

    Args:
        warmup_tokens: tokens until the peak; rounded to whole steps.
        final_fraction: last learning rate over the peak.
        tokens: the run's budget.
        batch_tokens: tokens of one optimizer step.
    """

    def __init__(self, warmup_tokens: int, final_fraction: float, tokens: int, batch_tokens: int) -> None:
        self.warmup_steps = round(warmup_tokens / batch_tokens)
        self.total_steps = tokens // batch_tokens
        self.final_fraction = final_fraction
        if self.warmup_steps >= self.total_steps:
            raise ValueError(
                f"scale.warmup_tokens: {warmup_tokens:,} leaves no step to decay in {tokens:,} tokens; lower it"
            )

    def __call__(self, step: int) -> float:
        """The factor for the update after `step` completed updates."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - 1 - self.warmup_steps))
        return self.final_fraction + (1 - self.final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))
