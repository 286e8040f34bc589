"""How a trained model fares on sequences longer than those it was trained on: a study's probe.

The loss over windows that do not overlap falls with their length even for a model that makes nothing of what lies far
back, because fewer of the targets then have little context (the early-token effect, Press et al. 2022). So two losses
are measured, both on the same targets at every length:

    loss       over all targets of the windows, which do not overlap
    last_loss  over the last `last` targets of each stretch of text, each with half a window of context or more
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import hydra.utils
import torch
from torch import Tensor

from llamalab.checkpoint import native
from llamalab.common.configs import check_targets
from llamalab.evaluation.subject import device_of
from llamalab.model.layers import parameter_device
from llamalab.model.llama import Llama
from llamalab.model.position import PositionEncoding, RotaryPosition

OWN = "own"  # the encoding that the model was trained with, beside the names of the scalings


class Tokens(Protocol):
    """A split of one domain, as the run's data module opens it."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> Any:
        """Tokens [start, stop), int64 (numpy)."""


@dataclass(frozen=True)
class Text:
    """What is scored: stretches of text per domain, the same at every length.

    Attributes:
        stretches: domain to n_stretches S+1 tokens, int64. S is the longest length that is measured; every other length
            divides it, so that whole windows of it fill a stretch.
        shares: domain to its weight in the mean over domains; sum to 1.
        left_out: domain to the reason why it has no stretch.
    """

    stretches: dict[str, Tensor]
    shares: dict[str, float]
    left_out: dict[str, str]

    @property
    def length(self) -> int:
        """S; 0 if no domain has a stretch."""
        return next((stretches.shape[1] - 1 for stretches in self.stretches.values()), 0)


