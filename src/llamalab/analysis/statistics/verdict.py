"""One rule from declared tests to a word: worse, better, equivalent or inconclusive."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from llamalab.analysis.statistics.comparison import Comparison, Losses, compare
from llamalab.analysis.statistics.divergence import Divergence, Rate, compare_divergence, divergence_rate
from llamalab.analysis.statistics.equivalence import Equivalence, equivalence
from llamalab.analysis.statistics.multiplicity import holm
from llamalab.analysis.statistics.power import Noise, Paired, Unpaired, seeds_to_detect, seeds_to_equate
from llamalab.common.errors import UserError


class Verdict(StrEnum):
    """What a study may say about an arm; lower values (losses) are better."""

    WORSE = "worse"
    BETTER = "better"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"
    NOT_TESTED = "not tested"


@dataclass(frozen=True)
class Outcomes:
    """What became of an arm's runs: seed -> loss of those that finished, and how many diverged."""

    losses: Losses
    diverged: int


@dataclass(frozen=True)
class Declaration:
    """What the study fixed before its runs.

    `family`: the arms that are judged, the baseline not among them. `paired`: see `pilot.pair_seeds`. `margin`:
    the difference that does not matter, in the unit of the losses; None if the study claims no equivalence.
    `alpha`: level of every test. `power` and `baseline_per_arm` (baseline seeds for each seed of an arm) only plan
    the seeds that an inconclusive arm would take.
    """

    family: tuple[str, ...]
    paired: bool
    margin: float | None
    alpha: float
    power: float
    baseline_per_arm: int


@dataclass(frozen=True)
class ArmVerdict:
    """An arm's verdict and everything it rests on.

    `adjusted_p` (difference) and `adjusted_divergence_p` are Holm's over the family: None is a p value refused,
    because the arm was not declared; NaN one that the data cannot give. `seeds_to_resolve` and `seeds_to_equate` are
    set for inconclusive arms: seeds per arm to resolve the observed difference, or to show equivalence, were the
    observed difference and spread the true ones; None where no number of seeds would do, or none is known.
    """

    verdict: Verdict
    reason: str
    comparison: Comparison
    equivalence: Equivalence | None
    divergence: Divergence
    adjusted_p: float | None
    adjusted_divergence_p: float | None
    seeds_to_resolve: int | None
    seeds_to_equate: int | None


def judge(arms: Mapping[str, Outcomes], baseline: Outcomes, declared: Declaration) -> dict[str, ArmVerdict]:
    """Judges every arm of a study against the baseline by the rule in `decide`.

    Args:
        arms: name -> outcomes, without the baseline. An arm outside the family is compared (estimate, interval,
            rates) but gets no p value, no adjusted one, and the verdict "not tested".
        baseline: the baseline's outcomes.
        declared: what the study fixed before its runs.

    Raises:
        UserError: the family or the margin is not usable, or the family names an arm that the study does not have.
    """
    missing = [name for name in declared.family if name not in arms]
    if missing:
        raise UserError(f"family: {missing[0]} is not an arm that is compared with the baseline; take it out or add it")
    comparisons = {
        name: compare(arm.losses, baseline.losses, paired=declared.paired, confidence=1 - declared.alpha)
        for name, arm in arms.items()
    }
    baseline_rate = _rate(baseline, declared)
    divergences = {name: compare_divergence(_rate(arm, declared), baseline_rate) for name, arm in arms.items()}
    adjusted = holm({name: comparisons[name].p_value for name in declared.family}, declared.family)
    adjusted_divergence = holm({name: divergences[name].p_value for name in declared.family}, declared.family)
    return {
        name: _judge_declared(
            comparisons[name],
            adjusted[name],
            None if declared.margin is None else _equivalence(arm, baseline, declared.margin, declared),
            divergences[name],
            adjusted_divergence[name],
            declared,
        )
        if name in declared.family
        else _undeclared(comparisons[name], divergences[name])
        for name, arm in arms.items()
    }


