"""Fixtures of the analysis tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig
from report_builders import config_of_report, write_everything


@pytest.fixture
def study_folder(tmp_path: Path) -> Path:
    """A finished study with scores and an audit, under tmp_path/runs and tmp_path/artifacts."""
    return write_everything(tmp_path)


@pytest.fixture
def report_config(tmp_path: Path) -> Callable[..., DictConfig]:
    """conf/report.yaml on tmp_path, with overrides."""

    def make(**overrides: Any) -> DictConfig:
        return config_of_report(tmp_path, **overrides)

    return make
