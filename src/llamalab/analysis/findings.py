"""The findings as Markdown: what holds, what does not, what could not be resolved. Nothing in it is typed by hand."""

from llamalab.analysis.page import Page, StudySection
from llamalab.common.tables import Table

HEAD = """# Findings

This file is written by `llamalab report`; do not edit it. It says what the committed records of the studies
(`experiments/results/`) support at the scale they were made at, next to what others published at far larger ones.
"""


def findings(page: Page) -> str:
    """The write-up of every study on the page, the claims first."""
    parts = [HEAD, page.summary]
    if page.claims is not None:
        parts += ["## Claims", page.claims.markdown()]
    for study in page.studies:
        parts += _study(study)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _study(study: StudySection) -> list[str]:
    reasons = "\n".join(
        f"- **{arm.name}: {arm.verdict}.** {_sentence(arm.reason)}" for arm in study.verdicts if arm.reason
    )
    cautions = "\n".join(f"- {caution}" for caution in study.cautions)
    tables: list[Table | None] = [study.arms, study.expected, study.matched_compute, study.learning_rates]
    return [
        f"## {study.name} at scale {study.scale}",
        f"**{study.question}**",
        study.headline,
        reasons,
        *(table.markdown() for table in (*tables, *study.more_tables) if table is not None),
        "Read with this in mind:",
        cautions,
        "How it was made:",
        "\n".join(f"- {line}" for line in study.made),
    ]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
