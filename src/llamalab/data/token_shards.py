"""Token shards: raw little-endian integers with an index beside them, memory-mapped to read.

A folder holds one split of one source:

    index.json        dtype, vocab_size, tokenizer_sha256, source, split, tokens, documents, bytes, shards, made_by
    00000.bin         ids of whole documents, each `BOS text EOS`, one after the other
    00000.ends.npy    int64, one per document: the offset in this shard just past its EOS

`bytes` counts the UTF-8 bytes of the documents' text. The shards of a folder read as one long sequence.
"""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llamalab.common.errors import UserError
from llamalab.common.files import read_json, sha256_file, write_json

INDEX = "index.json"
REPAIR = "delete the folder and run `llamalab data stages=[tokens]`"


def dtype_for(vocab_size: int) -> str:
    """The smallest of the two integer types that holds every id."""
    return "uint16" if vocab_size <= 2**16 else "uint32"


def little_endian(dtype: str) -> np.dtype[Any]:
    """The on-disk type, the same on every machine."""
    return np.dtype(dtype).newbyteorder("<")


class ShardWriter:
    """Writes encoded documents into shards of about `shard_tokens` tokens; a document is never cut in two."""

    def __init__(self, folder: Path, vocab_size: int, shard_tokens: int) -> None:
        self.folder = folder
        self.dtype = dtype_for(vocab_size)
        self.vocab_size = vocab_size
        self.shard_tokens = shard_tokens
        self.shards: list[dict[str, Any]] = []
        self.text_bytes = 0
        self._documents: list[npt.NDArray[Any]] = []
        self._held = 0

    def add(self, ids: Iterable[int], text_bytes: int) -> None:
        """Appends one document: its ids with BOS and EOS, and the UTF-8 length of its text."""
        document = np.fromiter(ids, dtype=np.int64)
        assert document.min() >= 0
        assert document.max() < self.vocab_size
        self._documents.append(document.astype(little_endian(self.dtype)))
        self._held += len(document)
        self.text_bytes += text_bytes
        if self._held >= self.shard_tokens:
            self._flush()

    def _flush(self) -> None:
        if not self._documents:
            return
        name = f"{len(self.shards):05d}"
        file, ends = self.folder / f"{name}.bin", self.folder / f"{name}.ends.npy"
        np.concatenate(self._documents).tofile(file)
        np.save(ends, np.cumsum([len(document) for document in self._documents], dtype=np.int64))
        self.shards.append(
            {
                "file": file.name,
                "tokens": self._held,
                "documents": len(self._documents),
                "sha256": sha256_file(file),
                "document_ends": ends.name,
                "document_ends_sha256": sha256_file(ends),
            }
        )
        self._documents, self._held = [], 0

    def close(self, **facts: Any) -> dict[str, Any]:
        """Writes the last shard and the index; `facts` are the index's other keys. Returns the index."""
        self._flush()
        index = {
            "dtype": self.dtype,
            "vocab_size": self.vocab_size,
            **facts,
            "tokens": sum(shard["tokens"] for shard in self.shards),
            "documents": sum(shard["documents"] for shard in self.shards),
            "bytes": self.text_bytes,
            "shards": self.shards,
        }
        write_json(self.folder / INDEX, index)
        return index


class TokenShards:
    """Reads a folder of shards as one sequence of tokens.

    Args:
        folder: a folder written by `ShardWriter`.
        verify_hashes: read every shard once and compare its sha256 (about a second per GB); sizes are always
            compared. At the scale of terabytes the sizes have to do.

    Raises:
        UserError: a missing, cut or altered shard, or an index that is not one.
    """

    def __init__(self, folder: Path, verify_hashes: bool) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise UserError(f"{folder}: no such token folder; make it with `llamalab data`")
        self.index = read_json(folder / INDEX)
        try:
            self.dtype = little_endian(self.index["dtype"])
            self.vocab_size: int = self.index["vocab_size"]
            self.tokenizer_sha256: str = self.index["tokenizer_sha256"]
            self.bytes: int = self.index["bytes"]
            self.documents: int = self.index["documents"]
            shards = [(folder / shard["file"], shard["tokens"], shard["sha256"]) for shard in self.index["shards"]]
        except (KeyError, TypeError) as error:
            raise UserError(f"{folder / INDEX}: not a token index ({error!r}); {REPAIR}") from None
        for file, tokens, sha256 in shards:
            self._check(file, tokens, sha256, verify_hashes)
        self.starts = np.cumsum([0, *(tokens for _, tokens, _ in shards)])
        self._maps = [np.memmap(file, dtype=self.dtype, mode="r") for file, _, _ in shards]

    def _check(self, file: Path, tokens: int, sha256: str, verify_hashes: bool) -> None:
        if not file.is_file():
            raise UserError(f"{file}: the token shard is missing; {REPAIR}")
        wanted = tokens * self.dtype.itemsize
        if file.stat().st_size != wanted:
            raise UserError(f"{file}: the token shard has {file.stat().st_size:,} bytes, not {wanted:,}; {REPAIR}")
        if verify_hashes and sha256_file(file) != sha256:
            raise UserError(f"{file}: the token shard is corrupt (its sha256 is not the index's); {REPAIR}")

    def __len__(self) -> int:
        return int(self.starts[-1])

    def read(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Tokens [start, stop) of the whole sequence, across shards where needed."""
        assert 0 <= start <= stop <= len(self)
        parts = []
        shard = int(np.searchsorted(self.starts, start, side="right")) - 1
        while start < stop:
            end = min(stop, int(self.starts[shard + 1]))
            offset = int(self.starts[shard])
            parts.append(self._maps[shard][start - offset : end - offset])
            start, shard = end, shard + 1
        return np.concatenate(parts or [np.empty(0, self.dtype)]).astype(np.int64)

    def document_at(self, position: int) -> int:
        """The number, counted over the whole folder, of the document that the token at `position` belongs to."""
        return int(np.searchsorted(self._document_ends, position, side="right"))

    @functools.cached_property
    def _document_ends(self) -> npt.NDArray[np.int64]:
        parts = []
        for start, shard in zip(self.starts, self.index["shards"], strict=False):
            file = self.folder / shard["document_ends"]
            try:
                parts.append(start + np.load(file))
            except (OSError, ValueError) as error:
                raise UserError(f"{file}: cannot be read ({error}); {REPAIR}") from None
        return np.concatenate(parts)

    def windows(self, length: int) -> int:
        """How many windows of `length` inputs and their next-token targets fit; neighbours share one token."""
        return max(0, (len(self) - 1) // length)

    def window(self, number: int, length: int) -> npt.NDArray[np.int64]:
        """Window `number`: `length` + 1 tokens; the first `length` are inputs, the last `length` their targets."""
        return self.read(number * length, (number + 1) * length + 1)
