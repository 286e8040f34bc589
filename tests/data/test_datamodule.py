import math
import random
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from corpus_builder import SAMPLING, TinyCorpus
from hypothesis import given, settings
from hypothesis import strategies as st

from llamalab.checkpoint.tokenizer import Tokenizer
from llamalab.common.errors import UserError
from llamalab.data.datamodule import Batch, MixtureDataModule, TrainingBatches, ValidationBatches
from llamalab.data.token_shards import ShardWriter, TokenShards

SEQ_LEN, SEQUENCES, STEPS = 16, 8, 10


def module(corpus: TinyCorpus, **changes: Any) -> MixtureDataModule:
    arguments: dict[str, Any] = {
        "tokens_folder": str(corpus.tokens),
        "tokenizer": str(corpus.tokenizer),
        "sampling": {domain: float(weight) for domain, weight in SAMPLING.items()} | {"absent": 5.0},
        "empty_slots": {"absent": "nothing there"},
        "seq_len": SEQ_LEN,
        "tokens": STEPS * SEQUENCES * SEQ_LEN + 5,
        "batch_tokens": SEQUENCES * SEQ_LEN,
        "micro_batch": None,
        "eval_tokens": 200,
        "seed": 1,
        "verify_hashes": True,
    }
    return MixtureDataModule(**(arguments | changes))


class Ranked(MixtureDataModule):
    """The data module as one rank of several sees it."""

    rank, ranks = 0, 1

    def _ranks(self) -> tuple[int, int]:
        return self.rank, self.ranks


def ranked(corpus: TinyCorpus, rank: int, ranks: int, **changes: Any) -> MixtureDataModule:
    made = module(corpus, **changes)
    made.__class__ = type("RankedHere", (Ranked,), {"rank": rank, "ranks": ranks})
    return made


def stacked(batches: TrainingBatches) -> torch.Tensor:
    return torch.stack([batch["tokens"] for batch in batches])  # N B T+1


def global_batches(corpus: TinyCorpus, **changes: Any) -> torch.Tensor:
    return stacked(module(corpus, **changes).train_dataloader())


def test_batches_are_windows_of_their_sources(tiny_corpus: TinyCorpus) -> None:
    made = module(tiny_corpus)
    batches = made.train_dataloader()
    assert len(batches) == STEPS
    assert made.mixture is not None
    for step, batch in enumerate(batches):
        assert batch["tokens"].shape == (SEQUENCES, SEQ_LEN + 1)
        assert batch["tokens"].dtype == torch.int64
        sources, windows = made.mixture.at(np.arange(step * SEQUENCES, (step + 1) * SEQUENCES))
        for row, source, window in zip(batch["tokens"], sources, windows, strict=True):
            shards = TokenShards(tiny_corpus.tokens / made.mixture.sources[source] / "train", verify_hashes=False)
            start = int(window) * SEQ_LEN
            assert row.tolist() == shards.read(start, start + SEQ_LEN + 1).tolist()


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("micro_batch", [None, 1, 2])
def test_ranks_and_micro_batches_cut_the_same_global_batch(
    tiny_corpus: TinyCorpus, ranks: int, micro_batch: int | None
) -> None:
    whole = global_batches(tiny_corpus)
    for rank in range(ranks):
        loader = ranked(tiny_corpus, rank, ranks, micro_batch=micro_batch).train_dataloader()
        assert len(loader) == STEPS * loader.accumulation
        own = stacked(loader).reshape(STEPS, SEQUENCES // ranks, SEQ_LEN + 1)
        assert torch.equal(own, whole[:, rank::ranks])


@given(step=st.integers(0, STEPS))
@settings(max_examples=12, deadline=None)
def test_resuming_at_a_step_goes_on_as_if_uninterrupted(tiny_corpus: TinyCorpus, step: int) -> None:
    whole = stacked(module(tiny_corpus, micro_batch=2).train_dataloader())
    resumed = module(tiny_corpus, micro_batch=2)
    resumed.set_step(step)
    rest = [batch["tokens"] for batch in resumed.train_dataloader()]
    assert len(rest) == len(whole) - step * 4
    assert all(torch.equal(one, other) for one, other in zip(rest, whole[step * 4 :], strict=True))


def test_loader_state_is_its_position(tiny_corpus: TinyCorpus) -> None:
    loader = module(tiny_corpus, micro_batch=2).train_dataloader()
    iterator = iter(loader)
    for _ in range(5):
        next(iterator)
    assert loader.state_dict() == {"micro_batches": 5}
    other = module(tiny_corpus, micro_batch=2).train_dataloader()
    other.load_state_dict(loader.state_dict())
    assert torch.equal(next(iter(other))["tokens"], next(iterator)["tokens"])


def test_no_global_random_state_is_touched(tiny_corpus: TinyCorpus) -> None:
    made = module(tiny_corpus)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[union-attr]
    list(made.train_dataloader())
    for loader in made.val_dataloader():
        list(loader)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])  # type: ignore[arg-type]


