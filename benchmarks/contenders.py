"""The training steps that benchmarks/train.py compares, each to be run in a process of its own.

A contender builds a model of the given shape and trains it on random tokens, one optimizer step per batch that it
takes from `Pace.batches()`. The pace is set from outside: after the warm-up and after each round it waits.
"""

import contextlib
import os
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ENDLESS = 10**9  # optimizer steps, more than any benchmark takes


@dataclass(frozen=True)
class Case:
    """One shape, precision and way of running; the same for every contender.

    Attributes:
        precision: Lightning's names, "32-true", "bf16-mixed" or "bf16-true".
        compile: torch.compile or eager.
        threads: of torch; None for one per core.
        warmup: steps before the first round, which compile and fill caches.
        steps: per round.
    """

    dim: int
    layers: int
    heads: int
    ffn: int
    vocab: int
    seq: int
    batch: int
    precision: str
    compile: bool
    threads: int | None
    warmup: int
    steps: int


class Pace:
    """Hands out batches; between rounds it reports how long the steps took and waits to be told to go on."""

    def __init__(self, case: Case, connection: Connection) -> None:
        self.case, self.connection = case, connection
        self.facts: dict[str, Any] = {}  # sent with the first report

    def batches(self) -> Iterator[Any]:
        """Batches B T+1 of random tokens on the CPU, without end; the process ends when the parent leaves."""
        import torch

        generator = torch.Generator().manual_seed(0)
        shape = (self.case.batch, self.case.seq + 1)
        tokens = torch.randint(self.case.vocab, shape, generator=generator)
        for _ in range(self.case.warmup):
            yield tokens
        self._wait()
        self.connection.send({"seconds": None, **self.facts})
        while True:
            self._told_to_go()
            started = time.perf_counter()
            for _ in range(self.case.steps):
                yield tokens
            self._wait()
            self.connection.send({"seconds": time.perf_counter() - started, "peak_memory_bytes": peak_memory()})

    def _told_to_go(self) -> None:
        try:
            self.connection.recv()
        except EOFError:
            raise SystemExit(0) from None  # the parent has seen enough

    def _wait(self) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()


