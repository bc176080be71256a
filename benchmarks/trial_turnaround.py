"""Seconds that a trial costs beyond its training: python -m benchmarks.trial_turnaround.

The same trainer runs the same number of trials over the same space, one after another: under
`raysearch.runs.driver.run`, under a plain `ray.tune.Tuner` around a function, and under that with `reuse_actors=True`.
Every side has one CPU and one thread per trial. Every side trains each trial to its full budget, reports and saves
checkpoints equally often, and runs in new processes. Ray has started before the clock does. Training and scoring are
timed inside the trainer in the same way on every side, and subtracted.
"""

import argparse
import contextlib
import io
import logging
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, cast

import optuna
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks import record
from benchmarks.record import Figure
from raysearch.space.parsing import load_space
from raysearch.space.spec import SearchSpec
from trainables.config import Config
from trainables.contrastive_segmentation import ContrastiveSegmentation
from trainables.trainer import Trainer

SPACE = Path(__file__).parent.parent / "search_spaces" / "demo.yaml"
NUM_TRIALS = 5
MAX_ITERS, REPORT_ITERS = 6, 2
NUM_REPEATS = 3
SETTINGS = {
    "trainable": f"{__name__}:TimedSegmentation",
    "config.data.drawn.num_train": 16,
    "config.data.drawn.num_val": 8,
    "config.train.max_iters": MAX_ITERS,
    "config.train.report_iters": REPORT_ITERS,
    "search.trials": NUM_TRIALS,
    "scheduler.grace_iters": MAX_ITERS,
    "resources.cpu": 1,
    "resources.concurrent": 1,
}


class TimedTrainer:
    """A trainer that adds to every report the seconds of training and scoring so far, and the current time."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._training_s = 0.0

    def run_to_report(self) -> dict[str, Any]:
        start = time.perf_counter()
        report = self._trainer.run_to_report()
        self._training_s += time.perf_counter() - start
        return {**report, "training_s": self._training_s, "reported_at": time.time()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainer, name)


class TimedSegmentation(ContrastiveSegmentation):
    def setup(self, config: dict[str, Any]) -> None:
        super().setup(config)
        self._trainer = cast(Trainer, TimedTrainer(self._trainer))  # which passes on what it does not time


def timed_segmentation(config: dict[str, Any]) -> None:
    """Train as `TimedSegmentation` does, as a function trainable."""
    trainer = TimedTrainer(Trainer(Config.model_validate(config)))
    while not trainer.done:
        report = trainer.run_to_report()
        with tempfile.TemporaryDirectory() as folder:
            trainer.save(Path(folder))
            tune.report(report, checkpoint=tune.Checkpoint.from_directory(folder))


class Ended(NamedTuple):
    """The last report of a trial."""

    reported_at: float
    """Unix time, in seconds."""
    training_s: float
    """Seconds inside `Trainer.run_to_report`, all reports together."""


class Searched(NamedTuple):
    """A search seen from outside: the Unix times of its call and its return in seconds, and its trials."""

    called_at: float
    returned_at: float
    trials: list[Ended]


def ours(spec: SearchSpec, folder: Path) -> Searched:
    from raysearch.history.history import read_history
    from raysearch.runs import driver  # sets environment variables of Tune that are not for the other sides

    called_at = time.time()
    result = driver.run(spec, folder / "run", say=lambda line: None)
    returned_at = time.time()
    trials = read_history(result.run_dir / "study.journal").trials
    assert all(trial.status == "completed" and len(trial.reports) == MAX_ITERS // REPORT_ITERS for trial in trials)
    return Searched(called_at, returned_at, [_ended(trial.reports[MAX_ITERS].metrics) for trial in trials])


def plain(spec: SearchSpec, folder: Path) -> Searched:
    return _tune(spec, folder, reuse_actors=False)


def plain_reusing(spec: SearchSpec, folder: Path) -> Searched:
    return _tune(spec, folder, reuse_actors=True)


def _tune(spec: SearchSpec, folder: Path, reuse_actors: bool) -> Searched:
    (objective,) = spec.objectives
    called_at = time.time()
    tuner = tune.Tuner(
        tune.with_resources(timed_segmentation, {"cpu": 1}),
        param_space=spec.config,
        tune_config=tune.TuneConfig(
            metric=objective.metric,
            mode=objective.mode,
            search_alg=OptunaSearch(
                {parameter.path.replace(".", "/"): parameter.distribution for parameter in spec.parameters},
                metric=objective.metric,
                mode=objective.mode,
                seed=spec.search.seed,
            ),
            scheduler=ASHAScheduler(time_attr="iteration", grace_period=MAX_ITERS, max_t=MAX_ITERS),
            num_samples=NUM_TRIALS,
            max_concurrent_trials=1,
            reuse_actors=reuse_actors,
        ),
        run_config=tune.RunConfig(
            storage_path=str(folder),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(
                num_to_keep=1, checkpoint_score_attribute=objective.metric, checkpoint_score_order=objective.mode
            ),
        ),
    )
    results = tuner.fit()
    returned_at = time.time()
    last = [result.metrics or {} for result in results]
    assert all(metrics["iteration"] == MAX_ITERS for metrics in last)
    return Searched(called_at, returned_at, [_ended(metrics) for metrics in last])


def _ended(metrics: Mapping[str, Any]) -> Ended:
    return Ended(metrics["reported_at"], metrics["training_s"])


SIDES: dict[str, Callable[[SearchSpec, Path], Searched]] = {
    "raysearch": ours,
    "plain Tune": plain,
    "plain Tune, `reuse_actors=True`": plain_reusing,
}


class Measured(NamedTuple):
    """Seconds per trial; all but the last exclude training."""

    whole_search: float
    """Whole call divided by the number of trials, including what happens once per search."""
    first_trial: float
    """Time from the call to the first trial's last report; a worker starts and imports torch."""
    further_trial: float
    """Average time between the last reports of two consecutive trials."""
    training: float
    """Training and scoring, for comparison."""


