"""What runs left behind, read from files only: run directories and studies."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from llamalab.analysis.validation_documents import read_documents
from llamalab.common.configs import closest
from llamalab.common.errors import UserError
from llamalab.common.files import read_json

FINISHED, DIVERGED, UNFINISHED, MISSING = "finished", "diverged", "unfinished", "missing"
STATUSES = (FINISHED, DIVERGED, UNFINISHED, MISSING)


@dataclass(frozen=True)
class Run:
    """One run directory; `result` is None until the run has ended (finished or diverged).

    `rate` is the learning rate of a run of a sweep, None for a final run. `curve` and `probes` hold the metrics and the
    probes of an archived run, whose directory is not there any more.
    """

    path: Path
    study: str | None
    arm: str | None
    seed: int
    status: str
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    rate: float | None = None
    curve: pd.DataFrame | None = None
    probes: dict[str, Any] | None = None

    def probe(self, name: str) -> dict[str, Any] | None:
        """What the study's probe `name` measured on the run; None where it did not."""
        if self.probes is not None:
            return self.probes.get(name)
        path = self.path / f"{name}.json"
        return read_json(path) if path.is_file() else None

    @property
    def ended(self) -> bool:
        """Whether there is a result: the run finished or diverged."""
        return self.result is not None


@dataclass(frozen=True)
class Study:
    """One study at one scale: its declaration and a run for every arm and seed that it declares.

    `record` is study.json: the declaration as it was run, its hash, the hash of its file, the command. `sweep` holds
    the runs of the learning-rate sweep and `rates` what was chosen from them. `documents` holds nats and tokens of
    every validation document by arm, the mean over finished final seeds: columns arm, domain, document, nats, tokens
    and weight, the domain's share of the validation loss.
    """

    path: Path
    record: dict[str, Any]
    runs: list[Run]
    sweep: list[Run]
    rates: dict[str, Any]
    documents: pd.DataFrame

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.record["name"])

    @property
    def scale(self) -> str:
        """The scale of all of its runs."""
        return str(self.record["scale"])

    @property
    def question(self) -> str:
        """What is asked."""
        return str(self.record["question"])

    @property
    def baseline(self) -> str:
        """The arm that others are compared with."""
        return str(self.record["baseline"])

    @property
    def arms(self) -> list[str]:
        """All arms, in the order of the declaration."""
        return list(self.record["arms"])

    @property
    def seeds(self) -> list[int]:
        """Seeds of the final runs of each arm but the baseline."""
        return list(self.record["seeds"])

    @property
    def hash(self) -> str:
        """Identifies the declaration."""
        return str(self.record["hash"])

    @property
    def mlflow(self) -> dict[str, Any] | None:
        """Where the study is shown in MLflow."""
        return self.record.get("mlflow")

    @property
    def key(self) -> str:
        """Names the study's tables and figures."""
        return f"{self.name}_{self.scale}"

    @property
    def data(self) -> str | None:
        """The corpus of its runs (all the same, or the study would have been refused); None before any has ended."""
        return next((run.result["data"] for run in self.runs if run.result), None)


def require_field(path: Path, record: dict[str, Any], key: str) -> Any:
    """`record[key]` of a JSON file, with a dotted key. Raises UserError naming the file and the key."""
    value: Any = record
    for name in key.split("."):
        if not isinstance(value, dict) or name not in value:
            raise UserError(f"{path}: has no '{key}'; delete the file and repeat the command that made it")
        value = value[name]
    return value


RESULT_KEYS = [
    *("status", "step", "tokens", "seconds", "scale", "data", "seed", "tokens_per_second", "mfu"),
    *("parameters.total", "parameters.non_embedding"),
    *(f"energy.{key}" for key in ("kwh", "tco2eq", "watts", "pue", "kg_per_kwh", "hours", "devices")),
]
# What only a finished run has.
VALIDATION_KEYS = [
    *("validation.loss", "validation.bits_per_byte"),
    *("validation.loss_by_domain", "validation.bits_per_byte_by_domain"),
]


def read_result(path: Path) -> dict[str, Any]:
    """A run's result.json, checked for what the report needs. Raises UserError naming the file."""
    result = read_json(path)
    if not isinstance(result, dict):
        raise UserError(f"{path}: is not a JSON object; delete it and repeat the run")
    for key in RESULT_KEYS:
        require_field(path, result, key)
    if result["status"] not in (FINISHED, DIVERGED):
        raise UserError(f"{path}: status is {result['status']!r}, not '{FINISHED}' or '{DIVERGED}'; repeat the run")
    for key in VALIDATION_KEYS if result["status"] == FINISHED else []:
        require_field(path, result, key)
    return result


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML ({str(error).splitlines()[0]}); repeat the run") from None
    return config if isinstance(config, dict) else {}


def read_run(path: Path, study: str | None, arm: str | None, seed: int, rate: float | None = None) -> Run:
    """The run in the folder `path`, whatever its state; a folder that is not there is a missing run."""
    has_config, has_result = (path / "config.yaml").is_file(), (path / "result.json").is_file()
    environment = path / "environment.json"
    if not has_config and not has_result:
        return Run(path, study, arm, seed, MISSING, rate=rate)
    result = read_result(path / "result.json") if has_result else None
    return Run(
        path=path,
        study=study,
        arm=arm,
        seed=seed,
        status=result["status"] if result else UNFINISHED,
        config=_read_config(path / "config.yaml") if has_config else {},
        environment=read_json(environment) if environment.is_file() else {},
        result=result,
        rate=rate,
    )


