"""Tokenizers of Hugging Face folders: the same ids as transformers' own classes on strings that go wrong easily."""

import json
from pathlib import Path
from typing import Any

import pytest
from checkpoint_builders import BASIC_TOKENIZER, VOCABULARY
from corpus_builder import TinyCorpus
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, LlamaConfig

from llamalab.checkpoint.hugging_face_tokenizer import HuggingFaceTokenizer, open_tokenizer
from llamalab.checkpoint.hugging_face_tokenizer_writer import as_tokenizer_json
from llamalab.checkpoint.sentence_piece_file import SentencePieceFile
from llamalab.checkpoint.tokenizer import load_tokenizer
from llamalab.common.errors import UserError

TRICKY = [
    *("hello", " hello", "  hello", "hello ", "hello  ", "a  b", "", " ", "   ", "\n", "\n\nx", "\r\n", "\t x", "x\ny"),
    *("😀 日本", "日本語のテキスト", "e\u0301 é\x00", "12 345.6", "▁x", "<0x0A>", "def f(x):\n    return x\n"),
    *("a</s>b", "</s> b", "a </s>  b", "<s>hi", "<s> hi </s>", "x <unk> y", "<|im|> a  <|im|>", "<|begin|> b<|end|>"),
]
SPECIAL = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
ADDED = {str(index): {"content": token, **SPECIAL} for index, token in enumerate(("<unk>", "<s>", "</s>"))}
ADDED_ONE = {**ADDED, str(VOCABULARY): {"content": "<|im|>", **SPECIAL, "rstrip": True}}
LLAMA, FAST = "LlamaTokenizer", "PreTrainedTokenizerFast"
BYTES = {
    "tokenizer_class": FAST,
    "bos_token": "<|begin|>",
    "eos_token": "<|end|>",
    "clean_up_tokenization_spaces": True,
}
# tokenizer_config.json, and which of tokenizer.model and tokenizer.json are there
FOLDERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "model": (BASIC_TOKENIZER, ["model"]),
    "model, not legacy": ({**BASIC_TOKENIZER, "legacy": False}, ["model"]),
    "model without BOS": ({"tokenizer_class": LLAMA}, ["model"]),
    "model without the space": ({**BASIC_TOKENIZER, "add_prefix_space": False}, ["model"]),
    "model with tokens as mappings": (
        {**BASIC_TOKENIZER, "bos_token": {"__type": "AddedToken", **ADDED["1"]}},
        ["model"],
    ),
    "json and model": ({**BASIC_TOKENIZER, "added_tokens_decoder": ADDED}, ["model", "json"]),
    "json with a token more": ({"tokenizer_class": f"{LLAMA}Fast", "added_tokens_decoder": ADDED_ONE}, ["json"]),
    "json as it is": ({"tokenizer_class": FAST, "bos_token": "<s>", "eos_token": "</s>"}, ["json"]),
    "json, special tokens not split": (
        {"tokenizer_class": FAST, "bos_token": "<s>", "eos_token": "</s>", "split_special_tokens": True},
        ["json"],
    ),
    "bytes": (BYTES, ["bytes"]),
    "bytes, called Llama": ({**BYTES, "tokenizer_class": f"{LLAMA}Fast"}, ["bytes"]),
    "bytes without BOS": ({**BYTES, "bos_token": None}, ["bytes without BOS"]),
}


@pytest.fixture(scope="module")
def files(tiny_corpus: TinyCorpus) -> dict[str, bytes]:
    """The tokenizers that folders are made of."""
    model = tiny_corpus.tokenizer.read_bytes()
    equal = as_tokenizer_json(SentencePieceFile(tiny_corpus.tokenizer), "<s>", 1, "<unk>")
    level = Tokenizer(models.BPE())
    level.pre_tokenizer, level.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|begin|>", "<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    level.train_from_iterator(["hello return def x hello"] * 5, trainer)
    without = level.to_str().encode()
    level.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    return {
        "model": model,
        "json": equal.to_str().encode(),
        "bytes": level.to_str().encode(),
        "bytes without BOS": without,
    }


