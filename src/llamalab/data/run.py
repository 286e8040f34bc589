"""The verb `data`: raw text to tokens, stage by stage."""

import importlib
import time

from omegaconf import DictConfig, ListConfig

from llamalab.common.configs import closest
from llamalab.common.errors import UserError
from llamalab.data.corpus import corpus_from
from llamalab.data.progress import say

STAGES = ("fetch", "extract", "deduplicate", "split", "tokenizer", "tokens", "audit")


def run(config: DictConfig) -> None:
    """Runs the wanted stages in their order; a stage whose inputs are unchanged is skipped.

    Raises:
        UserError: an unknown stage, a config that cannot be used, or what a stage reports.
    """
    wanted = config.stages
    if not isinstance(wanted, ListConfig):
        raise UserError(f"stages: '{wanted}' is not a list; write stages=[{wanted}]")
    for stage in wanted:
        if stage not in STAGES:
            raise UserError(f"stages: no stage '{stage}'{closest(str(stage), STAGES)}")
    corpus = corpus_from(config)
    start = time.monotonic()
    for stage in STAGES:
        if stage in wanted:
            # Imported one by one, so that fetching does not wait for the libraries of the other stages.
            importlib.import_module(f"llamalab.data.stages.{stage}").run(corpus)
    say(f"data {corpus.name}: done in {time.monotonic() - start:.0f} s, in {corpus.folder}")
