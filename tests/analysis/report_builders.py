"""Synthetic run directories in the documented format: what `train`, `eval` and `data` would have left."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from omegaconf import DictConfig, OmegaConf

from llamalab.common.configs import repository_folder

DOMAINS = {"books": 0.03, "wikipedia": -0.06, "code": -0.4, "web": 0.12}
TOKENS = 2_048_000
ARMS = {"rope": (0.0, 1.0), "learned": (0.06, 1.04), "none": (0.02, 1.09)}  # loss above the baseline, speed


def result_record(study: str | None, arm: str, seed: int, loss: float, speed: float) -> dict[str, Any]:
    """A finished run's result.json."""
    return {
        "status": "finished",
        "config_hash": f"{arm}-{seed}",
        "step": 500,
        "tokens": TOKENS,
        "seconds": TOKENS / speed,
        "cpu_seconds": 2 * TOKENS / speed,
        "wall_seconds": TOKENS / speed + 9,
        "diverged_at_step": None,
        "diverged_because": None,
        "validation": {
            "loss": loss,
            "loss_by_domain": {domain: loss + shift for domain, shift in DOMAINS.items()},
            "bits_per_byte": loss / 2.2,
            "bits_per_byte_by_domain": {domain: (loss + shift) / 2.2 for domain, shift in DOMAINS.items()},
        },
        "train_loss": loss - 0.04,
        "parameters": {"total": 2_254_720 + 32_768 * (arm == "learned"), "non_embedding": 1_206_144, "embedding": 1},
        "flops_per_token": 11_200_000,
        "tokens_per_second": speed,
        "mfu": None,
        "peak_memory_bytes": 610 * 2**20,
        "energy": {
            "kwh": 2 * TOKENS / speed / 3600 * 10 * 1.1 / 1000,
            "tco2eq": 2 * TOKENS / speed / 3600 * 10 * 1.1 / 1e6 * 0.385,
            "watts": 10,
            "pue": 1.1,
            "kg_per_kwh": 0.385,
            "hours": TOKENS / speed / 3600,
            "devices": 2,
        },
        "weights_sha256": f"{seed}{arm}".encode().hex().ljust(64, "0"),
        "name": study or "default",
        "seed": seed,
        "scale": "nano",
        "data": "embedded",
        "data_fingerprint": "f00d",
        "study": {"name": study, "arm": arm, "baseline": "rope", "hash": "cafe"} if study else None,
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "versions": {"python": "3.11.9", "torch": "2.13.0", "lightning": "2.6.6"},
        "hardware": {
            "device": "CPU core",
            "kind": "cpu",
            "devices": 2,
            "cpu": "AMD EPYC 9B14",
            "platform": "Linux-6.1-x86_64",
        },
    }


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2))


def write_run(path: Path, study: str | None, arm: str, seed: int, shift: float, speed: float) -> float:
    """A complete run directory; returns its final loss."""
    noise = np.random.default_rng([seed, len(arm), ord(arm[0])])
    own = noise.normal(0, 0.008)
    rows = []
    for step in range(10, 501, 10):
        loss = 3.3 + 5.0 * (1 + step / 12) ** -0.75 + shift * min(1, step / 150) + own
        row = {"step": step, "tokens": step * 4096, "seconds": step * 4096 / speed}
        rows.append(row | {"train/loss": loss + noise.normal(0, 0.05), "train/lr": 1e-3})
        if step % 50 == 0:
            rows.append(row | {"validation/loss": loss, "validation/bits_per_byte": loss / 2.2})
    path.mkdir(parents=True)
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "scale": {
            "name": "nano",
            "vocab_size": 4096,
            "seq_len": 256,
            "batch_tokens": 4096,
            "tokens": TOKENS,
            "lr": 3e-3,
        },
        "data": {"name": "embedded"},
        "trainer": {"precision": "bf16-mixed"},
        "seed": seed,
    }
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    write_json(path / "environment.json", {"commit": "0123456789abcdef"})
    final = rows[-1]["validation/loss"]
    write_json(path / "result.json", result_record(study, arm, seed, final, speed * (1 + 0.01 * seed)))
    return final


def write_study(runs: Path, name: str = "position", seeds: tuple[int, ...] = (0, 1, 2)) -> Path:
    """A finished study at nano: `<runs>/<name>/nano/`."""
    folder = runs / name / "nano"
    for arm, (shift, speed) in ARMS.items():
        for seed in seeds:
            write_run(folder / arm / f"seed={seed}", name, arm, seed, shift, 24_000 * speed)
    study = {
        "name": name,
        "question": "How much does the position encoding matter?",
        "baseline": "rope",
        "arms": {arm: [f"position={arm}"] for arm in ARMS},
        "seeds": list(seeds),
        "baseline_seeds": list(seeds),
        "metric": "validation.loss",
        "family": [arm for arm in ARMS if arm != "rope"],
        "confidence": 0.95,
        "margin": 0.01,
        "power": 0.8,
        "pairing_rho": 0.3,
        "learning_rate": None,
        "hash": "cafe",
        "scale": "nano",
        "mlflow": None,
    }
    write_json(folder / "study.json", study)
    return folder


RATES = {"rope": (2e-3, 0.0), "learned": (1e-3, 0.05), "none": (4e-3, 0.02)}  # best rate, loss above the baseline's


