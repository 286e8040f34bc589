"""Stage 4: train and validation, decided by the hashes of documents.

Documents that are nearly the same, in any two sources, and editions of one work form a group, and a group goes to
one side as a whole. So validation shares no document and no near-duplicate with training.
"""

import hashlib
from collections import defaultdict
from functools import partial
from typing import Any

import datasketch
import numpy as np
import numpy.typing as npt
import scipy.sparse
import scipy.sparse.csgraph

from llamalab.common.errors import UserError
from llamalab.data.corpus import Corpus, SplitSettings, stamp_of
from llamalab.data.counts import Size
from llamalab.data.deduplication import near
from llamalab.data.deduplication import shingles as grams
from llamalab.data.documents import Document, read_documents, write_documents
from llamalab.data.parallel import Workers
from llamalab.data.progress import say, tracked
from llamalab.data.stamps import Outcome, code_of, made_files, stage_output, versions_of

LIBRARIES = ("datasketch",)
SPLITS = ("train", "validation")
CONTAMINATION_WORDS = 13


def _minhash(words: int, text: str) -> datasketch.MinHash:
    return grams.minhash_of(grams.shingles(text, words))


def groups_of(
    documents: list[Document], minhashes: list[datasketch.MinHash], similarity: float
) -> npt.NDArray[np.int32]:
    """A group number for each document: connected by near-duplication or by the same work of the same source."""
    # Signatures are estimates and the index misses pairs near its threshold, so both begin well below the similarity
    # that must not cross the split.
    edges = near.pairs_alike(minhashes, 0.7 * similarity, 0.8 * similarity)
    first: dict[tuple[str, str], int] = {}
    for i, document in enumerate(documents):
        work = document.metadata.get("work")
        if work is not None:
            edges.append((first.setdefault((document.source, work), i), i))
    ends = np.array(edges, dtype=np.int64).reshape(-1, 2)
    graph = scipy.sparse.coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(documents),) * 2)
    _, labels = scipy.sparse.csgraph.connected_components(graph, directed=False)
    return np.asarray(labels, dtype=np.int32)


def choose_validation(documents: list[Document], groups: npt.NDArray[np.int32], settings: SplitSettings) -> set[int]:
    """The groups held out.

    Each group's place is the smallest sha256 of its texts, so it depends on nothing but the group itself. In that
    order groups are held out until every source has what `settings` asks for; a group that would take more than
    half of a source is passed over.

    Raises:
        UserError: a source that is too small to hold anything out.
    """
    keys: dict[int, bytes] = {}
    sizes: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    totals: dict[str, int] = defaultdict(int)
    for document, group in zip(documents, groups.tolist(), strict=True):
        digest = hashlib.sha256(document.text.encode()).digest()
        keys[group] = min(keys.get(group, digest), digest)
        sizes[group][document.source] += document.bytes
        totals[document.source] += document.bytes
    wanted = {source: max(settings.share * size, settings.minimum_bytes) for source, size in totals.items()}
    held: dict[str, list[int]] = {source: [] for source in totals}
    chosen = set()
    for group in sorted(keys, key=lambda group: keys[group]):
        lacking = [
            source
            for source in sizes[group]
            if sum(held[source]) < wanted[source] or len(held[source]) < settings.minimum_works
        ]
        fits = all(sum(held[source]) + size <= totals[source] / 2 for source, size in sizes[group].items())
        if lacking and fits:
            chosen.add(group)
            for source, size in sizes[group].items():
                held[source].append(size)
    for source in totals:
        if not held[source]:
            raise UserError(f"data.sources.{source}: too little text to hold any out for validation; give it more")
    return chosen


def overlap(training: list[Document], validation: list[Document]) -> float:
    """The share of the validation texts' distinct 13-grams that the training texts hold too (GPT-3's measure)."""
    known = [grams.shingles(document.text, CONTAMINATION_WORDS) for document in training]
    held = [grams.shingles(document.text, CONTAMINATION_WORDS) for document in validation]
    distinct = np.unique(np.concatenate(held))
    return float(np.isin(distinct, np.concatenate(known)).mean())


def run(corpus: Corpus) -> None:
    """Writes `split/{train,validation}/<source>.jsonl.zst` and one stamp for all."""
    inputs: dict[str, Any] = {
        "settings": vars(corpus.split),
        "files": {name: made_files(stamp_of(corpus.deduplicated(name)), "deduplicate") for name in corpus.sources},
        "code": code_of({}, __name__, near.__name__, grams.__name__),
        "libraries": versions_of(LIBRARIES),
    }
    stage_output(corpus.split_stamp, inputs, "split", partial(_make, corpus))


def _make(corpus: Corpus) -> Outcome:
    documents = [document for name in corpus.sources for document in read_documents(corpus.deduplicated(name))]
    with Workers(corpus.workers) as workers:
        texts = (document.text for document in documents)
        work = partial(_minhash, corpus.split.words)
        minhashes = list(tracked(workers.map(work, texts), "split", total=len(documents)))
    groups = groups_of(documents, minhashes, corpus.split.similarity)
    chosen = choose_validation(documents, groups, corpus.split)
    report: dict[str, Any] = {split: {} for split in (*SPLITS, "overlap")}
    files = []
    for name in corpus.sources:
        parts: dict[str, list[Document]] = {split: [] for split in SPLITS}
        for document, group in zip(documents, groups.tolist(), strict=True):
            if document.source == name:
                parts["validation" if group in chosen else "train"].append(document)
        for split in SPLITS:
            files.append(corpus.part(split, name))
            write_documents(files[-1], parts[split])
            report[split][name] = vars(Size.of(parts[split]))
        report["overlap"][name] = overlap(parts["train"], parts["validation"])
        say(f"split {name}: {len(parts['train']):,} documents to train on, {len(parts['validation']):,} held out")
    return files, report
