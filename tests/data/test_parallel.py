import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from llamalab.data.parallel import IN_FLIGHT, Workers, batched


def double(value: int) -> tuple[int, int]:
    if value < 0:
        raise ValueError("negative")
    return 2 * value, os.getpid()


@pytest.mark.parametrize("count", [1, 2])
def test_results_keep_their_order(count: int) -> None:
    with Workers(count) as workers:
        results = list(workers.map(double, range(50), chunk=3))
    assert [value for value, _ in results] == [2 * value for value in range(50)]
    assert (os.getpid() in {process for _, process in results}) == (count == 1)


def test_input_is_read_only_a_little_ahead() -> None:
    taken = []

    def items() -> Iterator[int]:
        for value in range(1000):
            taken.append(value)
            yield value

    with Workers(2) as workers:
        results = workers.map(double, items(), chunk=5)
        next(results)
        assert len(taken) <= 5 * 2 * IN_FLIGHT


def test_an_error_comes_through_and_ends_the_processes() -> None:
    with pytest.raises(ValueError, match="negative"), Workers(2) as workers:
        list(workers.map(partial(double), [1, -1, 2], chunk=1))


def test_workers_default_to_the_cores_of_this_process() -> None:
    assert Workers(None).count == len(os.sched_getaffinity(0))


def test_batches() -> None:
    assert list(batched(range(5), 2)) == [(0, 1), (2, 3), (4,)]


def test_workers_of_a_killed_command_end_too(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(
        "import os, time\n"
        "from llamalab.data.parallel import Workers\n"
        "def note(folder):\n"
        "    open(f'{folder}/{os.getpid()}', 'w').close()\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        f"    with Workers(2) as workers: list(workers.map(note, [{str(tmp_path)!r}] * 2, chunk=1))\n"
    )
    command = subprocess.Popen([sys.executable, str(tmp_path / "endless.py")])

    def running() -> list[Path]:
        return [path for path in tmp_path.iterdir() if path.name.isdigit() and Path(f"/proc/{path.name}").exists()]

    deadline = time.monotonic() + 60
    while len(running()) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(running()) == 2
    command.kill()
    command.wait()
    while running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running()
