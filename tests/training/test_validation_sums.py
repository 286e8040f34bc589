"""Validation figures: sums, so the batch size does not matter; bits per byte against the text itself."""

import itertools
import math
from types import SimpleNamespace

import command_line
import pytest
import sentencepiece
import torch

from llamalab.checkpoint.native import load_model
from llamalab.data.token_shards import TokenShards
from llamalab.training.validation import ValidationSums, as_row

ALONE = SimpleNamespace(
    root_device=torch.device("cpu"), reduce=lambda table, reduce_op: table, all_gather=lambda table: table
)
PROPORTIONS = {"prose": 0.75, "code": 0.25}


def sums_over(batch: int) -> dict:
    generator = torch.Generator().manual_seed(0)
    sums = ValidationSums()
    for domain, rows in enumerate((12, 8)):
        losses = torch.rand(rows, 5, generator=generator, dtype=torch.float64)
        mask = torch.rand(rows, 5, generator=generator) < 0.8
        sizes = torch.randint(3, 20, (rows,), generator=generator).double()
        for start in range(0, rows, batch):
            part = slice(start, start + batch)
            document = torch.arange(rows)[part]
            sums.add(domain, losses[part], {"mask": mask[part], "bytes": sizes[part], "document": document})
    result = sums.result(list(PROPORTIONS), PROPORTIONS, ALONE)
    assert not sums.rows
    return result


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_independent_of_the_batch_size(batch):
    small, whole = sums_over(batch), sums_over(100)
    assert as_row(small) == pytest.approx(as_row(whole), rel=1e-12)


def test_the_formula_by_hand():
    sums = ValidationSums()
    losses = torch.tensor([[1.0, 2.0, 100.0]], dtype=torch.float64)
    document = torch.tensor([3])
    sums.add(
        0, losses, {"mask": torch.tensor([[True, True, False]]), "bytes": torch.tensor([6.0]), "document": document}
    )
    sums.add(
        1, losses, {"mask": torch.tensor([[True, False, False]]), "bytes": torch.tensor([4.0]), "document": document}
    )
    sums.add(1, losses, {"mask": torch.zeros(1, 3, dtype=bool), "bytes": torch.tensor([0.0]), "document": -document})
    assert sums.documents(["prose", "code"], torch.device("cpu")) == {
        "prose": {"document": [3], "nats": [3.0], "tokens": [2]},
        "code": {"document": [3], "nats": [1.0], "tokens": [1]},
    }
    result = sums.result(["prose", "code"], PROPORTIONS, ALONE)
    assert result["loss_by_domain"] == {"prose": 1.5, "code": 1.0}
    assert result["loss"] == pytest.approx(0.75 * 1.5 + 0.25 * 1.0)
    assert result["bits_per_byte_by_domain"] == pytest.approx(
        {"prose": 3 / math.log(2) / 6, "code": 1 / math.log(2) / 4}
    )
    assert result["bits_per_byte"] == pytest.approx((0.75 * 3 / 6 + 0.25 * 1 / 4) / math.log(2))


def test_a_run_reports_what_its_final_weights_give(tiny_corpus, tmp_path):
    """All validation text of each domain, scored window by window in float64 and counted in bytes of decoded text."""
    outcome = command_line.run_here(
        "train", *tiny_corpus.overrides(runs_dir=tmp_path, scale__tokens=10 * 256, scale__eval_tokens=10**6)
    )
    assert outcome.code == 0
    run_dir = tmp_path / "default/tiny/seed=0"
    reported = command_line.result(run_dir)["validation"]
    model, _ = load_model(run_dir, dtype=torch.float64)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tiny_corpus.tokenizer))
    shares = {"prose": 0.6, "code": 0.3, "verse": 0.1}
    bits = {}
    for domain in shares:
        shards = TokenShards(tiny_corpus.tokens / domain / "validation", verify_hashes=True)
        ids = torch.from_numpy(shards.read(0, len(shards)))
        nats = 0.0
        with torch.no_grad():
            for start in range(0, len(ids) - 1, 32):
                window = ids[start : start + 33]
                scores = model(window[None, :-1]).log_softmax(-1)[0]
                nats -= scores.gather(1, window[1:, None]).sum().item()
        assert reported["loss_by_domain"][domain] == pytest.approx(nats / (len(ids) - 1), rel=1e-5)
        starts = [int(i) for i in (ids == pieces.bos_id()).nonzero()] + [len(ids)]
        documents = [ids[a:b].tolist() for a, b in itertools.pairwise(starts)]
        size = sum(len(pieces.decode(document).encode()) for document in documents)
        assert size == shards.bytes
        bits[domain] = nats / math.log(2) / size
        assert reported["bits_per_byte_by_domain"][domain] == pytest.approx(bits[domain], rel=1e-5)
    assert reported["bits_per_byte"] == pytest.approx(sum(shares[d] * bits[d] for d in shares), rel=1e-5)
    last = [row for row in command_line.rows(run_dir) if "validation/loss" in row][-1]
    assert {key: value for key, value in last.items() if key.startswith("validation")} == as_row(reported)
