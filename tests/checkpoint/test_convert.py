"""Conversions: bit exact round trips, folders that transformers loads, and what cannot be said is refused."""

import functools
import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from checkpoint_builders import converted, edit_json, hugging_face_folder, meta_folder, tensors
from command_line import run_here
from corpus_builder import TinyCorpus, compose_train
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from llamalab.checkpoint import architecture, native
from llamalab.checkpoint.formats import open_checkpoint
from llamalab.common.errors import UserError
from llamalab.model import Llama

TOKENS = torch.randint(0, 512, (2, 30), generator=torch.Generator().manual_seed(2))
ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"


@functools.cache
def base_section() -> dict[str, Any]:
    """The model section of a tiny LLaMA."""
    sizes = ("scale=smoke", "scale.vocab_size=512", "scale.dim=32", "scale.n_heads=4", "scale.seq_len=32")
    found = OmegaConf.to_container(compose_train(*sizes, "model.initialisation.std=0.15").model, resolve=True)
    assert isinstance(found, dict)
    return found


def write_run(folder: Path, tokenizer: Path, *overrides: str) -> Llama:
    """A run directory with a random model; overrides as on a command line, read without Hydra's cost."""
    section = OmegaConf.create(base_section())
    for override in overrides:
        key, _, value = override.partition("=")
        choice = CONF / key / f"{value}.yaml"
        if choice.is_file():
            node = OmegaConf.load(choice)
            node.pop("defaults", None)
            section[key] = {**node, **({"kernel": section.attention.kernel} if key == "attention" else {})}
        else:
            OmegaConf.update(section, key.removeprefix("model."), yaml.safe_load(value), force_add=False)
    torch.manual_seed(0)
    model: Llama = instantiate(section).eval()
    folder.mkdir(parents=True)
    OmegaConf.save(OmegaConf.create({"model": section, "data": {"name": "tiny"}}), folder / "config.yaml")
    (folder / "tokenizer.model").write_bytes(tokenizer.read_bytes())
    native.save(native.step_directory(folder, 7), model.state_dict(), {}, {"step": 7, "tokens": 700})
    return model


def assert_equal(one: Path, other: Path) -> None:
    """The same tensors, bit for bit, in the same type."""
    before, after = tensors(one), tensors(other)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype
        assert torch.equal(tensor, after[name]), name


EXPRESSIBLE = {
    "llama": (),
    "grouped-query, head_dim, biases": (
        *("attention=grouped_query", "attention.bias=true", "feed_forward.bias=true", "model.head_dim=12"),
        *("norm.eps=0.001", "tied_embeddings=true"),
    ),
    "linear": ("position=rope_pi",),
    "ntk": ("position=rope_ntk", "position.theta=500"),
    "dynamic": ("position=rope_dynamic",),
    "llama3": ("position=rope_llama3", "position.original_seq_len=16"),
    "yarn": ("position=rope_yarn", "position.mscale=0.7", "position.mscale_all_dim=1.1"),
}