def test_the_seed_chooses_the_order(tiny_corpus: TinyCorpus) -> None:
    assert torch.equal(global_batches(tiny_corpus, seed=1), global_batches(tiny_corpus, seed=1))
    assert not torch.equal(global_batches(tiny_corpus, seed=1), global_batches(tiny_corpus, seed=2))


def rows_of(loaders: list[ValidationBatches]) -> list[tuple[list[int], int, float]]:
    """Every row that counts: its tokens, its number of counted targets, its bytes."""
    rows = []
    for loader in loaders:
        for batch in loader:
            for tokens, mask, size in zip(batch["tokens"], batch["mask"], batch["bytes"], strict=True):
                if mask.any():
                    rows.append((tokens.tolist(), int(mask.sum()), float(size)))
    return sorted(rows)


def validation(corpus: TinyCorpus, domain: int, ranks: int = 1, **changes: Any) -> list[ValidationBatches]:
    return [ranked(corpus, rank, ranks, **changes).val_dataloader()[domain] for rank in range(ranks)]


@pytest.mark.parametrize("eval_tokens", [200, 10**6])
@pytest.mark.parametrize("domain", range(len(SAMPLING)))
def test_validation_is_the_same_for_any_ranks_and_batches(
    tiny_corpus: TinyCorpus, domain: int, eval_tokens: int
) -> None:
    expected = rows_of(validation(tiny_corpus, domain, eval_tokens=eval_tokens))
    for ranks in (2, 4):
        for micro_batch in (1, 2):
            loaders = validation(tiny_corpus, domain, ranks, eval_tokens=eval_tokens, micro_batch=micro_batch)
            assert rows_of(loaders) == expected
            shapes = [[batch["tokens"].shape for batch in loader] for loader in loaders]
            assert shapes == [shapes[0]] * ranks  # collective operations need the same batches everywhere


def test_whole_validation_split_counts_every_target_and_byte_once(tiny_corpus: TinyCorpus) -> None:
    made = module(tiny_corpus, eval_tokens=10**6)
    for domain, loader in zip(made.domains, made.val_dataloader(), strict=True):
        shards = TokenShards(tiny_corpus.tokens / domain / "validation", verify_hashes=False)
        rows = rows_of([loader])
        assert sum(count for _, count, _ in rows) == len(shards) - 1
        assert sum(size for _, _, size in rows) == shards.bytes


