"""`llamalab train`: one run, from a checked config to result.json."""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra.utils
import lightning as L
import torch
from lightning.pytorch.strategies import Strategy
from omegaconf import DictConfig

from llamalab.checkpoint import native
from llamalab.common.configs import check_targets, check_type, resolved
from llamalab.common.console import progress_console
from llamalab.common.energy import Device
from llamalab.common.errors import UserError
from llamalab.common.files import hash_of, require_space, write_bytes, write_json
from llamalab.common.provenance import provenance
from llamalab.model.llama import Llama
from llamalab.training import launch, metrics_log, probes, run_directory, study, twins
from llamalab.training.cadence import Cadence, DivergedError, Plan
from llamalab.training.checkpointing import NativeCheckpointIO, checkpoint_bytes
from llamalab.training.evaluate import Evaluation, make_evaluation
from llamalab.training.interrupt import Interrupted, StopRequest
from llamalab.training.module import LlamaModule
from llamalab.training.optimizer import AdamW
from llamalab.training.progress import progress_callbacks
from llamalab.training.result import result_record
from llamalab.training.runtime import apply_runtime, quiet_lightning
from llamalab.training.schedule import WarmupCosine
from llamalab.training.settings import TrainerSettings, check_scale
from llamalab.training.strategies import FullyShard
from llamalab.training.tracking import make_mlflow_log


def run(cfg: DictConfig) -> None:
    """Trains what the config describes, or resumes it, or finds it finished and does nothing.

    Raises:
        UserError: anything in the config, the data or the directory that cannot work, before training starts.
        Interrupted: stopped on request; the state is saved.
    """
    run_dir = Path(os.path.relpath(cfg.run_dir))  # short in messages; relative to where the command was typed
    launch.follow_supervisor()
    config = resolved(cfg)
    check_scale(config["scale"])
    check_type("name", config["name"], str)
    check_type("seed", config["seed"], int)
    check_targets(config)
    study.check_arm(config["study"])
    settings: TrainerSettings = build(cfg.trainer)
    quiet_lightning()
    data: Any = build(cfg.data.module)
    data.setup()
    config["data_fingerprint"] = _fingerprint(data)
    done = run_directory.finished(run_dir, config)
    if done is not None:
        _say(f"{run_dir}: already {done['status']}, nothing to do")
        probes.measure(config, run_dir)
        return
    twin = twins.find(Path(cfg.runs_dir), config) if cfg.share_runs else None
    if twin is not None:
        _take_over(twin, cfg, config, run_dir)
        probes.measure(config, run_dir)
        return
    several = launch.needs_ranks(settings.devices, settings.num_nodes)
    with run_directory.exclusive_on_rank_zero(run_dir):
        # the supervisor of several ranks checks everything that they will, so that a mistake shows before they start
        parts = make_parts(cfg, settings, data, run_dir, "meta" if several else settings.initialisation)
        evaluation = make_evaluation(cfg, config, build, parts.strategy, data.tokenizer_path)
        run_directory.claim(run_dir, config)
        if not several:
            train(cfg, config, settings, data, parts, evaluation, run_dir)
    if several:
        launch.supervise(settings.devices, settings.num_nodes, run_dir)
    if launch.rank() == 0:
        probes.measure(config, run_dir)


def _take_over(twin: Path, cfg: DictConfig, config: dict[str, Any], run_dir: Path) -> None:
    with run_directory.exclusive_on_rank_zero(run_dir):
        result = twins.adopt(twin, run_dir, config)
    mlflow_log = make_mlflow_log(cfg, config, run_dir)
    if mlflow_log:
        mlflow_log.start()
        mlflow_log.finish("FINISHED" if result["status"] == "finished" else "FAILED", run_dir / "result.json")
    _say(f"{run_dir}: {result['status']}, the same computation as {twin}")


def _say(line: str) -> None:
    progress_console.print(line, highlight=False, soft_wrap=True)


def build(node: DictConfig) -> Any:
    """Instantiates a node; a constructor's ValueError is the user's to read."""
    try:
        return hydra.utils.instantiate(node, _convert_="all")
    except hydra.errors.InstantiationException as error:
        if isinstance(error.__cause__, ValueError):
            raise UserError(str(error.__cause__)) from None
        raise


def _fingerprint(data: Any) -> str:
    """Identifies the tokens themselves, so that a corpus made anew is not taken for the old one."""
    return hash_of(
        {
            f"{domain}/{split}": [shard["sha256"] for shard in shards.index["shards"]]
            for split, domains in data.shards.items()
            for domain, shards in domains.items()
        }
    )


@dataclass(frozen=True)
class Parts:
    """What a run is made of; that they could be built says that config, data and directory fit each other."""

    device: torch.device
    world_size: int
    strategy: Strategy
    model: Llama
    optimizer: AdamW
    schedule: WarmupCosine
    hardware: Device
    accumulate: int
    resume: Path | None


