"""Tokenizer files for a Hugging Face folder, such that transformers encodes as the checkpoint's own tokenizer does."""

import shutil
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

from llamalab.checkpoint.hugging_face_tokenizer import SETTINGS, TOKENIZER
from llamalab.checkpoint.sentence_piece_file import SPACE, SentencePieceFile
from llamalab.checkpoint.source import Source
from llamalab.checkpoint.tokenizer import FILE_NAME
from llamalab.common.files import write_json


def write_tokenizer(source: Source, folder: Path, max_length: int) -> dict[str, int]:
    """Writes the tokenizer files.

    A checkpoint with a tokenizer.json keeps its files. One with a SentencePiece model gets, beside that, a
    tokenizer.json that does the same and a tokenizer_config.json that tells transformers to take it as it is: its own
    LlamaTokenizer would not put a space before a text that starts with one, which SentencePiece does.

    Returns:
        `bos_token_id` and `eos_token_id`.
    """
    tokenizer = source.tokenizer
    for path in source.tokenizer_files:
        shutil.copyfile(path, folder / path.name)
    if (folder / TOKENIZER).is_file() or (folder / SETTINGS).is_file():
        return {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}
    file = SentencePieceFile(folder / FILE_NAME)
    bos, eos = (file.pieces[index][0] for index in (tokenizer.bos_id, tokenizer.eos_id))
    unknown = file.pieces[file.proto.trainer_spec.unk_id][0]
    settings: dict[str, Any] = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": bos,
        "eos_token": eos,
        "unk_token": unknown,
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "legacy": True,
        "model_max_length": max_length,
    }
    if file.is_plain_bpe:
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        equal = as_tokenizer_json(file, bos, tokenizer.bos_id, unknown)
        (folder / TOKENIZER).write_text(equal.to_str(pretty=False), encoding="utf-8")
        del settings["legacy"]
    write_json(folder / SETTINGS, settings)
    return {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}


def as_tokenizer_json(file: SentencePieceFile, bos: str, bos_id: int, unknown: str) -> Tokenizer:
    """A `tokenizers.Tokenizer` that encodes ordinary text as a plain SentencePiece BPE model does, after BOS."""
    tokenizer = Tokenizer(
        models.BPE(vocab=file.vocabulary, merges=file.merges(), unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    # A space goes before every stretch between special tokens, not the first alone, as in the released files.
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    for piece, special in [(unknown, True), *file.added()]:
        add = tokenizer.add_special_tokens if special else tokenizer.add_tokens
        add([AddedToken(piece, normalized=False, special=special)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos}:0 $A:0", pair=f"{bos}:0 $A:0 {bos}:1 $B:1", special_tokens=[(bos, bos_id)]
    )
    return tokenizer
