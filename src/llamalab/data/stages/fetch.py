"""Stage 1: the raw files are there, each with the hash that its source pins."""

from llamalab.data.corpus import Corpus
from llamalab.data.progress import say


def run(corpus: Corpus) -> None:
    """Fetches what is missing; files that are there with the right hash are left alone."""
    for source in corpus.sources.values():
        for origin in source.origins:
            origin.fetch(corpus.raw)
    say(f"fetch: the raw files of {len(corpus.sources)} sources are in place")