def decide(
    comparison: Comparison,
    adjusted_p: float,
    equivalent: Equivalence | None,
    divergence: Divergence,
    adjusted_divergence_p: float,
    alpha: float,
) -> tuple[Verdict, str]:
    """The rule, first match wins; returns the verdict and its reason in words.

    1. worse: more of the arm's runs diverged than of the baseline's (Fisher, Holm-adjusted, p < alpha). Losses of
       the survivors are a selection and cannot outweigh that. Fewer diverged runs are said, but make no "better".
    2. equivalent: TOST p < alpha. A difference inside the margin was declared not to matter, so this holds even
       where the difference is resolved; the reason then says which way it goes.
    3. worse or better: Holm-adjusted p < alpha, by the sign of the difference.
    4. inconclusive: anything else, with why.
    """
    estimate = comparison.difference.estimate
    runs = _diverged(divergence)
    if divergence.arm.rate > divergence.baseline.rate and adjusted_divergence_p < alpha:
        return Verdict.WORSE, f"its runs diverge more often: {runs} (adjusted p {adjusted_divergence_p:.2g})"
    resolved = adjusted_p < alpha
    direction = Verdict.WORSE if estimate > 0 else Verdict.BETTER
    also = f"; diverged: {runs}" if divergence.arm.diverged or divergence.baseline.diverged else ""
    if equivalent is not None and equivalent.p_value < alpha:
        within = f"differs by less than the margin of {equivalent.margin:g} (TOST p {equivalent.p_value:.2g})"
        sign = f"; the difference of {estimate:+.2g} is resolved ({direction}) but does not matter" if resolved else ""
        return Verdict.EQUIVALENT, within + sign + also
    if resolved:
        return direction, f"differs by {estimate:+.2g} (adjusted p {adjusted_p:.2g}){also}"
    return Verdict.INCONCLUSIVE, _why_inconclusive(comparison, alpha) + also


def _judge_declared(
    comparison: Comparison,
    adjusted_p: float,
    equivalent: Equivalence | None,
    divergence: Divergence,
    adjusted_divergence_p: float,
    declared: Declaration,
) -> ArmVerdict:
    alpha = declared.alpha
    verdict, reason = decide(comparison, adjusted_p, equivalent, divergence, adjusted_divergence_p, alpha)
    resolve = equate = None
    if verdict == Verdict.INCONCLUSIVE and comparison.difference.has_interval:
        estimate, noise = comparison.difference.estimate, _noise(comparison)
        ratio, power = declared.baseline_per_arm, declared.power
        # Holm's strictest step: enough seeds whatever becomes of the other arms.
        strict = alpha / len(declared.family)
        resolve = seeds_to_detect(noise, estimate, baseline_per_arm=ratio, alpha=strict, power=power)
        if declared.margin is not None:
            equate = seeds_to_equate(noise, estimate, declared.margin, baseline_per_arm=ratio, alpha=alpha, power=power)
        reason += _what_it_takes(resolve, equate)
    return ArmVerdict(
        verdict, reason, comparison, equivalent, divergence, adjusted_p, adjusted_divergence_p, resolve, equate
    )


def _undeclared(comparison: Comparison, divergence: Divergence) -> ArmVerdict:
    return ArmVerdict(
        verdict=Verdict.NOT_TESTED,
        reason="not in the declared family: an estimate with its interval",
        comparison=replace(comparison, p_value=math.nan),
        equivalence=None,
        divergence=replace(divergence, p_value=math.nan),
        adjusted_p=None,
        adjusted_divergence_p=None,
        seeds_to_resolve=None,
        seeds_to_equate=None,
    )


def _why_inconclusive(comparison: Comparison, alpha: float) -> str:
    difference = comparison.difference
    if math.isnan(difference.estimate):
        return "nothing to compare: no finished runs" + (" with shared seeds" if comparison.paired else " on one side")
    if not difference.has_interval:
        return f"differs by {difference.estimate:+.2g}, but too few or identical values give no interval"
    if comparison.p_value < alpha:
        return f"differs by {difference.estimate:+.2g}: resolved on its own, but not among the arms of the family"
    return f"the interval {difference.low:+.2g} to {difference.high:+.2g} includes zero"


def _what_it_takes(resolve: int | None, equate: int | None) -> str:
    ways = [f"{resolve} seeds per arm to resolve it"] if resolve else []
    ways += [f"{equate} to show equivalence"] if equate else []
    return f"; at this spread it would take about {' or '.join(ways)}" if ways else ""


def _diverged(divergence: Divergence) -> str:
    arm, baseline = divergence.arm, divergence.baseline
    return f"{arm.diverged} of {arm.runs} runs, baseline {baseline.diverged} of {baseline.runs}"


def _noise(comparison: Comparison) -> Noise:
    if comparison.paired:
        return Paired(comparison.sd_difference)
    return Unpaired(comparison.sd_arm, comparison.sd_baseline)


def _rate(outcomes: Outcomes, declared: Declaration) -> Rate:
    return divergence_rate(outcomes.diverged, len(outcomes.losses) + outcomes.diverged, 1 - declared.alpha)


def _equivalence(arm: Outcomes, baseline: Outcomes, margin: float, declared: Declaration) -> Equivalence:
    return equivalence(arm.losses, baseline.losses, margin=margin, paired=declared.paired, alpha=declared.alpha)
