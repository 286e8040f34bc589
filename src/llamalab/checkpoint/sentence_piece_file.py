"""What is in a SentencePiece `tokenizer.model`: pieces, flags, and the merges that they imply."""

from pathlib import Path

from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2

from llamalab.common.errors import UserError

SPACE = "\u2581"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6  # piece types in sentencepiece_model.proto
BPE = 2  # the model type in sentencepiece_model.proto


class SentencePieceFile:
    """A parsed `tokenizer.model`.

    Raises:
        UserError: the file is none.
    """

    def __init__(self, path: Path) -> None:
        self.proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
        try:
            self.proto.ParseFromString(path.read_bytes())
        except DecodeError:
            raise UserError(f"{path}: not a SentencePiece model; use another copy") from None
        self.pieces = [(piece.piece, piece.type) for piece in self.proto.pieces]
        self.vocabulary = {piece: index for index, (piece, _) in enumerate(self.pieces)}

    def added(self) -> list[tuple[str, bool]]:
        """Pieces that are never made by merging, and whether they are control tokens (or the user's)."""
        return [(piece, kind == CONTROL) for piece, kind in self.pieces if kind in (CONTROL, USER_DEFINED)]

    def merges(self) -> list[tuple[str, str]]:
        """The merges of a BPE model, first ones first: each piece from any two pieces that it consists of.

        Pieces are in the order in which training merged them, which is all that BPE needs.
        """
        found = []
        for piece, kind in self.pieces:
            if kind == NORMAL:
                halves = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
                found += [pair for pair in halves if pair[0] in self.vocabulary and pair[1] in self.vocabulary]
        return found

    @property
    def is_plain_bpe(self) -> bool:
        """Whether BPE with byte fallback and one space before the text is all that it does to a text."""
        trained, normalised = self.proto.trainer_spec, self.proto.normalizer_spec
        return (
            trained.model_type == BPE
            and trained.byte_fallback
            and normalised.add_dummy_prefix
            and not normalised.remove_extra_whitespaces
            and normalised.escape_whitespaces
            and not normalised.precompiled_charsmap
            and not trained.treat_whitespace_as_suffix
        )
