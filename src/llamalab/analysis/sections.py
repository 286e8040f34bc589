"""From a study's runs to its section of the page, writing its tables and figures on the way."""

from pathlib import Path

from llamalab.analysis import figures
from llamalab.analysis.figure_style import arm_colours, page_colour, write_figure
from llamalab.analysis.judged import Judged
from llamalab.analysis.learning_rates import learning_rates_table, sweep_points
from llamalab.analysis.matched_compute import matched_compute_table
from llamalab.analysis.page import ArmVerdict, FigureBlock, StudySection
from llamalab.analysis.records import Study, read_metrics
from llamalab.analysis.study_tables import (
    ArmResult,
    arm_results,
    arms_table,
    domains_table,
    expected_table,
    interval_text,
    noise_text,
    summary_table,
    throughput_table,
)
from llamalab.analysis.verdicts import cautions, headline, made
from llamalab.common import formats


def read_curves(study: Study, kind: str) -> figures.Curves:
    """`validation` or `train` loss of every run that ended, by arm and seed; arms without any are left out."""
    curves: figures.Curves = {}
    for run in study.runs:
        metrics = read_metrics(run) if run.ended else None
        if metrics is None or run.arm is None or f"{kind}/loss" not in metrics:
            continue
        curve = metrics[["tokens", f"{kind}/loss"]].dropna().rename(columns={f"{kind}/loss": "loss"})
        curves.setdefault(run.arm, []).append(curve)
    return curves


def study_section(judged: Judged, figures_dir: Path) -> StudySection:
    """The study's part of the page; its figures are written to `figures_dir` as PNG and SVG."""
    study, judgement = judged.study, judged.judgement
    confidence = float(study.record["confidence"])
    arms = arm_results(study, judgement)
    colours = arm_colours(study.arms, study.baseline)
    validation, training = read_curves(study, "validation"), read_curves(study, "train")
    level = f"{100 * confidence:g}%"

    def block(figure: figures.Figure, part: str, caption: str) -> FigureBlock:
        name = f"{study.key}_{part}"
        return FigureBlock(name, write_figure(figure, figures_dir, name), caption)

    curves = []
    if validation:
        caption = "Validation loss against training tokens: each seed thin, the mean over seeds thick."
        figure = figures.loss_curves(validation, colours, "validation loss (nats/token)")
        curves.append(block(figure, "validation_loss", caption))
    if study.baseline in validation and len(validation) > 1:
        caption = (
            f"The same curves minus the mean of {study.baseline} at the same tokens: below zero is better. "
            "The vertical axis fits the second half of training."
        )
        figure = figures.difference_curves(validation, study.baseline, colours)
        curves.append(block(figure, "difference", caption))
    if training:
        caption = "Training loss as a running mean over 5% of the run; the fall of the first tenth is above the frame."
        smooth = {arm: [figures.smoothed(seed) for seed in seeds] for arm, seeds in training.items()}
        figure = figures.loss_curves(smooth, colours, "training loss (nats/token)")
        curves.append(block(figure, "training_loss", caption))
    forest = None
    if any(arm.losses for arm in arms[1:]) and arms[0].losses:
        caption = (
            f"Difference of the final validation loss from {study.baseline} (nats per token): dot the mean over seeds, "
            f"line its {level} interval, ticks the seeds; shaded, the margin within which a difference does not matter."
        )
        margin = study.record["margin"]
        forest = block(figures.forest(arms, confidence, margin, colours), "forest", caption)
    speed = None
    if any(arm.finished for arm in arms):
        caption = "Training tokens per second by arm: bar the mean over seeds, dots the seeds."
        speed = block(figures.throughput(arms, colours), "throughput", caption)
    rates = None
    points = sweep_points(study)
    if study.rates and points:
        caption = (
            "Loss of the learning-rate sweep, on seeds of its own: dots the grid, dotted line the chosen rate of the "
            "arm; a run that diverged is at the upper edge."
        )
        chosen = {arm: entry["chosen"] for arm, entry in study.rates.items()}
        rates = block(figures.learning_rates(points, chosen, colours), "learning_rates", caption)
    domains = domains_table(study, arms)
    return StudySection(
        key=study.key,
        name=study.name,
        scale=study.scale,
        level=level,
        question=study.question,
        headline=headline(arms),
        baseline=study.baseline,
        verdicts=[_arm_verdict(arm, colours[arm.name]) for arm in arms],
        cautions=[
            noise_text(judgement.noise),
            *cautions(study, arms),
            *(sentence for extra in judged.extras for sentence in extra.sentences),
        ],
        made=made(study),
        summary=summary_table(study, arms),
        arms=arms_table(study, arms, judgement),
        matched_compute=matched_compute_table(study),
        learning_rates=learning_rates_table(study),
        learning_rates_figure=rates,
        expected=expected_table(study, arms),
        curves=curves,
        forest=forest,
        domains=domains if len(domains.columns) > 1 else None,
        more_tables=[table for extra in judged.extras for table in extra.tables],
        more_figures=[
            block(drawing.figure, drawing.part, drawing.caption) for extra in judged.extras for drawing in extra.figures
        ],
        throughput=throughput_table(study, arms),
        throughput_figure=speed,
    )


def _arm_verdict(arm: ArmResult, colour: str) -> ArmVerdict:
    return ArmVerdict(
        name=arm.name,
        verdict="baseline" if arm.judged is None else arm.judged.verdict.value,
        reason="" if arm.judged is None else arm.judged.reason,
        difference=formats.fixed(4)(arm.mean_loss) if arm.is_baseline else formats.signed(4)(arm.difference.estimate),
        interval="mean loss" if arm.is_baseline else interval_text(arm),
        colour=page_colour(colour),
    )
