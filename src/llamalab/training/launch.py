"""Several ranks: started by torch's elastic agent (what torchrun runs) inside the command the user typed.

Lightning's own launcher would replay the whole Hydra command on every rank, which under `--multirun` repeats the
sweep. So the command (or one job of a sweep) becomes a supervisor of its ranks, and each rank is a plain single run.
The supervisor speaks for them: one line for an error or an interruption, whatever the number of ranks.
"""

import ctypes
import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from llamalab.checkpoint import native
from llamalab.common.errors import RANK_REPORTS, UserError
from llamalab.training.interrupt import Interrupted

PR_SET_PDEATHSIG = 1
# torchrun's variables come first, since it can also be used inside a Slurm job.
RANK_VARIABLES = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
LOCAL_RANK_VARIABLES = ("LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK")
SIZE_VARIABLES = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
SUPERVISOR = "LLAMALAB_SUPERVISOR"  # in a rank's environment: the supervisor's process id
INTERRUPTED_CODE = 130


def _first(variables: tuple[str, ...], default: int) -> int:
    return next((int(os.environ[name]) for name in variables if name in os.environ), default)


def rank() -> int:
    """This process' number among all ranks, as torchrun, Slurm or MPI told it; 0 when it is alone."""
    return _first(RANK_VARIABLES, 0)


def local_rank() -> int:
    """This process' number among the ranks of its node."""
    return _first(LOCAL_RANK_VARIABLES, 0)


def needs_ranks(devices: int, num_nodes: int) -> bool:
    """Whether this process must start ranks: several are wanted and nobody (torchrun, Slurm, MPI) started them yet.

    A sweep's job on Slurm is one task, so it starts its own.
    """
    return devices * num_nodes > 1 and _first(SIZE_VARIABLES, 1) == 1


def follow_supervisor() -> None:
    """In a rank: die with the supervisor, even if that is killed by kill -9, instead of training on alone (Linux)."""
    supervisor = os.environ.get(SUPERVISOR)
    if supervisor is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(supervisor):  # it died before the kernel was asked to tell us
        os.kill(os.getpid(), signal.SIGKILL)


def supervise(devices: int, num_nodes: int, run_dir: Path) -> None:
    """Runs this job's overrides on `devices` ranks and waits for them.

    Raises:
        UserError: several nodes are asked for without an outer launcher, or a rank failed.
        Interrupted: the ranks were asked to stop.
    """
    if num_nodes > 1:
        raise UserError(
            f"trainer.num_nodes: {num_nodes} nodes must be started by Slurm, MPI or torchrun on each node; "
            "this command starts the ranks of one"
        )
    app = HydraConfig.get()
    overrides = list(app.overrides.task)
    folders = [source.path for source in app.runtime.config_sources if source.provider == "command-line"]
    # quoted, because the path has an = of its own
    overrides += [f"hydra.run.dir='{run_dir}'", "hydra.mode=RUN", *(f"--config-dir={path}" for path in folders)]
    with tempfile.TemporaryDirectory(prefix="llamalab_ranks_") as folder, _as_supervisor(devices, folder):
        settings = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=devices,
            max_restarts=0,
            run_id=str(uuid.uuid4()),
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",  # a port that is free
            logs_specs=DefaultLogsSpecs(log_dir=folder, redirects=dict.fromkeys(range(1, devices), Std.ALL)),
        )
        try:
            elastic_launch(settings, sys.executable)("-m", "llamalab.cli", "train", *overrides)
        except SignalException:
            saved = native.checkpoints(run_dir)
            raise Interrupted(native.step_of(saved[-1]) if saved else None) from None
        except ChildFailedError as error:
            raise _failure(error, run_dir, Path(folder)) from None


@contextmanager
def _as_supervisor(devices: int, reports: str) -> Iterator[None]:
    """What the ranks find in their environment; takes back the agent's signal handlers and quiets its log."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    environment = {
        SUPERVISOR: str(os.getpid()),
        RANK_REPORTS: reports,
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // devices)),
    }
    before = {key: os.environ.get(key) for key in environment}
    os.environ.update(environment)
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


def _failure(error: ChildFailedError, run_dir: Path, folder: Path) -> UserError | Interrupted:
    """What the first rank that failed had to say. Other ranks fail in its wake; the output of ranks above 0 is kept
    in files and shown only if it is theirs that counts."""
    rank, failure = error.get_first_failure()
    reports = sorted(folder.glob("rank=*"))
    if reports:
        return UserError(reports[0].read_text())
    if failure.exitcode == INTERRUPTED_CODE:
        return Interrupted(None)
    for log in folder.glob(f"**/{rank}/stderr.log"):
        sys.stderr.write(log.read_text())
    return UserError(
        f"{run_dir}: rank {rank} failed (exit code {failure.exitcode}); its own message is above. "
        "The same command continues from the newest checkpoint."
    )
