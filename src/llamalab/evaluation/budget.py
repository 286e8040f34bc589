"""How a prompt and the text to generate share the model's context."""

from collections.abc import Sequence


def fit(prompt: Sequence[int], wanted: int, max_length: int) -> tuple[Sequence[int], int]:
    """The tokens that stay of a prompt, and how many new ones there is room for.

    The new text comes first, as in lm-eval: the prompt loses its beginning to it. But at least half of the context is
    the prompt's if it needs it, and where that leaves less than `wanted`, the new text is cut short (lm-eval refuses).

    Args:
        prompt: at least one token.
        wanted: new tokens that the task asks for.
        max_length: the model's context.
    """
    limit = min(wanted, max_length - min(len(prompt), max_length // 2))
    return prompt[-(max_length - limit) :], limit
