"""The tables of one study: arms with their differences, loss by domain, throughput."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from llamalab.analysis.judgement import PILOT, Judgement, Noise, metric_of
from llamalab.analysis.records import DIVERGED, FINISHED, Run, Study
from llamalab.analysis.statistics import ArmVerdict, Difference, divergence_rate
from llamalab.common import formats
from llamalab.common.tables import Column, Table


@dataclass(frozen=True)
class ArmResult:
    """One arm of a study: its runs by status, and its final validation loss against the baseline's.

    `difference` is the declared test's, `seed_interval` the bootstrap's over seeds, `document_interval` the
    bootstrap's over validation documents. `judged` is None for the baseline.
    """

    name: str
    is_baseline: bool
    finished: list[Run]
    diverged: int
    absent: int
    losses: list[float]
    difference: Difference
    judged: ArmVerdict | None
    seed_interval: Difference
    document_interval: Difference

    @property
    def mean_loss(self) -> float:
        """Mean final validation loss over the finished seeds, nats per token; NaN without any."""
        return _mean(self.losses)

    @property
    def spread(self) -> float:
        """Sample standard deviation of the final validation loss over seeds, nats per token; NaN below two seeds."""
        return float(np.std(self.losses, ddof=1)) if len(self.losses) > 1 else math.nan

    def mean(self, *keys: str) -> float:
        """Mean over finished seeds of a number in result.json; NaN where no run has it."""
        return _mean([value for value in (value_of(run, *keys) for run in self.finished) if value is not None])


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def value_of(run: Run, *keys: str) -> Any:
    """A nested entry of the run's result.json; None where it is missing."""
    value: Any = run.result
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def arm_results(study: Study, judgement: Judgement) -> list[ArmResult]:
    """Every arm of the study, the baseline first. Diverged and absent runs are counted and have no loss."""
    by_arm = {arm: [run for run in study.runs if run.arm == arm] for arm in study.arms}
    finished = {arm: [run for run in runs if run.status == FINISHED] for arm, runs in by_arm.items()}
    nothing = Difference(math.nan, math.nan, math.nan)
    return [
        ArmResult(
            name=arm,
            is_baseline=arm == study.baseline,
            finished=finished[arm],
            diverged=sum(run.status == DIVERGED for run in by_arm[arm]),
            absent=sum(not run.ended for run in by_arm[arm]),
            losses=[metric_of(run, study.record["metric"]) for run in finished[arm]],
            difference=judgement.verdicts[arm].comparison.difference if arm in judgement.verdicts else nothing,
            judged=judgement.verdicts.get(arm),
            seed_interval=judgement.seed_intervals.get(arm, nothing),
            document_interval=judgement.document_intervals.get(arm, nothing),
        )
        for arm in (study.baseline, *(arm for arm in study.arms if arm != study.baseline))
    ]


def interval_text(arm: ArmResult) -> str:
    """The interval of the difference as text, or why there is none."""
    if arm.is_baseline:
        return "baseline"
    return between(arm.difference)


