"""The SentencePiece tokenizer as every room uses it: text to ids, ids to text, ids to bytes."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sentencepiece

from llamalab.common.errors import UserError

FILE_NAME = "tokenizer.model"


class Tokenizer:
    """A SentencePiece model with LLaMA's conventions: BOS before a text, no EOS unless it is asked for.

    Args:
        model: the bytes of a `tokenizer.model`.
        name: what error messages call it.

    Raises:
        UserError: the bytes are no SentencePiece model, or the model has no BOS or EOS.
    """

    def __init__(self, model: bytes, name: str) -> None:
        self.processor = sentencepiece.SentencePieceProcessor()
        try:
            self.processor.LoadFromSerializedProto(model)
        except RuntimeError:
            raise UserError(f"{name}: not a SentencePiece model; build it again with `llamalab data`") from None
        self.sha256 = hashlib.sha256(model).hexdigest()
        self.vocab_size: int = self.processor.vocab_size()
        self.bos_id: int = self.processor.bos_id()
        self.eos_id: int = self.processor.eos_id()
        if min(self.bos_id, self.eos_id) < 0:
            raise UserError(f"{name}: the tokenizer has no BOS or no EOS token; LLaMA needs both")

    def encode(self, text: str, bos: bool = True, eos: bool = False) -> list[int]:
        """The ids of `text`. SentencePiece puts one space before the text (its dummy prefix), as LLaMA does."""
        ids: list[int] = self.processor.encode(text)
        return [self.bos_id] * bos + ids + [self.eos_id] * eos

    def encode_batch(self, texts: Sequence[str], bos: bool = True, eos: bool = False) -> list[list[int]]:
        """`encode` for many texts at once, without Python's cost per call."""
        before, after = [self.bos_id] * bos, [self.eos_id] * eos
        return [before + ids + after for ids in self.processor.encode(list(texts), num_threads=1)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, without control tokens and without the dummy prefix's space."""
        text: str = self.processor.decode([int(token) for token in ids])
        return text

    @functools.cached_property
    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """UTF-8 bytes that each id stands for, V integers.

        A byte piece is 1, a control token (BOS, EOS) 0, and the space mark 1. Summed over an encoded text this
        gives the text's UTF-8 length plus 1 for the dummy prefix: see `text_bytes`.
        """
        lengths = np.zeros(self.vocab_size, dtype=np.int64)
        for token in range(self.vocab_size):
            if self.processor.is_byte(token):
                lengths[token] = 1
            elif not (self.processor.is_control(token) or self.processor.is_unknown(token)):
                lengths[token] = len(self.processor.id_to_piece(token).replace("\u2581", " ").encode())
        return lengths

    def text_bytes(self, before: npt.NDArray[np.integer], tokens: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """UTF-8 bytes of text that each of `tokens` adds, given the token `before` it (same shapes).

        The first piece of a text carries the dummy prefix, a space that is not in the text; it follows BOS, so
        one byte is taken off there. Summed over `BOS text EOS` this is exactly the text's UTF-8 length, which
        is what bits per byte divides by. Two exceptions: an empty text has no piece, and the space mark U+2581
        itself in a text (3 bytes) is read as a space (1 byte).
        """
        lengths = self.byte_lengths[tokens]
        return lengths - ((before == self.bos_id) & (lengths > 0))


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer in a `tokenizer.model` file, or in a folder (a run, an artifact) that holds one.

    Raises:
        UserError: no such file, or not a SentencePiece model.
    """
    path = Path(path)
    file = path / FILE_NAME if path.is_dir() else path
    try:
        model = file.read_bytes()
    except OSError:
        raise UserError(f"{file}: no such tokenizer; build it with `llamalab data`") from None
    return Tokenizer(model, str(file))