def peak_memory() -> int:
    """Bytes: the GPU allocator's peak, or the process's where there is no GPU."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def llamalab(case: Case, pace: Pace, *variant: str) -> None:
    """Our step as `llamalab train` runs it: its config, its Lightning trainer with all callbacks, its defaults.

    Only the corpus is replaced, by random tokens, and MLflow is off. `variant` are further Hydra overrides.
    """
    import lightning
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from llamalab.common.hydra_app import register_resolvers
    from llamalab.training import run, runtime

    class RandomTokens(lightning.LightningDataModule):
        tokenizer = type("Tokenizer", (), {"vocab_size": case.vocab})
        tokenizer_path = Path(os.devnull)  # what the run directory gets a copy of

        def share(self, ranks: int) -> tuple[int, int]:
            return case.batch, 1

        def set_step(self, step: int) -> None: ...

        def train_dataloader(self) -> Any:
            # a length keeps Lightning from taking a batch ahead, as it does for our own loader
            loader = type("Loader", (), {"__len__": lambda _: ENDLESS, "__iter__": lambda _: dictionaries()})
            return loader()

    def dictionaries() -> Iterator[dict[str, Any]]:
        return ({"tokens": tokens} for tokens in pace.batches())

    warnings.filterwarnings("ignore", ".*no `val_dataloader`.*")
    register_resolvers()
    per_step = case.batch * case.seq
    with tempfile.TemporaryDirectory() as folder:
        overrides = {
            "run_dir": folder,
            "scale": "micro",
            "scale.dim": case.dim,
            "scale.n_layers": case.layers,
            "scale.n_heads": case.heads,
            "feed_forward.width": case.ffn,
            "scale.vocab_size": case.vocab,
            "scale.seq_len": case.seq,
            "scale.batch_tokens": per_step,
            "scale.tokens": ENDLESS * per_step,
            "scale.eval_every_tokens": ENDLESS * per_step,
            "scale.checkpoint_every_tokens": ENDLESS * per_step,
            "trainer.precision": case.precision,
            "trainer.compile": case.compile,
            "trainer.threads": case.threads or "null",
            "trainer.progress": "none",
            "logger": "none",
        }
        with initialize_config_dir(str(Path(__file__).parents[1] / "conf"), version_base="1.3"):
            cfg = compose("train", [*(f"{key}={value}" for key, value in overrides.items()), *variant])
        settings = run.build(cfg.trainer)
        data = RandomTokens()
        runtime.quiet_lightning()
        parts = run.make_parts(cfg, settings, data, Path(folder), "seeded")
        arithmetic = "fp32" if case.precision == "32-true" else "bf16"
        cores = (case.threads or os.cpu_count() or 1) if parts.device.type == "cpu" else 1
        pace.facts = {
            "parameters": parts.model.parameter_counts()["total"],
            "flops_per_token": parts.model.flops_per_token(case.seq),
            "peak_flops": parts.hardware.peak_flops[arithmetic] * cores,
        }
        config = OmegaConf.to_container(cfg, resolve=True)
        run.train(cfg, config, settings, data, parts, evaluation=None, run_dir=Path(folder))


def plain_loop(model: Any, loss_of: Callable[[Any, Any], Any], case: Case, pace: Pace) -> None:
    """A peer's usual step: autocast or bf16 weights, fused AdamW, clipping, all compiled with the loss if asked.

    Threads and the precision of fp32 products are those that our own trainer uses.
    """
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(case.threads or os.cpu_count() or 1)
    torch.set_float32_matmul_precision("high" if device.type == "cuda" else "highest")
    model.to(device, torch.bfloat16 if case.precision == "bf16-true" else torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    compiled = torch.compile(loss_of) if case.compile else loss_of
    mixed = case.precision == "bf16-mixed"
    pace.facts = {"parameters": sum(parameter.numel() for parameter in model.parameters())}
    for tokens in pace.batches():
        tokens = tokens.to(device)
        with torch.autocast(device.type, torch.bfloat16) if mixed else contextlib.nullcontext():
            loss = compiled(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def transformers(case: Case, pace: Pace) -> None:
    """LlamaForCausalLM with its default attention (torch's scaled_dot_product_attention) and its own loss."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=case.vocab,
        hidden_size=case.dim,
        intermediate_size=case.ffn,
        num_hidden_layers=case.layers,
        num_attention_heads=case.heads,
        max_position_embeddings=case.seq,
        tie_word_embeddings=False,
        use_cache=False,
    )
    model = LlamaForCausalLM(config)

    def loss_of(tokens: Any, targets: Any) -> Any:
        return model(input_ids=tokens, labels=targets, shift_labels=targets.contiguous()).loss

    plain_loop(model, loss_of, case, pace)


def litgpt(case: Case, pace: Pace) -> None:
    """litgpt's GPT in its LLaMA configuration; the loss unchunked, which is the fastest of the two that it offers."""
    from litgpt.config import Config
    from litgpt.model import GPT
    from litgpt.utils import chunked_cross_entropy

    config = Config(
        name="llama",
        block_size=case.seq,
        vocab_size=case.vocab,
        padded_vocab_size=case.vocab,
        n_layer=case.layers,
        n_head=case.heads,
        n_embd=case.dim,
        intermediate_size=case.ffn,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
    )
    model = GPT(config)

    def loss_of(tokens: Any, targets: Any) -> Any:
        return chunked_cross_entropy(model(tokens), targets, chunk_size=0)

    plain_loop(model, loss_of, case, pace)


CONTENDERS: dict[str, Callable[..., None]] = {
    "llamalab": llamalab,
    "transformers": transformers,
    "litgpt": litgpt,
}


def work(name: str, case: Case, connection: Connection) -> None:
    """What a contender's process does; "llamalab key=value ..." is ours with these overrides."""
    contender, *variant = name.split()
    CONTENDERS[contender](case, Pace(case, connection), *variant)
