"""A study with everything that is computed from it before it is shown."""

from dataclasses import dataclass

from llamalab.analysis.extra import Extra, extras
from llamalab.analysis.judgement import PILOT, Judgement, judge_study
from llamalab.analysis.records import Study


@dataclass(frozen=True)
class Judged:
    """A study, its judgement, and what its own analyses add."""

    study: Study
    judgement: Judgement
    extras: list[Extra]


def judge_all(studies: list[Study]) -> list[Judged]:
    """Judges every study; the pilots among them say how seeds scatter at their scale."""
    pilots = [study for study in studies if study.name == PILOT]
    return [Judged(study, judge_study(study, pilots), extras(study)) for study in studies]
