"""The runs that a law is fitted to, as one table."""

import numpy as np
import pandas as pd

from llamalab.common.errors import UserError

# arm and seed name the run; n are all its parameters, embeddings included; d its training tokens; loss is the final
# validation loss in nats a token; diverged says that this loss does not count.
COLUMNS = ("arm", "seed", "n", "d", "loss", "diverged")


def finished(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with a loss that counts, numbered from 0; a run that diverged or has no finite loss is left out.

    Each run has to be a schedule of its own that ended at `d`: the loss in the middle of a longer cosine schedule is
    higher than that of a run that stops there (Hoffmann et al. 2022, section 3.1).

    Raises:
        UserError: a column is missing, or n, d or a loss is not above 0.
    """
    missing = [column for column in COLUMNS if column not in runs]
    if missing:
        raise UserError(f"runs: no column {', '.join(missing)}; the table needs {', '.join(COLUMNS)}")
    kept = runs[~runs["diverged"].astype(bool) & np.isfinite(runs["loss"].astype(float))].reset_index(drop=True)
    for column in ("n", "d", "loss"):
        if not (kept[column] > 0).all():
            raise UserError(f"runs: {column} of every run must be above 0")
    return kept
