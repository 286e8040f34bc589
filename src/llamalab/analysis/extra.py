"""What a study adds to the tables that every study has: `study.analyses.<name>` in its file."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hydra.utils
from matplotlib.figure import Figure

from llamalab.analysis.records import Study
from llamalab.common.configs import check_targets
from llamalab.common.tables import Table


@dataclass(frozen=True)
class Drawing:
    """A figure with the part of its name that tells it from the study's others, and its caption."""

    part: str
    figure: Figure
    caption: str


@dataclass(frozen=True)
class Extra:
    """Tables, figures and sentences of one analysis, and what it says to claims: test -> (effect, holds or None)."""

    tables: list[Table] = field(default_factory=list)
    figures: list[Drawing] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    claims: dict[str, tuple[str, bool | None]] = field(default_factory=dict)


Analysis = Callable[[Study], Extra]


def extras(study: Study) -> list[Extra]:
    """Runs the analyses that the study declares. Raises UserError for one that cannot be built."""
    declared: dict[str, Any] = study.record.get("analyses") or {}
    check_targets(declared)
    found = []
    for node in declared.values():
        analysis: Analysis = hydra.utils.instantiate(node, _convert_="all")
        found.append(analysis(study))
    return found
