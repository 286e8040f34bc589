"""No space: said before training where it can be known, and without losing a checkpoint where it cannot."""

import errno
import os
import shutil
import subprocess
from collections import namedtuple
from pathlib import Path

import command_line
import pytest

from llamalab.checkpoint import native
from llamalab.training import run

RUN = Path("default/tiny/seed=0")


def test_too_little_space_for_the_checkpoints_is_said_before_training(tiny_corpus, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 10**6, 10**6))
    outcome = command_line.run_here("train", *tiny_corpus.overrides(runs_dir=tmp_path))
    assert outcome.code == 2
    assert outcome.error_lines == [
        f"llamalab: {RUN}: saving checkpoints needs 3 MiB but the disk has 1 MiB free; free some space or choose "
        "another folder"
    ]
    assert not list((tmp_path / RUN).glob("*.json*"))
    assert not (tmp_path / RUN / "config.yaml").exists()


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """Makes folders whose file system fills up: a small one, which only root can mount, or else a pretended one."""
    mounted = []
    save_file = native.save_file

    def make(size: int, checkpoints: int) -> Path:
        """A disk of so many KiB, which are enough for so many checkpoints."""
        folder = tmp_path / f"disk{size}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", str(folder)]
        if os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0:
            mounted.append(folder)
            return folder
        left = iter(range(checkpoints))

        def save_or_fail(weights: object, path: Path) -> None:
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            save_file(weights, path)

        monkeypatch.setattr(native, "save_file", save_or_fail)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


# A checkpoint takes 712 KiB, in the last case 2500: the disk is full in the weights or the optimizer state of the
# first or second checkpoint, and in the last case while more than 1 MiB comes free again when the write is undone.
@pytest.mark.parametrize(
    ("size", "changes", "saved"),
    [
        (900, {}, ["step=00000007"]),
        (1200, {}, ["step=00000007"]),
        (600, {}, []),
        (4400, {"scale__dim": 96, "scale__n_layers": 1}, ["step=00000007"]),
    ],
)
def test_a_disk_that_fills_up_keeps_what_is_saved(tiny_corpus, tmp_path, small_disk, monkeypatch, size, changes, saved):
    disk = small_disk(size, len(saved))
    monkeypatch.setattr(run, "require_space", lambda *_: None)
    outcome = command_line.run_here("train", *tiny_corpus.overrides(runs_dir=disk, **changes))
    monkeypatch.undo()
    assert outcome.code == 2, outcome.stderr
    assert len(outcome.error_lines) == 1, outcome.stderr
    assert "the disk is full" in outcome.stderr
    assert "repeat the command" in outcome.stderr
    checkpoints = disk / RUN / "checkpoints"
    assert [path.name for path in checkpoints.iterdir()] == saved
    assert not (disk / RUN / "result.json").exists()
    if not saved:
        return
    # with room again (here: on another disk) the same command finishes as if nothing had happened
    shutil.copytree(disk / RUN, tmp_path / "roomy" / RUN)
    assert command_line.run_here("train", *tiny_corpus.overrides(runs_dir=tmp_path / "roomy", **changes)).code == 0
    assert command_line.run_here("train", *tiny_corpus.overrides(runs_dir=tmp_path / "fresh", **changes)).code == 0
    roomy, fresh = tmp_path / "roomy" / RUN, tmp_path / "fresh" / RUN
    assert command_line.weights_hash(roomy) == command_line.weights_hash(fresh)
    assert command_line.timeless(roomy) == command_line.timeless(fresh)