def arms_table(study: Study, arms: list[ArmResult], judgement: Judgement) -> Table:
    """The ablation table at equal parameters and tokens: one row an arm."""
    rows = []
    for arm in arms:
        judged = arm.judged
        rows.append(
            {
                "arm": arm.name,
                "baseline": arm.is_baseline,
                "seeds": len(arm.finished),
                "diverged": diverged_text(arm, study),
                "absent": arm.absent,
                "loss": arm.mean_loss,
                "loss_sd": arm.spread,
                "difference": arm.difference.estimate,
                "low": arm.difference.low,
                "high": arm.difference.high,
                "interval": interval_text(arm),
                "verdict": "baseline" if judged is None else judged.verdict.value,
                "p": math.nan if judged is None else judged.comparison.p_value,
                "p_holm": None if judged is None else judged.adjusted_p,
                "p_tost": judged.equivalence.p_value if judged and judged.equivalence else math.nan,
                "seeds_low": arm.seed_interval.low,
                "seeds_high": arm.seed_interval.high,
                "documents_low": arm.document_interval.low,
                "documents_high": arm.document_interval.high,
                "documents": between(arm.document_interval),
                "reason": "" if judged is None else judged.reason,
                "bits_per_byte": arm.mean("validation", "bits_per_byte"),
                "non_embedding_parameters": arm.mean("parameters", "non_embedding"),
                "total_parameters": arm.mean("parameters", "total"),
            }
        )
    level = f"{100 * study.record['confidence']:g}%"
    test = "paired t" if judgement.noise.pilot.paired else "Welch t"
    return Table(
        name=f"{study.key}_arms",
        caption=(
            f"{study.name} at scale {study.scale}, equal parameters and tokens: final validation loss in nats per "
            f"token, mean and standard deviation (sd) over finished seeds; its difference from {study.baseline} with a "
            f"{level} {test}-interval over seeds, Holm-adjusted p over the declared family, p of equivalence within "
            f"{study.record['margin']:g} (TOST), and the {level} interval over validation documents for these very "
            f"runs. {noise_text(judgement.noise)}"
        ),
        columns=[
            Column("arm", "arm", numeric=False),
            Column("baseline", "baseline", readable=False),
            Column("seeds", "seeds", formats.count),
            Column("diverged", "diverged"),
            Column("absent", "missing", formats.count),
            Column("loss", "loss", formats.fixed(4)),
            Column("loss_sd", "sd", formats.fixed(4)),
            Column("difference", "difference", formats.signed(4)),
            Column("low", "low", readable=False),
            Column("high", "high", readable=False),
            Column("interval", f"{level} interval"),
            Column("verdict", "verdict", numeric=False),
            Column("p", "p", readable=False),
            Column("p_holm", "p (Holm)", formats.significant(2)),
            Column("p_tost", "p (TOST)", formats.significant(2)),
            Column("seeds_low", "bootstrap low", readable=False),
            Column("seeds_high", "bootstrap high", readable=False),
            Column("documents_low", "documents low", readable=False),
            Column("documents_high", "documents high", readable=False),
            Column("documents", "over documents"),
            Column("reason", "reason", readable=False),
            Column("bits_per_byte", "bits per byte", formats.fixed(4)),
            Column("non_embedding_parameters", "parameters, no embeddings", formats.compact()),
            Column("total_parameters", "parameters, all", formats.compact()),
        ],
        rows=rows,
    )


def between(difference: Difference) -> str:
    """An interval as text; a dash where there is none."""
    if not difference.has_interval:
        return formats.NOTHING
    return f"{formats.signed(4)(difference.low)} to {formats.signed(4)(difference.high)}"


def diverged_text(arm: ArmResult, study: Study) -> str:
    """How many of the arm's runs diverged, with the Clopper-Pearson interval of the rate where some did."""
    ended = len(arm.finished) + arm.diverged
    if not arm.diverged:
        return "0"
    rate = divergence_rate(arm.diverged, ended, study.record["confidence"])
    return f"{arm.diverged} of {ended} ({100 * rate.low:.0f} to {100 * rate.high:.0f}%)"


def noise_text(noise: Noise) -> str:
    """What the pilot measured, and the difference that the study can therefore detect."""
    pilot, spread = noise.pilot, noise.pilot.spread
    if math.isnan(spread.sd):
        return "The noise over seeds is not known yet."
    fixed = formats.fixed(4)
    whose = "the pilot" if noise.measured_by == PILOT else f"{noise.measured_by}'s own baseline, for want of a pilot,"
    text = f"Noise: {whose} has a seed sd of {fixed(spread.sd)} ({fixed(spread.low)} to {fixed(spread.high)})"
    if not math.isnan(pilot.mean_rho):
        text += f" and a correlation of {pilot.mean_rho:.2f} between arms that share seeds"
    text += f", so seeds are {'paired' if pilot.paired else 'not paired'}"
    text += f" and a comparison detects a difference of {fixed(noise.detectable)}"
    if pilot.repeats.n:
        text += f"; the same seed repeated differs by {pilot.repeats.largest:.2g}"
    return text + "."


