"""A study's runs put through its declared statistics: what each arm's verdict rests on."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from llamalab.analysis.records import DIVERGED, FINISHED, Run, Study
from llamalab.analysis.statistics import ArmVerdict, Declaration, Difference, Outcomes, judge
from llamalab.analysis.statistics.pilot import Pilot, pilot
from llamalab.analysis.statistics.power import Paired, Unpaired, minimum_detectable
from llamalab.analysis.statistics.resampling import Resampling, document_bootstrap, seed_bootstrap
from llamalab.analysis.validation_documents import weighted

PILOT = "pilot"  # the study that measures noise, and its arm that repeats the baseline's seeds
REPEAT = "repeat"
RESAMPLES, RESAMPLING_SEED = 9999, 0


@dataclass(frozen=True)
class Noise:
    """What the seeds scatter by, and what the study can therefore see.

    `measured_by` names the study that it was measured in. `detectable` is the difference (unit of the metric) that a
    comparison of this study's design finds with its declared power, before the correction for several arms.
    """

    pilot: Pilot
    measured_by: str
    detectable: float


@dataclass(frozen=True)
class Judgement:
    """The statistics of one study: verdicts by arm, without the baseline, and their cross-checks."""

    noise: Noise
    verdicts: dict[str, ArmVerdict]
    seed_intervals: dict[str, Difference]
    document_intervals: dict[str, Difference]


def metric_of(run: Run, metric: str) -> float:
    """A finished run's metric, a dotted key of its result.json."""
    value = run.result
    for key in metric.split("."):
        assert value is not None, f"{run.path}: has no {metric}"
        value = value[key]
    return float(value)  # type: ignore[arg-type]


def outcomes(study: Study, arm: str) -> Outcomes:
    """Losses of the arm's finished runs by seed, and how many diverged."""
    runs = [run for run in study.runs if run.arm == arm]
    return Outcomes(
        losses={run.seed: metric_of(run, study.record["metric"]) for run in runs if run.status == FINISHED},
        diverged=sum(run.status == DIVERGED for run in runs),
    )


def judge_study(study: Study, pilots: list[Study]) -> Judgement:
    """Applies the study's declaration to its runs.

    Args:
        study: any study.
        pilots: the studies called `pilot`; the one of the same scale and corpus decides about pairing. Without one
            the study's own runs say how they scatter, but seeds are not paired: data do not choose their own test.
    """
    measured = next((p for p in pilots if (p.scale, p.data) == (study.scale, study.data)), study)
    found = _pilot(measured, study)
    if measured is study:
        found = dataclasses.replace(found, paired=False)
    record = study.record
    arms = {arm: outcomes(study, arm) for arm in study.arms if arm != study.baseline}
    baseline = outcomes(study, study.baseline)
    alpha = 1 - record["confidence"]
    declared = Declaration(
        family=tuple(record["family"]),
        paired=found.paired,
        margin=record["margin"],
        alpha=alpha,
        power=record["power"],
        baseline_per_arm=max(1, len(record["baseline_seeds"]) // len(record["seeds"])),
    )
    resampling = Resampling(RESAMPLES, RESAMPLING_SEED, record["confidence"])
    return Judgement(
        noise=Noise(found, measured.name, _detectable(study, found, alpha)),
        verdicts=judge(arms, baseline, declared),
        seed_intervals={
            name: seed_bootstrap(arm.losses, baseline.losses, paired=found.paired, resampling=resampling)
            for name, arm in arms.items()
        },
        document_intervals={name: _document_interval(study, name, resampling) for name in arms},
    )


def _pilot(measured: Study, study: Study) -> Pilot:
    baseline = outcomes(measured, measured.baseline)
    others = {arm: outcomes(measured, arm).losses for arm in measured.arms if arm not in (measured.baseline, REPEAT)}
    repeats = outcomes(measured, REPEAT).losses if REPEAT in measured.arms else {}
    return pilot(
        baseline.losses,
        others,
        diverged=baseline.diverged,
        repeats=repeats,
        pair_from=study.record["pairing_rho"],
        confidence=study.record["confidence"],
    )


def _detectable(study: Study, found: Pilot, alpha: float) -> float:
    sd, seeds = found.spread.sd, len(study.record["seeds"])
    if math.isnan(sd):
        return math.nan
    noise = Paired.correlated(sd, sd, found.mean_rho) if found.paired else Unpaired(sd, sd)
    power = study.record["power"]
    return minimum_detectable(noise, seeds, len(study.record["baseline_seeds"]), alpha=alpha, power=power)


def _document_interval(study: Study, arm: str, resampling: Resampling) -> Difference:
    ours, baseline, tokens = weighted(study.documents, arm, study.baseline)
    if not len(tokens):
        return Difference(math.nan, math.nan, math.nan)
    return document_bootstrap(np.atleast_2d(ours), np.atleast_2d(baseline), tokens, resampling=resampling)
