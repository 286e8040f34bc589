"""The published figures in eval/reference: the paper's tables, and which of our scores stands in which row."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml

from llamalab.common.configs import closest, repository_folder
from llamalab.common.errors import UserError

Unit = Literal["percent", "fraction", "perplexity"]


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Model(_Strict):
    """A column: `label` is its heading, `parameters` its exact count where that is public."""

    name: str
    size: str
    label: str
    parameters: int | None


class Row(_Strict):
    """A row: `documents` that the full benchmark has (None: not known), `values` in the order of the table's models."""

    label: str
    documents: int | None
    values: list[float | None]
    num_fewshot: int | None = None
    area: str | None = None
    averaged_with: str | None = None


class Override(_Strict):
    """What differs from the table's source and reliability for some of its figures; no model means all of them."""

    rows: list[str]
    model: str | None = None
    source: list[str] | None = None
    verified: bool | None = None
    note: str


class Variant(_Strict):
    """Other figures for a row, from another source."""

    row: str
    source: list[str]
    verified: bool
    note: str
    values: dict[str, float]


class Figure(_Strict):
    """One published number with where it is from."""

    table: str
    row: str
    model: str
    value: float
    source: list[str]
    verified: bool
    note: str | None


class PaperTable(_Strict):
    """One table of eval/reference/tables that holds scores.

    Attributes:
        number: in the paper; None for a table that is not in it.
        measure: what is counted.
        unit: `percent` and `fraction` are our score times 100 or 1.
        num_fewshot: of all rows, unless a row has its own; None where the paper does not print it.
        source: keys of sources.yaml.
        verified: whether the figures were read in a copy of the source.
        averages: of a table over subjects, as printed below them.
    """

    number: int | None
    title: str
    measure: str
    unit: Unit
    higher_is_better: bool
    num_fewshot: int | None
    source: list[str]
    verified: bool
    models: list[str]
    rows: dict[str, Row]
    documents_source: list[str] | None = None
    averages: dict[str, list[float]] = {}
    overrides: list[Override] = []
    variants: list[Variant] = []
    notes: list[str] = []

    def shots(self, row: str) -> int | None:
        """The number of few-shot examples behind a row."""
        own = self.rows[row].num_fewshot
        return self.num_fewshot if own is None else own

    def reference(self, row: str) -> dict[str, float]:
        """Model to figure, where the paper has one."""
        pairs = zip(self.models, self.rows[row].values, strict=True)
        return {model: value for model, value in pairs if value is not None}

    def figures(self, name: str) -> Iterator[Figure]:
        """Every number of the table with its own source."""
        for key in self.rows:
            for model, value in self.reference(key).items():
                facts: dict[str, Any] = {"source": self.source, "verified": self.verified, "note": None}
                for override in self.overrides:
                    if key in override.rows and override.model in (None, model):
                        facts |= {k: v for k, v in override.model_dump().items() if k in facts and v is not None}
                yield Figure(table=name, row=key, model=model, value=value, **facts)
        for variant in self.variants:
            facts = {"source": variant.source, "verified": variant.verified, "note": variant.note}
            for model, value in variant.values.items():
                yield Figure(table=name, row=variant.row, model=model, value=value, **facts)


class Place(_Strict):
    """Where a row's score comes from: a task's metric, or the mean over an area of another table."""

    task: str | None = None
    metric: str | None = None
    domain: str | None = None
    mean_of: str | None = None
    area: str | None = None
    absent: str | None = None
    notes: list[str] = []

    @pydantic.model_validator(mode="after")
    def _one_of_two(self) -> "Place":
        if (self.task is None) == (self.mean_of is None):
            raise ValueError("give either task or mean_of")
        return self


class Places(_Strict):
    """rows.yaml; `judges` is a text that several rows share."""

    judges: str
    tables: dict[str, dict[str, Place]]
    lm_eval: dict[str, str]


class Published(_Strict):
    """A file of eval/reference/lm_eval: `<task>/<metric>` to figures in the order of the models.

    `comparable` says whether they were made with a harness that reads LLaMA's tokenizer correctly.
    """

    title: str
    unit: Unit
    source: list[str]
    verified: bool
    models: list[str]
    rows: dict[str, list[float | None]]
    comparable: bool = False
    overrides: list[Override] = []


def folder() -> Path:
    """eval/reference."""
    return repository_folder("eval") / "reference"


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _checked(path: Path, kind: Any, content: Any = None) -> Any:
    """The file's content (read unless given) as `kind`. Raises UserError naming file and key."""
    try:
        return pydantic.TypeAdapter(kind).validate_python(_read(path) if content is None else content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: {where}: {first['msg']}") from None


@functools.cache
def models() -> dict[str, Model]:
    """Every model that a table has a column for, LLaMA's first."""
    found: dict[str, Model] = _checked(folder() / "models.yaml", dict[str, Model])
    return found


@functools.cache
def tables() -> dict[str, PaperTable]:
    """The tables of scores by file name, in the paper's order."""
    contents = {path: _read(path) for path in sorted((folder() / "tables").glob("*.yaml"))}
    return {path.stem: _checked(path, PaperTable, content) for path, content in contents.items() if "rows" in content}


@functools.cache
def places() -> Places:
    """rows.yaml, its `each` written out for every row of the table."""
    found: Places = _checked(folder() / "rows.yaml", Places)
    for name, rows in found.tables.items():
        each = rows.pop("each", None)
        if each is not None:
            assert each.task is not None, name
            rows |= {row: each.model_copy(update={"task": each.task.format(row=row)}) for row in tables()[name].rows}
    return found


@functools.cache
def published() -> dict[str, Published]:
    """What others published with lm-eval, by file name."""
    paths = sorted((folder() / "lm_eval").glob("*.yaml"))
    return {path.stem: _checked(path, Published) for path in paths}


def model_named(name: str) -> str:
    """The key of the model with that key or heading. Raises UserError for any other."""
    by_label = {model.label.lower(): key for key, model in models().items()}
    if name in models():
        return name
    if name.lower() not in by_label:
        labels = [model.label for model in models().values()]
        raise UserError(f"compare_with: no model '{name}' in {folder() / 'models.yaml'}{closest(name, labels)}")
    return by_label[name.lower()]


def model_of_size(parameters: int, tolerance: float) -> str | None:
    """The model whose exact parameter count is within that fraction of `parameters`; None if there is none."""
    for key, model in models().items():
        if model.parameters is not None and abs(parameters / model.parameters - 1) <= tolerance:
            return key
    return None