@pytest.mark.parametrize("case", EXPRESSIBLE)
def test_native_to_hugging_face_and_back_is_bit_exact_and_transformers_computes_the_same(
    case: str, tmp_path: Path, tiny_corpus: TinyCorpus
) -> None:
    model = write_run(tmp_path / "run", tiny_corpus.tokenizer, *EXPRESSIBLE[case])
    converted(tmp_path / "run", "hf", tmp_path / "hf", shards=3)
    converted(tmp_path / "hf", "native", tmp_path / "back")
    assert_equal(tmp_path / "run", tmp_path / "back")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
    back, _ = native.load_model(tmp_path / "back")
    with torch.no_grad():
        torch.testing.assert_close(theirs(TOKENS).logits, model(TOKENS), rtol=0, atol=1e-5)
        torch.testing.assert_close(back(TOKENS), model(TOKENS), rtol=0, atol=1e-5)
    assert back.max_seq_len == model.max_seq_len


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_meta_through_two_shards_and_hugging_face_is_bit_exact(
    tmp_path: Path, tiny_corpus: TinyCorpus, dtype: torch.dtype
) -> None:
    meta_folder(tmp_path / "one", tiny_corpus.tokenizer, dtype)
    converted(tmp_path / "one", "meta", tmp_path / "two", shards=2)
    converted(tmp_path / "two", "hf", tmp_path / "hf")
    converted(tmp_path / "hf", "native", tmp_path / "native")
    converted(tmp_path / "native", "meta", tmp_path / "again")
    for name in ("two", "hf", "native", "again"):
        assert_equal(tmp_path / "one", tmp_path / name)
    first, last = (torch.load(tmp_path / name / "consolidated.00.pth") for name in ("one", "again"))
    del first["rope.freqs"]
    assert all(torch.equal(first[name], last[name]) for name in {**first, **last})
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32).eval()
    ours = open_checkpoint(tmp_path / "two").load("cpu", torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(theirs(TOKENS).logits, ours(TOKENS), rtol=0, atol=1e-5)


def test_a_hugging_face_folder_has_what_other_tools_read(tmp_path: Path, tiny_corpus: TinyCorpus) -> None:
    write_run(tmp_path / "run", tiny_corpus.tokenizer, "attention=grouped_query")
    converted(tmp_path / "run", "hf", tmp_path / "hf", shards=2, dtype="bfloat16")
    config = json.loads((tmp_path / "hf/config.json").read_text())
    expected = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16"}
    expected |= {"bos_token_id": 1, "eos_token_id": 2, "num_attention_heads": 4, "num_key_value_heads": 1}
    expected |= {"head_dim": 8, "max_position_embeddings": 32, "tie_word_embeddings": False, "hidden_act": "silu"}
    assert expected.items() <= config.items()
    assert GenerationConfig.from_pretrained(tmp_path / "hf").eos_token_id == 2
    index = json.loads((tmp_path / "hf/model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    assert files == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for file in files:
        with safe_open(tmp_path / "hf" / file, "pt") as opened:
            assert opened.metadata() == {"format": "pt"}
            names = {name for name, place in index["weight_map"].items() if place == file}
            assert {*opened.keys()} == names
            assert {opened.get_tensor(name).dtype for name in names} == {torch.bfloat16}
    theirs, ours = AutoTokenizer.from_pretrained(tmp_path / "hf"), open_checkpoint(tmp_path / "run").tokenizer
    assert (theirs.bos_token, theirs.eos_token, theirs.unk_token) == ("<s>", "</s>", "<unk>")
    for text in ("hello", " hello", "  a  b \n", "", "😀 日本"):
        assert theirs(text).input_ids == ours.encode(text)
    assert (tmp_path / "hf/tokenizer.model").read_bytes() == tiny_corpus.tokenizer.read_bytes()


def test_a_hugging_face_tokenizer_goes_along_as_it_is(tmp_path: Path, tiny_corpus: TinyCorpus) -> None:
    hugging_face_folder(tmp_path / "hf", tiny_corpus.tokenizer)
    theirs = open_checkpoint(tmp_path / "hf").tokenizer
    converted(tmp_path / "hf", "native", tmp_path / "native")
    converted(tmp_path / "native", "hf", tmp_path / "again")
    for name in ("native", "again"):
        assert open_checkpoint(tmp_path / name).tokenizer.sha256 == theirs.sha256


def test_the_context_of_metas_folders_can_be_said(tmp_path: Path, tiny_corpus: TinyCorpus) -> None:
    meta_folder(tmp_path / "one", tiny_corpus.tokenizer)
    converted(tmp_path / "one", "meta", tmp_path / "two", max_seq_len=4096)
    converted(tmp_path / "two", "hf", tmp_path / "hf")
    assert open_checkpoint(tmp_path / "hf").model_config["max_seq_len"] == 4096
    with pytest.raises(UserError, match=r"max_seq_len: .*says its context itself"):
        converted(tmp_path / "hf", "native", tmp_path / "other", max_seq_len=4096)


@pytest.mark.parametrize(
    ("overrides", "to", "options", "message"),
    [
        (("norm=layernorm",), "hf", {}, r"norm: LayerNorm cannot be said"),
        (("norm_placement=post",), "hf", {}, r"norm_placement: PostNorm cannot be said"),
        (("feed_forward=gelu",), "hf", {}, r"feed_forward: GELU cannot be said"),
        (("attention=sliding_window",), "meta", {}, r"attention: SlidingWindowAttention cannot be said"),
        (("position=alibi",), "hf", {}, r"position: ALiBiPosition cannot be said"),
        (("position=rope_yarn",), "meta", {}, r"position: YarnRotaryPosition cannot be said in Meta's"),
        (("attention.bias=true",), "meta", {}, r"biases cannot be said in Meta's"),
        (("model.head_dim=12",), "meta", {}, r"head_dim 12 cannot be said in Meta's"),
        (("attention=grouped_query",), "meta", {"shards": 2}, r"shards: n_kv_heads 1 is not divisible by 2"),
        ((), "meta", {"shards": 16}, r"shards: 16 is not possible"),
        ((), "native", {"shards": 2}, r"shards: 2 is not possible"),
        ((), "hf", {"shards": 99}, r"shards: 99 is more than the checkpoint's 21 tensors"),
    ],
)
def test_what_a_format_cannot_say_is_refused_and_nothing_is_left(
    tmp_path: Path, tiny_corpus: TinyCorpus, overrides: tuple[str, ...], to: str, options: dict[str, Any], message: str
) -> None:
    write_run(tmp_path / "run", tiny_corpus.tokenizer, *overrides)
    with pytest.raises(UserError, match=message) as error:
        converted(tmp_path / "run", to, tmp_path / "out", **options)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_verb_converts_and_refuses_what_is_there(tmp_path: Path, tiny_corpus: TinyCorpus) -> None:
    write_run(tmp_path / "run", tiny_corpus.tokenizer)
    command = [f"checkpoint={tmp_path / 'run'}", "to=meta", f"out={tmp_path / 'out'}", "shards=2", "dtype=bfloat16"]
    assert run_here("convert", *command).code == 0
    assert {tensor.dtype for tensor in tensors(tmp_path / "out").values()} == {torch.bfloat16}
    architecture._composed.cache_clear()  # as in the process of a user
    assert run_here("convert", f"checkpoint={tmp_path / 'out'}", "to=hf", f"out={tmp_path / 'hf'}").code == 0
    for changes, message in (
        ([], "is there already"),
        (["out=other", "to=gguf"], "to: 'gguf' is no format"),
        (["out=other", "shards=0"], "shards: 0 must be at least 1"),
        (["out=other", "dtype=int8"], "dtype: 'int8' is unknown"),
        (["out=other", "checkpoint=absent"], "absent: no such folder"),
    ):
        outcome = run_here("convert", *command, *changes)
        assert (outcome.code, len(outcome.error_lines)) == (2, 1)
        assert message in outcome.stderr


def test_a_hugging_face_checkpoint_without_tokenizer_becomes_native_but_not_another_folder(
    tmp_path: Path, tiny_corpus: TinyCorpus
) -> None:
    hugging_face_folder(tmp_path / "hf", tiny_corpus.tokenizer)
    for name in ("tokenizer.model", "tokenizer_config.json"):
        (tmp_path / "hf" / name).unlink()
    converted(tmp_path / "hf", "native", tmp_path / "native")
    with pytest.raises(UserError, match=r"tokenizer\.json: missing"):
        converted(tmp_path / "hf", "hf", tmp_path / "again")


def test_an_edited_width_still_has_a_rule_in_params_json(tmp_path: Path, tiny_corpus: TinyCorpus) -> None:
    for width in (40, 57, 200):
        write_run(tmp_path / f"run{width}", tiny_corpus.tokenizer, f"feed_forward.width={width}")
        converted(tmp_path / f"run{width}", "meta", tmp_path / f"meta{width}")
        assert_equal(tmp_path / f"run{width}", tmp_path / f"meta{width}")


@pytest.mark.timeout(600)  # it writes 300 MB and waits for the disk
def test_memory_is_a_shard_and_a_tensor_and_not_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark at a small size; it converts in a process of its own."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    rows = importlib.import_module("convert_memory").run(tmp_path, 100.0, 512)
    assert {*rows} == {"hf", "meta"}
    for row in rows.values():
        assert row["checkpoint"] > 95
        assert row["above_start"] < row["allowed"] < 0.75 * row["checkpoint"]


def test_an_unknown_key_of_a_config_is_not_lost_silently(tmp_path: Path, tiny_corpus: TinyCorpus) -> None:
    hugging_face_folder(tmp_path / "hf", tiny_corpus.tokenizer)
    edit_json(tmp_path / "hf/config.json", logit_scale=2.0)
    with pytest.raises(UserError, match=r"logit_scale: 2\.0 is not supported"):
        converted(tmp_path / "hf", "native", tmp_path / "native")
