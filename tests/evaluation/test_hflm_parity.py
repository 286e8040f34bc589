"""The same weights and tokenizer in lm-eval's own HFLM give the same log-likelihoods."""

import copy
import functools
import gzip
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from evaluation_builders import documents, random_model, write_run
from lm_eval.api.instance import Instance

from llamalab.checkpoint.tokenizer import Tokenizer
from llamalab.evaluation.language_model import CheckpointLM
from llamalab.model import Llama

pytest.importorskip("transformers")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
from lm_eval.models.huggingface import HFLM
from transformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizer

THEIR_NAMES = {
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


def transformers_model(model: Llama, heads: int) -> LlamaForCausalLM:
    """transformers' LLaMA with the same weights; rows of wq and wk go from neighbouring pairs to halves."""
    config = LlamaConfig(
        vocab_size=model.vocab_size,
        hidden_size=model.dim,
        intermediate_size=model.layers[0].feed_forward.width,
        num_hidden_layers=len(model.layers),
        num_attention_heads=heads,
        max_position_embeddings=model.max_seq_len,
        rms_norm_eps=model.layers[0].attention_norm.eps,
        tie_word_embeddings=False,
    )
    state = {}
    for name, weight in model.state_dict().items():
        if ".wq." in name or ".wk." in name:
            weight = weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)
        for ours, theirs in THEIR_NAMES.items():
            name = name.replace(ours, theirs)
        state["model." + name if name.startswith(("layers", "norm")) else name] = weight
    twin = LlamaForCausalLM(config).eval()
    twin.load_state_dict(state)
    return twin


@pytest.fixture(scope="module")
def pair(tokenizer: Tokenizer, tokenizer_folder: Path) -> tuple[CheckpointLM, LlamaForCausalLM, LlamaTokenizer]:
    model = random_model()
    their_tokenizer = LlamaTokenizer.from_pretrained(tokenizer_folder, add_bos_token=True)
    return CheckpointLM(model, tokenizer, 500, torch.device("cpu")), transformers_model(model, 4), their_tokenizer


def test_loglikelihood_equals_hflm(pair: tuple[CheckpointLM, LlamaForCausalLM, LlamaTokenizer]) -> None:
    ours, twin, their_tokenizer = pair
    # without leading spaces, before which transformers 5 leaves out the dummy prefix that SentencePiece puts there
    texts = [str(row["text"]).lstrip() for row in documents("prose", 5, 12) + documents("code", 3, 12)]
    arguments = []
    for words in (text.split(" ") for text in texts):
        # at word boundaries: where a continuation merges into the context's last token, HFLM asserts
        cuts = [(before, size) for before in (1, 4, 25) for size in (1, 3, 8)]
        arguments += [
            (" ".join(words[:before]), " " + " ".join(words[before : before + size])) for before, size in cuts
        ]
    arguments += [("Hello ", "friend"), ("x:\n    ", " y"), ("é 12", " 日本"), ("", "Gadibo")]
    asked = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(arguments)]
    # its cache of one-token continuations takes the wrong row where two splits share a context
    theirs = HFLM(
        pretrained=twin,
        tokenizer=their_tokenizer,
        backend="causal",
        device="cpu",
        batch_size=7,
        logits_cache=False,
    )
    found, expected = ours.loglikelihood(asked), theirs.loglikelihood(asked, disable_tqdm=True)
    torch.testing.assert_close(
        torch.tensor([score for score, _ in found]), torch.tensor([score for score, _ in expected]), atol=1e-3, rtol=0
    )
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_rolling_equals_hflm_without_its_second_bos(
    pair: tuple[CheckpointLM, LlamaForCausalLM, LlamaTokenizer],
) -> None:
    ours, twin, their_tokenizer = pair
    texts = [str(row["text"]) for row in documents("prose", 3, 12)] + ["Gadibo", "é"]
    asked = [Instance("loglikelihood_rolling", {}, (text,), index) for index, text in enumerate(texts)]
    theirs = HFLM(
        pretrained=twin,
        tokenizer=their_tokenizer,
        backend="causal",
        device="cpu",
        batch_size=7,
        add_bos_token=False,
    )
    expected = theirs.loglikelihood_rolling(asked, disable_tqdm=True)
    torch.testing.assert_close(
        torch.tensor(ours.loglikelihood_rolling(asked)), torch.tensor(expected), atol=2e-3, rtol=1e-6
    )