def choose_text(
    splits: Mapping[str, Tokens], proportions: Mapping[str, float], lengths: list[int], tokens: int
) -> Text:
    """Stretches as long as the greatest of the lengths that a split can fill, evenly spaced over each split.

    A domain whose split is shorter than that is left out at all lengths, or lengths would differ in their text.

    Args:
        splits: domain to its tokens.
        proportions: domain to its weight in training.
        lengths: in tokens.
        tokens: targets wanted of each domain; whole stretches are taken, at least one.
    """
    available = max(len(split) - 1 for split in splits.values())
    stretch = max((length for length in lengths if length <= available), default=0)
    stretches, left_out = {}, {}
    for domain, split in splits.items():
        there = (len(split) - 1) // stretch if stretch else 0
        if not there:
            left_out[domain] = f"its validation split has {len(split)} tokens"
            continue
        count = min(there, -(-tokens // stretch))
        starts = [number * there // count * stretch for number in range(count)]
        stretches[domain] = torch.stack([torch.from_numpy(split.read(at, at + stretch + 1)) for at in starts])
    whole = sum(proportions[domain] for domain in stretches)
    return Text(stretches, {domain: proportions[domain] / whole for domain in stretches}, left_out)


@torch.no_grad()
def window_losses(model: Llama, windows: Tensor) -> Tensor:
    """Loss of each target of the windows (B T+1 tokens): B T, nats.

    They are read through the cache in pieces of the training length, so the scores of attention and the bias of a
    position encoding never take more than training length times T numbers a head.
    """
    windows = windows.to(parameter_device(model))
    inputs, targets = windows[:, :-1], windows[:, 1:]  # B T
    cache = model.new_cache(len(inputs), inputs.shape[1])
    losses = []
    for first in range(0, inputs.shape[1], model.max_seq_len):
        piece = slice(first, first + model.max_seq_len)
        hidden = model.hidden(inputs[:, piece], cache).flatten(0, 1)  # N D
        piece_losses = model.cross_entropy(hidden, model.head_weight(), targets[:, piece].flatten(), "none")
        losses.append(piece_losses.view(len(inputs), -1))
    return torch.cat(losses, dim=1).cpu()


def stretch_losses(model: Llama, stretch: Tensor, length: int, last: int) -> tuple[Tensor, Tensor]:
    """Losses of all targets of a stretch (S+1 tokens) and of its last ones: S and `last`, nats.

    The first from windows of `length` that do not overlap, the second from windows that are moved by `last`, or by half
    their length where that is less: so each late target has half a window of context or more, at any length.
    """
    end = len(stretch) - 1
    step = min(last, length // 2)
    windows = list(stretch.unfold(0, length + 1, length))
    separate = len(windows)  # the last of them ends the stretch, and so supplies late targets too
    windows += [stretch[stop - length : stop + 1] for stop in range(end - step, end - last, -step)]
    losses = window_losses(model, torch.stack(windows))  # B T
    late = torch.cat([losses[separate:].flip(0), losses[separate - 1 : separate]])[:, -step:]
    return losses[:separate].flatten(), late.flatten()[-last:]


class Extrapolation:
    """The loss at multiples of the training length L, under the model's own encoding and under RoPE scalings.

    Deterministic, in float32. Called with a run directory whose run has finished.

    Args:
        multiples: lengths over L, ascending; each divides the next. The first should be 1, to compare with.
        tokens: targets of each domain; rounded up to whole stretches of the longest length, less where the validation
            split has less.
        last: late targets of each stretch, for `last_loss`; at most half a stretch.
        scalings: name to a partial position encoding without parameters that takes `theta` (the model's is given) and
            `factor` (length / L is given). Applied to models that were trained with plain RoPE; others have no rows
            for them.
        accelerator: auto (a GPU if there is one), cpu, cuda, ...

    Raises:
        ValueError: multiples that do not divide each other.
    """

    def __init__(
        self,
        multiples: list[int],
        tokens: int,
        last: int,
        scalings: dict[str, Callable[..., PositionEncoding]],
        accelerator: str,
    ) -> None:
        for smaller, larger in itertools.pairwise(multiples):
            if larger <= smaller or larger % smaller:
                raise ValueError(f"multiples: {larger} is no multiple of {smaller}; give for example [1, 2, 4, 8, 16]")
        self.multiples = multiples
        self.tokens = tokens
        self.last = last
        self.scalings = scalings
        self.accelerator = accelerator

    def __call__(self, run_dir: Path) -> dict[str, Any]:
        """What becomes the run's extrapolation.json.

        Returns:
            `length` (L), `last` (late targets of a stretch), `stretches` (their number by domain), `left_out` (reason
            by domain), `weights_sha256`, and `rows`, one for each encoding and multiple: `position` ("own" or a
            scaling), `multiple`, `length`, `loss`, `last_loss` (nats per token, means over domains weighted by their
            proportions in training), both again `_by_domain`, `tokens` and `last_tokens` (targets behind them), and
            `reason`, why there is no loss, or null.
        """
        model, config = native.load_model(run_dir, device=device_of(self.accelerator), dtype=torch.float32)
        assert isinstance(model, Llama)
        check_targets(config["data"])
        data: Any = hydra.utils.instantiate(config["data"]["module"], _convert_="all")
        data.setup()
        lengths = [multiple * model.max_seq_len for multiple in self.multiples]
        text = choose_text(data.shards["validation"], data.proportions, lengths, self.tokens)
        last = min(self.last, text.length // 2)
        own = model.position
        rows = []
        for name in (OWN, *(self.scalings if type(own) is RotaryPosition else ())):
            for multiple, length in zip(self.multiples, lengths, strict=True):
                model.position = own if name == OWN else self._scaled(name, model, config["model"], multiple)
                measured = self._measure(model, text, length, last)
                rows.append({"position": name, "multiple": multiple, "length": length, **measured})
        return {
            "length": model.max_seq_len,
            "last": last,
            "stretches": {domain: len(stretches) for domain, stretches in text.stretches.items()},
            "left_out": text.left_out,
            "weights_sha256": native.weights_sha256(native.newest_checkpoint(run_dir)),
            "rows": rows,
        }

    def _scaled(self, name: str, model: Llama, sizes: dict[str, Any], factor: int) -> PositionEncoding:
        own = model.position
        assert isinstance(own, RotaryPosition)
        scaled = self.scalings[name](
            dim=model.dim,
            n_heads=sizes["n_heads"],
            head_dim=own.head_dim,
            max_seq_len=model.max_seq_len,
            std=sizes["initialisation"]["std"],
            theta=sizes["position"]["theta"],
            factor=float(factor),
        )
        assert not list(scaled.parameters()), f"{name} has parameters that nobody trained"
        return scaled

    def _measure(self, model: Llama, text: Text, length: int, last: int) -> dict[str, Any]:
        """The losses of a row, or the reason why there are none."""
        reason = _obstacle(model, text, length)
        losses: dict[str, Tensor] = {}
        late: dict[str, Tensor] = {}
        for domain, stretches in text.stretches.items() if reason is None else ():
            found = [stretch_losses(model, stretch, length, last) for stretch in stretches]
            losses[domain], late[domain] = (torch.cat(part).double() for part in zip(*found, strict=True))
        row: dict[str, Any] = {}
        for prefix, by_domain in (("", losses), ("last_", late)):
            means = {domain: values.mean().item() for domain, values in by_domain.items()}
            row[f"{prefix}loss"] = sum(text.shares[domain] * mean for domain, mean in means.items()) if means else None
            row[f"{prefix}loss_by_domain"] = means
            row[f"{prefix}tokens"] = sum(values.numel() for values in by_domain.values())
        return row | {"reason": reason}


def _obstacle(model: Llama, text: Text, length: int) -> str | None:
    """Why the model has no loss at this length, if it has none."""
    if length > text.length:
        return f"no validation split has {length + 1} tokens"
    try:
        model.position.check_length(length)
    except ValueError as error:
        return str(error)
    return None
