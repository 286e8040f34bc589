"""Section "Bad input": one clear line that names the key or file and the fix, exit code 2, before any work."""

import re
import shutil

import command_line
import pytest
from corpus_builder import TinyCorpus, build_corpus, document, train_tokenizer

from llamalab.common.errors import UserError
from llamalab.training import run


def refused(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """The one line that a command is refused with; training must not have begun."""

    def began(*_: object) -> None:
        raise AssertionError("training began")

    monkeypatch.setattr(run, "train", began)
    outcome = command_line.run_here("train", *arguments)
    assert outcome.code == 2, outcome.stderr
    assert outcome.stdout == ""
    assert len(outcome.error_lines) == 1, outcome.stderr
    line = outcome.error_lines[0]
    assert line.startswith("llamalab: ")
    assert "Traceback" not in line
    return line.removeprefix("llamalab: ")


@pytest.fixture
def corpus(tiny_corpus: TinyCorpus, tmp_path, monkeypatch) -> TinyCorpus:
    """In a folder of its own: nothing of a refused run may stay there but empty folders."""
    monkeypatch.chdir(tmp_path)
    yield tiny_corpus
    left = [path for path in (tmp_path / "runs").rglob("*") if path.is_file() and path.name != ".lock"]
    assert not left


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        # unknown override
        (["scale.dmi=3"], r"scale\.dmi: unknown key; did you mean 'dim'\? \(see --cfg job\)"),
        (["trainer.devces=2"], r"trainer\.devces: unknown key; did you mean 'devices'\? .*"),
        (["nmae=x"], r"nmae: unknown key; did you mean 'name'\? .*"),
        (["nrom=rmsnorm"], r"nrom: unknown key; did you mean 'norm'\? .*"),
        (["+trainer.devces=2"], r"trainer\.devces: unknown key for TrainerSettings; did you mean 'devices'\?"),
        (["+scale.dimm=2"], r"scale\.dimm: unknown key; did you mean 'dim'\?"),
        (["+norm.epps=1"], r"norm\.epps: unknown key for RMSNorm; did you mean 'eps'\?"),
        (["suite=embedded"], r"suite: this command has no such config group; see its config with --cfg job"),
        (["norm=rmsnrm"], r"norm=rmsnrm: no such choice; did you mean 'rmsnorm'\?"),
        (["attention/kernel=sdpo"], r"attention/kernel=sdpo: no such choice; did you mean 'sdpa'\?"),
        (["scale"], r"scale: .*an override is key=value.*"),
        (["optimizer.betas=[0.9"], r"optimizer\.betas=\[0\.9: .*quotes"),
        (["--nope"], r"unrecognized arguments: --nope \(see llamalab train --help\)"),
        (["optimizer._target_=os.system"], r"optimizer\._target_: 'os\.system' is not a llamalab class; only .*"),
        (["scale.lr=${nope}"], r"scale\.lr: Interpolation key 'nope' not found"),
        (["scale.lr=???"], r"scale\.lr: Missing mandatory value: lr"),
        # wrong type
        (["trainer.devices=two"], r"trainer\.devices: 'two' is not a int .*"),
        (["trainer.precision=fp16"], r"trainer\.precision: 'fp16' is not .*'32-true', 'bf16-mixed' or 'bf16-true'\)"),
        (["trainer.clip_norm=big"], r"trainer\.clip_norm: 'big' is not a float .*"),
        (["scale.dim=abc"], r"scale\.dim: 'abc' is not a int .*"),
        (["scale.tokens=1e4"], r"scale\.tokens: 10000\.0 is not a int; write 10000"),
        (["scale.eval_every_tokens=abc"], r"scale\.eval_every_tokens: 'abc' is not a int .*"),
        (["scale.checkpoint_every_tokens=0"], r"scale\.checkpoint_every_tokens: 0 is too small"),
        (["optimizer.betas=[0.9]"], r"optimizer\.betas: \[0\.9\] is not a tuple\[float, float\] .*"),
        (["seed=1.5"], r"seed: 1\.5 is not a int .*"),
        (["name=null"], r"name: None is not a str .*"),
        # misspelt study, and a study without -m
        (["-m", "experiments=positon"], r"experiments=positon: no such choice; did you mean 'position'\?"),
        (["experiments=positon"], r"experiments=positon: no such choice; did you mean 'position'\?"),
        (["+foo=3"], r"foo: unknown key; choose from .*"),
        (["+data.foo=1"], r"data\.foo: unknown key; .*"),
        (["+logger.mlflow.x=1"], r"logger\.mlflow\.x: unknown key; .*"),
        (["+optimizer.momentum=1"], r"optimizer\.momentum: unknown key for AdamW; .*"),
        (["experiments=position"], r"experiments=position is a study of several runs; add -m \(--multirun\)"),
        # combinations that cannot be
        (["scale.dim=33"], r"scale\.dim: 33 is not divisible by n_heads 2; make it a multiple"),
        (
            ["scale.dim=6"],
            r"scale\.dim: rope turns pairs of channels.* a multiple of 4, or an even head_dim",
        ),
        (["scale.n_kv_heads=3"], r"scale\.n_heads: 2 is not divisible by n_kv_heads 3; make it a multiple"),
        (["scale.tokens=10"], r"scale\.tokens: 10 is less than one batch \(scale\.batch_tokens 256\)"),
        (["scale.warmup_tokens=20000"], r"scale\.warmup_tokens: 20,000 leaves no step .*; lower it"),
        (["scale.batch_tokens=250"], r"scale\.batch_tokens: 250 is not a multiple of scale\.seq_len 32"),
        (["scale.micro_batch=3"], r"scale\.micro_batch: 3 does not divide a rank's 8 sequences a step"),
        (["scale.vocab_size=100"], r"scale\.vocab_size: 100 is smaller than the tokenizer's 512 pieces"),
        (["scale.lr=-1"], r"(scale|optimizer)\.lr: -1 .*"),
        (["trainer.devices=0"], r"trainer\.devices: 0 must be at least 1"),
        (
            ["trainer.devices=2", "strategy=single"],
            r"trainer\.devices: 2 devices need strategy=fsdp2 or strategy=ddp, not single",
        ),
        (["trainer.initialisation=meta"], r"trainer\.initialisation: meta is for sharded runs .*"),
        (["data.module.sampling={prose:-1}"], r"data\.sampling\.prose: -1 is not a proportion.*"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_overrides(corpus, monkeypatch, tmp_path, arguments, line):
    said = refused(monkeypatch, *corpus.overrides(runs_dir=tmp_path / "runs"), *arguments)
    assert re.fullmatch(line, said), said


@pytest.fixture
def own_corpus(corpus: TinyCorpus, tmp_path) -> TinyCorpus:
    """A copy that may be damaged; the config is told where it lies."""
    shutil.copytree(corpus.folder / "tokens", tmp_path / "tokens")
    shutil.copy(corpus.tokenizer, tmp_path / "tokenizer.model")
    return corpus


def damaged(own: TinyCorpus, tmp_path) -> list[str]:
    places = [
        f"data.module.tokens_folder={tmp_path / 'tokens'}",
        f"data.module.tokenizer={tmp_path / 'tokenizer.model'}",
    ]
    return [*own.overrides(runs_dir=tmp_path / "runs"), *places]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_missing_shard(own_corpus, monkeypatch, tmp_path, split):
    shard = tmp_path / "tokens/code" / split / "00000.bin"
    shard.unlink()
    said = refused(monkeypatch, *damaged(own_corpus, tmp_path))
    assert said == f"{shard}: the token shard is missing; delete the folder and run `llamalab data stages=[tokens]`"


def test_a_corrupt_shard(own_corpus, monkeypatch, tmp_path):
    shard = tmp_path / "tokens/prose/train/00001.bin"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    said = refused(monkeypatch, *damaged(own_corpus, tmp_path))
    assert said.startswith(f"{shard}: the token shard is corrupt (its sha256 is not the index's); delete the folder")


def test_a_cut_shard(own_corpus, monkeypatch, tmp_path):
    shard = tmp_path / "tokens/prose/train/00000.bin"
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes()[:-2])
    said = refused(monkeypatch, *damaged(own_corpus, tmp_path))
    assert said.startswith(f"{shard}: the token shard has {size - 2:,} bytes, not {size:,}; delete the folder")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "no such file"), ("{", "not valid JSON"), ('{"dtype": "uint16"}', "not a token index")],
)
def test_a_broken_index(own_corpus, monkeypatch, tmp_path, content, reason):
    index = tmp_path / "tokens/prose/train/index.json"
    index.unlink()
    if content is not None:
        index.write_text(content)
    assert refused(monkeypatch, *damaged(own_corpus, tmp_path)).startswith(f"{index}: {reason}")