def _require_one_kind(runs: list[Run], study: str, scale: str) -> None:
    """Raises UserError unless all results are of one scale and one corpus: a table never mixes them."""
    ended = [(run.path, run.result) for run in runs if run.result]
    for path, result in ended:
        if result["scale"] != scale:
            raise UserError(
                f"{path}: made at scale '{result['scale']}' but lies in study '{study}' at scale '{scale}'; "
                "one table holds one scale: move the run or repeat it"
            )
        first_path, first = ended[0]
        if result["data"] != first["data"] or result.get("data_fingerprint") != first.get("data_fingerprint"):
            raise UserError(
                f"{path}: trained on another corpus ('{result['data']}') than {first_path} ('{first['data']}'), or on "
                "another version of it; one table holds one corpus: repeat one of them"
            )


STUDY_KEYS = [
    *("name", "question", "scale", "baseline", "arms", "seeds", "baseline_seeds", "hash"),
    *("metric", "family", "confidence", "margin", "power", "pairing_rho"),
]
RATES_FILE = "learning_rates.json"


def check_study(path: Path, record: dict[str, Any], runs: list[Run]) -> None:
    """Raises UserError for a declaration that cannot be read or runs that one table cannot hold."""
    for key in STUDY_KEYS:
        require_field(path, record, key)
    name, scale, baseline, arms = (record[key] for key in ("name", "scale", "baseline", "arms"))
    if baseline not in arms:
        raise UserError(f"{path}: baseline '{baseline}' is not an arm{closest(baseline, arms)}")
    _require_one_kind(runs, name, scale)


def read_study(path: Path) -> Study:
    """The study whose study.json is `path`, with its runs. Raises UserError for a broken or mixed one."""
    record, folder = read_json(path), path.parent
    for key in STUDY_KEYS:
        require_field(path, record, key)
    runs = [
        read_run(folder / arm / f"seed={seed}", record["name"], arm, seed)
        for arm in record["arms"]
        for seed in record["baseline_seeds" if arm == record["baseline"] else "seeds"]
    ]
    sweep = [
        read_run(found, record["name"], arm, _after(found, "seed="), float(found.parent.name.removeprefix("lr=")))
        for arm in record["arms"]
        for found in sorted((folder / arm).glob("lr=*/seed=*/"), key=_rate_and_seed)
    ]
    check_study(path, record, [*runs, *sweep])
    rates = read_json(folder / RATES_FILE) if (folder / RATES_FILE).is_file() else {}
    return Study(folder, record, runs, sweep, rates, read_documents(runs_by_arm(runs)))


def runs_by_arm(runs: list[Run]) -> dict[str, list[Path]]:
    """The folders of finished runs, by arm."""
    found: dict[str, list[Path]] = {}
    for run in runs:
        if run.status == FINISHED and run.arm is not None:
            found.setdefault(run.arm, []).append(run.path)
    return found


def _after(path: Path, prefix: str) -> int:
    return int(path.name.removeprefix(prefix))


def _rate_and_seed(path: Path) -> tuple[float, int]:
    return float(path.parent.name.removeprefix("lr=")), _after(path, "seed=")


def find_studies(runs_dir: Path, names: list[str] | None, scale: str | None) -> list[Study]:
    """Studies under `runs_dir`, sorted by name and scale; `names` and `scale` choose among them.

    Raises:
        UserError: a name or scale that is not there (with the nearest one), a broken file, mixed runs in one study.
    """
    paths = sorted(runs_dir.glob("*/*/study.json"))
    for wanted, found, key in (
        (names or [], {path.parts[-3] for path in paths}, "studies"),
        ([scale] if scale else [], {path.name for path in runs_dir.glob("*/*/")}, "only_scale"),
    ):
        for name in wanted:
            if name not in found:
                hint = closest(name, found) if found else "; there is none yet"
                raise UserError(f"{key}: nothing called '{name}' under {runs_dir}{hint}")
    chosen = [p for p in paths if (not names or p.parts[-3] in names) and (not scale or p.parts[-2] == scale)]
    return [read_study(path) for path in chosen]


def find_single_runs(runs_dir: Path, scale: str | None) -> list[Run]:
    """Runs that belong to no study: `<name>/<scale>/seed=<n>/`, sorted by path."""
    runs = []
    for path in sorted(runs_dir.glob("*/*/seed=*/")):
        seed = path.name.removeprefix("seed=")
        if (scale and path.parts[-2] != scale) or not seed.isdigit():
            continue
        run = read_run(path, None, None, int(seed))
        if run.status != MISSING:
            runs.append(run)
    return runs


def read_metrics(run: Run) -> pd.DataFrame:
    """metrics.jsonl as a table, one row a step (`step`, `tokens`, `train/loss`, `validation/loss`, ...).

    A step logged again after a resume counts once, with its last values. A kill may cut the last line: it is left
    out. Raises UserError for a broken line anywhere else.
    """
    if run.curve is not None:
        return run.curve
    path = run.path / "metrics.jsonl"
    rows: list[dict[str, Any]] = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise UserError(f"{path}:{number}: not valid JSON; delete the line or repeat the run") from None
    if not rows:
        return pd.DataFrame({"step": [], "tokens": []})
    # groupby().last() also joins the training and the validation row of one step.
    return pd.DataFrame(rows).groupby("step", as_index=False).last().sort_values("step", ignore_index=True)
