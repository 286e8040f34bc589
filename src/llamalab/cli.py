"""`llamalab <verb> [Hydra overrides]`: each verb is a Hydra app with its primary config in conf/<verb>.yaml."""

import importlib
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from errno import EACCES, EDQUOT, EEXIST, ENAMETOOLONG, ENOSPC, ENOTDIR, EPERM, EROFS
from pathlib import Path
from typing import cast

from rich.markup import escape
from rich.table import Table

from llamalab import __version__
from llamalab.common.configs import closest, repository_folder
from llamalab.common.console import console, progress_console
from llamalab.common.errors import RANK_REPORTS, UserError

BAD_INPUT, INTERRUPTED = 2, 130
# Where the user wanted something written, and what is there already.
FOLDER_ERRORS = {ENOTDIR, EEXIST, EACCES, EPERM, EROFS, ENAMETOOLONG, ENOSPC, EDQUOT}


@dataclass(frozen=True)
class Verb:
    """What a verb does, an example, and the function `module.run(cfg)` behind it."""

    does: str
    example: str
    module: str


VERBS = {
    "data": Verb("raw text to tokens, with an audit", "llamalab data", "llamalab.data.run"),
    "train": Verb(
        "one run; with -m experiments=<study> a whole study",
        "llamalab train -m experiments=position scale=nano",
        "llamalab.training.run",
    ),
    "eval": Verb(
        "scores a checkpoint on a suite", "llamalab eval checkpoint=runs/default/nano/seed=0", "llamalab.evaluation.run"
    ),
    "generate": Verb(
        "text from a checkpoint",
        'llamalab generate checkpoint=runs/default/nano/seed=0 prompt="To be"',
        "llamalab.evaluation.generate",
    ),
    "convert": Verb(
        "Meta, Hugging Face and our own format into each other",
        "llamalab convert checkpoint=llama/7B to=hf out=llama-7b-hf",
        "llamalab.checkpoint.convert",
    ),
    "report": Verb("finished runs to tables, figures and one page", "llamalab report", "llamalab.analysis.report"),
    "plan": Verb(
        "before spending: parameters, memory, hours, energy", "llamalab plan scale=65b", "llamalab.analysis.plan"
    ),
}


def main(arguments: list[str] | None = None) -> None:
    """The console script. Exits 0 when done, 2 for bad input (one line on stderr), 130 when interrupted."""
    # Torch's threads meet after every operation. By default a thread that waits there spins, which on a machine with
    # other work takes the core from the very thread it waits for: two such trainings on two cores ran several times
    # slower than one after the other. Sleeping costs microseconds. OpenMP reads this once, when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _help()
        return
    if arguments[0] == "--version":
        print(__version__)
        return
    sys.exit(_run_verb(arguments[0], arguments[1:]))


def _run_verb(name: str, overrides: list[str]) -> int:
    from llamalab.common.hydra_app import hydra_error_line, hydra_main

    warnings.showwarning = _one_line_warning
    try:
        if name not in VERBS:
            raise UserError(f"{name}: no such verb{closest(name, VERBS)}")
        config = repository_folder("conf") / f"{name}.yaml"
        if not config.is_file():
            raise UserError(f"{config}: missing; llamalab is not installed completely, reinstall it")

        def run(cfg: object) -> None:
            cast(Callable[[object], None], importlib.import_module(VERBS[name].module).run)(cfg)

        hydra_main(name, overrides, run)
    except UserError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # the reader of our output (head, less) has left; that is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as error:
        if type(error).__name__ == "Interrupted":  # by name: importing the training room here would load torch
            return _fail(str(error), INTERRUPTED)
        line = hydra_error_line(error) or _folder_error_line(error)
        if line is None:
            raise
        return _fail(line)
    return 0


def _folder_error_line(error: BaseException) -> str | None:
    """One line for a place that cannot be written; None for any other error."""
    if not isinstance(error, OSError) or error.errno not in FOLDER_ERRORS or error.filename is None:
        return None
    return f"{error.filename}: {os.strerror(error.errno).lower()}; choose another folder or make room"


def _fail(message: str, code: int = BAD_INPUT) -> int:
    reports = os.environ.get(RANK_REPORTS)
    if reports is not None:  # one of several ranks: its supervisor speaks for all of them
        if code == BAD_INPUT:
            Path(reports, f"rank={os.environ.get('RANK')}").write_text(message)
        return code
    progress_console.print(f"[bold red]llamalab:[/] {escape(message)}", highlight=False, soft_wrap=True)
    return code


def _one_line_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: object = None,
) -> None:
    text = " ".join(str(message).split())
    progress_console.print(f"[yellow]warning:[/] {escape(text)}", highlight=False, soft_wrap=True)


def _help() -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for name, verb in VERBS.items():
        table.add_row(f"[bold]{name}[/]", verb.does, f"[dim]{escape(verb.example)}[/]")
    console.print("Usage: llamalab <verb> [Hydra overrides]\n", highlight=False)
    console.print(table)
    console.print(
        "\nllamalab <verb> --cfg job shows a verb's config, --help its options; -m sweeps; conf/ holds every choice.",
        highlight=False,
    )


if __name__ == "__main__":
    main()
