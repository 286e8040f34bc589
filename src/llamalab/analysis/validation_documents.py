"""The final validation loss document by document: what a difference owes to the choice of held-out documents."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from llamalab.common.files import read_json

FILE = "validation_documents.json"
COLUMNS = ["arm", "domain", "document", "nats", "tokens", "weight"]


def read_documents(folders: dict[str, list[Path]]) -> pd.DataFrame:
    """Nats and tokens of every validation document by arm, the mean over the arm's runs.

    `weight` is the domain's share of the validation loss, which is the mean of the domains' losses weighted so.
    """
    parts = []
    for arm, runs in folders.items():
        for run in runs:
            if (run / FILE).is_file():
                weights = _weights(run)
                for domain, documents in read_json(run / FILE).items():
                    parts.append(
                        pd.DataFrame(documents).assign(arm=arm, domain=domain, weight=weights.get(domain, 0.0))
                    )
    if not parts:
        return pd.DataFrame({column: [] for column in COLUMNS})
    keys = ["arm", "domain", "document"]
    return pd.concat(parts).groupby(keys, as_index=False, sort=True)[["nats", "tokens", "weight"]].mean()[COLUMNS]


def _weights(run: Path) -> dict[str, float]:
    module = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["data"]["module"]
    kept = {name: share for name, share in module["sampling"].items() if name not in module["empty_slots"]}
    return {name: share / sum(kept.values()) for name, share in kept.items()}


def weighted(documents: pd.DataFrame, arm: str, baseline: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nats of both arms and tokens of the documents that both were scored on, each N, scaled to their weights.

    A document counts weight / (its domain's tokens): the ratio of the sums is then the validation loss itself.
    """
    ours, theirs = (documents[documents["arm"] == name] for name in (arm, baseline))
    both = ours.merge(theirs, on=["domain", "document"], suffixes=("", "_baseline"))
    scale = (both["weight"] / both.groupby("domain")["tokens"].transform("sum")).to_numpy()
    nats, reference, tokens = (both[key].to_numpy() * scale for key in ("nats", "nats_baseline", "tokens"))
    return nats, reference, tokens
