"""metrics.jsonl: whole rows, each once."""

import errno
import json
from pathlib import Path

import pytest

from llamalab.common.errors import UserError
from llamalab.training import metrics_log
from llamalab.training.metrics_log import MetricsLog


def test_rows_are_on_disk_as_soon_as_they_are_logged(tmp_path):
    log = MetricsLog(tmp_path)
    log.log_metrics({"step": 1, "train/loss": 2.5}, 1)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "train/loss": 2.5}\n'
    log.log_metrics({"step": 2, "train/loss": 2.25}, 2)
    assert metrics_log.read_rows(tmp_path) == [{"step": 1, "train/loss": 2.5}, {"step": 2, "train/loss": 2.25}]


def test_a_missing_file_has_no_rows(tmp_path):
    assert metrics_log.read_rows(tmp_path) == []
    assert metrics_log.rewind(tmp_path, 0) == []
    assert (tmp_path / "metrics.jsonl").read_text() == ""


@pytest.mark.parametrize("step", [0, 2, 3, 9])
@pytest.mark.parametrize("cut", ["", '{"step": 5, "tr'])
def test_rewinding_keeps_whole_rows_up_to_the_step(tmp_path, step, cut):
    rows = [{"step": number, key: 0.1 * number} for number in (1, 2, 3, 4) for key in ("train/loss", "validation/loss")]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + cut)
    kept = metrics_log.rewind(tmp_path, step)
    assert kept == [row for row in rows if row["step"] <= step]
    assert path.read_text() == "".join(json.dumps(row) + "\n" for row in kept)
    MetricsLog(tmp_path).log_metrics({"step": step + 1}, step + 1)
    assert metrics_log.read_rows(tmp_path) == [*kept, {"step": step + 1}]


def test_a_full_disk_is_the_users_to_read(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError, match=r"metrics\.jsonl: the disk is full"):
        MetricsLog(tmp_path).log_metrics({"step": 1}, 1)
