import io
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from corpus_builder import TinyCorpus
from hypothesis import given, settings
from hypothesis import strategies as st

from llamalab.checkpoint.tokenizer import Tokenizer, load_tokenizer
from llamalab.common.errors import UserError
from llamalab.common.files import sha256_file

# Any text but the space mark itself, which SentencePiece cannot tell from a space.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"), max_size=80)


@pytest.fixture(scope="module")
def tokenizer(tiny_corpus: TinyCorpus) -> Tokenizer:
    return load_tokenizer(tiny_corpus.tokenizer)


def text_bytes(tokenizer: Tokenizer, ids: list[int]) -> int:
    array = np.array(ids)
    return int(tokenizer.text_bytes(array[:-1], array[1:]).sum())


def test_the_facts_are_the_models(tokenizer: Tokenizer, tiny_corpus: TinyCorpus) -> None:
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tiny_corpus.tokenizer))
    assert tokenizer.vocab_size == reference.vocab_size()
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)
    assert tokenizer.sha256 == sha256_file(tiny_corpus.tokenizer)
    assert tokenizer.encode("a text", bos=False) == reference.encode("a text")
    assert tokenizer.encode("a text", bos=True, eos=True) == [1, *reference.encode("a text"), 2]
    assert tokenizer.encode_batch(["a text", ""], eos=True) == [[1, *reference.encode("a text"), 2], [1, 2]]


@given(text=texts)
@settings(max_examples=300, deadline=None)
def test_text_comes_back_and_its_bytes_add_up(tokenizer: Tokenizer, text: str) -> None:
    """Bits per byte divides by these bytes: over `BOS text EOS` they are the text's UTF-8 length exactly."""
    ids = tokenizer.encode(text, bos=True, eos=True)
    assert tokenizer.decode(ids) == text
    assert text_bytes(tokenizer, ids) == len(text.encode())


@given(parts=st.lists(texts, min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_bytes_of_packed_documents_add_up(tokenizer: Tokenizer, parts: list[str]) -> None:
    """In a stream of documents only each one's own dummy prefix is taken off."""
    stream = [token for text in parts for token in tokenizer.encode(text, eos=True)]
    assert text_bytes(tokenizer, stream) == sum(len(text.encode()) for text in parts)


def test_a_folder_that_holds_the_model_will_do(tiny_corpus: TinyCorpus) -> None:
    assert load_tokenizer(tiny_corpus.folder).sha256 == load_tokenizer(str(tiny_corpus.tokenizer)).sha256


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.model: no such tokenizer; .*llamalab data"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"this is no model")
    with pytest.raises(UserError, match=r"tokenizer\.model: not a SentencePiece model"):
        load_tokenizer(tmp_path)


def test_a_model_without_bos_is_refused() -> None:
    model = io.BytesIO()
    lines = iter(["some text to learn from", "and some more text"] * 20)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=model, vocab_size=40, model_type="bpe", bos_id=-1, minloglevel=2
    )
    with pytest.raises(UserError, match="has no BOS or no EOS"):
        Tokenizer(model.getvalue(), "x.model")
