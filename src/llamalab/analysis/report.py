"""`llamalab report`: what runs left behind, as tables, figures, verdicts and one self-contained page."""

import dataclasses
import io
import re
import shutil
from pathlib import Path

import yaml
from omegaconf import DictConfig, ListConfig
from rich.console import Console

from llamalab.analysis import figures
from llamalab.analysis.archive import read_archive, write_archive
from llamalab.analysis.audit import find_audits
from llamalab.analysis.claims import claims_table, read_claims
from llamalab.analysis.comparisons import find_comparisons, side_by_side, write_comparisons
from llamalab.analysis.comparisons import sections as comparison_sections
from llamalab.analysis.facts import facts
from llamalab.analysis.figure_style import write_figure
from llamalab.analysis.findings import findings
from llamalab.analysis.judged import judge_all
from llamalab.analysis.mlflow_log import links, log_report, warn
from llamalab.analysis.page import FigureBlock, Page
from llamalab.analysis.records import Run, Study, find_single_runs, find_studies
from llamalab.analysis.run_tables import energy_table, runs_table
from llamalab.analysis.scores import Score, find_scores, readable, scores_table, sentences
from llamalab.analysis.sections import study_section
from llamalab.analysis.training_curves import figure_blocks
from llamalab.analysis.verdicts import overview, title
from llamalab.common.configs import check_type, repository_folder
from llamalab.common.console import console
from llamalab.common.errors import UserError
from llamalab.common.files import write_text

CLAIMS = "claims.yaml"
FOLDERS = ("tables", "figures", "comparisons")
SUMMARY_WIDTH = 100  # columns of summary.txt


def run(cfg: DictConfig) -> None:
    """Writes <out>/index.html, tables and figures, and prints the result table.

    Raises:
        UserError: nothing to report on, an unknown study or scale, a broken file, runs that one table cannot hold.
    """
    for key, kind in (
        ("log_to_mlflow", bool),
        ("only_scale", str | None),
        ("records", str | None),
        ("archive", str | None),
        ("findings", str | None),
    ):
        check_type(key, cfg[key], kind)
    check_type("other_models", cfg.other_models, bool)
    runs_dir, out = Path(cfg.records or cfg.runs_dir), Path(cfg.out)
    names = list(cfg.studies) if isinstance(cfg.studies, ListConfig) else [cfg.studies] if cfg.studies else None
    if cfg.records:
        studies = [study for study in read_archive(runs_dir) if not names or study.name in names]
    else:
        studies = find_studies(runs_dir, names, cfg.only_scale)
    singles = [] if names or cfg.records else find_single_runs(runs_dir, cfg.only_scale)
    runs = [run for study in studies for run in study.runs] + singles
    if not runs:
        raise UserError(f"runs_dir: no runs under '{runs_dir}'; train some first (llamalab train), or set runs_dir")

    # A table or figure of an earlier report must not outlive its runs.
    for folder in FOLDERS:
        shutil.rmtree(out / folder, ignore_errors=True)
    page = build_page(cfg, studies, singles, out)
    write_text(out / "index.html", page.html())

    if cfg.archive:
        for path in write_archive(studies, Path(cfg.archive)):
            console.print(f"archived: {path}", soft_wrap=True, highlight=False)
    if cfg.findings:
        write_text(Path(cfg.findings), findings(page))
    summary(page, console)
    text = io.StringIO()
    summary(page, Console(file=text, width=SUMMARY_WIDTH))
    write_text(out / "summary.txt", text.getvalue())
    if cfg.log_to_mlflow:
        for study in studies:
            warning = log_report(study, markdown_summary(page, study), out, cfg.dashboard) if study.mlflow else None
            if warning:
                warn(warning)
            elif study.mlflow:
                where = links(study, cfg.dashboard)["charts"]
                console.print(f"{study.key} in MLflow (make dashboard): {where}", soft_wrap=True, highlight=False)
    console.print(f"page: {out / 'index.html'}", soft_wrap=True, highlight=False)


def summary(page: Page, to: Console) -> None:
    """Prints each study's result table and verdict, or the runs where there is no study."""
    for section in page.studies:
        to.print(section.summary.rich())
        to.print(section.headline, soft_wrap=True, highlight=False)
    if not page.studies:
        to.print(page.runs.rich())


def build_page(cfg: DictConfig, studies: list[Study], singles: list[Run], out: Path) -> Page:
    """The page's content; writes every table and figure of it below `out`."""
    runs = [run for study in studies for run in study.runs] + singles
    judged = judge_all(studies)
    sections = [study_section(one, out / "figures") for one in judged]
    claims = claims_table(read_claims(repository_folder("experiments") / CLAIMS), judged) if studies else None
    folders = [Path(folder) for folder in cfg.scores_dirs]
    compared = find_comparisons(folders)
    elsewhere = {(one.subject, one.content["suite"], task) for one in compared for task in one.tasks}
    scores = [score for score in find_scores(folders) if (score.subject, score.suite, score.task) not in elsewhere]
    write_comparisons(compared, out / "comparisons", cfg.other_models)
    first = next((run for run in runs if run.config), None)
    page = Page(
        title=title(studies),
        summary=overview(studies, runs),
        claims=claims,
        studies=sections,
        facts=facts(runs),
        config=yaml.safe_dump(first.config, sort_keys=False, allow_unicode=True) if first else "",
        audits=find_audits(Path(cfg.artifacts_dir), runs),
        scores=scores_table(scores) if scores else None,
        score_sentences=sentences(scores),
        score_figures=score_figures(scores, out / "figures"),
        side_by_side=side_by_side(compared),
        comparisons=comparison_sections(compared, cfg.other_models),
        paper_figures=figure_blocks(studies, singles, out / "figures"),
        energy=energy_table(runs) if any(run.ended for run in runs) else None,
        runs=runs_table(runs, Path(cfg.records or cfg.runs_dir)),
        files=[],
    )
    for table in page.tables():
        table.write(out / "tables")
    files = sorted(path.relative_to(out).as_posix() for folder in FOLDERS for path in (out / folder).glob("*.*"))
    return dataclasses.replace(page, files=files)


def score_figures(scores: list[Score], figures_dir: Path) -> list[FigureBlock]:
    """One figure for each run, task and metric that has a chance level and several domains."""
    groups: dict[tuple[str, ...], list[Score]] = {}
    for score in scores:
        if score.chance is not None:
            groups.setdefault((score.subject, score.suite, score.task, score.metric), []).append(score)
    blocks = []
    for key, rows in ((key, rows) for key, rows in groups.items() if len(rows) > 1):
        name = re.sub(r"[^A-Za-z0-9]+", "_", "_".join(("scores", *key)))
        caption = (
            f"{readable(rows[0].task)}, {readable(rows[0].metric)}, {rows[0].subject}: dot the score, bar one standard "
            "error, dashed what guessing scores."
        )
        blocks.append(FigureBlock(name, write_figure(figures.scores(rows), figures_dir, name), caption))
    return blocks


def markdown_summary(page: Page, of: Study) -> str:
    """The verdicts and tables of one study as Markdown, for a dashboard's note."""
    parts = []
    for study in [section for section in page.studies if section.key == of.key]:
        cautions = "\n".join(f"- {caution}" for caution in study.cautions)
        parts.append(f"## {study.question}\n\n{study.headline}\n\n{cautions}\n\n{study.arms.markdown()}")
    return "\n".join(parts) + "\nThe page, tables and figures are under Artifacts, in `report`.\n"
