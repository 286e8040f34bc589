"""Stage 3: documents that repeat others, and lines that many documents repeat, go; each source by itself."""

from functools import partial

from llamalab.data.corpus import Corpus, stamp_of
from llamalab.data.counts import Dropped, Size
from llamalab.data.documents import Document, read_documents, write_documents
from llamalab.data.parallel import Workers
from llamalab.data.progress import say
from llamalab.data.source import CorpusRule
from llamalab.data.stamps import Outcome, code_of, made_files, stage_output, versions_of

LIBRARIES = ("datasketch",)


def apply_rules(documents: list[Document], rules: list[CorpusRule]) -> tuple[list[Document], Dropped]:
    """The documents that stay after all rules, and what each rule took."""
    dropped = Dropped()
    for rule in rules:
        before = Size.of(documents)
        documents = rule(documents)
        after = Size.of(documents)
        dropped.count(rule.name, before.documents - after.documents, before.bytes - after.bytes)
    return documents, dropped


def run(corpus: Corpus) -> None:
    """Writes `deduplicated/<source>.jsonl.zst` and a stamp with the counts for each source."""
    with Workers(corpus.workers) as workers:
        for _ in workers.map(partial(_deduplicate, corpus), list(corpus.sources), chunk=1):
            pass


def _deduplicate(corpus: Corpus, name: str) -> None:
    rules = corpus.source_configs[name]["deduplication"]
    inputs = {
        "config": rules,
        "files": made_files(stamp_of(corpus.extracted(name)), "extract"),
        "code": code_of({"rules": rules}, __name__, "llamalab.data.deduplication.shingles"),
        "libraries": versions_of(LIBRARIES),
    }
    target = corpus.deduplicated(name)
    stage_output(stamp_of(target), inputs, f"deduplicate {name}", partial(_make, corpus, name))


def _make(corpus: Corpus, name: str) -> Outcome:
    target = corpus.deduplicated(name)
    documents = list(read_documents(corpus.extracted(name)))
    kept, dropped = apply_rules(documents, corpus.sources[name].deduplication)
    write_documents(target, kept)
    size = Size.of(kept)
    say(f"deduplicate {name}: {size.documents:,} of {len(documents):,} documents stay, {size.bytes / 1e6:.2f} MB")
    return [target], {"documents": size.documents, "bytes": size.bytes, "dropped": dropped.as_json()}
