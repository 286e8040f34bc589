"""The chunked loss equals cross-entropy on the logits, in value and gradient, for both reductions."""

import pytest
import torch
import torch.nn.functional as F
from model_builders import TINY, build_model
from torch import Tensor

from llamalab.model.loss import IGNORED, ChunkedCrossEntropy

CASES = pytest.mark.parametrize("chunk_tokens", [1, 7, 32, 1000])


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states N D, head V D, targets N of which some do not count."""
    targets = torch.randint(0, 53, (37,))
    targets[[0, 5, 36]] = IGNORED
    return torch.randn(37, 16, requires_grad=True), torch.randn(53, 16, requires_grad=True), targets


@CASES
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_value_and_gradients_equal_torchs_cross_entropy(
    batch: tuple[Tensor, Tensor, Tensor], chunk_tokens: int, reduction: str
) -> None:
    hidden, weight, targets = batch
    loss = ChunkedCrossEntropy(chunk_tokens)(hidden, weight, targets, reduction)
    expected = F.cross_entropy(hidden @ weight.T, targets, reduction=reduction)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)

    upstream = torch.randn_like(loss)
    ours = torch.autograd.grad(loss, (hidden, weight), upstream)
    theirs = torch.autograd.grad(expected, (hidden, weight), upstream)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


def test_the_mean_is_the_same_without_a_gradient(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    loss = ChunkedCrossEntropy(8)
    with torch.no_grad():
        assert torch.isclose(loss(*batch, "mean"), F.cross_entropy(batch[0] @ batch[1].T, batch[2]))


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_bfloat16_differs_from_float64_by_rounding_only(reduction: str) -> None:
    hidden = torch.randn(64, 32).to(torch.bfloat16).requires_grad_()
    weight = (0.3 * torch.randn(301, 32)).to(torch.bfloat16).requires_grad_()
    targets = torch.randint(0, 301, (64,))
    loss = ChunkedCrossEntropy(16)(hidden, weight, targets, reduction)
    loss.sum().backward()

    wide = [tensor.detach().double().requires_grad_() for tensor in (hidden, weight)]
    expected = F.cross_entropy(wide[0] @ wide[1].T, targets, reduction=reduction)
    expected.sum().backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected, rtol=2e-3, atol=2e-2)
    for tensor, reference in zip((hidden, weight), wide, strict=True):
        error = (tensor.grad.double() - reference.grad).norm() / reference.grad.norm()
        assert error < 0.01


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_bfloat16_default_type_as_lightning_sets_it_changes_nothing(
    batch: tuple[Tensor, Tensor, Tensor], reduction: str
) -> None:
    def value_and_gradients() -> list[Tensor]:
        loss = ChunkedCrossEntropy(8)(*batch, reduction)
        return [loss, *torch.autograd.grad(loss.sum(), batch[:2])]

    expected = value_and_gradients()
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = value_and_gradients()
    finally:
        torch.set_default_dtype(torch.float32)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_autocast_takes_the_products_in_bfloat16_and_the_gradients_in_float32(
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    hidden, weight, targets = batch
    with torch.autocast("cpu", torch.bfloat16):
        loss = ChunkedCrossEntropy(8)(hidden, weight, targets, "mean")
        expected = F.cross_entropy(F.linear(hidden, weight), targets)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    loss.backward()
    assert weight.grad.dtype == torch.float32


def test_the_models_loss_is_cross_entropy_of_its_logits() -> None:
    model = build_model(*TINY, "model.cross_entropy.chunk_tokens=10")
    tokens, targets = torch.randint(0, 97, (2, 4, 16))
    expected = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten(), reduction="none").view(4, 16)
    torch.testing.assert_close(model.loss(tokens, targets, "none"), expected)
    torch.testing.assert_close(model.loss(tokens, targets), expected.mean())


def test_the_logits_of_the_whole_batch_never_exist() -> None:
    hidden = torch.randn(512, 8, requires_grad=True)
    weight = torch.randn(1000, 8, requires_grad=True)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, tuple | list) else (result,):
                if isinstance(tensor, Tensor):
                    largest = max(largest, tensor.numel())
            return result

    with Watch():
        ChunkedCrossEntropy(64)(hidden, weight, torch.randint(0, 1000, (512,)), "mean").backward()
    assert largest == 64 * 1000
