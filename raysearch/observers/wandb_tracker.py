"""Weights & Biases tracker: a run for the search and one per trial, in the project of the search's name.

Their runs take steps only once and in order, and logged data are safe only after a run is finished. A file therefore
lists the trials whose runs are finished. After a kill, the others are started again from the history, under the same
ids.
"""

import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from raysearch.errors import Fault, InputError
from raysearch.history.history import TrialHistory
from raysearch.history.run_dir import RunDir
from raysearch.observers.scalars import describe
from raysearch.observers.tracker import Arrived, Point
from raysearch.space.spec import SearchSpec


class WandbTracker:
    """A tracker that delivers to Weights & Biases or, with `offline`, into the folder of the run, for `wandb sync`."""

    name: ClassVar[str] = "wandb"

    def __init__(self, mode: Literal["online", "offline"], spec: SearchSpec, run_dir: RunDir) -> None:
        """Prepare the delivery, and log in if it is online.

        Raises:
            InputError: there is no key to log in with.
        """
        # Nothing is sent to anyone who was not named.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._mode, self._spec, self._run_dir = mode, spec, run_dir
        self._runs: dict[int, Any] = {}
        """Runs of the running trials."""
        if mode == "online":
            _log_in()

    def connect(self) -> Mapping[int, Arrived]:
        """Read which trials have arrived, and discard what exists of the others."""
        import wandb

        self._init = wandb.init
        self._settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_save_requirements=False,
        )
        for run in self._runs.values():
            run.finish()
        self._runs.clear()
        self._token, finished = self._read_file()
        for folder in (self._run_dir.root / "wandb").glob(f"offline-run-*-{self._token}-*"):
            if folder.name.rpartition("-")[2] not in {f"{number:05d}" for number in finished}:
                shutil.rmtree(folder)
        return {number: Arrived(has_ended=True) for number in finished}

    def deliver(self, trial: TrialHistory, points: Sequence[Point], *, is_over: bool) -> None:
        """Log numbers by iteration, and finish the run of a trial that has ended."""
        run = self._runs.get(trial.number) or self._begin(trial)
        for point in points:
            if point.iteration >= run.starting_step:  # the rest arrived before a kill
                run.log(dict(point.numbers), step=point.iteration)
        if is_over:
            run.summary.update({"status": trial.status, "error": trial.error})
            run.finish(exit_code=0 if trial.status in ("completed", "stopped") else 1)
            with self._run_dir.wandb.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"trial": trial.number}) + "\n")
        elif trial.is_paused:
            run.finish()  # there may be many paused trials
        else:
            return
        self._runs.pop(trial.number, None)

    def finish(self, best_config: Path | None, best: float | None, *, is_over: bool) -> None:
        """Log the best value and the best config, in a run of the search."""
        import wandb

        for run in self._runs.values():
            run.finish()
        self._runs.clear()
        run = self._run("search", "search", {"trials": self._spec.search.trials})
        if best is not None:
            run.summary[f"best_{self._spec.objectives[0].metric}"] = best
        if best_config is not None:
            artifact = wandb.Artifact(f"best-config-{self._token}", type="config")
            artifact.add_file(str(best_config))
            run.log_artifact(artifact)
        run.finish()

    def _begin(self, trial: TrialHistory) -> Any:
        values = {path: describe(value) for path, value in trial.values.items()}
        config = {**values, "trial": trial.number, "origin": trial.origin}
        run = self._runs[trial.number] = self._run(f"{trial.number:05d}", "trial", config)
        return run

    def _run(self, name: str, kind: str, config: Mapping[str, Any]) -> Any:
        return self._init(
            project=self._spec.name,
            group=self._run_dir.root.name,
            name="search" if kind == "search" else f"trial {int(name)}",
            id=f"{self._token}-{name}",
            job_type=kind,
            config=dict(config),
            mode=self._mode,
            dir=str(self._run_dir.root),
            reinit="create_new",
            resume="allow" if self._mode == "online" else None,
            settings=self._settings,
        )

    def _read_file(self) -> tuple[str, set[int]]:
        """Return the prefix of the ids of this search, and the trials that have arrived."""
        file = self._run_dir.wandb
        if not file.is_file():
            token = secrets.token_hex(4)
            file.write_text(json.dumps({"token": token}) + "\n", encoding="utf-8")
            return token, set()
        first, *lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [json.loads(line) for line in lines if line.endswith("\n")]
        return json.loads(first)["token"], {line["trial"] for line in whole}


def _log_in() -> None:
    import wandb

    try:
        wandb.login(timeout=1)
    except (wandb.errors.UsageError, TimeoutError) as error:
        fix = "log in with `wandb login`, or set it to offline"
        raise InputError([Fault("track.wandb", f"online, but {str(error).splitlines()[0]}", fix)]) from None
