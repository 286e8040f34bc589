"""The tokenizer of a Hugging Face folder, encoding as transformers (version 5) does for that folder.

What decides is tokenizer.json, or tokenizer.model where there is none, and the class that tokenizer_config.json names:

- `LlamaTokenizer` on a SentencePiece vocabulary: transformers takes vocabulary, merges and post-processor, but puts its
  own handling of spaces in the place of the file's: one space before the text unless it starts with one.
- any other class, or a byte-level vocabulary: tokenizer.json as it is.

Special tokens are recognised in text, which SentencePiece by itself does not do.
"""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from llamalab.checkpoint.sentence_piece_file import SPACE, SentencePieceFile
from llamalab.checkpoint.text_tokenizer import TextTokenizer
from llamalab.checkpoint.tokenizer import FILE_NAME, load_tokenizer
from llamalab.common.errors import UserError
from llamalab.common.files import read_json

TOKENIZER, SETTINGS, SPECIAL = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"
ADDED = "added_tokens.json"
MODEL, GENERATION = "config.json", "generation_config.json"
LLAMA = "LlamaTokenizer"
# What transformers' LlamaTokenizer takes where the folder does not say it
LLAMA_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


class HuggingFaceTokenizer:
    """A `tokenizers.Tokenizer` with its special tokens.

    Args:
        tokenizer: its post-processor adds what a text starts with.
        bos: its BOS, None if it has none.
        eos: its EOS.
        sha256: of the files it was made from.
    """

    def __init__(self, tokenizer: Tokenizer, bos: str | None, eos: str, sha256: str) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.vocab_size = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())
        self.eos_id = self._id(eos)
        self.bos_id = self.eos_id if bos is None else self._id(bos)
        self.sha256 = sha256

    def _id(self, token: str) -> int:
        index = self.tokenizer.token_to_id(token)
        assert index is not None, token  # special tokens were added if they were not there
        return index

    @functools.cached_property
    def start(self) -> list[int]:
        """What the post-processor puts before a text. What it puts behind (EOS, in a few) would end every prompt."""
        encoding = self.tokenizer.encode("a", add_special_tokens=True)
        inside = encoding.special_tokens_mask.index(0)
        return list(encoding.ids[:inside])

    def encode(self, text: str, bos: bool = True, eos: bool = False) -> list[int]:
        """The ids of `text`, after what the checkpoint starts a text with if `bos`."""
        return self.encode_batch([text], bos, eos)[0]

    def encode_batch(self, texts: Sequence[str], bos: bool = True, eos: bool = False) -> list[list[int]]:
        """`encode` for many texts at once."""
        before, after = self.start if bos else [], [self.eos_id] * eos
        found = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [[*before, *encoding.ids, *after] for encoding in found]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, without special tokens and without the space put before a text."""
        text: str = self.tokenizer.decode([int(token) for token in ids], skip_special_tokens=True)
        return text


def tokenizer_files(folder: Path) -> list[Path]:
    """The files in a Hugging Face folder that belong to its tokenizer."""
    names = (TOKENIZER, FILE_NAME, SETTINGS, SPECIAL, ADDED)
    return [folder / name for name in names if (folder / name).is_file()]


def open_tokenizer(folder: Path) -> TextTokenizer:
    """The tokenizer of a Hugging Face folder.

    A folder with tokenizer.model alone, without tokenizer_config.json, has the SentencePiece tokenizer: transformers
    leaves open there whether BOS and the space before a text are wanted.

    Raises:
        UserError: no tokenizer, an unreadable one, or one without EOS.
    """
    settings = _mapping(folder / SETTINGS)
    model = folder / FILE_NAME
    if (folder / TOKENIZER).is_file():
        tokenizer = _from_json(folder / TOKENIZER, settings)
    elif not model.is_file():
        raise UserError(
            f"{folder / TOKENIZER}: missing, and no {FILE_NAME} either; copy the checkpoint's tokenizer there"
        )
    elif not settings:
        return load_tokenizer(model)
    else:
        tokenizer = _from_sentence_piece(SentencePieceFile(model), settings)
    special = _special_tokens(folder, settings, tokenizer)
    for token in special.values():
        tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True)])
    tokenizer.encode_special_tokens = bool(settings.get("split_special_tokens", False))
    if "eos_token" not in special:
        raise UserError(f"{folder / SETTINGS}: eos_token: missing; name the token that ends a text")
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in tokenizer_files(folder))).hexdigest()
    return HuggingFaceTokenizer(tokenizer, special.get("bos_token"), special["eos_token"], digest)


def _is_llama(settings: dict[str, Any]) -> bool:
    return str(settings.get("tokenizer_class")).removesuffix("Fast") == LLAMA


def _from_json(path: Path, settings: dict[str, Any]) -> Tokenizer:
    content = _mapping(path)
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises bare Exceptions
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]}); use another copy") from None
    added = _added_tokens(settings) or [AddedToken(**_flags(entry)) for entry in content.get("added_tokens", ())]
    if _is_llama(settings) and isinstance(tokenizer.model, models.BPE) and not _byte_level(content):
        entry = content["model"]
        merges = (merge.split(" ") if isinstance(merge, str) else merge for merge in entry["merges"])
        pairs = [(first, second) for first, second in merges]
        llama = _llama(entry["vocab"], pairs, settings)
        if tokenizer.post_processor is not None:
            llama.post_processor = tokenizer.post_processor
        tokenizer = llama
    _add(tokenizer, added)
    return tokenizer


def _from_sentence_piece(file: SentencePieceFile, settings: dict[str, Any]) -> Tokenizer:
    tokenizer = _llama(file.vocabulary, file.merges(), settings)
    _add(tokenizer, _added_tokens(settings))
    _add(tokenizer, [AddedToken(piece, normalized=False, special=special) for piece, special in file.added()])
    tokens = {key: _text(settings.get(key)) or default for key, default in LLAMA_TOKENS.items()}
    single, used = "$A:0", []
    for key, template in (("bos", "{}:0 {}"), ("eos", "{1} {0}:0")):
        if settings.get(f"add_{key}_token"):
            token = tokens[f"{key}_token"]
            single = template.format(token, single)
            used.append((token, tokenizer.token_to_id(token)))
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=used)
    return tokenizer


def _llama(vocabulary: dict[str, int], merges: list[tuple[str, str]], settings: dict[str, Any]) -> Tokenizer:
    """As transformers' LlamaTokenizer builds itself."""
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, fuse_unk=True, byte_fallback=True))
    prefixed = settings.get("add_prefix_space") in (None, True)
    scheme = ("always" if settings.get("legacy") else "first") if prefixed else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme, split=False)
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(content=" ", left=1)] if prefixed else steps)
    return tokenizer


