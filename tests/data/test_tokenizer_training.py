"""The trained tokenizer has LLaMA's properties (llama paper, section 2.1, and Meta's released model)."""

from typing import Any

import pytest
from corpus_texts import data_config, prose
from omegaconf import OmegaConf

from llamalab.checkpoint.tokenizer import Tokenizer
from llamalab.common.errors import UserError
from llamalab.data.stages.tokenizer import sample_sizes
from llamalab.data.tokenizer_training import SentencePieceTraining


def training(**changes: Any) -> SentencePieceTraining:
    options = OmegaConf.to_container(data_config(["scale.vocab_size=512"]).tokenizer, resolve=True)
    assert isinstance(options, dict)
    return SentencePieceTraining(**{str(k): v for k, v in options.items() if k != "_target_"} | changes)


def lines() -> list[str]:
    return [line for seed in range(10) for line in prose(seed).split("\n") if line]


def test_ids_are_llamas(trained_tokenizer: Tokenizer) -> None:
    pieces = [trained_tokenizer.processor.id_to_piece(token) for token in range(259)]
    assert pieces[:3] == ["<unk>", "<s>", "</s>"]
    assert pieces[3:] == [f"<0x{byte:02X}>" for byte in range(256)]
    assert trained_tokenizer.processor.pad_id() == -1
    assert trained_tokenizer.vocab_size == 512


def pieces_of(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.processor.id_to_piece(token) for token in tokenizer.encode(text, bos=False)]


def test_digits_are_split(trained_tokenizer: Tokenizer) -> None:
    assert pieces_of(trained_tokenizer, "1234")[-4:] == ["1", "2", "3", "4"]


def test_unknown_characters_become_bytes(trained_tokenizer: Tokenizer) -> None:
    assert pieces_of(trained_tokenizer, "語")[-3:] == ["<0xE8>", "<0xAA>", "<0x9E>"]


def test_nothing_is_normalised(trained_tokenizer: Tokenizer) -> None:
    text = "ﬁ Å  two  spaces\n\n\ttab"  # NFKC would change the ligature and the Angstrom sign
    assert trained_tokenizer.decode(trained_tokenizer.encode(text)) == text


def test_spaces_may_form_a_piece(trained_tokenizer: Tokenizer) -> None:
    assert any(set(trained_tokenizer.processor.id_to_piece(token)) == {"\u2581"} for token in range(259, 512))
    assert max(len(trained_tokenizer.processor.id_to_piece(token)) for token in range(259, 512)) <= 16


def test_training_is_deterministic() -> None:
    assert training().train(lines()) == training().train(lines())


def test_errors_are_plain() -> None:
    with pytest.raises(UserError, match=r"tokenizer\.vocab_size: 200 leaves no room"):
        training(vocab_size=200)
    with pytest.raises(UserError, match="tokenizer: SentencePiece cannot train on this text"):
        training(vocab_size=30_000).train(lines())


def test_the_sample_is_in_proportion_and_bounded_by_the_scarcest_source() -> None:
    proportions = {"a": 0.7, "b": 0.2, "c": 0.1, "d": 0.0}
    plenty = dict.fromkeys(proportions, 10**9)
    assert sample_sizes(plenty, proportions, 1000) == {"a": 700, "b": 200, "c": 100}
    assert sample_sizes(plenty | {"c": 20, "d": 0}, proportions, 1000) == {"a": 140, "b": 40, "c": 20}
