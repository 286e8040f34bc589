"""Hugging Face folders: the same logits as transformers for every feature, and everything else refused by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_builders import edit_json, hugging_face_folder
from command_line import run_here
from corpus_builder import TinyCorpus
from safetensors.torch import load_file, save_file

from llamalab.checkpoint.formats import open_checkpoint
from llamalab.common.errors import UserError

LLAMA3 = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
FEATURES: dict[str, dict[str, Any]] = {
    "multi-head": {},
    "grouped-query": {"num_key_value_heads": 2},
    "multi-query": {"num_key_value_heads": 1},
    "tied": {"tie_word_embeddings": True},
    "norm": {"rms_norm_eps": 1e-2},
    "theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
    "linear": {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e3}},
    "dynamic": {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
    "dynamic beyond its length": {
        "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
        "max_position_embeddings": 16,
    },
    "llama3": {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, **LLAMA3}},
    "yarn": {"rope_parameters": {**YARN, "rope_theta": 1e4}},
    "yarn factor": {"rope_parameters": {**YARN, "rope_theta": 1e4, "attention_factor": 1.5, "truncate": False}},
    "yarn mscale": {"rope_parameters": {**YARN, "rope_theta": 1e4, "mscale": 0.7, "mscale_all_dim": 1.4}},
    "head_dim": {"head_dim": 12, "num_key_value_heads": 2},
    "attention_bias": {"attention_bias": True, "num_key_value_heads": 2},
    "mlp_bias": {"mlp_bias": True},
}
# version 4's way to write the same
OLD_FORMS: dict[str, dict[str, Any]] = {
    "theta": {"rope_theta": 5e5},
    "linear": {"rope_theta": 1e3, "rope_scaling": {"type": "linear", "factor": 2.0}},
    "llama3": {"rope_theta": 1e4, "rope_scaling": {"rope_type": "llama3", **LLAMA3}},
    "yarn": {
        "rope_theta": 10000,
        "rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 16},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_corpus: TinyCorpus) -> Path:
    path = tmp_path_factory.mktemp("hf") / "folder"
    hugging_face_folder(path, tiny_corpus.tokenizer, num_key_value_heads=2)
    return path


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def assert_same_logits(model: torch.nn.Module, folder: Path) -> None:
    tokens = torch.randint(0, 512, (2, 40), generator=torch.Generator().manual_seed(1))
    ours = open_checkpoint(folder).load("cpu", torch.float32)
    with torch.no_grad():
        expected = model(tokens).logits
        assert expected.std() > 0.5
        torch.testing.assert_close(ours(tokens), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("feature", FEATURES)
def test_logits_equal_transformers(feature: str, tmp_path: Path, tiny_corpus: TinyCorpus) -> None:
    model = hugging_face_folder(tmp_path / "hf", tiny_corpus.tokenizer, **FEATURES[feature])
    assert_same_logits(model, tmp_path / "hf")
    if feature in OLD_FORMS:
        config = json.loads((tmp_path / "hf/config.json").read_text())
        del config["rope_parameters"]
        (tmp_path / "hf/config.json").write_text(json.dumps({**config, **OLD_FORMS[feature]}))
        assert_same_logits(model, tmp_path / "hf")


def test_weights_in_several_files_in_bin_files_and_with_old_tables(copy: Path) -> None:
    before = dict(open_checkpoint(copy).tensors())
    stored = load_file(copy / "model.safetensors")
    stored["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    names = sorted(stored)
    (copy / "model.safetensors").unlink()
    for suffix, save in ((".safetensors", save_file), (".bin", torch.save)):
        stem = "model" if suffix == ".safetensors" else "pytorch_model"
        places = {name: f"{stem}-{1 + index % 3:05d}-of-00003{suffix}" for index, name in enumerate(names)}
        for file in sorted(set(places.values())):
            save({name: stored[name] for name in names if places[name] == file}, copy / file)
        index = copy / f"{stem}{suffix}.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
        found = open_checkpoint(copy)
        assert {file.suffix for file in found.weight_files} == {suffix}
        after = dict(found.tensors())
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
        index.unlink()


def test_the_hash_follows_the_weights(copy: Path) -> None:
    before = open_checkpoint(copy).weights_sha256
    assert open_checkpoint(copy).weights_sha256 == before
    stored = load_file(copy / "model.safetensors")
    stored["model.norm.weight"][3] += 0.5
    save_file(stored, copy / "model.safetensors", metadata={"format": "pt"})
    assert open_checkpoint(copy).weights_sha256 != before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_act": "gelu"}, r"config\.json: hidden_act: 'gelu' is not supported, only 'silu'"),
        ({"model_type": "mixtral"}, r"model_type: 'mixtral' is not supported"),
        ({"architectures": ["MistralForCausalLM"]}, r"architectures: MistralForCausalLM is not supported"),
        ({"quantization_config": {"bits": 4}}, r"quantization_config: .* is not supported"),
        ({"auto_map": {"AutoModel": "x.Y"}}, r"auto_map: .* is not supported"),
        ({"num_local_experts": 8}, r"num_local_experts: 8 is not supported"),
        ({"attention_biases": True}, r"attention_biases: .*did you mean 'attention_bias'"),
        ({"sliding_window": 128}, r"sliding_window: 128 is not supported"),
        ({"hidden_size": "32"}, r"hidden_size: '32' is not a int"),
        ({"hidden_size": None}, r"hidden_size: None is not a int"),
        (
            {"rope_scaling": {"type": "longrope", "factor": 2.0}},
            r"rope_scaling\.rope_type: 'longrope' is not supported",
        ),
        ({"rope_scaling": {"type": "linear"}}, r"rope_scaling\.factor: missing"),
        ({"rope_scaling": {"type": "linear", "factor": "x"}}, r"position\.factor: 'x' is not a float"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0, "speed": 3}}, r"rope_scaling\.speed: 3 is not supported"),
        ({"rope_scaling": {"type": "linear", "factor": 0.5}}, r"factor: 0.5 would shrink"),
        ({"partial_rotary_factor": 0.5}, r"partial_rotary_factor: 0.5 is not supported"),
        ({"num_key_value_heads": 3}, r"n_heads: 4 is not divisible by n_kv_heads 3"),
        ({"num_hidden_layers": 3}, r"has no tensor 'layers\.2"),
        ({"num_hidden_layers": 1}, r"tensor 'model\.layers\.1.*' is unknown"),
        ({"intermediate_size": 48}, r"tensor 'model\.layers\.0\.mlp.*' has shape .*56.* needs .*48"),
        ({"attention_bias": True}, r"has no tensor 'layers\.0\.attention\.wq\.bias'"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(copy: Path, values: dict[str, Any], message: str) -> None:
    edit_json(copy / "config.json", **values)
    with pytest.raises(UserError, match=message) as error:
        open_checkpoint(copy)
    assert "\n" not in str(error.value)


def test_a_key_that_is_missing_is_named(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    del config["hidden_size"]
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"hidden_size: missing"):
        open_checkpoint(copy)


class Payload:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


def cut(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(5000)


def cut_bin(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with (folder / "pytorch_model.bin").open("r+b") as file:
        file.truncate(5000)


def damage_header(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:8] + b"#" + content[9:])


def lose_all(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def lose_a_file(folder: Path) -> None:
    places = dict.fromkeys(load_file(folder / "model.safetensors"), "model-00002-of-00002.safetensors")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def point_outside(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../other.safetensors"}}))


def lose_a_tensor(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict.fromkeys([*stored, "model.extra.weight"], "model-1.safetensors")})
    )
    save_file(stored, folder / "model-1.safetensors")


def add_a_tensor(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    save_file({**stored, "model.layers.0.self_attn.q_norm.weight": torch.ones(8)}, folder / "model.safetensors")


def whole_numbers(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    save_file({**stored, "model.norm.weight": torch.ones(32, dtype=torch.int32)}, folder / "model.safetensors")


def code_inside(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Payload()}, folder / "pytorch_model.bin")


def not_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, r"model\.safetensors: is cut short: 5,000 bytes of"),
        (cut_bin, r"pytorch_model\.bin: cannot be read \(cut short or damaged\)"),
        (damage_header, r"model\.safetensors: cannot be read \(damaged safetensors header\)"),
        (lose_all, r"no weights; there should be model\.safetensors"),
        (lose_a_file, r"model-00002-of-00002\.safetensors: missing, but model\.safetensors\.index\.json"),
        (point_outside, r"'\.\./other\.safetensors' lies outside"),
        (lose_a_tensor, r"model-1\.safetensors: has no tensor 'model\.extra\.weight'"),
        (add_a_tensor, r"tensor 'model\.layers\.0\.self_attn\.q_norm\.weight' is unknown"),
        (whole_numbers, r"tensor 'model\.norm\.weight' is of type I32"),
        (code_inside, r"pytorch_model\.bin: holds more than tensors, perhaps code; it is not loaded"),
        (not_json, r"config\.json: not valid JSON"),
    ],
)
def test_damage_is_one_line_and_no_code_runs(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    damage(copy)
    with pytest.raises(UserError, match=message) as error:
        open_checkpoint(copy)
    assert "\n" not in str(error.value)
    assert not Path("executed").exists()


def test_the_command_line_exits_with_two_and_leaves_nothing(copy: Path, tmp_path: Path) -> None:
    cut(copy)
    outcome = run_here("convert", f"checkpoint={copy}", "to=native", f"out={tmp_path / 'out'}")
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert "is cut short" in outcome.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
