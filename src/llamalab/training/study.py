"""A study's declaration: the arms and how they are compared, written in experiments/<study>.yaml before any run."""

from typing import Any

from llamalab.common.configs import closest
from llamalab.common.errors import UserError
from llamalab.common.files import hash_of

REQUIRED = ("name", "question", "baseline", "arms", "seeds", "baseline_seeds", "metric")
LEARNING_RATE_KEYS = ("factors", "seeds", "max_points")
FEWEST_POINTS = 5


def study_hash(study: dict[str, Any]) -> str:
    """Identifies the version of the study's declaration; which arm a job runs is no part of it."""
    return hash_of({key: value for key, value in study.items() if key != "arm"})


def check(study: dict[str, Any]) -> None:
    """Raises UserError unless the declaration can be run."""
    for key in REQUIRED:
        if not study.get(key):
            raise UserError(f"study.{key}: missing; a study declares {', '.join(REQUIRED)}")
    arms = study["arms"]
    if study["baseline"] not in arms:
        raise UserError(f"study.baseline: '{study['baseline']}' is not an arm{closest(study['baseline'], arms)}")
    for key in ("family", "expected"):
        for arm in study.get(key) or []:
            if arm not in arms:
                raise UserError(f"study.{key}: '{arm}' is not an arm{closest(arm, arms)}")
    if study["baseline"] in (study.get("family") or []):
        raise UserError(f"study.family: '{study['baseline']}' is the baseline; name the arms compared with it")
    for key in ("seeds", "baseline_seeds"):
        _check_seeds(f"study.{key}", study[key])
    if study.get("learning_rate") is not None:
        _check_learning_rate(study)


def _check_seeds(key: str, seeds: Any) -> None:
    _require_integers(key, seeds)
    if len(seeds) < 2:
        raise UserError(f"{key}: one seed has no spread to compare with; give at least 2")


def _require_integers(key: str, seeds: Any) -> None:
    if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds):
        raise UserError(f"{key}: {seeds!r} is not a list of numbers, such as [0,1,2]")
    if len(set(seeds)) != len(seeds):
        raise UserError(f"{key}: {seeds} names a seed twice")


def _check_learning_rate(study: dict[str, Any]) -> None:
    sweep = study["learning_rate"]
    for key in sweep:
        if key not in LEARNING_RATE_KEYS:
            raise UserError(f"study.learning_rate.{key}: unknown key{closest(key, LEARNING_RATE_KEYS)}")
    factors, seeds = sweep["factors"], sweep["seeds"]
    if len(set(factors)) < FEWEST_POINTS:
        raise UserError(
            f"study.learning_rate.factors: {factors} is no sweep; give at least {FEWEST_POINTS} points that bracket "
            "the optimum, or study.learning_rate=null to run every arm at the scale's learning rate"
        )
    if min(factors) <= 0:
        raise UserError(f"study.learning_rate.factors: {min(factors)} is not positive")
    if sweep["max_points"] < len(factors):
        raise UserError(f"study.learning_rate.max_points: {sweep['max_points']} is less than the grid's {len(factors)}")
    _require_integers("study.learning_rate.seeds", seeds)
    if not seeds:
        raise UserError("study.learning_rate.seeds: give at least one seed")
    shared = sorted({*seeds} & {*study["seeds"], *study["baseline_seeds"]})
    if shared:
        raise UserError(
            f"study.learning_rate.seeds: {shared} are also seeds of the final runs; a rate chosen on them would "
            "flatter the arm it was chosen for"
        )


def check_arm(study: dict[str, Any] | None) -> None:
    """Raises UserError for a study started as a single run, or an arm that is not declared."""
    if study is None:
        return
    if study["arm"] is None:
        raise UserError(f"experiments={study['name']} is a study of several runs; add -m (--multirun)")
    if study["arm"] not in study["arms"]:
        raise UserError(f"study.arm: '{study['arm']}' is not an arm{closest(study['arm'], study['arms'])}")


def seeds_of(study: dict[str, Any], arm: str) -> list[int]:
    """The seeds of an arm's final runs."""
    seeds: list[int] = study["baseline_seeds"] if arm == study["baseline"] else study["seeds"]
    return seeds


def final_jobs(study: dict[str, Any], common: list[str], learning_rates: dict[str, float] | None) -> list[list[str]]:
    """The overrides of every final run: seeds outermost, so that a sweep stopped early has whole comparisons.

    Each run has its own folder below the sweep's, `<arm>/seed=<s>`.

    Args:
        study: the declaration.
        common: the overrides that the user gave.
        learning_rates: each arm's chosen rate, or None where the scale's is used.
    """
    jobs = []
    for seed in sorted({*study["seeds"], *study["baseline_seeds"]}):
        for arm, overrides in study["arms"].items():
            if seed in seeds_of(study, arm):
                rate = [f"scale.lr={learning_rates[arm]!r}"] if learning_rates else []
                jobs.append([*common, *overrides, *rate, *_place(arm, f"{arm}/seed={seed}", seed)])
    return jobs


def rate_folder(arm: str, rate: float, seed: int) -> str:
    """Where a run of the learning-rate sweep lies below the sweep's folder."""
    return f"{arm}/lr={rate:.4g}/seed={seed}"


def rate_jobs(study: dict[str, Any], common: list[str], rates: dict[str, list[float]]) -> list[list[str]]:
    """The overrides of the learning-rate sweep: every arm at each of its `rates`, with the sweep's own seeds."""
    return [
        [*common, *study["arms"][arm], f"scale.lr={rate!r}", *_place(arm, rate_folder(arm, rate, seed), seed)]
        for seed in study["learning_rate"]["seeds"]
        for arm, values in rates.items()
        for rate in values
    ]


def _place(arm: str, folder: str, seed: int) -> list[str]:
    return [f"study.arm={arm}", f"seed={seed}", f"hydra.sweep.subdir='{folder}'"]