def test_a_tokenizer_that_did_not_make_the_shards(own_corpus, monkeypatch, tmp_path):
    import random

    texts = [document(random.Random(number), "prose", ["other", "words"]) for number in range(40)]
    (tmp_path / "tokenizer.model").write_bytes(train_tokenizer(texts))
    said = refused(monkeypatch, *damaged(own_corpus, tmp_path))
    assert said == (
        f"{tmp_path}/tokens/code/train: the shards were made with another tokenizer than {tmp_path}/tokenizer.model; "
        "run `llamalab data stages=[tokens]` or point data.module.tokenizer at theirs"
    )


@pytest.mark.parametrize("content", [None, b"not a model"])
def test_no_tokenizer(own_corpus, monkeypatch, tmp_path, content):
    model = tmp_path / "tokenizer.model"
    model.unlink()
    if content is not None:
        model.write_bytes(content)
    said = refused(monkeypatch, *damaged(own_corpus, tmp_path))
    assert said.startswith(f"{model}: ")
    assert "`llamalab data`" in said


def test_no_tokens_at_all(corpus, monkeypatch, tmp_path):
    said = refused(
        monkeypatch, *corpus.overrides(runs_dir=tmp_path / "runs"), f"data.module.tokens_folder={tmp_path}/nowhere"
    )
    assert said == f"{tmp_path}/nowhere/code/train: no such token folder; make it with `llamalab data`"


