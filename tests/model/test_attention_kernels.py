"""Attention kernels differ in speed only: blocked equals torch's, in value and gradient, and in its rounding."""

from collections.abc import Callable

import pytest
import torch
from model_builders import TINY, build_model, choices
from torch import Tensor

from llamalab.model.attention_blocked import BlockedKernel, ByHardwareKernel
from llamalab.model.attention_flex import FlexKernel
from llamalab.model.attention_kernel import AttentionKernel, AttentionMask, ScaledDotProductKernel, attention_mask
from llamalab.model.position import turn_complex, turn_real


def value_and_gradients(kernel: AttentionKernel, tensors: list[Tensor], window: int | None = None) -> list[Tensor]:
    """The output of a kernel and the gradients of q, k, v (and a bias) under a fixed upstream gradient."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    q, k, v, *bias = leaves
    length = q.shape[2]
    mask = attention_mask(length, length, window, bias[0] if bias else None, q.dtype, q.device)
    output = kernel(q, k, v, mask)
    upstream = torch.linspace(-1, 1, output.numel()).view(output.shape).to(output.dtype)
    return [output, *torch.autograd.grad(output, leaves, upstream)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("length", "blocks"), [(16, 1), (16, 4), (19, 4), (5, 8), (1, 4)])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_blocked_equals_torchs_attention(dtype: torch.dtype, length: int, blocks: int, kv_heads: int) -> None:
    tensors = [torch.randn(2, heads, length, 8, dtype=dtype) for heads in (4, kv_heads, kv_heads)]
    blocked = value_and_gradients(BlockedKernel(blocks=blocks, longest=64), tensors)
    reference = value_and_gradients(ScaledDotProductKernel(), tensors)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for ours, theirs in zip(blocked, reference, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_blocked_in_bfloat16_is_about_as_exact_as_torchs_flash_attention() -> None:
    tensors = [torch.randn(4, 4, 64, 32).to(torch.bfloat16) for _ in range(3)]
    exact = value_and_gradients(ScaledDotProductKernel(), [tensor.double() for tensor in tensors])
    blocked = value_and_gradients(BlockedKernel(blocks=4, longest=64), tensors)
    flash = value_and_gradients(ScaledDotProductKernel(), tensors)

    def errors(results: list[Tensor]) -> list[Tensor]:
        return [(mine.double() - best).norm() / best.norm() for mine, best in zip(results, exact, strict=True)]

    for ours, theirs in zip(errors(blocked), errors(flash), strict=True):
        assert ours < 0.01
        assert ours < 2 * theirs


def test_blocked_leaves_long_sequences_and_caches_to_torch() -> None:
    q, k, v = (torch.randn(1, 2, 12, 8) for _ in range(3))
    blocked, reference = BlockedKernel(blocks=4, longest=8), ScaledDotProductKernel()
    assert torch.equal(blocked(q, k, v, AttentionMask(0)), reference(q, k, v, AttentionMask(0)))
    blocked = BlockedKernel(blocks=4, longest=64)
    mask = attention_mask(3, 12, None, None, q.dtype, q.device)
    assert mask.start == 9
    assert torch.equal(blocked(q[:, :, :3], k, v, mask), reference(q[:, :, :3], k, v, mask))


def by_hand(tensors: list[Tensor], window: int | None) -> Tensor:
    """Attention one query at a time, in float64; queries end on the last key."""
    q, k, v, *bias = (tensor.double() for tensor in tensors)
    k, v = (tensor.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for tensor in (k, v))
    start = k.shape[2] - q.shape[2]
    rows = []
    for t in range(q.shape[2]):
        first = 0 if window is None else max(0, start + t - window + 1)
        keys = slice(first, start + t + 1)
        scores = torch.einsum("bhd,bhsd->bhs", q[:, :, t], k[:, :, keys]) / q.shape[-1] ** 0.5
        if bias:
            scores = scores + bias[0][:, t, keys]
        rows.append(torch.einsum("bhs,bhsd->bhd", scores.softmax(-1), v[:, :, keys]))
    return torch.stack(rows, dim=2)


MASKS = pytest.mark.parametrize(("biased", "window"), [(False, None), (False, 5), (True, None), (True, 5), (False, 1)])
KERNELS = [ScaledDotProductKernel(), BlockedKernel(blocks=4, longest=64), FlexKernel()]


@MASKS
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: type(kernel).__name__)
@pytest.mark.parametrize(("queries", "kv_heads"), [(19, 4), (19, 2), (7, 4), (1, 1)])
def test_every_kernel_equals_attention_by_hand(
    kernel: AttentionKernel, biased: bool, window: int | None, queries: int, kv_heads: int
) -> None:
    shapes = [(2, 4, queries, 16), (2, kv_heads, 19, 16), (2, kv_heads, 19, 16)]
    tensors = [torch.randn(shape) for shape in shapes] + [torch.randn(4, queries, 19)] * biased
    mask = attention_mask(queries, 19, window, tensors[3] if biased else None, torch.float32, torch.device("cpu"))
    output = kernel(*tensors[:3], mask)
    torch.testing.assert_close(output.double(), by_hand(tensors, window), rtol=1e-5, atol=1e-5)


@MASKS
@pytest.mark.parametrize(("length", "blocks", "kv_heads"), [(16, 4, 4), (19, 4, 2), (5, 8, 1)])
def test_blocked_gradients_with_biases_and_windows_equal_torchs(
    biased: bool, window: int | None, length: int, blocks: int, kv_heads: int
) -> None:
    heads = (4, kv_heads, kv_heads)
    tensors = [torch.randn(3, count, length, 8, dtype=torch.float64) for count in heads]
    tensors += [torch.randn(4, length, length, dtype=torch.float64)] * biased
    blocked = value_and_gradients(BlockedKernel(blocks=blocks, longest=64), tensors, window)
    reference = value_and_gradients(ScaledDotProductKernel(), tensors, window)
    assert len(blocked) == 4 + biased
    for ours, theirs in zip(blocked, reference, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


def test_a_bias_in_bfloat16_gets_its_gradient_about_as_exactly_as_from_torchs_kernel() -> None:
    tensors = [torch.randn(4, 4, 64, 32).to(torch.bfloat16) for _ in range(3)] + [torch.randn(4, 64, 64)]
    exact = value_and_gradients(ScaledDotProductKernel(), [tensor.double() for tensor in tensors])
    blocked = value_and_gradients(BlockedKernel(blocks=4, longest=64), tensors)
    reference = value_and_gradients(ScaledDotProductKernel(), tensors)
    for best, ours, theirs in zip(exact, blocked, reference, strict=True):
        error, their_error = ((each.double() - best).norm() / best.norm() for each in (ours, theirs))
        assert error < 0.01
        assert error < 2 * their_error


def test_flex_refuses_a_gradient_on_a_cpu_in_one_line() -> None:
    q, k, v = (torch.randn(1, 2, 8, 16, requires_grad=True) for _ in range(3))
    with pytest.raises(ValueError, match=r"attention.kernel: flex has no backward pass on a CPU"):
        FlexKernel()(q, k, v, AttentionMask(0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="flex_attention has a backward pass on a GPU only")
@MASKS
def test_flex_gradients_equal_torchs_on_a_gpu(biased: bool, window: int | None) -> None:
    tensors = [torch.randn(2, heads, 256, 64, device="cuda") for heads in (4, 2, 2)]
    tensors += [torch.randn(4, 256, 256, device="cuda")] * biased
    flex = value_and_gradients(FlexKernel(), tensors, window)
    reference = value_and_gradients(ScaledDotProductKernel(), tensors, window)
    for ours, theirs in zip(flex, reference, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2)


def test_the_mask_is_only_spelled_out_where_it_must_be() -> None:
    def made(queries: int, keys: int, window: int | None) -> AttentionMask:
        return attention_mask(queries, keys, window, None, torch.float32, torch.device("cpu"))

    assert made(8, 8, None) == made(8, 8, 8) == AttentionMask(0)
    assert made(1, 8, None) == AttentionMask(7)
    assert made(8, 8, 7).window == 7
    assert made(2, 8, None).added.shape == (2, 8)
    expected = torch.tensor([[0, 0, -torch.inf, -torch.inf], [-torch.inf, 0, 0, -torch.inf], [-torch.inf] * 2 + [0, 0]])
    assert torch.equal(made(3, 4, 2).added, expected)


def test_the_kernel_by_hardware_is_blocked_only_for_bfloat16_on_a_cpu() -> None:
    def named(name: str) -> Callable[..., str]:
        return lambda *_: name

    kernel = ByHardwareKernel(bf16_on_cpu=named("blocked"), otherwise=named("torch"))  # type: ignore[arg-type]
    q, mask = torch.zeros(1, 1, 4, 8), AttentionMask(0)
    assert kernel(q.to(torch.bfloat16), q, q, mask) == "blocked"
    assert kernel(q, q, q, mask) == "torch"
    assert kernel(q.to("meta", torch.bfloat16), q, q, mask) == "torch"


ENCODED = ("position=rope", "position=alibi", "position=t5")


@pytest.mark.parametrize("position", ENCODED)
@pytest.mark.parametrize("kernel", choices("attention/kernel"))
def test_models_with_every_kernel_agree(kernel: str, position: str) -> None:
    tokens = torch.randint(0, 97, (2, 32))
    results = {}
    for choice in ("sdpa", kernel):
        model = build_model(*TINY, position, f"attention/kernel={choice}", "model.initialisation.std=0.2")
        with torch.set_grad_enabled(kernel != "flex"):  # which has no backward pass on a CPU
            loss = model.loss(tokens, tokens)
        results[choice] = [loss.detach()]
        if loss.requires_grad:
            loss.backward()
            results[choice] += [parameter.grad for parameter in model.parameters()]
    for ours, theirs in zip(results[kernel], results["sdpa"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kernel", "position"), [("sdpa", "rope"), ("blocked", "rope"), ("blocked", "t5"), ("sdpa", "alibi")]
)
def test_a_compiled_model_computes_the_same(kernel: str, position: str) -> None:
    # aot_eager: all that depends on compiling (tracing, decomposition, the branch in RoPE) but no code generation
    overrides = (f"attention/kernel={kernel}", f"position={position}", "scale.n_layers=1")
    model = build_model(*TINY, *overrides, "model.initialisation.std=0.2")
    tokens = torch.randint(0, 97, (2, 32))
    torch.compiler.reset()
    compiled = torch.compile(model.loss, backend="aot_eager", fullgraph=True)
    gradients = []
    for loss in (model.loss(tokens, tokens), compiled(tokens, tokens)):
        gradients.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    for eager, traced in zip(*gradients, strict=True):
        torch.testing.assert_close(eager, traced, rtol=1e-4, atol=1e-6)


def test_both_ways_to_turn_pairs_are_the_same() -> None:
    pairs, angles = torch.randn(2, 5, 3, 4, 2), torch.randn(5, 1, 4)
    real = turn_real(pairs, angles.cos(), angles.sin())
    torch.testing.assert_close(real, turn_complex(pairs, angles.cos(), angles.sin()), rtol=1e-6, atol=1e-6)