def summary_table(study: Study, arms: list[ArmResult]) -> Table:
    """The ablation table in eighty columns, for the terminal."""
    rows = [
        {
            "arm": arm.name,
            "seeds": ", ".join(
                f"{number} {what}".strip()
                for number, what in ((len(arm.finished), ""), (arm.diverged, "diverged"), (arm.absent, "missing"))
                if number or not what
            ),
            "loss": arm.mean_loss,
            "difference": arm.difference.estimate,
            "interval": interval_text(arm),
            "verdict": "" if arm.judged is None else arm.judged.verdict.value,
        }
        for arm in arms
    ]
    return Table(
        name=f"{study.key}_summary",
        caption=f"{study.name} at {study.scale}: final validation loss, nats/token",
        columns=[
            Column("arm", "arm", numeric=False),
            Column("seeds", "seeds"),
            Column("loss", "loss", formats.fixed(4)),
            Column("difference", "difference", formats.signed(4)),
            Column("interval", f"{100 * study.record['confidence']:g}% interval"),
            Column("verdict", "verdict", numeric=False),
        ],
        rows=rows,
    )


def expected_table(study: Study, arms: list[ArmResult]) -> Table | None:
    """What was expected before any run, beside what was found; None where nothing was declared."""
    expected = study.record.get("expected") or {}
    rows = [
        {
            "arm": arm.name,
            "expected": expected[arm.name]["effect"],
            "found": arm.difference.estimate,
            "interval": interval_text(arm),
            "source": expected[arm.name]["source"],
        }
        for arm in arms
        if arm.name in expected
    ]
    if not rows:
        return None
    return Table(
        name=f"{study.key}_expected",
        caption=(
            f"{study.name} at scale {study.scale}: differences from {study.baseline} in nats per token as published "
            "(at far larger scales, on other data) and declared before the runs, and as found here."
        ),
        columns=[
            Column("arm", "arm", numeric=False),
            Column("expected", "published", formats.signed(3)),
            Column("found", "found", formats.signed(3)),
            Column("interval", "interval"),
            Column("source", "source of the published effect", numeric=False, wrap=True),
        ],
        rows=rows,
    )


def domains_table(study: Study, arms: list[ArmResult]) -> Table:
    """Bits per byte by domain: one row an arm, one column a domain."""
    domains = sorted({d for arm in arms for run in arm.finished for d in value_of(run, "validation", "loss_by_domain")})
    rows = [
        {"arm": arm.name} | {domain: arm.mean("validation", "bits_per_byte_by_domain", domain) for domain in domains}
        for arm in arms
    ]
    return Table(
        name=f"{study.key}_domains",
        caption=f"{study.name} at scale {study.scale}: validation bits per byte by domain, mean over finished seeds.",
        columns=[Column("arm", "arm", numeric=False), *(Column(d, d, formats.fixed(4)) for d in domains)],
        rows=rows,
    )


def throughput_table(study: Study, arms: list[ArmResult]) -> Table:
    """Speed and memory by arm, as measured during the runs."""
    rows = [
        {
            "arm": arm.name,
            "tokens_per_second": arm.mean("tokens_per_second"),
            "relative": arm.mean("tokens_per_second") / arms[0].mean("tokens_per_second"),
            "flops_per_token": arm.mean("flops_per_token"),
            "mfu": arm.mean("mfu"),
            "seconds": arm.mean("seconds"),
            "peak_memory_bytes": arm.mean("peak_memory_bytes"),
        }
        for arm in arms
    ]
    return Table(
        name=f"{study.key}_throughput",
        caption=(
            f"{study.name} at scale {study.scale}: training speed by arm, mean over finished seeds. MFU is "
            "tokens/s x FLOP per token / peak FLOP/s of the devices; a dash where the peak is not known."
        ),
        columns=[
            Column("arm", "arm", numeric=False),
            Column("tokens_per_second", "tokens/s", formats.significant(3)),
            Column("relative", f"of {study.baseline}", formats.percent(0)),
            Column("flops_per_token", "FLOP per token", formats.compact()),
            Column("mfu", "MFU", formats.percent(1)),
            Column("seconds", "time per run", formats.duration),
            Column("peak_memory_bytes", "peak memory (MiB)", lambda v: formats.fixed(0)(None if v != v else v / 2**20)),
        ],
        rows=rows,
    )