def write_sweep(folder: Path) -> None:
    """A learning-rate sweep for the study in `folder`: a parabola in log rate, divergence at the highest."""
    rates, chosen = [7.5e-4, 1.5e-3, 3e-3, 6e-3, 1.2e-2], {}
    for arm, (best, shift) in RATES.items():
        losses = []
        for rate in rates:
            path = folder / arm / f"lr={rate:.4g}/seed=1000"
            loss = 3.6 + shift + 0.1 * float(np.log2(rate / best)) ** 2
            write_run(path, folder.parent.name, arm, 1000, 0.0, 24_000)
            record = result_record(folder.parent.name, arm, 1000, loss, 24_000) | {"lr": rate}
            if rate > 1e-2:
                record |= {"status": "diverged", "diverged_at_step": 40, "validation": None}
            write_json(path / "result.json", record)
            losses.append(None if rate > 1e-2 else loss)
        chosen[arm] = {"chosen": best, "at_edge": False, "grid": rates, "losses": losses}
    write_json(folder / "learning_rates.json", chosen)
    study = json.loads((folder / "study.json").read_text())
    study["learning_rate"] = {"factors": [0.25, 0.5, 1, 2, 4], "seeds": [1000], "max_points": 9}
    write_json(folder / "study.json", study | {"scale_config": {"lr": 3e-3, "vocab_size": 4096}})


def write_documents(folder: Path) -> None:
    """validation_documents.json for every final run: documents of unequal length whose losses add up to the run's."""
    for path in folder.glob("*/seed=*/result.json"):
        result = json.loads(path.read_text())
        noise = np.random.default_rng(7)  # the same documents for every run
        own = np.random.default_rng([result["seed"], ord(path.parts[-3][0])])
        documents = {}
        for domain, loss in result["validation"]["loss_by_domain"].items():
            tokens = noise.integers(200, 4000, size=12)
            nats = tokens * (loss + noise.normal(0, 0.2, size=12) + own.normal(0, 0.05, size=12))
            nats += (loss * tokens.sum() - nats.sum()) * tokens / tokens.sum()
            documents[domain] = {"document": list(range(12)), "nats": nats.tolist(), "tokens": tokens.tolist()}
        write_json(path.parent / "validation_documents.json", documents)
        config = yaml.safe_load((path.parent / "config.yaml").read_text())
        config["data"]["module"] = {
            "sampling": {"empty": 50.0, **dict.fromkeys(DOMAINS, 12.5)},
            "empty_slots": {"empty": ""},
        }
        (path.parent / "config.yaml").write_text(yaml.safe_dump(config))


def write_scores(run: Path) -> None:
    """summary.json of a suite with bits per byte and a four-way choice, whole and by domain."""
    rows: list[dict[str, Any]] = []
    for domain, shift in {None: 0.0, **DOMAINS}.items():
        bits = {"task": "heldout_bits_per_byte", "metric": "bits_per_byte", "value": 1.5 + shift, "stderr": 0.02}
        rows.append(bits | {"n": 64, "chance": None, "domain": domain})
    for domain, shift in {None: 0.0, **DOMAINS}.items():
        choice = {"task": "heldout_continuation", "metric": "acc_norm", "value": 0.42 - shift / 3, "stderr": 0.025}
        rows.append(choice | {"n": 300, "chance": 0.25, "domain": domain})
    summary = {"suite": "embedded", "checkpoint": f"{run}/checkpoints/step=00000500", "weights_sha256": "ab" * 32}
    summary |= {"step": 500, "tokens": TOKENS, "rows": rows, "made_by": {}}
    write_json(run / "scores/embedded/summary.json", summary)


def write_audit(artifacts: Path) -> None:
    """audit.json of a corpus of four sources and an empty slot."""
    sources = {}
    for i, domain in enumerate(DOMAINS, start=1):
        duplicates, lines = {"documents": 12 * i, "bytes": 4000}, {"documents": 0, "bytes": 99_000}
        sources[domain] = {
            "sampling_proportion": 0.25,
            "epochs": 0.57 / i,
            "documents": 1000 * i,
            "bytes": 3_200_000 * i,
            "tokens": 900_000 * i,
            "bytes_per_token": 3.56,
            "validation": {"documents": 20, "bytes": 9000, "tokens": 33_000, "overlap_with_training": 0.013},
            "extracted": {"documents": 1100 * i, "bytes": 3_500_000 * i},
            "dropped": {"exact_duplicate": duplicates, "repeated_line": lines},
            "licences": ["CC-BY-SA-4.0"],
            "note": "small, so it is read more than once" if i == 1 else "",
        }
    audit = {"corpus": "embedded", "scale": "nano", "budget_tokens": TOKENS, "vocab_size": 4096, "sources": sources}
    audit |= {"empty_slots": {"stackexchange": "no package carries a dump"}}
    write_json(artifacts / "embedded/bpe4096/audit.json", audit)


def config_of_report(folder: Path, **overrides: Any) -> DictConfig:
    """conf/report.yaml without Hydra's own part, with runs, artifacts and reports in `folder`."""
    config = OmegaConf.load(repository_folder("conf") / "report.yaml")
    assert isinstance(config, DictConfig)
    del config["defaults"], config["hydra"]
    places = {"runs_dir": folder / "runs", "artifacts_dir": folder / "artifacts", "out": folder / "reports"}
    merged = OmegaConf.merge(config, {key: str(place) for key, place in places.items()}, overrides)
    assert isinstance(merged, DictConfig)
    return merged


def write_everything(folder: Path) -> Path:
    """A finished study with scores and an audit, under <folder>/runs and <folder>/artifacts; the study's folder."""
    study = write_study(folder / "runs")
    write_scores(study / "rope/seed=0")
    write_audit(folder / "artifacts")
    return study
