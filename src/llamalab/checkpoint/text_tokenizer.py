"""What every tokenizer of a checkpoint offers, whatever library is behind it."""

from collections.abc import Sequence
from typing import Protocol


class TextTokenizer(Protocol):
    """Text to ids and back.

    Attributes:
        vocab_size: one more than the greatest id.
        bos_id: starts a sequence whose first token is to be predicted. Where the checkpoint has no BOS it is EOS, which
            separated texts in its training (lm-eval's HFLM does the same).
        eos_id: ends a text.
        sha256: changes with anything that can change an encoding.
    """

    vocab_size: int
    bos_id: int
    eos_id: int
    sha256: str

    def encode(self, text: str, bos: bool = True, eos: bool = False) -> list[int]:
        """The ids of `text`, after what the checkpoint starts a text with (BOS; nothing for a few) if `bos`."""

    def encode_batch(self, texts: Sequence[str], bos: bool = True, eos: bool = False) -> list[list[int]]:
        """`encode` for many texts at once, without Python's cost per call."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, without control tokens."""
