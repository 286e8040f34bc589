"""Stage 2: raw records to documents, source by source, on all cores."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from llamalab.data.corpus import Corpus, stamp_of
from llamalab.data.counts import Dropped, Size
from llamalab.data.documents import Document, write_documents
from llamalab.data.parallel import Workers
from llamalab.data.progress import say, tracked
from llamalab.data.source import DocumentRule, Extractor, Record
from llamalab.data.stamps import Outcome, code_of, stage_output, versions_of

LIBRARIES = ("trafilatura", "lxml")


@dataclass(frozen=True)
class ExtractRecord:
    """What a worker does with one record: extract, then clean each document."""

    source: str
    extractor: Extractor
    cleaning: list[DocumentRule]

    def __call__(self, record: Record) -> tuple[list[Document], Dropped]:
        dropped = Dropped()
        kept = []
        extracts = self.extractor(record)
        if not extracts:
            dropped.count("no text", 1, 0)
        for extract in extracts:
            document: Document | None = Document(extract.id, extract.text, self.source, dict(extract.metadata))
            for rule in self.cleaning:
                assert document is not None
                before = document.bytes
                changed = rule(document)
                if changed is None:
                    dropped.count(rule.name, 1, before)
                elif changed is not document:
                    dropped.count(rule.name, 0, before - changed.bytes)
                document = changed
                if document is None:
                    break
            if document is not None:
                kept.append(document)
        return kept, dropped


def run(corpus: Corpus) -> None:
    """Writes `extracted/<source>.jsonl.zst` and a stamp with the counts for each source."""
    with Workers(corpus.workers) as workers:
        for name in corpus.sources:
            _extract(corpus, name, workers)


def _extract(corpus: Corpus, name: str, workers: Workers) -> None:
    source, config = corpus.sources[name], dict(corpus.source_configs[name])
    for later in ("deduplication", "note"):
        config.pop(later)
    files = {}
    for origin in source.origins:
        for path in origin.fetch(corpus.raw):
            if path.parent != corpus.raw:  # what is fetched is pinned by a hash in the config already
                files[str(path)] = [path.stat().st_size, path.stat().st_mtime_ns]
    inputs = {
        "config": config,
        "files": files,
        "code": code_of(config, __name__, "llamalab.data.text"),
        "libraries": versions_of(LIBRARIES),
    }
    target = corpus.extracted(name)
    stage_output(stamp_of(target), inputs, f"extract {name}", partial(_make, corpus, name, workers))


def _make(corpus: Corpus, name: str, workers: Workers) -> Outcome:
    source, target = corpus.sources[name], corpus.extracted(name)
    dropped, extracted = Dropped(), Size()
    work = ExtractRecord(name, source.extractor, source.cleaning)

    def documents() -> Iterator[Document]:
        records = (record for origin in source.origins for record in origin.records(corpus.raw))
        for kept, counts in tracked(workers.map(work, records, chunk=8), f"extract {name}"):
            dropped.merge(counts)
            extracted.add(Size.of(kept))
            yield from kept

    write_documents(target, documents())
    say(f"extract {name}: {extracted.documents:,} documents, {extracted.bytes / 1e6:.2f} MB")
    report: dict[str, Any] = {
        "documents": extracted.documents,
        "bytes": extracted.bytes,
        "dropped": dropped.as_json(),
        "licences": sorted({origin.licence for origin in source.origins}),
    }
    return [target], report
