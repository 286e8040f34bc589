"""The result page: one HTML file that needs nothing else, made from tables and figures that already exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2

from llamalab.analysis.audit import Audit
from llamalab.analysis.comparisons import ComparisonSection
from llamalab.analysis.facts import Fact
from llamalab.analysis.figure_style import inline_svg
from llamalab.common.tables import Table


@dataclass(frozen=True)
class FigureBlock:
    """A figure of the page: SVG as written to disk, and a caption that states what is shown, with units."""

    name: str
    svg: str
    caption: str

    @property
    def inline(self) -> str:
        """The SVG as part of the page."""
        return inline_svg(self.svg, self.name, self.caption)


@dataclass(frozen=True)
class ArmVerdict:
    """One arm's line under a study's headline."""

    name: str
    verdict: str
    difference: str
    interval: str
    colour: str
    reason: str


@dataclass(frozen=True)
class StudySection:
    """Everything the page shows of one study."""

    key: str
    name: str
    scale: str
    level: str
    question: str
    headline: str
    baseline: str
    verdicts: list[ArmVerdict]
    cautions: list[str]
    made: list[str]
    summary: Table
    arms: Table
    matched_compute: Table | None
    learning_rates: Table | None
    learning_rates_figure: FigureBlock | None
    expected: Table | None
    curves: list[FigureBlock]
    forest: FigureBlock | None
    domains: Table | None
    more_tables: list[Table]
    more_figures: list[FigureBlock]
    throughput: Table
    throughput_figure: FigureBlock | None


@dataclass(frozen=True)
class Page:
    """The content of the page. Empty parts say that they are empty; they do not vanish."""

    title: str
    summary: str
    claims: Table | None
    studies: list[StudySection]
    facts: list[Fact]
    config: str
    audits: list[Audit]
    scores: Table | None
    score_sentences: list[str]
    score_figures: list[FigureBlock]
    side_by_side: list[Table]
    comparisons: list[ComparisonSection]
    paper_figures: list[FigureBlock]
    energy: Table | None
    runs: Table
    files: Sequence[str]

    def tables(self) -> list[Table]:
        """Every table of the page, in its order."""
        found: list[Table | None] = [self.claims, *(audit.table for audit in self.audits)]
        for study in self.studies:
            found += [study.arms, study.expected, study.matched_compute, study.learning_rates]
            found += [*study.more_tables, study.domains, study.throughput]
        found += [self.scores, *self.side_by_side, self.energy, self.runs]
        return [table for table in found if table is not None]

    def html(self) -> str:
        """The page as text; the same content gives the same text."""
        templates = resources.files("llamalab.analysis") / "templates"
        environment = jinja2.Environment(
            loader=jinja2.FunctionLoader(lambda name: (templates / name).read_text(encoding="utf-8")),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        css = jinja2.utils.markupsafe.Markup((templates / "page.css").read_text(encoding="utf-8"))
        return environment.get_template("page.html.j2").render(page=self, css=css)
