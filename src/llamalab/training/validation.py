"""Validation loss per domain, in nats per token and in bits per byte."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass
class ValidationSums:
    """Running sums over one validation pass, a row of (nats, tokens, bytes) per domain.

    Sums rather than means, so the result does not depend on the batch size or the number of ranks.
    """

    rows: dict[int, Tensor] = field(default_factory=dict)
    windows: list[Tensor] = field(default_factory=list)  # each B 4: domain, document, nats, tokens

    def add(self, domain: int, losses: Tensor, batch: dict[str, Tensor]) -> None:
        """Adds a batch: `losses` (B, T) in nats, `mask` (B, T) true where a target counts, `bytes`, `document` (B)."""
        mask = batch["mask"].to(losses)
        document = batch["document"].to(losses)
        sums = ((losses * mask).sum(-1), mask.sum(-1))
        self.windows.append(torch.stack([torch.full_like(document, domain), document, *sums], dim=-1))
        row = torch.stack([(losses * mask).sum(), mask.sum(), batch["bytes"].to(losses).sum()])
        self.rows[domain] = self.rows.get(domain, torch.zeros_like(row)) + row

    def documents(self, domains: list[str], device: torch.device) -> dict[str, dict[str, list[float]]]:
        """Nats and tokens of every document of the pass, by domain, gathered over ranks; call it before `result`."""
        windows = _gathered(torch.cat(self.windows).to(device))
        sums: dict[tuple[int, int], list[float]] = {}
        for domain, document, nats, tokens in windows.tolist():
            if document >= 0:  # not padding
                entry = sums.setdefault((int(domain), int(document)), [0.0, 0.0])
                entry[0] += nats
                entry[1] += tokens
        found: dict[str, dict[str, list[float]]] = {
            domain: {"document": [], "nats": [], "tokens": []} for domain in domains
        }
        for (domain, document), (nats, tokens) in sorted(sums.items()):
            for key, value in (("document", document), ("nats", nats), ("tokens", int(tokens))):
                found[domains[domain]][key].append(value)
        return found

    def result(self, domains: list[str], proportions: dict[str, float], strategy: Any) -> dict[str, Any]:
        """The `validation` entry of result.json; sums are added over ranks, and the running sums are emptied.

        `loss` and `bits_per_byte` are means over domains weighted by their sampling proportion in training.
        """
        device = strategy.root_device
        table = torch.stack(
            [self.rows.get(i, torch.zeros(3, dtype=torch.float64)).to(device) for i in range(len(domains))]
        )
        self.rows.clear()
        self.windows.clear()
        table = strategy.reduce(table, reduce_op="sum")
        loss, bits = {}, {}
        for domain, (nats, tokens, size) in zip(domains, table.tolist(), strict=True):
            loss[domain] = nats / tokens
            bits[domain] = nats / math.log(2) / size
        weight = sum(proportions[domain] for domain in domains)
        return {
            "loss": sum(proportions[d] * loss[d] for d in domains) / weight,
            "loss_by_domain": loss,
            "bits_per_byte": sum(proportions[d] * bits[d] for d in domains) / weight,
            "bits_per_byte_by_domain": bits,
        }


def _gathered(windows: Tensor) -> Tensor:
    """The windows of all ranks (as many on each): N 4."""
    if not dist.is_initialized():
        return windows
    parts = [torch.empty_like(windows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, windows)
    return torch.cat(parts)


def as_row(validation: dict[str, Any]) -> dict[str, float]:
    """The same figures with flat names, for metrics.jsonl."""
    row = {"validation/loss": validation["loss"], "validation/bits_per_byte": validation["bits_per_byte"]}
    for key in ("loss", "bits_per_byte"):
        row |= {f"validation/{key}/{domain}": value for domain, value in validation[f"{key}_by_domain"].items()}
    return row
