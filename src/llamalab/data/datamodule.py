"""The corpus as Lightning wants it: a mixture to train on, one validation loader per domain.

The training room never imports this file; the config names the class and Hydra builds it.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import lightning
import numpy as np
import numpy.typing as npt
import torch

from llamalab.checkpoint.tokenizer import Tokenizer, load_tokenizer
from llamalab.common.errors import UserError
from llamalab.data.mixture import Mixture, renormalised
from llamalab.data.token_shards import TokenShards

Batch = dict[str, torch.Tensor]


class TrainingBatches:
    """This rank's micro-batches of the run, from any position.

    Yields {"tokens": B T+1 int64}, step by step and within a step one micro-batch after the other. The global
    batch of step t is sequences t*S .. (t+1)*S-1 of the mixture; rank r of R takes r, r+R, r+2R, ... of them, so
    all ranks together see the same batch whatever R is. Draws from no random generator.

    `state_dict` holds only the number of micro-batches taken, the same on every rank. It has a length (all
    micro-batches of the run, counted from step 0): without one Lightning fetches a batch ahead and the state it
    saves would be one batch too far.
    """

    def __init__(
        self,
        mixture: Mixture,
        shards: dict[str, TokenShards],
        seq_len: int,
        sequences: int,
        micro_batch: int,
        steps: int,
        rank: int,
        ranks: int,
    ) -> None:
        self.mixture, self.shards = mixture, shards
        self.seq_len, self.sequences, self.micro_batch, self.steps = seq_len, sequences, micro_batch, steps
        self.rank, self.ranks = rank, ranks
        self.accumulation = sequences // ranks // micro_batch
        self.position = 0

    def __len__(self) -> int:
        return self.steps * self.accumulation

    def at(self, position: int) -> Batch:
        """Micro-batch number `position` of this rank: a pure function of the data, the seed and the number."""
        step, part = divmod(position, self.accumulation)
        within = self.rank + self.ranks * np.arange(part * self.micro_batch, (part + 1) * self.micro_batch)
        sources, windows = self.mixture.at(step * self.sequences + within)
        rows = [
            self.shards[self.mixture.sources[source]].window(int(window), self.seq_len)
            for source, window in zip(sources, windows, strict=True)
        ]
        return {"tokens": torch.from_numpy(np.stack(rows))}  # B T+1

    def __iter__(self) -> Iterator[Batch]:
        while self.position < len(self):
            batch = self.at(self.position)
            self.position += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"micro_batches": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["micro_batches"]


class ValidationBatches:
    """This rank's part of one domain's validation windows.

    Yields {"tokens": B T+1 int64, "mask": B T bool, "bytes": B int64, "document": B int64}. The split is cut into
    windows that do not overlap (each starts on the last target of the one before), so a target is predicted once;
    where they are more than `tokens` asks for, evenly spaced ones are taken, so that they come from the whole split
    and not from its first documents. The set depends on neither the batch nor the ranks. `mask` marks the targets
    that count; `bytes` is the UTF-8 length of the text behind a row's counted targets; `document` is the number of
    the document that the window begins in, -1 for padding. So over a domain

        loss = sum(nats * mask) / sum(mask)            nats per token
        bits per byte = sum(nats * mask) / (ln 2 * sum(bytes))

    with the sums reduced over batches and ranks. Rank r of R takes windows r, r+R, ...; the last rows are
    padding (mask all false) where the windows do not divide, so that every rank makes the same number of
    equal batches, as collective operations need.
    """

    def __init__(
        self, shards: TokenShards, tokenizer: Tokenizer, seq_len: int, tokens: int, batch: int, rank: int, ranks: int
    ) -> None:
        self.shards, self.tokenizer, self.seq_len = shards, tokenizer, seq_len
        self.rank, self.ranks = rank, ranks
        self.available = math.ceil((len(shards) - 1) / seq_len)
        self.windows = min(self.available, math.ceil(tokens / seq_len))
        self.rows = math.ceil(self.windows / ranks)
        self.batch = min(batch, self.rows)

    def __len__(self) -> int:
        return math.ceil(self.rows / self.batch)

    def __iter__(self) -> Iterator[Batch]:
        for number in range(len(self)):
            yield self._batch(range(number * self.batch, (number + 1) * self.batch))

    def _batch(self, rows: range) -> Batch:
        tokens = np.full((len(rows), self.seq_len + 1), self.tokenizer.eos_id, dtype=np.int64)
        mask = np.zeros((len(rows), self.seq_len), dtype=bool)
        documents = np.full(len(rows), -1, dtype=np.int64)
        for index, row in enumerate(rows):
            number = self.rank + row * self.ranks
            if number >= self.windows:
                break
            start = number * self.available // self.windows * self.seq_len
            stop = min(start + self.seq_len, len(self.shards) - 1)  # the split's last window may be shorter
            tokens[index, : stop - start + 1] = self.shards.read(start, stop + 1)
            mask[index, : stop - start] = True
            documents[index] = self.shards.document_at(start)
        lengths: npt.NDArray[np.int64] = self.tokenizer.text_bytes(tokens[:, :-1], tokens[:, 1:])
        return {
            "tokens": torch.from_numpy(tokens),  # B T+1
            "mask": torch.from_numpy(mask),  # B T
            "bytes": torch.from_numpy((lengths * mask).sum(axis=1)),  # B
            "document": torch.from_numpy(documents),  # B
        }


class MixtureDataModule(lightning.LightningDataModule):
    """The deterministic mixture over a folder of token shards (DESIGN decision 5).

    Args:
        tokens_folder: `tokens/`, holding `<source>/{train,validation}/`.
        tokenizer: the `tokenizer.model` that made the shards.
        sampling: slot to proportion, as in the paper's Table 1.
        empty_slots: slots without text, to the reason; the others are renormalised.
        seq_len: tokens a sequence, T.
        tokens: the run's training budget; whole steps of it are taken.
        batch_tokens: tokens of one optimizer step over all ranks; a multiple of `seq_len`.
        micro_batch: sequences a rank puts through the model at once; null for all of its share.
        eval_tokens: validation targets per domain, less where the domain has less.
        seed: chooses the order of the training sequences.
        verify_hashes: compare each shard's sha256 when it is opened.

    Raises:
        UserError: in the constructor for numbers that cannot fit each other; in `setup` for missing, corrupt or
            foreign shards; when a loader is made for a batch that does not divide over the ranks.
    """

    def __init__(
        self,
        tokens_folder: str,
        tokenizer: str,
        sampling: dict[str, float],
        empty_slots: dict[str, str],
        seq_len: int,
        tokens: int,
        batch_tokens: int,
        micro_batch: int | None,
        eval_tokens: int,
        seed: int,
        verify_hashes: bool,
    ) -> None:
        super().__init__()
        sizes = {
            "seq_len": seq_len,
            "batch_tokens": batch_tokens,
            "eval_tokens": eval_tokens,
            "micro_batch": micro_batch,
        }
        for key, value in sizes.items():
            if value is not None and value < 1:
                raise UserError(f"scale.{key}: {value} is too small; give at least 1")
        if batch_tokens % seq_len:
            raise UserError(f"scale.batch_tokens: {batch_tokens} is not a multiple of scale.seq_len {seq_len}")
        if tokens < batch_tokens:
            raise UserError(f"scale.tokens: {tokens} is less than one batch (scale.batch_tokens {batch_tokens})")
        self.tokens_folder, self.tokenizer_path = Path(tokens_folder), Path(tokenizer)
        self.proportions = renormalised(sampling, empty_slots)  # domain to share, sums to 1
        self.domains = tuple(self.proportions)  # the order of the validation loaders
        self.seq_len, self.sequences = seq_len, batch_tokens // seq_len
        self.steps = tokens // batch_tokens
        self.micro_batch, self.eval_tokens = micro_batch, eval_tokens
        self.seed, self.verify_hashes = seed, verify_hashes
        self.start_step = 0
        self.tokenizer: Tokenizer | None = None
        self.mixture: Mixture | None = None
        self.shards: dict[str, dict[str, TokenShards]] = {}

    def setup(self, stage: str | None = None) -> None:
        """Opens and checks tokenizer and shards, once; the stage makes no difference."""
        if self.mixture is not None:
            return
        self.tokenizer = load_tokenizer(self.tokenizer_path)
        for split in ("train", "validation"):
            self.shards[split] = {domain: self._open(domain, split) for domain in self.domains}
        windows = {domain: shards.windows(self.seq_len) for domain, shards in self.shards["train"].items()}
        self.mixture = Mixture(windows, self.proportions, self.seed)

    def _open(self, domain: str, split: str) -> TokenShards:
        assert self.tokenizer is not None
        shards = TokenShards(self.tokens_folder / domain / split, self.verify_hashes)
        if shards.tokenizer_sha256 != self.tokenizer.sha256:
            raise UserError(
                f"{shards.folder}: the shards were made with another tokenizer than {self.tokenizer_path}; "
                "run `llamalab data stages=[tokens]` or point data.module.tokenizer at theirs"
            )
        if len(shards) <= self.seq_len:
            raise UserError(
                f"scale.seq_len: {self.seq_len} is longer than the {split} split of {domain} ({len(shards)} tokens); "
                "lower it or give the source more text"
            )
        return shards

    def set_step(self, step: int) -> None:
        """Makes training go on after `step` whole optimizer steps; call it before `fit` when resuming."""
        self.start_step = step

    def share(self, ranks: int) -> tuple[int, int]:
        """Sequences in one micro-batch of a rank, and how many of them make one optimizer step.

        Raises:
            UserError: the batch does not divide over so many ranks and micro-batches.
        """
        if self.sequences % ranks:
            raise UserError(
                f"scale.batch_tokens: {self.sequences} sequences do not divide over {ranks} ranks; "
                "make it a multiple of ranks * scale.seq_len"
            )
        share = self.sequences // ranks
        micro_batch = self.micro_batch or share
        if share % micro_batch:
            raise UserError(f"scale.micro_batch: {micro_batch} does not divide a rank's {share} sequences a step")
        return micro_batch, share // micro_batch

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def train_dataloader(self) -> TrainingBatches:
        """This rank's micro-batches from the start step on."""
        self.setup()
        assert self.mixture is not None
        rank, ranks = self._ranks()
        micro_batch, accumulation = self.share(ranks)
        loader = TrainingBatches(
            self.mixture, self.shards["train"], self.seq_len, self.sequences, micro_batch, self.steps, rank, ranks
        )
        loader.position = self.start_step * accumulation
        return loader

    def val_dataloader(self) -> list[ValidationBatches]:
        """One loader per domain, in the order of `domains`."""
        self.setup()
        assert self.tokenizer is not None
        rank, ranks = self._ranks()
        micro_batch, _ = self.share(ranks)
        return [
            ValidationBatches(shards, self.tokenizer, self.seq_len, self.eval_tokens, micro_batch, rank, ranks)
            for shards in self.shards["validation"].values()
        ]

    def epochs(self) -> dict[str, float]:
        """How often the run sees each domain's training text."""
        self.setup()
        assert self.mixture is not None
        return self.mixture.epochs(self.steps * self.sequences)
