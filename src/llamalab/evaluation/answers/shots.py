"""Which few-shot examples a task shows."""

from collections.abc import Sequence
from random import Random
from typing import Any

from lm_eval.api.samplers import ContextSampler

from llamalab.common.errors import UserError


class SameShots(ContextSampler):
    """The same few-shot examples for every question of a task, drawn from the pool by lm-eval's few-shot seed.

    The paper does not say how it draws them. lm-eval's own sampler draws anew for each question from one stream, so
    what a question is shown depends on how many came before it (`limit`, ranks); here it depends on the seed alone, and
    all questions share one prefix that has to be computed once. More shots extend fewer: the first of 5 are the 1-shot
    example.
    """

    def set_rnd(self, rnd: int | None) -> "SameShots":
        """Takes the seed (lm-eval calls this with `fewshot_random_seed`)."""
        self.seed = rnd
        return self

    def sample(
        self, n: int, eval_doc: Any = None, df: Sequence[dict[str, Any]] | None = None, **kwargs: Any
    ) -> Sequence[dict[str, Any]]:
        """`n` examples.

        Raises:
            UserError: the pool has fewer.
        """
        pool = self.fewshot_docs()
        if n > len(pool):
            raise UserError(
                f"num_fewshot: {n} examples are asked for but the few-shot split has {len(pool)}; "
                "give it more rows or take fewer shots"
            )
        # a full shuffle and not sample(n), whose draws for different n have nothing in common
        order = list(range(len(pool)))
        Random(self.seed).shuffle(order)
        return [pool[index] for index in order[:n]]
