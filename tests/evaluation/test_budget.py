"""A prompt and its continuation share the model's context."""

import pytest

from llamalab.evaluation.budget import fit


@pytest.mark.parametrize(
    ("prompt", "wanted", "kept", "limit"),
    [
        (10, 20, 10, 20),  # all fits
        (90, 20, 80, 20),  # the prompt loses its beginning
        (10, 500, 10, 90),  # a short prompt is kept, the rest is room
        (500, 500, 50, 50),  # each has half
        (60, 100, 50, 50),
        (40, 100, 40, 60),
        (100, 1, 99, 1),
    ],
)
def test_prompts_keep_at_least_half(prompt: int, wanted: int, kept: int, limit: int) -> None:
    tokens = list(range(prompt))
    assert fit(tokens, wanted, 100) == (tokens[prompt - kept :], limit)