def test_a_part_of_validation_is_spread_over_the_split(tiny_corpus: TinyCorpus) -> None:
    made = module(tiny_corpus, eval_tokens=100)
    loader = made.val_dataloader()[0]
    shards = TokenShards(tiny_corpus.tokens / made.domains[0] / "validation", verify_hashes=False)
    flat = shards.read(0, len(shards))
    rows = [row for batch in loader for row, mask in zip(batch["tokens"], batch["mask"], strict=True) if mask.any()]
    assert len(rows) == math.ceil(100 / SEQ_LEN)
    starts = [
        next(i for i in range(0, len(flat), SEQ_LEN) if flat[i : i + SEQ_LEN + 1].tolist() == row.tolist())
        for row in rows
    ]
    steps = np.diff(starts)
    assert steps.max() - steps.min() <= SEQ_LEN
    assert starts[-1] + 2 * steps.max() > len(flat)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": 100}, r"scale\.tokens: 100 is less than one batch \(scale\.batch_tokens 128\)"),
        ({"batch_tokens": 130}, r"scale\.batch_tokens: 130 is not a multiple of scale\.seq_len 16"),
        ({"seq_len": 0}, r"scale\.seq_len: 0 is too small"),
        ({"eval_tokens": 0}, r"scale\.eval_tokens: 0 is too small"),
        ({"micro_batch": 0}, r"scale\.micro_batch: 0 is too small"),
        ({"empty_slots": {}}, r"absent/train: no such token folder; .*llamalab data"),
        ({"tokenizer": "/nowhere"}, r"/nowhere: no such tokenizer"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(tiny_corpus: TinyCorpus, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        module(tiny_corpus, **changes).setup()


def test_a_sequence_longer_than_a_split_is_refused(tiny_corpus: TinyCorpus) -> None:
    long = module(tiny_corpus, seq_len=100_000, batch_tokens=100_000, tokens=100_000)
    with pytest.raises(UserError, match=r"scale\.seq_len: 100000 is longer than the train split of prose"):
        long.setup()


def test_batches_that_do_not_divide_are_refused(tiny_corpus: TinyCorpus) -> None:
    with pytest.raises(UserError, match=r"scale\.batch_tokens: 8 sequences do not divide over 3 ranks"):
        ranked(tiny_corpus, 0, 3).train_dataloader()
    with pytest.raises(UserError, match=r"scale\.micro_batch: 3 does not divide a rank's 4 sequences"):
        ranked(tiny_corpus, 0, 2, micro_batch=3).train_dataloader()


def test_shards_of_another_tokenizer_are_refused(tiny_corpus: TinyCorpus, trained_tokenizer: Tokenizer) -> None:
    other = tiny_corpus.folder / "other.model"
    other.write_bytes(trained_tokenizer.processor.serialized_model_proto())
    with pytest.raises(UserError, match=r"prose/train: the shards were made with another tokenizer"):
        module(tiny_corpus, tokenizer=str(other)).setup()


def test_epochs_of_the_run(tiny_corpus: TinyCorpus) -> None:
    made = module(tiny_corpus)
    made.setup()
    assert made.mixture is not None
    windows = made.shards["train"]["prose"].windows(SEQ_LEN)
    assert made.epochs()["prose"] == pytest.approx(0.6 * STEPS * SEQUENCES / windows)
    assert made.proportions == {"prose": 0.6, "code": 0.3, "verse": 0.1}


class Recorder(lightning.LightningModule):
    """Trains nothing; keeps the tokens it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[list[list[int]]] = []

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        self.seen.append(batch["tokens"].tolist())
        return self.weight.sum()

    def validation_step(self, batch: Batch, index: int, dataloader_idx: int = 0) -> None:
        assert set(batch) == {"tokens", "mask", "bytes", "document"}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(corpus: TinyCorpus, steps: int, checkpoint: Path | None = None) -> tuple[Recorder, lightning.Trainer]:
    made, recorder = module(corpus, micro_batch=4), Recorder()
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        accumulate_grad_batches=2,
        val_check_interval=6,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(recorder, datamodule=made, ckpt_path=checkpoint, weights_only=False)
    return recorder, trainer


@pytest.mark.filterwarnings("ignore")
def test_lightning_resumes_the_loader_from_its_own_checkpoint(tiny_corpus: TinyCorpus, tmp_path: Path) -> None:
    """Through Lightning's stateful loaders, with accumulation: the same batches as a run that was not cut."""
    whole, _ = fit(tiny_corpus, STEPS)
    first, trainer = fit(tiny_corpus, 4)
    trainer.save_checkpoint(tmp_path / "cut.ckpt")
    rest, _ = fit(tiny_corpus, STEPS, tmp_path / "cut.ckpt")
    assert len(whole.seen) == 2 * STEPS
    assert first.seen + rest.seen == whole.seen


def test_bytes_are_those_of_the_documents(trained_tokenizer: Tokenizer, tmp_path: Path) -> None:
    """A domain of two documents, one with letters of several bytes: the sums are the lengths of the texts."""
    texts = ["naïve café: 12 €", "code\n    indented = 34"]
    writer = ShardWriter(tmp_path, trained_tokenizer.vocab_size, shard_tokens=1000)
    for text in texts:
        writer.add(trained_tokenizer.encode(text, eos=True), len(text.encode()))
    writer.close(tokenizer_sha256=trained_tokenizer.sha256)
    shards = TokenShards(tmp_path, verify_hashes=True)
    for batch_size in (1, 3):
        loader = ValidationBatches(shards, trained_tokenizer, 5, 10_000, batch_size, rank=0, ranks=1)
        assert sum(float(batch["bytes"].sum()) for batch in loader) == sum(len(text.encode()) for text in texts)
