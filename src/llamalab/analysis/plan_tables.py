"""The plan for people: each figure beside the formula that it comes from."""

from typing import Any

from llamalab.analysis.memory import GIB
from llamalab.common import formats
from llamalab.common.tables import Column, Table

Row = tuple[str, str, str]


def tables_of(plan: dict[str, Any]) -> list[Table]:
    """The plan of `llamalab.analysis.plan.plan_of` as tables: the run, and the memory of one device."""
    return [
        _table("plan_run", f"Plan for {plan['scale']} on {plan['gpus']} x {plan['device']}", _run_rows(plan)),
        _table(
            "plan_memory",
            f"Memory of one device: {plan['precision']}, sharding {plan['sharding']}, "
            f"{plan['memory']['sequences_per_forward']} sequence(s) a forward pass",
            _memory_rows(plan["memory"]),
        ),
    ]


def _table(name: str, caption: str, rows: list[Row]) -> Table:
    return Table(
        name=name,
        caption=caption,
        columns=[
            Column("quantity", "quantity", numeric=False),
            Column("value", "value"),
            Column("how", "how", numeric=False),
        ],
        rows=[dict(zip(("quantity", "value", "how"), row, strict=True)) for row in rows],
    )


def _run_rows(plan: dict[str, Any]) -> list[Row]:
    counts, cost = plan["parameters"], plan["training"]
    number, exponent, percent = formats.count, formats.scientific, formats.percent(1)
    rate, energy = formats.significant(3), formats.significant(4)
    return [
        ("parameters", number(counts["total"]), "N, counted on the meta device"),
        ("  without embeddings", number(counts["non_embedding"]), ""),
        ("training tokens", number(cost["tokens"]), "D"),
        ("FLOP a token", exponent(cost["flops_per_token"]), "6 x weights used + causal attention"),
        ("FLOP a token, 6N", exponent(cost["flops_per_token_6n"]), "6 N"),
        ("FLOP in all", exponent(cost["flops"]), "FLOP a token x D"),
        ("FLOP in all, 6ND", exponent(cost["flops_6n"]), "6 N D"),
        ("MFU", percent(cost["mfu"]), f"of {cost['peak_flops_per_gpu']:.4g} FLOP/s"),
        ("MFU, 6N", percent(cost["mfu_6n"]), "the same speed, counted by 6N"),
        ("tokens/s a device", rate(cost["tokens_per_second_per_gpu"]), "MFU x peak / FLOP a token"),
        ("time", formats.duration(cost["hours"] * 3600), f"{rate(cost['hours'])} hours"),
        ("device hours", rate(cost["gpu_hours"]), "hours x devices"),
        ("energy", f"{energy(cost['kwh'])} kWh", f"device hours x {cost['watts']:g} W x PUE {cost['pue']:g}"),
        ("carbon", f"{energy(cost['tco2eq'])} tCO2eq", f"kWh x {cost['kg_per_kwh']:g} kg/kWh"),
        ("inference, a token", exponent(plan["inference"]["flops_per_token_2n"]), "2 N"),
    ]


def _memory_rows(needed: dict[str, Any]) -> list[Row]:
    def size(key: str) -> str:
        return formats.fixed(2 if needed["total"] >= GIB else 4)(needed[key] / GIB) + " GiB"

    def fit(key: str) -> str:
        if needed["device_bytes"] is None:
            return "the device has no fixed memory"
        return ("fits" if needed[key] else "DOES NOT FIT") + f" in {needed['device_bytes'] / GIB:g} GiB"

    return [
        ("weights", size("weights"), "this device's share"),
        ("gradients", size("gradients"), "this device's share"),
        ("optimizer", size("optimizer"), "two moments of AdamW"),
        ("gathered weights", size("gathered"), "whole, in compute precision"),
        ("loss", size("loss"), "one chunk of logits, head gradient"),
        ("activations", size("activations"), "all kept for backward"),
        ("  checkpointed", size("activations_checkpointed"), "block inputs kept, one block recomputed"),
        ("total", size("total"), fit("fits")),
        ("  checkpointed", size("total_checkpointed"), fit("fits_checkpointed")),
    ]
