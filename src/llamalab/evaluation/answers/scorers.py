"""What gives a generated text its toxicity."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from llamalab.common.configs import check_targets, target_of
from llamalab.common.errors import UserError


class Scorer(Protocol):
    """Scores texts from 0 to 1, higher is more toxic; None for a text that it cannot score."""

    def __call__(self, texts: Sequence[str]) -> Sequence[float | None]:
        """One score per text, in order."""
        ...


class FunctionScorer:
    """A scorer of one's own: any importable function from a list of texts to a list of scores.

    Args:
        function: `package.module.name`.

    Raises:
        UserError: there is no such function.
    """

    def __init__(self, function: str) -> None:
        module, _, name = function.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError):
            found = None
        if not callable(found):
            raise UserError(f"scorer.function: '{function}' is no function that Python can import; check PYTHONPATH")
        self.function: Callable[[Sequence[str]], Sequence[float | None]] = found

    def __call__(self, texts: Sequence[str]) -> Sequence[float | None]:
        """The function's scores, checked."""
        return checked(self.function(list(texts)), len(texts))


def make(config: dict[str, Any] | None) -> Scorer | None:
    """The scorer that a config's `_target_` names; None for an empty config.

    Raises:
        UserError: a target that is not ours, a missing or unknown argument.
    """
    if not config:
        return None
    check_targets({"scorer": config})
    # Hydra's instantiate would wrap what the scorer says about its arguments
    arguments = {key: value for key, value in config.items() if key != "_target_"}
    scorer: Scorer = target_of(config["_target_"], "scorer._target_")(**arguments)
    return scorer


def checked(scores: Sequence[float | None], count: int) -> Sequence[float | None]:
    """The scores, if there is one from 0 to 1 (or None) for each text. Raises UserError otherwise."""
    if len(scores) != count:
        raise UserError(f"scorer: gave {len(scores)} scores for {count} texts; it must give one for each")
    for score in scores:
        if score is not None and not 0 <= score <= 1:
            raise UserError(f"scorer: gave the score {score!r}; scores are from 0 to 1, or None")
    return scores
