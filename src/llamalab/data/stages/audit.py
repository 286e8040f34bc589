"""Stage 7: the audit, the paper's Table 1 for this corpus, as JSON and Markdown."""

from typing import Any

from llamalab.common.files import write_json, write_text
from llamalab.common.provenance import provenance
from llamalab.data.corpus import Corpus, stamp_of
from llamalab.data.counts import Dropped, Size
from llamalab.data.progress import say
from llamalab.data.stages.split import CONTAMINATION_WORDS
from llamalab.data.stamps import report_of

# A source that a run repeats more often than this is called upsampled: beyond about four epochs repeated text is
# worth visibly less than new text (Muennighoff et al. 2023).
UPSAMPLED_FROM = 1.0


def run(corpus: Corpus) -> None:
    """Writes `audit.json` and `audit.md` beside the tokens; always, as it takes no time."""
    audit = audit_of(corpus)
    write_json(corpus.tokenized / "audit.json", audit)
    write_text(corpus.tokenized / "audit.md", markdown(audit))
    say(f"audit: {corpus.tokenized / 'audit.md'}")


def audit_of(corpus: Corpus) -> dict[str, Any]:
    """Everything the audit states, from the stamps of the stages.

    Raises:
        UserError: a stage has not finished.
    """
    split = report_of(corpus.split_stamp, "split")
    tokenizer = report_of(corpus.tokenizer_folder / "tokenizer.json", "tokenizer")
    sources: dict[str, Any] = {}
    for name, proportion in corpus.proportions.items():
        extracted = report_of(stamp_of(corpus.extracted(name)), "extract")
        deduplicated = report_of(stamp_of(corpus.deduplicated(name)), "deduplicate")
        tokens = report_of(corpus.tokens(name) / "tokens.json", "tokens")
        dropped = Dropped()
        for report in (extracted, deduplicated):
            dropped.merge(Dropped({rule: Size(**size) for rule, size in report["dropped"].items()}))
        train, validation = tokens["train"], tokens["validation"]
        sources[name] = {
            "sampling_proportion": proportion,
            "epochs": corpus.budget * proportion / train["tokens"],
            "one_epoch_at_tokens": round(train["tokens"] / proportion) if proportion else None,
            "documents": train["documents"],
            "bytes": train["bytes"],
            "tokens": train["tokens"],
            "bytes_per_token": train["bytes"] / train["tokens"],
            "validation": {**validation, "overlap_with_training": split["overlap"][name]},
            "extracted": {"documents": extracted["documents"], "bytes": extracted["bytes"]},
            "dropped": dropped.as_json(),
            "licences": extracted["licences"],
            "note": corpus.sources[name].note,
        }
    return {
        "corpus": corpus.name,
        "scale": corpus.scale_name,
        "budget_tokens": corpus.budget,
        "vocab_size": tokenizer["vocab_size"],
        "tokenizer_sample_bytes": tokenizer["sample_bytes"],
        "sources": sources,
        "empty_slots": corpus.empty_slots,
        "made_by": provenance(),
    }


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [_row(header), _row(["---"] + ["---:"] * (len(header) - 1)), *map(_row, rows), ""]


def markdown(audit: dict[str, Any]) -> str:
    """The audit for people."""
    sources = audit["sources"]
    lines = [
        f"# Data audit: {audit['corpus']}",
        "",
        "The paper's Table 1 for this corpus. Sampling proportions are the paper's, renormalised over the slots that "
        f"have text; epochs are for the {audit['scale']} scale's budget of {audit['budget_tokens']:,} tokens "
        f"(vocabulary {audit['vocab_size']:,}). A run of more tokens than `one epoch at` reads a source again.",
        "",
    ]
    rows = [
        [
            name,
            f"{100 * s['sampling_proportion']:.1f}%",
            f"{s['epochs']:.2f}",
            f"{s['one_epoch_at_tokens'] / 1e6:.1f} M" if s["one_epoch_at_tokens"] else "-",
            f"{s['documents']:,}",
            f"{s['bytes'] / 1e6:.2f} MB",
            f"{s['tokens']:,}",
            f"{s['bytes_per_token']:.2f}",
        ]
        for name, s in sources.items()
    ]
    rows += [[name, "0.0%", "-", "-", "0", "-", "0", "-"] for name in audit["empty_slots"]]
    columns = ["Sampling prop.", "Epochs", "One epoch at", "Documents", "Size", "Training tokens", "Bytes per token"]
    lines += _table(["Source", *columns], rows)
    lines += ["## Held out", ""]
    lines += _table(
        ["Source", "Documents", "Tokens", f"{CONTAMINATION_WORDS}-grams also in training"],
        [
            [
                name,
                f"{s['validation']['documents']:,}",
                f"{s['validation']['tokens']:,}",
                f"{100 * s['validation']['overlap_with_training']:.1f}%",
            ]
            for name, s in sources.items()
        ],
    )
    lines += [
        "## Dropped",
        "",
        "Bytes are those of dropped documents, or what a rule took out of documents it kept.",
        "",
    ]
    lines += _table(
        ["Source", "Rule", "Documents", "Bytes"],
        [
            [name, rule, f"{size['documents']:,}", f"{size['bytes']:,}"]
            for name, s in sources.items()
            for rule, size in s["dropped"].items()
        ],
    )
    lines += ["## Notes", ""]
    for name, s in sources.items():
        lines.append(f"- **{name}** ({'; '.join(s['licences'])}): {s['note']}{_repetition(s)}")
    lines += [f"- **{name}** is empty: {reason}" for name, reason in audit["empty_slots"].items()]
    return "\n".join(lines) + "\n"


def _repetition(source: dict[str, Any]) -> str:
    if source["epochs"] <= UPSAMPLED_FROM:
        return ""
    return f" It is upsampled: this budget reads every document {source['epochs']:.1f} times on average."
