"""Claims about LLaMA's choices (experiments/claims.yaml), each held against what the studies found."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from llamalab.analysis.judged import Judged
from llamalab.analysis.learning_rates import sweep_points
from llamalab.analysis.statistics import Verdict
from llamalab.analysis.study_tables import between
from llamalab.common import formats
from llamalab.common.configs import closest
from llamalab.common.errors import UserError
from llamalab.common.tables import Column, Table

SUPPORTED, CONTRADICTED, NOT_RESOLVED, NOT_TESTED = "supported", "contradicted", "not resolved", "not tested"


@dataclass(frozen=True)
class Finding:
    """What one test came to: an effect as text, and a verdict on the claim."""

    effect: str
    verdict: str


Test = Callable[[Judged, str, Any], Finding]
UNKNOWN = Finding(formats.NOTHING, NOT_TESTED)


def read_claims(path: Path) -> list[dict[str, Any]]:
    """The claims in a YAML file. Raises UserError for one that is not complete or whose test is not known."""
    claims: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["claims"]
    for number, claim in enumerate(claims, start=1):
        for key in ("claim", "source", "said", "test"):
            if not claim.get(key):
                raise UserError(f"{path}: claim {number} has no '{key}'")
        kinds = [key for key in claim["test"] if key not in ("study", "arm")]
        if len(kinds) != 1 or kinds[0] not in TESTS:
            raise UserError(f"{path}: claim {number}: its test must have one of {', '.join(TESTS)}, not {kinds}")
    return claims


def claims_table(claims: list[dict[str, Any]], studies: list[Judged]) -> Table:
    """One row a claim and scale: what it says, who says so, our effect, and whether it is supported."""
    rows = []
    for claim in claims:
        test = dict(claim["test"])
        name, arm = test.pop("study"), test.pop("arm")
        kind, wanted = next(iter(test.items()))
        found = [judged for judged in studies if judged.study.name == name]
        for judged in found:
            if arm is not None and arm not in judged.study.arms:
                raise UserError(f"claims: '{arm}' is not an arm of {name}{closest(arm, judged.study.arms)}")
        results = [(judged.study.scale, TESTS[kind](judged, arm, wanted)) for judged in found]
        for scale, finding in results or [(formats.NOTHING, UNKNOWN)]:
            rows.append(
                {
                    "claim": claim["claim"],
                    "verdict": finding.verdict,
                    "effect": finding.effect,
                    "scale": scale,
                    "study": name,
                    "source": claim["source"],
                    "said": claim["said"],
                }
            )
    rows.sort(key=lambda row: row["verdict"] == NOT_TESTED)  # what was tested first, otherwise as written
    return Table(
        name="claims",
        caption=(
            "Claims, and what our runs say to each at their scale. The effect is the arm's difference in validation "
            "loss from the study's baseline, nats per token with its interval, unless it says otherwise."
        ),
        columns=[
            Column("claim", "claim", numeric=False, wrap=True),
            Column("verdict", "verdict", numeric=False),
            Column("effect", "our effect", numeric=False, wrap=True),
            Column("scale", "scale", numeric=False),
            Column("study", "study", readable=False),
            Column("said", "does the source say it?", numeric=False, wrap=True),
            Column("source", "source", numeric=False, wrap=True),
        ],
        rows=rows,
    )


def _effect(judged: Judged, arm: str) -> str:
    difference = judged.judgement.verdicts[arm].comparison.difference
    return f"{formats.signed(4)(difference.estimate)} ({between(difference)})"


def expect(judged: Judged, arm: str, wanted: str) -> Finding:
    """The arm's verdict: the wanted one supports, another resolved one contradicts."""
    verdict = judged.judgement.verdicts[arm].verdict
    if math.isnan(judged.judgement.verdicts[arm].comparison.difference.estimate):
        diverged = judged.judgement.verdicts[arm].divergence.arm.diverged
        if not diverged:
            return UNKNOWN
    if verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_TESTED):
        return Finding(_effect(judged, arm), NOT_RESOLVED)
    return Finding(_effect(judged, arm), SUPPORTED if verdict == Verdict(wanted) else CONTRADICTED)


def effect(judged: Judged, arm: str, wanted: float) -> Finding:
    """A figure: contradicted where the interval excludes it, supported where it also excludes zero, else open."""
    difference = judged.judgement.verdicts[arm].comparison.difference
    if not difference.has_interval:
        return UNKNOWN
    if not difference.low <= wanted <= difference.high:
        return Finding(_effect(judged, arm), CONTRADICTED)
    excludes_zero = difference.low > 0 or difference.high < 0
    return Finding(_effect(judged, arm), SUPPORTED if excludes_zero else NOT_RESOLVED)


def stable_rate(judged: Judged, arm: str, wanted: str) -> Finding:
    """The highest learning rate below which no run of the sweep diverged, as a ratio to the baseline's."""
    points = sweep_points(judged.study)
    if arm not in points or judged.study.baseline not in points:
        return UNKNOWN
    ours, theirs = (_highest_stable(points[name]) for name in (arm, judged.study.baseline))
    text = f"highest stable rate {ours:.2g} against {theirs:.2g}"
    if ours == theirs or max(ours, theirs) == 0:
        return Finding(text, NOT_RESOLVED)
    return Finding(text, SUPPORTED if (ours < theirs) == (wanted == "lower") else CONTRADICTED)


def _highest_stable(points: list[tuple[float, float]]) -> float:
    highest = 0.0
    for rate, loss in points:
        if math.isinf(loss):
            break
        highest = rate
    return highest


def by_analysis(test: str) -> Test:
    """A test that one of the study's own analyses answers; it may leave it open."""

    def answer(judged: Judged, arm: str, wanted: Any) -> Finding:
        for extra in judged.extras:
            if test in extra.claims:
                text, holds = extra.claims[test]
                return Finding(text, NOT_RESOLVED if holds is None else SUPPORTED if holds else CONTRADICTED)
        return UNKNOWN

    return answer


TESTS: dict[str, Test] = {
    "expect": expect,
    "effect": effect,
    "stable_rate": stable_rate,
    "longest": by_analysis("longest"),
    "falls_beyond": by_analysis("falls_beyond"),
}
