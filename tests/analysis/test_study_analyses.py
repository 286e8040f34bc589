"""What a study's tables rest on: judgement, documents, learning rates, equal compute, claims."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from report_builders import RATES, TOKENS, write_documents, write_study, write_sweep

from llamalab.analysis.claims import claims_table, read_claims
from llamalab.analysis.judged import judge_all
from llamalab.analysis.judgement import judge_study
from llamalab.analysis.learning_rates import learning_rates_table
from llamalab.analysis.matched_compute import device_seconds, loss_after, matched_compute_table
from llamalab.analysis.records import Study, find_studies, read_metrics
from llamalab.analysis.statistics import compare
from llamalab.analysis.study_tables import arm_results, arms_table, noise_text
from llamalab.analysis.validation_documents import weighted
from llamalab.common.configs import repository_folder
from llamalab.common.errors import UserError


def only(runs: Path, name: str) -> Study:
    (study,) = find_studies(runs, [name], None)
    return study


def losses(study: Study, arm: str) -> dict[int, float]:
    return {run.seed: run.result["validation"]["loss"] for run in study.runs if run.arm == arm and run.result}


def test_a_pilot_decides_about_pairing_and_its_noise_is_stated(tmp_path):
    write_study(tmp_path, "norm")
    write_study(tmp_path, "pilot", seeds=tuple(range(6)))
    study, pilot = only(tmp_path, "norm"), only(tmp_path, "pilot")
    alone, judged = judge_study(study, []), judge_study(study, [pilot])
    assert not alone.noise.pilot.paired
    assert judged.noise.measured_by == "pilot"
    assert judged.noise.pilot.spread.sd == pytest.approx(np.std(list(losses(pilot, "rope").values()), ddof=1))
    assert judged.noise.detectable == pytest.approx(2.0 * judged.noise.pilot.spread.sd, rel=1.0)
    assert "the pilot has a seed sd of" in noise_text(judged.noise)
    correlated = dataclasses.replace(study, record=study.record | {"pairing_rho": -1.0})
    paired = judge_study(correlated, [pilot])
    expected = compare(losses(study, "learned"), losses(study, "rope"), paired=True, confidence=0.95)
    assert paired.verdicts["learned"].comparison == expected
    assert "paired t-interval" in arms_table(correlated, arm_results(correlated, paired), paired).caption


def test_a_pilot_of_another_scale_says_nothing(tmp_path):
    write_study(tmp_path, "norm")
    write_study(tmp_path, "pilot")
    study, pilot = only(tmp_path, "norm"), only(tmp_path, "pilot")
    elsewhere = dataclasses.replace(pilot, record=pilot.record | {"scale": "micro"})
    assert judge_study(study, [elsewhere]).noise.measured_by == "norm"


def test_documents_add_up_to_the_loss(study_folder, tmp_path):
    """The weighted sums over documents are the validation loss itself, so the bootstrap is about that number."""
    for path in study_folder.glob("*/seed=*/result.json"):  # the loss as training computes it, from its domains
        result = json.loads(path.read_text())
        result["validation"]["loss"] = float(np.mean(list(result["validation"]["loss_by_domain"].values())))
        path.write_text(json.dumps(result))
    write_documents(study_folder)
    study = only(tmp_path / "runs", "position")
    ours, baseline, tokens = weighted(study.documents, "learned", "rope")
    assert len(tokens) == 4 * 12
    assert ours.sum() / tokens.sum() == pytest.approx(np.mean(list(losses(study, "learned").values())), rel=1e-9)
    assert baseline.sum() / tokens.sum() == pytest.approx(np.mean(list(losses(study, "rope").values())), rel=1e-9)
    interval = judge_study(study, []).document_intervals["learned"]
    assert interval.low <= interval.estimate <= interval.high


def test_learning_rates_table(study_folder, tmp_path):
    write_sweep(study_folder)
    rows = {row["arm"]: row for row in learning_rates_table(only(tmp_path / "runs", "position")).rows}
    for arm, (best, shift) in RATES.items():
        row = rows[arm]
        assert (row["chosen"], row["points"], row["diverged"]) == (best, 5, 1)
        grid = [3.6 + shift + 0.1 * math.log2(rate / best) ** 2 for rate in (7.5e-4, 1.5e-3, 3e-3, 6e-3)]
        assert row["best"] == pytest.approx(min(grid))
        capped = [*grid, math.log(4096)]
        assert row["sensitivity"] == pytest.approx(np.mean(capped) - min(grid))
    low, high = (3.6 + 0.05 + 0.1 * math.log2(rate / 1e-3) ** 2 for rate in (1.5e-3, 3e-3))
    share = math.log2(2e-3 / 1.5e-3)  # the baseline's rate, between two points of the grid
    assert rows["learned"]["transfer"] == pytest.approx(low + share * (high - low))


def test_a_study_without_a_sweep_has_no_such_table(study_folder, tmp_path):
    assert learning_rates_table(only(tmp_path / "runs", "position")) is None


def test_equal_compute_reads_the_curves_where_the_cheapest_arm_ends(study_folder, tmp_path):
    study = only(tmp_path / "runs", "position")
    for run in study.runs:
        assert run.result is not None
        run.result["flops_per_token"] = 10_000_000 if run.arm == "none" else 12_500_000
    rows = {row["arm"]: row for row in matched_compute_table(study).rows}
    # `none` costs 20% less a token: at its whole budget the others have seen 80% of their tokens
    expected = np.mean([loss_after(run, 0.8 * TOKENS) for run in study.runs if run.arm == "learned"])
    assert rows["learned"]["flops_loss"] == pytest.approx(expected)
    whole = np.mean(list(losses(study, "none").values()))
    assert rows["none"]["flops_loss"] == pytest.approx(whole, abs=1e-9)
    assert rows["learned"]["flops_difference"] == pytest.approx(
        rows["learned"]["flops_loss"] - rows["rope"]["flops_loss"]
    )
    assert math.isnan(rows["rope"]["flops_difference"])
    assert rows["none"]["relative_speed"] == pytest.approx(1.09, rel=0.02)


def test_interpolation_meets_the_logged_points(study_folder, tmp_path):
    run = only(tmp_path / "runs", "position").runs[0]
    curve = read_metrics(run)[["tokens", "validation/loss"]].dropna()
    for tokens, loss in curve.to_numpy():
        assert loss_after(run, tokens) == pytest.approx(loss, rel=1e-12)
    assert math.isnan(loss_after(run, 2 * TOKENS))
    assert math.isnan(loss_after(run, 1))


def test_a_cpu_is_timed_by_its_processor_time_and_a_gpu_by_the_clock():
    result = {"seconds": 100.0, "cpu_seconds": 60.0, "hardware": {"device": "x", "kind": "cpu", "devices": 2}}
    assert device_seconds(result) == 30
    result["hardware"]["kind"] = "cuda"
    assert device_seconds(result) == 100


def claim(**test: object) -> dict:
    return {"claim": "c", "source": "s", "said": "yes", "test": {"study": "position", "arm": "learned", **test}}


def test_claims_take_the_verdicts(tmp_path):
    folder = write_study(tmp_path, "position", seeds=(0, 1, 2, 3, 4))
    write_sweep(folder)
    studies = judge_all([only(tmp_path, "position")])
    tests = [
        claim(expect="worse"),
        claim(expect="equivalent"),
        claim(effect=0.06),
        claim(effect=-0.06),
        claim(stable_rate="lower"),
        claim(longest="best"),
        claim(expect="worse", study="elsewhere"),
    ]
    assert [row["verdict"] for row in claims_table(tests, studies).rows] == [
        "supported",
        "contradicted",
        "supported",
        "contradicted",
        "not resolved",
        "not tested",
        "not tested",
    ]
    with pytest.raises(UserError, match="'lerned' is not an arm of position; did you mean 'learned'"):
        claims_table(
            [claim(expect="worse") | {"test": {"study": "position", "arm": "lerned", "expect": "worse"}}], studies
        )


def test_the_committed_claims_can_be_tested():
    claims = read_claims(repository_folder("experiments") / "claims.yaml")
    assert len(claims) >= 10
    for one in claims:
        assert (repository_folder("experiments") / f"{one['test']['study']}.yaml").is_file(), one["claim"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("claims: [{claim: c, source: s, test: {study: a, arm: b, expect: worse}}]", "claim 1 has no 'said'"),
        ("claims: [{claim: c, source: s, said: y, test: {study: a, arm: b, proves: 1}}]", "must have one of expect"),
    ],
)
def test_a_broken_claim_is_named(tmp_path, text, message):
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_claims(path)
