"""metrics.jsonl: every figure of a run, a JSON object a line, the record that everything else is a view of."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from llamalab.common.files import disk_errors, write_text

FILE = "metrics.jsonl"


def read_rows(run_dir: Path) -> list[dict[str, Any]]:
    """All whole rows; a last line cut short by a crash is dropped."""
    path = run_dir / FILE
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def rewind(run_dir: Path, step: int) -> list[dict[str, Any]]:
    """Drops the rows after `step`, so that a resumed run writes each row once; returns the rest."""
    rows = [row for row in read_rows(run_dir) if row["step"] <= step]
    write_text(run_dir / FILE, "".join(json.dumps(row) + "\n" for row in rows))
    return rows


class MetricsLog(Logger):
    """Appends rows to metrics.jsonl, flushed row by row so that a crash loses none that was logged."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        self.path = run_dir / FILE

    @property
    def name(self) -> str:
        """The file's name."""
        return FILE

    @property
    def version(self) -> None:
        """A run directory holds one run; there are no versions."""
        return None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Appends one row."""
        with disk_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml holds them."""