def _byte_level(content: dict[str, Any]) -> bool:
    """Whether a tokenizer.json splits text into bytes as GPT-2 and Llama 3 do."""
    node = content.get("pre_tokenizer") or {}
    return any(step.get("type") == "ByteLevel" for step in node.get("pretokenizers", [node]))


def _flags(entry: dict[str, Any]) -> dict[str, Any]:
    known = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    return {key: entry[key] for key in known if key in entry}


def _added_tokens(settings: dict[str, Any]) -> list[AddedToken]:
    entries = sorted((int(index), entry) for index, entry in settings.get("added_tokens_decoder", {}).items())
    return [AddedToken(**_flags(entry)) for _, entry in entries]


def _add(tokenizer: Tokenizer, tokens: list[AddedToken]) -> None:
    for token in tokens:
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])


def _special_tokens(folder: Path, settings: dict[str, Any], tokenizer: Tokenizer) -> dict[str, str]:
    """bos_token, eos_token and unk_token as far as there are any; LLaMA's where its class handles the spaces."""
    listed = {**_mapping(folder / SPECIAL), **settings}
    llama = _is_llama(settings) and isinstance(tokenizer.pre_tokenizer, pre_tokenizers.Metaspace)
    found = dict(LLAMA_TOKENS) if llama else {}
    for key in LLAMA_TOKENS:
        if key in listed:
            text = _text(listed[key])
            found.pop(key, None)
            if text is not None:
                found[key] = text
    if "eos_token" not in found:
        for file in (GENERATION, MODEL):
            index = _mapping(folder / file).get("eos_token_id")
            token = tokenizer.id_to_token(index[0] if isinstance(index, list) else index) if index else None
            if token is not None:
                found["eos_token"] = token
                break
    return found


def _text(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token


def _mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: is no mapping; use another copy")
    return content
