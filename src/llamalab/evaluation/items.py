"""The data of held-out tasks: built from the corpus a checkpoint was trained on, written where the scores go."""

import json
from pathlib import Path
from typing import Any

import hydra.utils

from llamalab.common.errors import UserError
from llamalab.common.files import write_text
from llamalab.evaluation.documents import domain_files, read_documents
from llamalab.evaluation.heldout import ItemBuilder

# With one item there is no standard error.
FEWEST = 2


def validation_files(artifacts_dir: str, config: dict[str, Any]) -> dict[str, Path]:
    """The held-out documents of the corpus that a run's config names, by domain.

    Raises:
        UserError: the config names no corpus, or its documents are not there.
    """
    corpus = config.get("data")
    name = corpus.get("name") if isinstance(corpus, dict) else None
    if name is None:
        raise UserError(
            "checkpoint: has no data.name, which only our own runs have, so its held-out documents cannot be found; "
            "choose a suite without held-out tasks"
        )
    return domain_files(Path(artifacts_dir) / name / "split" / "validation")


def build(
    builders: dict[str, dict[str, Any]], documents: dict[str, Path], folder: Path
) -> tuple[dict[str, dict[str, Path]], list[dict[str, str]]]:
    """Writes `<task>/<domain>.jsonl` below `folder` for every held-out task and domain.

    Args:
        builders: the config of an ItemBuilder by task.
        documents: the held-out documents by domain.
        folder: created if needed.

    Returns:
        The files by task and domain; and what could not be built, as `task, domain, reason`.

    Raises:
        UserError: no domain gives items for a task.
    """
    files: dict[str, dict[str, Path]] = {}
    missing = []
    made: dict[str, ItemBuilder] = {task: hydra.utils.instantiate(config) for task, config in builders.items()}
    for domain, path in documents.items() if made else ():
        held_out = read_documents(path)
        for task, builder in made.items():
            rows = builder.rows(domain, held_out)
            if len(rows) < FEWEST:
                reason = f"{len(held_out)} held-out documents give {len(rows)} items; at least {FEWEST} are needed"
                missing.append({"task": task, "domain": domain, "reason": reason})
                continue
            target = folder / task / f"{domain}.jsonl"
            write_text(target, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            files.setdefault(task, {})[domain] = target
    for task in made:
        if task not in files:
            reasons = "; ".join(f"{gap['domain']}: {gap['reason']}" for gap in missing if gap["task"] == task)
            raise UserError(f"{task}: no domain has enough held-out text ({reasons}); hold out more documents")
    return files, missing
