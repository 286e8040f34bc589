"""The paper's Figures 1 and 2 as data, read from eval/reference/figures."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from llamalab.common.configs import repository_folder

BILLION = 1e9


@dataclass(frozen=True)
class Panel:
    """A panel of Figure 2.

    Attributes:
        label: the benchmark.
        task: our task for the same row of the paper's tables.
        chinchilla: the horizontal line of Chinchilla 70B, percent.
        curves: model to `tokens`, `value` (percent).
    """

    label: str
    task: str
    chinchilla: float
    curves: dict[str, pd.DataFrame]


def _read(name: str) -> Any:
    path = repository_folder("eval") / "reference" / name
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _curves(figures: dict[str, dict[int, float]]) -> dict[str, pd.DataFrame]:
    models = _read("models.yaml")
    return {
        models[model]["label"]: pd.DataFrame({"tokens": [BILLION * x for x in points], "value": list(points.values())})
        for model, points in figures.items()
    }


def training_loss() -> dict[str, pd.DataFrame]:
    """Figure 1: model to `tokens`, `value` (nats per token of LLaMA's own tokenizer and data)."""
    return _curves(_read("figures/figure_1_training_loss.yaml")["curves"])


def panels() -> list[Panel]:
    """Figure 2."""
    places = _read("rows.yaml")["tables"]
    found = []
    for panel in _read("figures/figure_2_scores.yaml")["panels"].values():
        table, row = panel["row"].split("/")
        task = places[table][row]["task"]
        found.append(Panel(panel["label"], task, panel["chinchilla"], _curves(panel["curves"])))
    return found