def measure(side: str) -> Measured:
    """Run one search and return its times; call it in a new process."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        os.environ["TRAINABLES_CACHE_DIR"] = f"{folder}/decoded"
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        spec = load_space(SPACE, [f"{path}={value}" for path, value in SETTINGS.items()])
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        searched = SIDES[side](spec, Path(folder))
        ray.shutdown()
    assert len(searched.trials) == NUM_TRIALS
    training_s = sum(trial.training_s for trial in searched.trials)
    first, last = min(searched.trials), max(searched.trials)
    return Measured(
        whole_search=(searched.returned_at - searched.called_at - training_s) / NUM_TRIALS,
        first_trial=first.reported_at - searched.called_at - first.training_s,
        further_trial=(last.reported_at - first.reported_at - training_s + first.training_s) / (NUM_TRIALS - 1),
        training=training_s / NUM_TRIALS,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    record.add_option(parser)
    arguments = parser.parse_args()
    num_reports = MAX_ITERS // REPORT_ITERS
    print(f"{NUM_TRIALS} trials of {num_reports} reports, one at a time, 1 CPU thread, Ray {ray.__version__}")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores before the start", flush=True)
    runs: dict[str, list[Measured]] = {side: [] for side in SIDES}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context, max_tasks_per_child=1) as fresh_process:
        for _ in range(NUM_REPEATS):
            for side, measured in runs.items():
                measured.append(fresh_process.submit(measure, side).result())
    print(f"load average {os.getloadavg()[0]:.1f} at the end, this benchmark's own share included\n")
    _print_table(runs)
    record.write("trial_turnaround", arguments, figures_of(runs))


def figures_of(runs: Mapping[str, Sequence[Measured]]) -> dict[str, Figure]:
    """Return the seconds of every side that are measured beyond its training."""
    return {
        f"{side}: {name.replace('_', ' ')}": Figure.of([getattr(one, name) for one in measured], "s a trial", "lower")
        for side, measured in runs.items()
        for name in ("whole_search", "first_trial", "further_trial")
    }


def _print_table(runs: dict[str, list[Measured]]) -> None:
    print(f"seconds a trial beyond training: medians of {NUM_REPEATS}, lowest to highest\n")
    print(f"| | {' | '.join(field.replace('_', ' ') for field in Measured._fields)} |")
    print(f"|---|{'---|' * len(Measured._fields)}")
    for side, measured in runs.items():
        spreads = [f"{median(c):.2f} ({min(c):.2f} to {max(c):.2f})" for c in zip(*measured, strict=True)]
        print(f"| {side} | {' | '.join(spreads)} |")
    mine, *others = (Measured(*map(median, zip(*measured, strict=True))) for measured in runs.values())
    for side, other in zip(list(runs)[1:], others, strict=True):
        print(
            f"\n{side} / raysearch: whole search {other.whole_search / mine.whole_search:.1f}, "
            f"further trial {other.further_trial / mine.further_trial:.1f}"
        )


if __name__ == "__main__":
    # Ray's workers and the new processes find the objects above only under an importable module name.
    from benchmarks.trial_turnaround import main as run

    run()
