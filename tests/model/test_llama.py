"""The whole model: parity with transformers, the paper's sizes, causality, matched arms, tied embeddings."""

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from model_builders import AXES, BASELINE, TINY, build_model, choices, combinations, compose_model
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from llamalab.common.configs import check_targets
from llamalab.model import Llama
from llamalab.model.position import PositionEncoding

SCALES = choices("scale")
PAPER_COUNTS = {"7b": 6_738_415_616, "13b": 13_015_864_320, "33b": 32_528_943_616, "65b": 65_285_660_672}


def rotate_half_layout(weight: Tensor, n_heads: int) -> Tensor:
    """Rows of wq or wk from Meta's neighbouring pairs to transformers' halves."""
    return weight.unflatten(0, (n_heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def transformers_twin(model: Llama, n_heads: int, n_kv_heads: int) -> LlamaForCausalLM:
    """transformers' LLaMA with the same weights, attention in plain matrix products."""
    block = model.layers[0]
    twin = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=model.vocab_size,
            hidden_size=model.dim,
            intermediate_size=block.feed_forward.width,
            num_hidden_layers=len(model.layers),
            num_attention_heads=n_heads,
            num_key_value_heads=n_kv_heads,
            max_position_embeddings=model.max_seq_len,
            rms_norm_eps=block.attention_norm.eps,
            tie_word_embeddings=False,
            attn_implementation="eager",
        )
    )
    names = {
        "attention.wo": "self_attn.o_proj",
        "attention.wv": "self_attn.v_proj",
        "attention.wq": "self_attn.q_proj",
        "attention.wk": "self_attn.k_proj",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj",
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "tok_embeddings": "model.embed_tokens",
        "output": "lm_head",
    }
    state = {}
    for name, weight in model.state_dict().items():
        heads = {"wq": n_heads, "wk": n_kv_heads}.get(name.split(".")[-2])
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        name = "model." + name if name.startswith(("layers", "norm")) else name
        state[name] = weight if heads is None else rotate_half_layout(weight, heads)
    twin.load_state_dict(state)
    return twin


@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])
def test_logits_and_gradients_equal_transformers(n_kv_heads: int) -> None:
    model = build_model(*TINY, f"scale.n_kv_heads={n_kv_heads}", "model.initialisation.std=0.2")
    twin = transformers_twin(model, 4, n_kv_heads)
    tokens = torch.randint(0, 97, (3, 32))
    targets = torch.randint(0, 97, (3, 32))

    logits, their_logits = model(tokens), twin(tokens).logits
    assert logits.abs().max() > 0.5
    torch.testing.assert_close(logits, their_logits, rtol=1e-5, atol=1e-5)

    model.loss(tokens, targets).backward()
    nn.functional.cross_entropy(their_logits.flatten(0, 1), targets.flatten()).backward()
    theirs = twin.model.layers[1]
    ours = model.layers[1]
    pairs = [
        (model.tok_embeddings.weight.grad, twin.model.embed_tokens.weight.grad),
        (model.output.weight.grad, twin.lm_head.weight.grad),
        (model.norm.weight.grad, twin.model.norm.weight.grad),
        (ours.attention_norm.weight.grad, theirs.input_layernorm.weight.grad),
        (ours.ffn_norm.weight.grad, theirs.post_attention_layernorm.weight.grad),
        (rotate_half_layout(ours.attention.wq.weight.grad, 4), theirs.self_attn.q_proj.weight.grad),
        (rotate_half_layout(ours.attention.wk.weight.grad, n_kv_heads), theirs.self_attn.k_proj.weight.grad),
        (ours.attention.wv.weight.grad, theirs.self_attn.v_proj.weight.grad),
        (ours.attention.wo.weight.grad, theirs.self_attn.o_proj.weight.grad),
        (ours.feed_forward.w1.weight.grad, theirs.mlp.gate_proj.weight.grad),
        (ours.feed_forward.w2.weight.grad, theirs.mlp.down_proj.weight.grad),
        (ours.feed_forward.w3.weight.grad, theirs.mlp.up_proj.weight.grad),
    ]
    for mine, other in pairs:
        assert other.abs().max() > 1e-4
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("scale", "count"), PAPER_COUNTS.items())
def test_the_papers_sizes_have_their_exact_parameter_counts(scale: str, count: int) -> None:
    with torch.device("meta"):
        model = build_model(f"scale={scale}")
    assert model.parameter_counts()["total"] == count
    assert model.tok_embeddings.weight.is_meta


@pytest.mark.parametrize("scale", SCALES)
def test_every_arm_has_the_baselines_non_embedding_parameters(scale: str) -> None:
    # two blocks instead of all: their share of the difference is the same
    sizes = compose_model(f"scale={scale}", "scale.n_layers=2").scale

    def count(*overrides: str) -> int:
        config = compose_model(*overrides)  # the model's keys refer to the scale's, so any scale can be put in
        config.scale = sizes
        with torch.device("meta"):
            return instantiate(config.model).parameter_counts()["non_embedding"]

    baseline = count()
    for axis in AXES:
        for choice in choices(axis):
            difference = count(f"{axis}={choice}") / baseline - 1
            assert abs(difference) <= 0.005, f"{axis}={choice} at {scale}: {difference:.3%}"


