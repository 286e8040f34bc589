"""A run directory: one computation in one place, one process at a time."""

import copy
import json
import multiprocessing
import os
import signal

import pytest
import yaml

from llamalab.common.configs import resolved
from llamalab.common.errors import UserError
from llamalab.training import run_directory

# Sections and keys that do not decide a run's numbers: names, places, devices, logging, accounting.
INERT = (
    "name",
    "run_dir",
    "runs_dir",
    "artifacts_dir",
    "study",
    "share_runs",
    "callbacks",
    "tokenizer",
    "strategy",
    "device",
    "energy",
    "logger",
    "scale.micro_batch",
    "data.name",
    "data.module.tokens_folder",
    "data.module.tokenizer",
    "data.module.micro_batch",
    "data.module.verify_hashes",
    "trainer._target_",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.keep_checkpoints",
    "trainer.threads",
    "trainer.keep_freed_memory",
    "trainer.progress",
    # the groups of the model's axes; what counts is their copy inside `model`
    "norm",
    "norm_placement",
    "feed_forward",
    "position",
    "attention",
)


@pytest.fixture
def config(tiny_corpus):
    return {**resolved(tiny_corpus.config()), "data_fingerprint": "f00d"}


def leaves(value, path=()):
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    else:
        yield path


def changed(config, path):
    other = copy.deepcopy(config)
    node = other
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = "changed"
    return other


def test_every_leaf_of_the_config_either_decides_the_hash_or_is_known_to_be_inert(config):
    before = run_directory.config_hash(config)
    decides = {".".join(path): run_directory.config_hash(changed(config, path)) != before for path in leaves(config)}
    inert = {key: key.startswith(tuple(f"{name}." for name in INERT)) or key in INERT for key in decides}
    assert {key for key in decides if decides[key] == inert[key]} == set()
    assert {"optimizer.eps", "model.position.theta", "data.module.sampling.prose", "trainer.clip_norm", "seed"} <= {
        key for key in decides if decides[key]
    }


def test_every_inert_name_exists(config):
    """So that a renamed key cannot hide in the list above."""
    keys = {".".join(path) for path in leaves(config)}
    assert [name for name in INERT if not any(key == name or key.startswith(f"{name}.") for key in keys)] == []


def test_the_hash_survives_the_file(config, tmp_path):
    run_directory.claim(tmp_path, config)
    read = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert read == json.loads(json.dumps(config))
    assert run_directory.config_hash(read) == run_directory.config_hash(config)


def test_claiming_again_is_fine_on_other_devices(config, tmp_path):
    run_directory.claim(tmp_path, config)
    before = (tmp_path / "config.yaml").read_bytes()
    elsewhere = copy.deepcopy(config)
    elsewhere["trainer"]["devices"] = 8
    elsewhere["scale"]["micro_batch"] = 2
    elsewhere["data"]["module"]["tokens_folder"] = "/elsewhere"
    run_directory.claim(tmp_path, elsewhere)
    assert (tmp_path / "config.yaml").read_bytes() == before


def test_another_config_is_refused_by_the_key_that_differs(config, tmp_path):
    run_directory.claim(tmp_path, config)
    other = copy.deepcopy(config)
    other["optimizer"]["lr"] = 0.5
    with pytest.raises(
        UserError, match=r"optimizer\.lr is 0\.003 there and 0\.5 here\); choose another name="
    ) as error:
        run_directory.claim(tmp_path, other)
    assert str(tmp_path) in str(error.value)


def test_a_key_that_only_one_side_has_is_a_difference(config, tmp_path):
    run_directory.claim(tmp_path, config)
    other = copy.deepcopy(config)
    other["model"]["norm"]["gain"] = True
    with pytest.raises(UserError, match=r"model\.norm\.gain is None there and True here"):
        run_directory.claim(tmp_path, other)


@pytest.mark.parametrize("text", ["a: [", "just text", "{seed: 0}", ""])
def test_a_foreign_config_file_is_refused_by_name(config, tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml: not the config of a run"):
        run_directory.claim(tmp_path, config)


def test_a_result_counts_only_with_the_same_hash(config, tmp_path):
    assert run_directory.finished(tmp_path, config) is None
    record = {"config_hash": run_directory.config_hash(config), "status": "finished"}
    (tmp_path / "result.json").write_text(json.dumps(record))
    assert run_directory.finished(tmp_path, config) == record
    with pytest.raises(UserError, match=r"result\.json: is the result of another config"):
        run_directory.finished(tmp_path, {**config, "seed": 1})
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"result\.json: not valid JSON"):
        run_directory.finished(tmp_path, config)


def hold(run_dir, ready):
    with run_directory.exclusive(run_dir):
        ready.set()
        signal.pause()


def test_the_lock_keeps_a_second_process_out_until_the_first_dies(tmp_path, monkeypatch):
    monkeypatch.setattr(run_directory, "LOCK_PATIENCE_S", 0.3)
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=hold, args=(tmp_path, ready))
    holder.start()
    try:
        assert ready.wait(10)
        with pytest.raises(UserError, match="another process is training here"), run_directory.exclusive(tmp_path):
            pass
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.join()
    with run_directory.exclusive(tmp_path):
        pass
    with run_directory.exclusive(tmp_path):  # and it is let go of at the end of the block
        pass
