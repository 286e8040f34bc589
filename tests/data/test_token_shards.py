from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamalab.common.errors import UserError
from llamalab.common.files import read_json, write_json
from llamalab.data.token_shards import ShardWriter, TokenShards, dtype_for


def write(folder: Path, documents: list[list[int]], vocab_size: int = 512, shard_tokens: int = 50) -> TokenShards:
    folder.mkdir(exist_ok=True)
    writer = ShardWriter(folder, vocab_size, shard_tokens)
    for ids in documents:
        writer.add(ids, text_bytes=3 * len(ids))
    writer.close(tokenizer_sha256="abc", source="s", split="train", made_by={})
    return TokenShards(folder, verify_hashes=True)


def sample() -> list[list[int]]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 512, size=length).tolist() for length in (30, 40, 3, 90, 1, 20, 25)]


def test_shards_read_as_one_sequence(tmp_path: Path) -> None:
    documents = sample()
    shards = write(tmp_path, documents)
    flat = [token for ids in documents for token in ids]
    assert len(shards.index["shards"]) == 3  # at 70, 163 and the rest: a document is never cut
    assert (len(shards), shards.documents, shards.bytes) == (len(flat), 7, 3 * len(flat))
    assert shards.read(0, len(flat)).tolist() == flat
    for start in range(0, len(flat), 7):
        for stop in (start, start + 1, min(start + 100, len(flat))):
            assert shards.read(start, stop).tolist() == flat[start:stop]


def test_document_ends_are_offsets_in_their_shard(tmp_path: Path) -> None:
    documents = sample()
    shards = write(tmp_path, documents)
    read = []
    for shard in shards.index["shards"]:
        tokens = np.fromfile(tmp_path / shard["file"], dtype="<u2")
        ends = np.load(tmp_path / shard["document_ends"])
        assert len(tokens) == shard["tokens"] == ends[-1]
        read += [part.tolist() for part in np.split(tokens, ends)[:-1]]
    assert read == documents


@given(tokens=st.integers(2, 300), length=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_windows_cover_every_target_once(tmp_path_factory: pytest.TempPathFactory, tokens: int, length: int) -> None:
    shards = write(tmp_path_factory.mktemp("shards"), [list(range(tokens))])
    windows = [shards.window(number, length) for number in range(shards.windows(length))]
    assert all(len(window) == length + 1 for window in windows)
    targets = [token for window in windows for token in window[1:].tolist()]
    assert targets == list(range(1, len(targets) + 1))
    assert tokens - 1 - len(targets) < length


def test_ids_take_two_bytes_where_they_fit(tmp_path: Path) -> None:
    assert (dtype_for(65_536), dtype_for(65_537)) == ("uint16", "uint32")
    large = write(tmp_path, [[65_535, 70_000]], vocab_size=100_000)
    assert large.read(0, 2).tolist() == [65_535, 70_000]
    assert (tmp_path / "00000.bin").stat().st_size == 8


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write(tmp_path, sample())
    (tmp_path / "00001.bin").unlink()
    with pytest.raises(UserError, match=r"00001\.bin: the token shard is missing; .*llamalab data"):
        TokenShards(tmp_path, verify_hashes=False)


def test_a_cut_shard_is_named_without_hashing(tmp_path: Path) -> None:
    write(tmp_path, sample())
    file = tmp_path / "00000.bin"
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(UserError, match=r"00000\.bin: the token shard has 138 bytes, not 140"):
        TokenShards(tmp_path, verify_hashes=False)


def test_an_altered_shard_is_named_by_its_hash(tmp_path: Path) -> None:
    write(tmp_path, sample())
    file = tmp_path / "00002.bin"
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(data)
    TokenShards(tmp_path, verify_hashes=False)
    with pytest.raises(UserError, match=r"00002\.bin: the token shard is corrupt"):
        TokenShards(tmp_path, verify_hashes=True)


def test_a_broken_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such token folder"):
        TokenShards(tmp_path / "none", verify_hashes=True)
    write(tmp_path, sample())
    index = read_json(tmp_path / "index.json")
    write_json(tmp_path / "index.json", {key: value for key, value in index.items() if key != "dtype"})
    with pytest.raises(UserError, match=r"index\.json: not a token index"):
        TokenShards(tmp_path, verify_hashes=True)
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(UserError, match=r"index\.json: not valid JSON"):
        TokenShards(tmp_path, verify_hashes=True)
