"""Training of the SentencePiece tokenizer with LLaMA's flags (paper, section 2.1; Meta's released model)."""

import io
from collections.abc import Iterable
from typing import Any

import sentencepiece

from llamalab.common.errors import UserError

# LLaMA's special tokens; byte pieces follow at 3 to 258.
UNKNOWN, BEGIN, END, NO_PADDING = 0, 1, 2, -1
SPECIAL_AND_BYTES = 3 + 256
# SentencePiece's default. The model records it, so it must not follow the machine.
THREADS = 16


class SentencePieceTraining:
    """How a tokenizer is trained. Everything but `name` and `sample_bytes` is SentencePiece's own option of that name.

    Args:
        name: names the folder together with `vocab_size`.
        sample_bytes: how much training text to learn from.
    """

    def __init__(
        self,
        name: str,
        vocab_size: int,
        sample_bytes: int,
        model_type: str,
        split_digits: bool,
        byte_fallback: bool,
        normalization_rule_name: str,
        add_dummy_prefix: bool,
        remove_extra_whitespaces: bool,
        character_coverage: float,
        max_sentencepiece_length: int,
        max_sentence_length: int,
        split_by_unicode_script: bool,
        split_by_whitespace: bool,
        split_by_number: bool,
        allow_whitespace_only_pieces: bool,
    ) -> None:
        if byte_fallback and vocab_size <= SPECIAL_AND_BYTES:
            raise UserError(
                f"tokenizer.vocab_size: {vocab_size} leaves no room beside {SPECIAL_AND_BYTES} special and byte tokens"
            )
        self.name, self.vocab_size, self.sample_bytes = name, vocab_size, sample_bytes
        self.options: dict[str, Any] = {
            "model_type": model_type,
            "split_digits": split_digits,
            "byte_fallback": byte_fallback,
            "normalization_rule_name": normalization_rule_name,
            "add_dummy_prefix": add_dummy_prefix,
            "remove_extra_whitespaces": remove_extra_whitespaces,
            "character_coverage": character_coverage,
            "max_sentencepiece_length": max_sentencepiece_length,
            "max_sentence_length": max_sentence_length,
            "split_by_unicode_script": split_by_unicode_script,
            "split_by_whitespace": split_by_whitespace,
            "split_by_number": split_by_number,
            "allow_whitespace_only_pieces": allow_whitespace_only_pieces,
        }

    def train(self, lines: Iterable[str]) -> bytes:
        """The serialized model learnt from these lines; the same bytes for the same lines.

        Raises:
            UserError: the text is too small for the vocabulary.
        """
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=model,
                vocab_size=self.vocab_size,
                num_threads=THREADS,
                unk_id=UNKNOWN,
                bos_id=BEGIN,
                eos_id=END,
                pad_id=NO_PADDING,
                shuffle_input_sentence=False,
                minloglevel=1,
                **self.options,
            )
        except (RuntimeError, OSError) as error:
            raise UserError(
                f"tokenizer: SentencePiece cannot train on this text: {str(error).splitlines()[-1]}"
            ) from None
        return model.getvalue()
