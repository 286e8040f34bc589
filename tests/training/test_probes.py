"""Which runs a study's probes are run on."""

import json

import pytest

from llamalab.training import probes

PROBE = {"_target_": "pathlib.Path.is_dir", "_partial_": True}  # called with the run directory: true
SWEEP = {"factors": [1], "seeds": [1000], "max_points": 9}


@pytest.mark.parametrize(
    ("study", "seed", "status", "measured"),
    [
        ({"probes": {"there": PROBE}, "learning_rate": SWEEP}, 0, "finished", True),
        ({"probes": {"there": PROBE}, "learning_rate": None}, 1000, "finished", True),
        ({"probes": {"there": PROBE}, "learning_rate": SWEEP}, 1000, "finished", False),  # it only chooses a rate
        ({"probes": {"there": PROBE}, "learning_rate": SWEEP}, 0, "diverged", False),
        ({"probes": {}, "learning_rate": SWEEP}, 0, "finished", False),
        (None, 0, "finished", False),
    ],
)
def test_finished_final_runs_are_probed(tmp_path, study, seed, status, measured):
    (tmp_path / "result.json").write_text(json.dumps({"status": status}))
    probes.measure({"study": study, "seed": seed}, tmp_path)
    assert (tmp_path / "there.json").exists() == measured
    if measured:
        assert json.loads((tmp_path / "there.json").read_text()) is True
        (tmp_path / "there.json").write_text("1")
        probes.measure({"study": study, "seed": seed}, tmp_path)
        assert (tmp_path / "there.json").read_text() == "1"