def trained(corpus: TinyCorpus, tmp_path, **changes: object) -> None:
    overrides = corpus.overrides(runs_dir=tmp_path, scale__tokens=2 * 256, scale__warmup_tokens=256, **changes)
    assert command_line.run_here("train", *overrides).code == 0


def test_a_run_directory_with_another_config(tiny_corpus, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    trained(tiny_corpus, tmp_path)
    run_dir = tmp_path / "default/tiny/seed=0"
    changed = tiny_corpus.overrides(runs_dir=tmp_path, scale__tokens=2 * 256, scale__warmup_tokens=256, scale__lr=0.1)
    said = refused(monkeypatch, *changed)
    assert said == (
        "default/tiny/seed=0/result.json: is the result of another config; choose another name=..., or remove "
        "default/tiny/seed=0"
    )
    (run_dir / "result.json").unlink()
    before = (run_dir / "config.yaml").read_bytes()
    said = refused(monkeypatch, *changed)
    assert said == (
        "default/tiny/seed=0: holds a run with another config (optimizer.lr is 0.003 there and 0.1 here); choose "
        "another name=..., or remove it"
    )
    assert (run_dir / "config.yaml").read_bytes() == before


def test_a_checkpoint_of_another_architecture(tiny_corpus, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    trained(tiny_corpus, tmp_path)
    trained(tiny_corpus, tmp_path, seed=1, scale__dim=64)
    run_dir, other = tmp_path / "default/tiny/seed=0", tmp_path / "default/tiny/seed=1"
    shutil.rmtree(run_dir / "checkpoints")
    shutil.copytree(other / "checkpoints", run_dir / "checkpoints")
    (run_dir / "result.json").unlink()
    said = refused(
        monkeypatch, *tiny_corpus.overrides(runs_dir=tmp_path, scale__tokens=2 * 256, scale__warmup_tokens=256)
    )
    assert said == (
        "default/tiny/seed=0/checkpoints/step=00000002/model.safetensors: tensor 'tok_embeddings.weight' has shape "
        "(512, 64) but this architecture needs (512, 32); it is a checkpoint of another architecture"
    )


def test_a_folder_that_cannot_be(tiny_corpus, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    said = refused(monkeypatch, *tiny_corpus.overrides(runs_dir=tmp_path / "file"))
    assert said.startswith(f"{tmp_path}/file/default/tiny/seed=0: not a directory; choose another folder")


def test_a_corrected_command_runs_where_a_wrong_one_was_refused(tiny_corpus, tmp_path):
    """Nothing of the wrong config stays behind."""
    wrong = tiny_corpus.overrides(runs_dir=tmp_path, scale__tokens=2 * 256, scale__warmup_tokens=10_000)
    assert command_line.run_here("train", *wrong).code == 2
    trained(tiny_corpus, tmp_path)


def test_as_a_user_sees_it(tmp_path):
    """Two of the above in processes of their own: nothing else is on stderr, whatever was imported."""
    (tmp_path / "corpus").mkdir()
    corpus = build_corpus(tmp_path / "corpus")
    outcome = command_line.run_process("train", *corpus.overrides(runs_dir=tmp_path / "runs"), "scale.dmi=3")
    assert outcome == command_line.Outcome(
        2, "", "llamalab: scale.dmi: unknown key; did you mean 'dim'? (see --cfg job)\n"
    )
    shard = corpus.tokens / "code/train/00000.bin"
    shard.write_bytes(shard.read_bytes()[::-1])
    outcome = command_line.run_process("train", *corpus.overrides(runs_dir=tmp_path / "runs"))
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert len(outcome.error_lines) == 1
    assert f"{shard}: the token shard is corrupt" in outcome.stderr


def test_user_errors_are_value_errors():
    assert issubclass(UserError, ValueError)
