"""lm-eval's own task files: prompts, few-shot examples, rules and metrics that are used here as they are installed."""

import ast
import importlib.util
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.api.registry import get_filter
from lm_eval.tasks._yaml_loader import load_yaml

Config = dict[str, Any]


def stock_path(file: str) -> Path:
    """The installed file below lm_eval/tasks."""
    spec = importlib.util.find_spec("lm_eval")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "tasks" / file


def stock_config(file: str) -> Config:
    """A task file of lm-eval, its includes resolved."""
    return load_yaml(stock_path(file))


def exact_match(file: str, generation: str, references: list[str], filters: str | None = None) -> float:
    """What lm-eval's `exact_match` in a task file gives for a generation: 1 if any reference matches, else 0.

    The generation ends at the first of the file's stop strings and then passes through the file's filters.

    Args:
        file: below lm_eval/tasks.
        generation: may go on beyond the stop strings.
        references: all right answers.
        filters: the name of the filter pipeline; None for the only one.
    """
    stops, pipeline, options = _exact_match_rule(file, filters)
    text = generation[: min((generation.index(stop) for stop in stops if stop in generation), default=None)]
    answers: Any = [[text]]
    for name, arguments in pipeline:
        answers = list(get_filter(name)(**arguments).apply(answers, [{}]))
    score = exact_match_hf_evaluate(predictions=answers * len(references), references=references, **options)
    return float(score["exact_match"] > 0)


@lru_cache
def _exact_match_rule(file: str, filters: str | None) -> tuple[list[str], list[tuple[str, Config]], Config]:
    config = stock_config(file)
    (pipeline,) = [entry for entry in config["filter_list"] if filters in (None, entry["name"])]
    steps = [
        (step["function"], {key: value for key, value in step.items() if key != "function"})
        for step in pipeline["filter"]
    ]
    (metric,) = [entry for entry in config["metric_list"] if entry["metric"] == "exact_match"]
    options = {key: value for key, value in metric.items() if key not in ("metric", "aggregation", "higher_is_better")}
    return config["generation_kwargs"]["until"], steps, options


@lru_cache
def minerva() -> ModuleType:
    """lm-eval's minerva_math functions that need neither sympy nor antlr.

    The module refuses to be imported unless antlr4 4.11 is installed, which Hydra's parser (4.9) excludes; its few-shot
    examples, and its extraction and normalisation of answers after Lewkowycz et al. (2022, appendix D), need none of
    it. So everything but the guarded imports is run. Its `is_equiv` is not usable; see `llamalab...equivalence`.
    """
    path = stock_path("minerva_math/utils.py")
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    tree.body = [statement for statement in tree.body if not isinstance(statement, ast.Try)]
    module = ModuleType("llamalab_minerva_math")
    exec(compile(tree, str(path), "exec"), module.__dict__)
    return module


def minerva_shots() -> list[dict[str, str]]:
    """The four worked problems of Minerva's MATH prompt."""
    shots: list[dict[str, str]] = minerva().list_fewshot_samples()
    return shots
