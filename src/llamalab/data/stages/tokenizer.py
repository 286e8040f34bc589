"""Stage 5: the tokenizer, learnt from training documents only, in the mixture's proportions."""

import hashlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from llamalab.common.files import published_directory
from llamalab.data.corpus import Corpus
from llamalab.data.documents import read_documents
from llamalab.data.progress import say
from llamalab.data.stamps import Outcome, code_of, made_files, stage_output, versions_of

FILE_NAME = "tokenizer.model"


def sample_sizes(available: dict[str, int], proportions: dict[str, float], wanted: int) -> dict[str, int]:
    """Bytes to take of each source: in proportion, `wanted` in all or as much as the scarcest source allows."""
    shares = {name: share for name, share in proportions.items() if share > 0}
    total = min([wanted, *(available[name] / share for name, share in shares.items())])
    return {name: int(total * share) for name, share in shares.items()}


def sample_lines(corpus: Corpus, source: str, size: int) -> Iterator[str]:
    """Lines of training documents in the order of their hashes until `size` bytes are taken."""
    documents = sorted(
        read_documents(corpus.part("train", source)),
        key=lambda document: hashlib.sha256(document.text.encode()).digest(),
    )
    for document in documents:
        for line in document.text.split("\n"):
            size -= len(line.encode()) + 1
            if size < 0:
                return
            if line:
                yield line


def run(corpus: Corpus) -> None:
    """Writes `tokenizer/tokenizer.model` and `tokenizer/tokenizer.json`, which says what made it."""
    files = made_files(corpus.split_stamp, "split")
    training_only = {name: sha256 for name, sha256 in files.items() if name.startswith("train/")}
    inputs: dict[str, Any] = {
        "config": corpus.tokenizer_config,
        "proportions": corpus.proportions,
        "files": training_only,
        "code": code_of(corpus.tokenizer_config, __name__),
        "libraries": versions_of(("sentencepiece",)),
    }
    stage_output(corpus.tokenizer_folder / "tokenizer.json", inputs, "tokenizer", partial(_make, corpus))


def _make(corpus: Corpus) -> Outcome:
    training = corpus.tokenizer
    available = {
        name: sum(document.bytes for document in read_documents(corpus.part("train", name))) for name in corpus.sources
    }
    sizes = sample_sizes(available, corpus.proportions, training.sample_bytes)
    say(f"tokenizer: learning {training.vocab_size:,} pieces from {sum(sizes.values()) / 1e6:.1f} MB of training text")
    lines = (line for name, size in sizes.items() for line in sample_lines(corpus, name, size))
    model = training.train(lines)
    with published_directory(corpus.tokenizer_folder) as folder:
        (folder / FILE_NAME).write_bytes(model)
    return [corpus.tokenizer_folder / FILE_NAME], {"sample_bytes": sizes, "vocab_size": training.vocab_size}
