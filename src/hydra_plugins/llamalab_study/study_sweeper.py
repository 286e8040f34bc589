"""A Hydra sweeper that runs a study: each arm's learning rate, then arms x seeds, through the configured launcher.

Hydra finds plugins by importing `hydra_plugins.*`, so this file stays cheap to import.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class StudySweeper(Sweeper):
    """Chosen by conf/protocol/*.yaml, and so by every experiments/<study>.yaml."""

    def __init__(self) -> None:
        self.launcher: Launcher | None = None
        self.config: DictConfig | None = None
        self.jobs_launched = 0

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's hook: builds the launcher."""
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Runs the study; finished runs return at once, so repeating the command resumes wherever it was killed."""
        from llamalab.common.errors import UserError
        from llamalab.training import study, study_record

        assert self.config is not None
        for override in OverridesParser.create().parse_overrides(arguments):
            if override.is_sweep_override():
                raise UserError(
                    f"{override.input_line}: a study declares what it sweeps; change its arms or seeds, or leave "
                    "out experiments="
                )
        declared: Any = OmegaConf.to_container(self.config.study, resolve=True)
        study.check(declared)
        # a typo in the last arm shows now, not after the arms before it
        self.validate_batch_is_legal([[*arguments, *overrides] for overrides in declared["arms"].values()])
        sweep_dir = Path(self.config.hydra.sweep.dir)
        with study_record.exclusive(sweep_dir):
            study_record.prepare(self.config, sweep_dir, arguments)
            try:
                returns = self._run_study(declared, arguments, sweep_dir)
            except BaseException as error:
                study_record.close_parent(sweep_dir, "FAILED" if isinstance(error, Exception) else "KILLED")
                raise
            study_record.close_parent(sweep_dir, "FINISHED")
        return [job.return_value for job in returns]

    def _run_study(self, declared: dict[str, Any], arguments: list[str], sweep_dir: Path) -> Sequence[JobReturn]:
        from hydra_plugins.llamalab_study import learning_rate
        from llamalab.training import study

        assert self.config is not None
        rates = None
        if declared["learning_rate"] is not None:

            def train(wanted: dict[str, list[float]]) -> None:
                self._launch(study.rate_jobs(declared, arguments, wanted))

            rates = learning_rate.choose(declared, self.config.scale.lr, sweep_dir, train)
        return self._launch(study.final_jobs(declared, arguments, rates))

    def _launch(self, jobs: list[list[str]]) -> Sequence[JobReturn]:
        """Runs jobs to their end, all of them.

        Raises:
            UserError: some could not be made; the first error stands for the rest.
        """
        from llamalab.common.errors import UserError

        assert self.launcher is not None
        returns = self.launcher.launch(jobs, initial_job_idx=self.jobs_launched)
        self.jobs_launched += len(jobs)
        failed = [job for job in returns if job.status == JobStatus.FAILED]
        if failed:
            error = failed[0]._return_value
            if isinstance(error, UserError):
                assert failed[0].hydra_cfg is not None
                folder = failed[0].hydra_cfg.hydra.runtime.output_dir
                raise UserError(f"{folder}: {error} ({len(failed)} of {len(returns)} runs failed)")
            raise error
        return returns