def test_non_embedding_counts_neither_embeddings_nor_head_nor_position_table() -> None:
    plain = build_model(*TINY).parameter_counts()
    learned = build_model(*TINY, "position=learned").parameter_counts()
    assert plain["embedding"] == 2 * 97 * 48
    assert learned["embedding"] == 2 * 97 * 48 + 32 * 48
    assert plain["non_embedding"] == learned["non_embedding"]
    assert plain["total"] == plain["embedding"] + plain["non_embedding"]


@pytest.mark.parametrize("overrides", combinations(), ids=" ".join)
def test_a_future_token_never_moves_a_past_logit(overrides: list[str]) -> None:
    model = build_model(*TINY, *overrides, "model.initialisation.std=0.2").eval()
    tokens = torch.randint(0, 97, (2, 16))
    with torch.no_grad():
        before = model(tokens)
        for place in (1, 7, 15):
            changed = tokens.clone()
            changed[:, place] = (changed[:, place] + 1) % 97
            after = model(changed)
            assert torch.equal(before[:, :place], after[:, :place])
            assert not torch.allclose(before[:, place], after[:, place], atol=1e-3)


@pytest.mark.parametrize("position", choices("position"))
def test_only_an_encoding_tells_a_repeated_token_from_the_next(position: str) -> None:
    model = build_model(*TINY, f"position={position}", "model.initialisation.std=0.2")
    same = torch.full((1, 8), 5)
    logits = model(same)
    spread = (logits - logits[:, :1]).abs().max()
    # Over equal tokens attention averages equal values: RoPE turns scores but not values, so it too gives equal logits.
    # So it is with every encoding but those that act on the embeddings.
    assert (spread > 1e-2) == (type(model.position).embed is not PositionEncoding.embed)
    swapped = model(torch.tensor([[1, 2, 3, 4]])) - model(torch.tensor([[2, 1, 3, 4]]))
    assert swapped[0, -1].abs().max() > 1e-3


def test_tied_embeddings_share_one_matrix_and_both_gradients() -> None:
    untied = build_model(*TINY)
    tied = build_model(*TINY, "scale.tied_embeddings=true")
    assert untied.parameter_counts()["total"] - tied.parameter_counts()["total"] == 97 * 48
    assert "output.weight" not in tied.state_dict()

    state = {**untied.state_dict(), "output.weight": untied.tok_embeddings.weight}
    untied.load_state_dict(state)
    tied.load_state_dict({name: weight for name, weight in state.items() if name != "output.weight"})
    tokens = torch.randint(0, 97, (2, 8))
    torch.testing.assert_close(tied(tokens), untied(tokens))
    tied.loss(tokens, tokens).backward()
    untied.loss(tokens, tokens).backward()
    both = untied.tok_embeddings.weight.grad + untied.output.weight.grad
    torch.testing.assert_close(tied.tok_embeddings.weight.grad, both)


def test_flops_of_the_projections_are_what_torch_counts() -> None:
    model = build_model(*TINY)
    tokens = torch.randint(0, 97, (1, 32))
    with FlopCounterMode(display=False) as counter:
        model(tokens).sum().backward()
    linear = 32 * (model.flops_per_token(32) - 6 * 3 * 48 * 33)
    matrix_products = counter.get_flop_counts()["Global"]
    assert matrix_products[torch.ops.aten.mm] == linear


def test_more_tokens_cost_more_only_in_attention() -> None:
    model = build_model(*TINY)
    assert model.flops_per_token(200) - model.flops_per_token(100) == 6 * 3 * 48 * 100


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["scale.dim=50"], "dim: 50"),
        (["scale.n_kv_heads=3"], "n_heads: 4"),
        (["scale.n_kv_heads=0"], "n_heads: 4"),
        (["scale.n_heads=2", "attention=grouped_query"], "n_heads: 2"),
        (["scale.dim=12"], "dim: rope"),
        (["scale.n_layers=0"], "n_layers: 0"),
    ],
)
def test_impossible_sizes_name_their_key_in_one_line(overrides: list[str], key: str) -> None:
    with pytest.raises(InstantiationException) as caught:
        build_model(*TINY, *overrides)
    cause = caught.value.__cause__
    assert isinstance(cause, ValueError)
    assert str(cause).startswith(key)
    assert "\n" not in str(cause)


def test_the_configs_fit_their_constructors() -> None:
    for axis in AXES:
        for choice in choices(axis):
            check_targets(compose_model(f"{axis}={choice}").model)
    for kernel in choices("attention/kernel"):
        check_targets(compose_model(f"attention/kernel={kernel}").model)
    assert compose_model().model.norm._target_.endswith(".RMSNorm")
    assert set(BASELINE) == set(AXES)
