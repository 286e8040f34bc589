"""Stage 6: documents to token shards, one folder for each source and split."""

from functools import partial
from pathlib import Path
from typing import Any

from llamalab.checkpoint.tokenizer import Tokenizer, load_tokenizer
from llamalab.common.files import published_directory
from llamalab.common.provenance import provenance
from llamalab.data.corpus import Corpus
from llamalab.data.documents import read_documents
from llamalab.data.parallel import Workers, batched
from llamalab.data.progress import say
from llamalab.data.stages.split import SPLITS
from llamalab.data.stamps import Outcome, code_of, made_files, stage_output
from llamalab.data.token_shards import ShardWriter

BATCH = 64  # documents given to SentencePiece at once


def run(corpus: Corpus) -> None:
    """Writes `tokens/<source>/{train,validation}/` and a stamp for each source."""
    with Workers(corpus.workers) as workers:
        for _ in workers.map(partial(_tokenize, corpus), list(corpus.sources), chunk=1):
            pass


def _tokenize(corpus: Corpus, name: str) -> None:
    texts = made_files(corpus.split_stamp, "split")
    inputs: dict[str, Any] = {
        "tokenizer": made_files(corpus.tokenizer_folder / "tokenizer.json", "tokenizer"),
        "files": {split: texts[f"{split}/{name}.jsonl.zst"] for split in SPLITS},
        "shard_tokens": corpus.shard_tokens,
        "code": code_of({}, __name__, "llamalab.data.token_shards"),
    }
    stage_output(corpus.tokens(name) / "tokens.json", inputs, f"tokens {name}", partial(_make, corpus, name))


def _make(corpus: Corpus, name: str) -> Outcome:
    tokenizer = load_tokenizer(corpus.tokenizer_folder)
    files: list[Path] = []
    report: dict[str, Any] = {}
    for split in SPLITS:
        target = corpus.tokens(name) / split
        with published_directory(target) as folder:
            index = write_shards(corpus, tokenizer, name, split, folder)
        files += sorted(path for path in target.iterdir())
        report[split] = {key: index[key] for key in ("documents", "bytes", "tokens")}
    say(f"tokens {name}: {report['train']['tokens']:,} to train on, {report['validation']['tokens']:,} held out")
    return files, report


def write_shards(corpus: Corpus, tokenizer: Tokenizer, name: str, split: str, folder: Path) -> dict[str, Any]:
    """Tokenizes one split of one source into `folder`; returns its index."""
    writer = ShardWriter(folder, tokenizer.vocab_size, corpus.shard_tokens)
    for documents in batched(read_documents(corpus.part(split, name)), BATCH):
        encoded = tokenizer.encode_batch([document.text for document in documents], bos=True, eos=True)
        for document, ids in zip(documents, encoded, strict=True):
            writer.add(ids, document.bytes)
    return writer.close(tokenizer_sha256=tokenizer.sha256, source=name, split=split, made_by=provenance())