def write(folder: Path, files: dict[str, bytes], settings: dict[str, Any] | None, names: list[str]) -> Path:
    for name in names:
        (folder / ("tokenizer.model" if name == "model" else "tokenizer.json")).write_bytes(files[name])
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    LlamaConfig(vocab_size=VOCABULARY).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("case", FOLDERS)
def test_ids_and_texts_equal_transformers(case: str, tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = write(tmp_path, files, *FOLDERS[case])
    theirs, ours = AutoTokenizer.from_pretrained(folder), open_tokenizer(folder)
    for text in TRICKY:
        expected = theirs(text).input_ids
        assert ours.encode(text) == expected, text
        assert ours.encode(text, bos=False) == theirs(text, add_special_tokens=False).input_ids, text
        assert ours.decode(expected) == theirs.decode(expected, skip_special_tokens=True), text
    assert ours.encode_batch(TRICKY, eos=True) == [[*ids, ours.eos_id] for ids in theirs(TRICKY).input_ids]
    assert ours.eos_id == theirs.eos_token_id
    assert ours.bos_id == (theirs.eos_token_id if theirs.bos_token_id is None else theirs.bos_token_id)
    assert ours.vocab_size == len(theirs)


def test_what_ends_a_text_in_the_post_processor_does_not_end_a_prompt(tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = write(tmp_path, files, {**BASIC_TOKENIZER, "add_eos_token": True}, ["model"])
    theirs, ours = AutoTokenizer.from_pretrained(folder), open_tokenizer(folder)
    assert [*ours.encode("hello"), 2] == ours.encode("hello", eos=True) == theirs("hello").input_ids


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"), max_size=60))
@settings(max_examples=200, deadline=None)
def test_the_tokenizer_json_we_write_does_what_sentencepiece_does(tiny_corpus: TinyCorpus, text: str) -> None:
    reference = load_tokenizer(tiny_corpus.tokenizer)
    ours = HuggingFaceTokenizer(
        as_tokenizer_json(SentencePieceFile(tiny_corpus.tokenizer), "<s>", 1, "<unk>"), "<s>", "</s>", ""
    )
    if not any(token in text for token in ("<s>", "</s>", "<unk>")):
        assert ours.encode(text) == reference.encode(text)
        assert ours.decode(ours.encode(text)) == reference.decode(reference.encode(text)) == text


def test_a_model_file_alone_is_sentencepieces(tmp_path: Path, files: dict[str, bytes], tiny_corpus: TinyCorpus) -> None:
    folder = write(tmp_path, files, None, ["model"])
    reference = load_tokenizer(tiny_corpus.tokenizer)
    assert [open_tokenizer(folder).encode(text) for text in TRICKY] == [reference.encode(text) for text in TRICKY]


def test_the_hash_follows_the_settings(tmp_path: Path, files: dict[str, bytes]) -> None:
    before = open_tokenizer(write(tmp_path, files, BASIC_TOKENIZER, ["model"])).sha256
    assert open_tokenizer(tmp_path).sha256 == before
    after = write(tmp_path, files, {**BASIC_TOKENIZER, "add_bos_token": False}, ["model"])
    assert open_tokenizer(after).sha256 != before


def test_eos_may_be_named_by_the_model_alone(tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = write(tmp_path, files, {"tokenizer_class": FAST}, ["bytes"])
    (folder / "config.json").write_text(json.dumps({"eos_token_id": [1, 5]}))
    assert open_tokenizer(folder).eos_id == 1


@pytest.mark.parametrize(
    ("settings", "content", "message"),
    [
        (BASIC_TOKENIZER, {}, r"tokenizer\.json: missing, and no tokenizer\.model either"),
        (BASIC_TOKENIZER, {"tokenizer.model": b"no model"}, r"tokenizer\.model: not a SentencePiece model"),
        (BASIC_TOKENIZER, {"tokenizer.json": b"{}"}, r"tokenizer\.json: cannot be read"),
        (BASIC_TOKENIZER, {"tokenizer.json": b"{"}, r"tokenizer\.json: not valid JSON"),
        ([], {"tokenizer.model": b""}, r"tokenizer_config\.json: is no mapping"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, settings: Any, content: dict[str, bytes], message: str
) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    for name, value in content.items():
        (tmp_path / name).write_bytes(value)
    with pytest.raises(UserError, match=message) as error:
        open_tokenizer(tmp_path)
    assert "\n" not in str(error.value)


def test_a_tokenizer_without_eos_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = write(tmp_path, files, {"tokenizer_class": FAST}, ["bytes"])
    (folder / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"tokenizer_config\.json: eos_token: missing"):
        open_tokenizer(folder)
