"""What was run: the facts that runs share, each with every distinct value found, so that nothing mixed is hidden."""

from typing import Any

from llamalab.analysis.records import Run
from llamalab.analysis.study_tables import value_of
from llamalab.common import formats

Fact = tuple[str, list[str]]


def _distinct(values: list[Any]) -> list[str]:
    """The values as text, once each, in the order met; nothing for None."""
    return list(dict.fromkeys(str(value) for value in values if value not in (None, "", {}, [])))


def _flat(value: Any) -> Any:
    """A mapping as `key value, key value`; anything else as it is."""
    return ", ".join(f"{key} {entry}" for key, entry in value.items()) if isinstance(value, dict) else value


def _hardware(run: Run) -> str | None:
    """The run's devices and machine in one line."""
    recorded = value_of(run, "hardware")
    if not isinstance(recorded, dict):
        return recorded
    devices = f"{recorded['devices']} \N{MULTIPLICATION SIGN} " if "devices" in recorded else ""
    parts = [recorded.get("device"), recorded.get("cpu"), recorded.get("platform")]
    return devices + ", ".join(str(part) for part in parts if part)


def _config(run: Run, *keys: str) -> Any:
    value: Any = run.config
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def facts(runs: list[Run]) -> list[Fact]:
    """Name and distinct values of everything that identifies how the runs were made; only what is recorded."""
    ended = [run for run in runs if run.ended]

    def results(*keys: str, show: formats.Format = formats.text) -> list[str]:
        values = [value_of(run, *keys) for run in ended]
        return _distinct([show(_flat(value)) for value in values if value is not None])

    def configs(*keys: str, show: formats.Format = formats.text) -> list[str]:
        values = [_config(run, *keys) for run in runs]
        return _distinct([show(value) for value in values if value is not None])

    found = [
        ("Scale", results("scale")),
        ("Corpus", results("data")),
        ("Parameters without embeddings", results("parameters", "non_embedding", show=formats.count)),
        ("Training tokens a run", results("tokens", show=formats.count)),
        ("Tokens an optimizer step", configs("scale", "batch_tokens", show=formats.count)),
        ("Sequence length", configs("scale", "seq_len", show=formats.count)),
        ("Vocabulary", configs("scale", "vocab_size", show=formats.count)),
        ("Peak learning rate", configs("scale", "lr", show=formats.significant(2))),
        ("Precision", configs("trainer", "precision")),
        ("Seeds", [", ".join(sorted({str(run.seed) for run in runs}, key=int))]),
        ("Commit", results("commit")),
        ("Versions", results("versions")),
        ("Hardware", _distinct([_hardware(run) for run in ended])),
    ]
    return [(name, values) for name, values in found if values]
