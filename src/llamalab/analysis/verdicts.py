"""What a study says, in sentences that claim no more than its intervals do."""

import math

from llamalab.analysis.records import STATUSES, Run, Study
from llamalab.analysis.statistics import Verdict
from llamalab.analysis.study_tables import ArmResult
from llamalab.common import formats
from llamalab.common.configs import repository_folder
from llamalab.common.files import sha256_file

FEW_SEEDS = 3


def _against(arm: ArmResult) -> str:
    if arm.judged is None or math.isnan(arm.difference.estimate):
        return f"{arm.name} has nothing to compare yet"
    difference = formats.signed(3)(arm.difference.estimate)
    if arm.judged.verdict == Verdict.NOT_TESTED:
        return f"{arm.name} {difference}, not tested"
    word = "not resolved" if arm.judged.verdict == Verdict.INCONCLUSIVE else arm.judged.verdict.value
    return f"{arm.name} is {word} ({difference})"


def headline(arms: list[ArmResult]) -> str:
    """One sentence: every arm against the baseline."""
    baseline, *others = arms
    if not any(arm.losses for arm in arms):
        return "No run of this study has finished yet."
    start = f"Against {baseline.name} ({formats.fixed(3)(baseline.mean_loss)} nats/token)"
    return f"{start}: {'; '.join(_against(arm) for arm in others)}."


def cautions(study: Study, arms: list[ArmResult]) -> list[str]:
    """What a reader must know before trusting the intervals, one sentence each."""
    notes = []
    counts = [len(arm.finished) for arm in arms]
    if min(counts) < 2:
        notes.append("An arm with fewer than two finished seeds has no interval.")
    if 2 <= min(counts) <= FEW_SEEDS:
        notes.append(
            f"With {min(counts)} seeds an interval rests on very few degrees of freedom and is wide: "
            "only large differences can show."
        )
    undeclared = [arm.name for arm in arms[1:] if arm.name not in study.record["family"]]
    if undeclared:
        notes.append(f"Not in the declared family, and so without a test: {', '.join(undeclared)}.")
    if study.record.get("learning_rate") is None:
        notes.append("Every arm ran at the scale's learning rate: an arm may do better at one of its own.")
    elif any(rate["at_edge"] for rate in study.rates.values()):
        notes.append("The best learning rate of an arm lies at the edge of its grid; it may have a better one.")
    if study.record.get("scales") and study.scale not in study.record["scales"]:
        notes.append(f"The study is meant for the scales {', '.join(study.record['scales'])}, not for {study.scale}.")
    diverged, absent = sum(arm.diverged for arm in arms), sum(arm.absent for arm in arms)
    if diverged:
        notes.append(f"{diverged} run(s) diverged: counted in the table, without a final loss to average.")
    if absent:
        notes.append(f"{absent} run(s) are missing or unfinished; repeat the study's command to complete them.")
    made_by = {run.result["study"]["hash"] for run in study.runs if run.result and run.result.get("study")}
    if made_by - {study.hash}:
        notes.append("Some runs were made under another version of the study's declaration.")
    if _file_changed(study):
        notes.append(f"experiments/{study.name}.yaml has changed since these runs: they answer its earlier version.")
    return notes


def made(study: Study) -> list[str]:
    """How the study's results came about: command, commit, hardware, processor hours; only what is recorded."""
    results = [run.result for run in (*study.runs, *study.sweep) if run.result]
    if not results:
        return []
    commits = sorted({str(result["commit"]) for result in results if result.get("commit")})
    machines = sorted({f"{result['hardware']['cpu']}, {result['hardware']['device']}" for result in results})
    own = [result for result in results if not result.get("taken_over_from")]
    hours = sum(result["wall_seconds"] for result in own) / 3600
    lines = [f"command: `{study.record['command']}`"] if study.record.get("command") else []
    lines += [f"commit {commit}" for commit in commits]
    lines.append(f"hardware: {'; '.join(machines)}")
    shared = len(results) - len(own)
    lines.append(
        f"{len(results)} runs, {len(study.sweep)} of them in the learning-rate sweep"
        + (f", {shared} taken over from other studies where they are the same computation" if shared else "")
        + f"; {formats.fixed(1)(hours)} hours of training"
    )
    return lines


def _file_changed(study: Study) -> bool:
    path, recorded = repository_folder("experiments") / f"{study.name}.yaml", study.record.get("file_sha256")
    return recorded is not None and path.is_file() and sha256_file(path) != recorded


def title(studies: list[Study]) -> str:
    """What the page is about."""
    scales = sorted({study.scale for study in studies})
    return f"Results of {_list([s.name for s in studies])} at scale {_list(scales)}" if studies else "Runs and scores"


def overview(studies: list[Study], runs: list[Run]) -> str:
    """How many studies and runs the page stands on, and what became of the runs."""
    counts = [(status, sum(run.status == status for run in runs)) for status in STATUSES]
    states = _list([f"{number} {status}" for status, number in counts if number])
    studies_text = "1 study" if len(studies) == 1 else f"{len(studies)} studies"
    return f"{studies_text}, {len(runs)} run{'s' * (len(runs) != 1)}: {states}."


def _list(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
