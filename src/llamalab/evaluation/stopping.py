"""Where a generated text ends: at EOS or before a stop string."""

from collections.abc import Sequence

from llamalab.checkpoint.tokenizer import Tokenizer


class StopStrings:
    """Where a generated text ends.

    Args:
        tokenizer: decodes it.
        before: the prompt's last token; the text is decoded behind it, since SentencePiece drops the space of a
            text's first word.
        until: strings that end the text and are not part of it.
    """

    def __init__(self, tokenizer: Tokenizer, before: int, until: Sequence[str]) -> None:
        self.tokenizer = tokenizer
        self.before = before
        self.until = until
        # A token stands for a byte or more, so a stop string that ends in the newest one begins within so many.
        self.reach = max((len(stop.encode()) for stop in until), default=0)

    def text(self, new: list[int]) -> str:
        """The text of the new tokens, cut before the first EOS or stop string."""
        if self.tokenizer.eos_id in new:
            new = new[: new.index(self.tokenizer.eos_id)]
        text = decoded(self.tokenizer, self.before, new)
        cuts = [text.index(stop) for stop in self.until if stop in text]
        return text[: min(cuts)] if cuts else text

    def reached(self, new: list[int]) -> bool:
        """Whether the newest token is EOS or completes a stop string; only the last few tokens are looked at."""
        if new[-1] == self.tokenizer.eos_id:
            return True
        if not self.until:
            return False
        before = new[-self.reach - 1] if len(new) > self.reach else self.before
        text = decoded(self.tokenizer, before, new[-self.reach :])
        return any(stop in text for stop in self.until)


def decoded(tokenizer: Tokenizer, before: int, new: list[int]) -> str:
    """The text that `new` adds behind the token `before`."""
    return tokenizer.decode([before, *new])[len(tokenizer.decode([before])) :]
