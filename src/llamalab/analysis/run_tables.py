"""Tables over runs of every study: the list of all runs, energy and carbon, benchmark scores."""

from pathlib import Path
from typing import Any

from llamalab.analysis.records import Run
from llamalab.analysis.study_tables import value_of
from llamalab.common import formats
from llamalab.common.tables import Column, Table


def runs_table(runs: list[Run], runs_dir: Path) -> Table:
    """Every run, whatever became of it."""
    rows = [
        {
            "run": run.path.relative_to(runs_dir).as_posix(),
            "status": run.status,
            "diverged_at_step": value_of(run, "diverged_at_step"),
            "step": value_of(run, "step"),
            "tokens": value_of(run, "tokens"),
            "loss": value_of(run, "validation", "loss"),
            "train_loss": value_of(run, "train_loss"),
            "bits_per_byte": value_of(run, "validation", "bits_per_byte"),
            "seconds": value_of(run, "seconds"),
            "tokens_per_second": value_of(run, "tokens_per_second"),
            "weights_sha256": value_of(run, "weights_sha256"),
            "config_hash": value_of(run, "config_hash"),
            "commit": value_of(run, "commit"),
        }
        for run in runs
    ]
    return Table(
        name="runs",
        caption="Every run that was declared or found: none is left out of this list.",
        columns=[
            Column("run", "run", numeric=False),
            Column("status", "status", numeric=False),
            Column("diverged_at_step", "diverged at step", formats.count),
            Column("step", "steps", formats.count),
            Column("tokens", "tokens", formats.compact()),
            Column("loss", "validation loss (nats/token)", formats.fixed(4)),
            Column("train_loss", "training loss (nats/token)", formats.fixed(4)),
            Column("bits_per_byte", "bits per byte", formats.fixed(4)),
            Column("seconds", "time", formats.duration),
            Column("tokens_per_second", "tokens/s", formats.significant(3)),
            Column("weights_sha256", "weights", lambda value: formats.text(value)[:8], numeric=False),
            Column("config_hash", "config hash", readable=False),
            Column("commit", "commit", readable=False),
        ],
        rows=rows,
    )


def energy_table(runs: list[Run]) -> Table:
    """Energy and carbon by study and arm, and their sum, over every run that ended."""
    ended = [run for run in runs if run.ended]
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in ended:
        groups.setdefault((run.study or run.path.parts[-3], run.arm or formats.NOTHING), []).append(run)

    def row(name: str, arm: str, members: list[Run]) -> dict[str, Any]:
        energies = [value_of(run, "energy") for run in members]
        return {
            "study": name,
            "arm": arm,
            "runs": len(members),
            "device_hours": sum(energy["hours"] * energy["devices"] for energy in energies),
            "watts": _only(energy["watts"] for energy in energies),
            "pue": _only(energy["pue"] for energy in energies),
            "kg_per_kwh": _only(energy["kg_per_kwh"] for energy in energies),
            "kwh": sum(energy["kwh"] for energy in energies),
            "tco2eq": sum(energy["tco2eq"] for energy in energies),
        }

    rows = [row(name, arm, members) for (name, arm), members in groups.items()]
    if len(rows) > 1:
        rows.append(row("all", formats.NOTHING, ended))
    return Table(
        name="energy",
        caption="Energy and carbon of the runs that ended, by study and arm, training time alone.",
        columns=[
            Column("study", "study", numeric=False),
            Column("arm", "arm", numeric=False),
            Column("runs", "runs", formats.count),
            Column("device_hours", "device hours", formats.significant(3)),
            Column("watts", "watts a device", formats.plain),
            Column("pue", "PUE", formats.plain),
            Column("kg_per_kwh", "kg CO2eq per kWh", formats.plain),
            Column("kwh", "kWh", formats.significant(3)),
            Column("tco2eq", "g CO2eq", lambda tonnes: formats.significant(3)(tonnes * 1e6)),
        ],
        rows=rows,
    )


def _only(values: Any) -> Any:
    """The value they share; None if they differ."""
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else None