def make_parts(cfg: DictConfig, settings: TrainerSettings, data: Any, run_dir: Path, initialisation: str) -> Parts:
    """Builds everything that training needs; nothing is written.

    The model is initialised from the seed on the CPU, equal on every rank, or is left empty on the meta device, to be
    filled shard by shard.
    """
    device = apply_runtime(settings)
    world_size = settings.devices * settings.num_nodes
    try:
        strategy = build(cfg.strategy)(device, world_size)
    except ValueError as error:
        raise UserError(str(error)) from None
    if settings.initialisation == "meta" and not isinstance(strategy, FullyShard):
        raise UserError("trainer.initialisation: meta is for sharded runs (strategy=fsdp2 with several devices)")
    torch.manual_seed(cfg.seed)
    with torch.device("meta" if initialisation == "meta" else "cpu"):
        try:
            model: Llama = build(cfg.model)
        except UserError as error:  # sizes are the scale's, and that is where a user sets them
            raise UserError(f"scale.{error}") from None
    if data.tokenizer.vocab_size > model.vocab_size:
        raise UserError(
            f"scale.vocab_size: {model.vocab_size} is smaller than the tokenizer's {data.tokenizer.vocab_size} pieces"
        )
    size = checkpoint_bytes(model.parameter_counts()["total"])
    saved = native.checkpoints(run_dir)
    # beside those that are kept, one more is being written
    missing = max(1, settings.keep_checkpoints + 1 - len(saved))
    require_space(run_dir, missing * size, "saving checkpoints")
    resume = saved[-1] if saved else None
    if resume is not None:
        native.check_fits(model.state_dict(), native.weight_shapes(resume), resume / native.WEIGHTS)
    return Parts(
        device=device,
        world_size=world_size,
        strategy=strategy,
        model=model,
        optimizer=build(cfg.optimizer),
        schedule=build(cfg.schedule),
        hardware=build(cfg.device),
        accumulate=data.share(world_size)[1],
        resume=resume,
    )


def train(
    cfg: DictConfig,
    config: dict[str, Any],
    settings: TrainerSettings,
    data: Any,
    parts: Parts,
    evaluation: Evaluation | None,
    run_dir: Path,
) -> None:
    model, device, hardware, world_size = parts.model, parts.device, parts.hardware, parts.world_size
    plan = make_plan(cfg.scale, settings, parts.schedule.warmup_steps)
    cores = torch.get_num_threads() if device.type == "cpu" else 1
    arithmetic = "fp32" if settings.precision == "32-true" else "bf16"
    stop = StopRequest()
    cadence = Cadence(
        plan=plan,
        run_dir=run_dir,
        loss_limit=math.log(model.vocab_size) + settings.divergence_margin,
        flops_per_token=model.flops_per_token(cfg.scale.seq_len),
        peak_flops=hardware.peak_flops[arithmetic] * cores * world_size,
        stop=stop,
        evaluation=evaluation,
    )
    module = LlamaModule(model, parts.optimizer, parts.schedule, settings.clip_norm, settings.compile)
    mlflow_log = make_mlflow_log(cfg, config, run_dir)
    step = 0 if parts.resume is None else native.step_of(parts.resume)
    bars = progress_callbacks(settings.progress, str(run_dir), cadence)
    trainer = L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=parts.strategy,
        precision=settings.precision,
        max_steps=plan.total,
        max_epochs=-1,
        accumulate_grad_batches=parts.accumulate,
        callbacks=[cadence, *bars],
        logger=[metrics_log.MetricsLog(run_dir), *([mlflow_log] if mlflow_log else [])],
        plugins=[NativeCheckpointIO()],
        enable_checkpointing=False,
        enable_progress_bar=any(isinstance(bar, L.pytorch.callbacks.ProgressBar) for bar in bars),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        # validation is started by Cadence, which knows the step's other duties; Lightning never starts it itself
        val_check_interval=2**62,
        check_val_every_n_epoch=None,
        inference_mode=False,
        log_every_n_steps=settings.log_every_steps,
        default_root_dir=run_dir,
    )
    if trainer.is_global_zero:
        _prepare_directory(run_dir, data, step)
        if mlflow_log:
            mlflow_log.start()
    data.set_step(step)
    started = time.monotonic()
    outcome: DivergedError | None = None
    try:
        with stop.listening():
            trainer.fit(module, datamodule=data, ckpt_path=None if step == 0 else str(parts.resume))
    except DivergedError as error:
        outcome = error
    except Interrupted:
        if mlflow_log:
            mlflow_log.finish("KILLED", None)
        raise
    if not trainer.is_global_zero:
        return
    record = result_record(
        config, cadence, model.parameter_counts(), outcome, hardware, cores * world_size, device.type
    )
    if outcome is None:
        record["weights_sha256"] = native.weights_sha256(native.newest_checkpoint(run_dir))
    write_json(run_dir / "result.json", record)
    if mlflow_log:
        mlflow_log.finish("FINISHED" if outcome is None else "FAILED", run_dir / "result.json")
    said = str(outcome) if outcome else f"finished, validation loss {record['validation']['loss']:.4f}"
    _say(f"{run_dir}: {said}, {time.monotonic() - started:.0f}s")


def make_plan(scale: DictConfig, settings: TrainerSettings, warmup_steps: int) -> Plan:
    """The scale's cadences, given in tokens, in optimizer steps."""

    def steps(tokens: int) -> int:
        return max(1, round(tokens / scale.batch_tokens))

    return Plan(
        total=scale.tokens // scale.batch_tokens,
        log_every=settings.log_every_steps,
        validate_every=steps(scale.eval_every_tokens),
        checkpoint_every=steps(scale.checkpoint_every_tokens),
        keep_checkpoints=settings.keep_checkpoints,
        batch_tokens=scale.batch_tokens,
        warmup=warmup_steps,
    )


def _prepare_directory(run_dir: Path, data: Any, step: int) -> None:
    """What a run directory holds beside the results; rows after the resumed step are dropped."""
    write_json(run_dir / "environment.json", provenance())
    write_bytes(run_dir / "tokenizer.model", data.tokenizer_path.read_bytes())
    metrics_log.rewind(run_dir, step)
    native.remove_unfinished(run_dir)
    if step:
        _say(f"{run_dir}: resuming after step {step}")