def test_choices_behind_shared_examples_equal_hflm(
    pair: tuple[CheckpointLM, LlamaForCausalLM, LlamaTokenizer],
) -> None:
    """Few-shot multiple choice: kept beginnings and rows of several choices, at several batch sizes."""
    ours, twin, their_tokenizer = pair
    texts = [str(row["text"]).lstrip().split(" ") for row in documents("prose", 12, 12)]
    shots = " ".join(texts[0][:8])
    contexts = [f"{shots} {' '.join(words[:3])}" for words in texts[1:]]
    choices = [" ".join(words[5 : 5 + size]) for words, size in zip(texts, (1, 1, 3, 4), strict=False)]
    asked = [
        Instance("loglikelihood", {}, (context, " " + choice), index)
        for context in contexts
        for index, choice in enumerate(choices)
    ]
    theirs = HFLM(pretrained=twin, tokenizer=their_tokenizer, backend="causal", device="cpu", batch_size=5)
    expected = torch.tensor(theirs.loglikelihood(asked, disable_tqdm=True))
    best = expected[:, 0].view(len(contexts), len(choices)).argmax(-1)
    for batch_tokens in (1, 200, 5000):
        lm = CheckpointLM(ours.model, ours.tokenizer, batch_tokens, torch.device("cpu"))
        found = torch.tensor(lm.loglikelihood(asked))
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
        assert (found[:, 0].view(len(contexts), len(choices)).argmax(-1) == best).all()
    assert len(set(best.tolist())) > 1


def test_greedy_generation_equals_hflm(pair: tuple[CheckpointLM, LlamaForCausalLM, LlamaTokenizer]) -> None:
    ours, twin, their_tokenizer = pair
    texts = [str(row["text"]).lstrip().split(" ") for row in documents("prose", 8, 12)]
    shots = " ".join(texts[0][:6])
    wanted = {"until": ["\n\n"], "max_gen_toks": 16, "do_sample": False}
    asked = [
        Instance("generate_until", {}, (f"{shots} {' '.join(words[:size])}", wanted), index)
        for index, (words, size) in enumerate(zip(texts[1:], (1, 2, 3, 1, 2, 4, 5), strict=True))
    ]
    theirs = HFLM(pretrained=twin, tokenizer=their_tokenizer, backend="causal", device="cpu", batch_size=3)
    # HFLM decodes the new tokens alone, which loses the space before the first word
    expected = [text.lstrip(" ") for text in theirs.generate_until(asked, disable_tqdm=True)]
    assert len(set(expected)) > 3
    # bytes that are no UTF-8 look different in SentencePiece and transformers
    tokenizer = copy.copy(ours.tokenizer)
    tokenizer.decode = functools.partial(their_tokenizer.decode, skip_special_tokens=True)
    for batch_tokens in (1, 30, 2000):
        lm = CheckpointLM(ours.model, tokenizer, batch_tokens, torch.device("cpu"))
        assert [text.lstrip(" ") for text in lm.generate_until(asked)] == expected


def test_the_command_compares_documents_and_notices_a_difference(
    tmp_path: Path, tokenizer_bytes: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """benchmarks/hflm_parity.py, with the checkpoint that is converted for HFLM and with another one."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import hflm_parity

    write_run(tmp_path / "run", tokenizer_bytes)
    write_run(tmp_path / "other", tokenizer_bytes, seed=1)
    (tmp_path / "arc_easy").mkdir()
    with gzip.open(tmp_path / "arc_easy/test.jsonl.gz", "wt") as lines:
        for index in range(12):
            row = {"choices": ["ba", "gadi", "bogu du", f"x{index}"], "query": f"Question: {index}?", "gold": index % 4}
            lines.write(json.dumps(row) + "\n")
    command = ["--checkpoint", str(tmp_path / "run"), "--benchmarks-dir", str(tmp_path), "--tasks", "arc_easy"]
    monkeypatch.setattr(sys, "argv", ["hflm_parity.py", *command, "--json", str(tmp_path / "out.json")])
    with pytest.raises(SystemExit) as end:
        hflm_parity.main()
    assert end.value.code == 0
    found = json.loads((tmp_path / "out.json").read_text())["results"]["arc_easy"]
    assert found["documents"] == found["same_choice"] == found["same_metrics"] == 12
    assert found["nats_apart"] < 1e-3

    convert = hflm_parity.convert
    monkeypatch.setattr(hflm_parity, "convert", lambda _, to, out: convert(tmp_path / "other", to, out))
    with pytest.raises(SystemExit) as end:
        hflm_parity.main()
    assert end.value.code == 1
