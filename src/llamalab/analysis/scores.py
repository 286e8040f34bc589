"""Benchmark scores: read from every scores/<suite>/summary.json, held against chance."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamalab.analysis.records import require_field
from llamalab.common import formats
from llamalab.common.files import read_json
from llamalab.common.tables import Column, Table

CLEAR_OF_CHANCE = 3.0  # standard errors


@dataclass(frozen=True)
class Score:
    """One row of a summary.

    Args:
        subject: what was evaluated: the run directory, relative to the folder it was found in.
        suite: name of the suite.
        task: name of the task.
        domain: None for the whole task.
        metric: name of the metric.
        value: the score, in the metric's unit (bits per byte, or a fraction).
        stderr: one standard error, if there is one.
        chance: what guessing scores, if the task can be guessed.
        n: items.
        step: the checkpoint's optimizer step.
    """

    subject: str
    suite: str
    task: str
    domain: str | None
    metric: str
    value: float
    stderr: float | None
    chance: float | None
    n: int
    step: int

    @property
    def z(self) -> float | None:
        """Distance from chance in standard errors; None without chance or error."""
        return (self.value - self.chance) / self.stderr if self.chance is not None and self.stderr else None


def find_scores(folders: list[Path]) -> list[Score]:
    """Every row of every summary below the folders, in the order of their paths. Raises UserError for a broken one."""
    scores = []
    for folder in folders:
        for path in sorted(folder.glob("**/scores/*/summary.json")):
            summary = read_json(path)
            shared = {
                "subject": path.parents[2].relative_to(folder).as_posix(),
                "suite": require_field(path, summary, "suite"),
                "step": require_field(path, summary, "step"),
            }
            for row in require_field(path, summary, "rows"):
                keys = ("task", "domain", "metric", "value", "stderr", "chance", "n")
                scores.append(Score(**shared, **{key: require_field(path, row, key) for key in keys}))
    return scores


def readable(name: str) -> str:
    """A task or metric as words."""
    return name.replace("_", " ")


def sentences(scores: list[Score]) -> list[str]:
    """What each task that can be guessed came to, one sentence each; the first metric is the suite's main one."""
    said, found = set(), []
    for score in scores:
        key = (score.subject, score.suite, score.task)
        if score.domain is not None or score.z is None or key in said:
            continue
        said.add(key)
        clear = "clear of" if score.z > CLEAR_OF_CHANCE else "not clear of"
        found.append(
            f"{score.subject} scores {formats.percent(1)(score.value)} on {readable(score.task)} "
            f"({readable(score.metric)}), {formats.signed(1)(score.z)} standard errors from the "
            f"{formats.percent(0)(score.chance)} of guessing: {clear} chance."
        )
    return found


def scores_table(scores: list[Score]) -> Table:
    """Every score with its standard error and its distance from chance."""
    rows: list[dict[str, Any]] = [
        {
            "task": score.task,
            "domain": score.domain or "all",
            "metric": score.metric,
            "value": score.value,
            "stderr": score.stderr,
            "chance": score.chance,
            "z": score.z,
            "n": score.n,
            "run": score.subject,
            "suite": score.suite,
            "step": score.step,
        }
        for score in scores
    ]
    return Table(
        name="scores",
        caption=(
            "Benchmark scores (accuracies as fractions) with one standard error over items. z is the distance from "
            "chance in standard errors."
        ),
        columns=[
            Column("task", "task", readable, numeric=False),
            Column("domain", "domain", numeric=False),
            Column("metric", "metric", readable, numeric=False),
            Column("value", "score", formats.fixed(4)),
            Column("stderr", "standard error", formats.fixed(4)),
            Column("chance", "chance", formats.significant(2)),
            Column("z", "z", formats.signed(1)),
            Column("n", "items", formats.count),
            Column("run", "run", numeric=False),
            Column("suite", "suite", readable=False),
            Column("step", "steps", readable=False),
        ],
        rows=rows,
    )
