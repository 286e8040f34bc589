"""What lm-eval calls for a task's data: `custom_dataset: !function llamalab.evaluation.benchmarks.load`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from llamalab.common.configs import closest, repository_folder, target_of
from llamalab.common.errors import UserError
from llamalab.evaluation.benchmarks.files import exists, hash_of_file

if TYPE_CHECKING:
    from datasets import Dataset


class DatasetMissing(UserError):  # noqa: N818 - what it says in a table: the dataset is missing
    """A dataset that cannot be had here; its tasks are listed as missing and the others still run."""


def load(
    dataset: str,
    benchmarks_dir: str | None = None,
    subset: str | None = None,
    dataset_files: dict[str, dict[str, str]] | None = None,
    **ignored: Any,
) -> "dict[str, Dataset]":
    """The splits of a dataset, in the schema that it has on the hub.

    Args:
        dataset: name of a file in eval/datasets, which says where the rows come from.
        benchmarks_dir: the folder that its local files are in; None takes the dataset from the hub.
        subset: what `{subset}` stands for in that file (a subject of MMLU, a level of RACE).
        dataset_files: by dataset and split, a file to take instead of the one in `benchmarks_dir`.
        ignored: the rest of the task's metadata, which lm-eval passes too.

    Raises:
        DatasetMissing: a file is not in `benchmarks_dir`, or the hub does not give the dataset.
        UserError: an unknown name, or a file without rows, with a malformed row or a row without its label.
    """
    source = _source(dataset, subset)
    files = _files(dataset, source, benchmarks_dir, dataset_files)
    if files is None:
        return _from_hub(dataset, source["hub"])
    import datasets

    for path in _paths(files):
        if not exists(path):
            raise DatasetMissing(f"{path}: no such file in benchmarks_dir; see eval/datasets/{dataset}.yaml")
    splits = target_of(source["local"]["_target_"], f"eval/datasets/{dataset}.yaml: local._target_")(**files)
    for split, rows in splits.items():
        if not rows:
            raise UserError(f"{_first(files[split])}: has no rows for split '{split}'; replace the file")
    return {split: datasets.Dataset.from_list(rows) for split, rows in splits.items()}


def note_of(dataset: str) -> str | None:
    """What differs in the local files from the data of the paper; None for nothing."""
    note: str | None = _source(dataset, None).get("note")
    return note


def fingerprint(
    dataset: str,
    benchmarks_dir: str | None = None,
    subset: str | None = None,
    dataset_files: dict[str, dict[str, str]] | None = None,
    **ignored: Any,
) -> Any:
    """Changes with what `load` of the same arguments would read: the source, and the content of local files."""
    source = _source(dataset, subset)
    files = _files(dataset, source, benchmarks_dir, dataset_files)
    if files is None:
        return source["hub"]
    paths = _paths(files)
    return [source["local"], *(hash_of_file(path) if exists(path) else None for path in paths)]


def _source(dataset: str, subset: str | None) -> dict[str, Any]:
    folder = repository_folder("eval") / "datasets"
    path = folder / f"{dataset}.yaml"
    if not path.is_file():
        raise UserError(
            f"dataset: no '{dataset}' in {folder}{closest(dataset, [p.stem for p in folder.glob('*.yaml')])}"
        )
    source: dict[str, Any] = _filled(yaml.safe_load(path.read_text(encoding="utf-8")), subset)
    return source


def _filled(value: Any, subset: str | None) -> Any:
    if isinstance(value, dict):
        return {key: _filled(entry, subset) for key, entry in value.items()}
    if isinstance(value, list):
        return [_filled(entry, subset) for entry in value]
    return value.replace("{subset}", subset) if isinstance(value, str) and subset is not None else value


def _files(
    dataset: str,
    source: dict[str, Any],
    benchmarks_dir: str | None,
    dataset_files: dict[str, dict[str, str]] | None,
) -> dict[str, Path | list[Path]] | None:
    """The local files of each split; None if the dataset is to come from the hub."""
    own = (dataset_files or {}).get(dataset, {})
    if benchmarks_dir is None and not own:
        return None
    if "local" not in source:
        raise DatasetMissing(f"eval/datasets/{dataset}.yaml: names no local files; leave out benchmarks_dir")
    named = {split: names for split, names in source["local"].items() if split != "_target_"}
    for split in own:
        if split not in named:
            raise UserError(f"dataset_files.{dataset}.{split}: no such split{closest(split, named)}")
    files: dict[str, Path | list[Path]] = {}
    for split, names in named.items():
        if split in own:
            files[split] = Path(own[split])
        elif benchmarks_dir is None:
            raise UserError(f"dataset_files.{dataset}.{split}: missing; name its file or set benchmarks_dir")
        else:
            root = Path(benchmarks_dir)
            files[split] = [root / name for name in names] if isinstance(names, list) else root / names
    return files


def _paths(files: dict[str, Path | list[Path]]) -> list[Path]:
    return [path for entry in files.values() for path in (entry if isinstance(entry, list) else [entry])]


def _first(entry: Path | list[Path]) -> Path:
    return entry[0] if isinstance(entry, list) else entry


def _from_hub(dataset: str, arguments: dict[str, Any]) -> "dict[str, Dataset]":
    import datasets

    try:
        found = datasets.load_dataset(**arguments)
    # the hub's client raises errors of many kinds (network, access, format), and each means that the data are not here
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DatasetMissing(
            f"{dataset}: {arguments['path']} cannot be had from the hub ({first}); "
            "connect to it or set benchmarks_dir to a folder with the files of "
            f"eval/datasets/{dataset}.yaml"
        ) from error
    return dict(found)
