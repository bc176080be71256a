"""Trains the best configs of a search anew, with seeds that the search has not seen: a winner that is true.

A search picks the best of many scores of one seed each, so its pick owes something to luck. Here the best trials'
configs and the default config are trained to their full budget with the same new seeds, in fresh processes, and
compared seed by seed. Every training has a folder of its own in the run's folder; after a kill, the same call goes
on where it stood.
"""

import math
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from raysearch import standalone
from raysearch.confirmation import Confirmation, read_confirmation, verdict, write_confirmed
from raysearch.errors import Fault, InputError, WorkError
from raysearch.journal import History, Journal, TrialHistory, read_history
from raysearch.outcome import write_outcome
from raysearch.run_dir import RunDir
from raysearch.space import SearchSpec, load_space
from trainables.config import Config
from trainables.preflight import preflight

Say = Callable[[str], None]


@dataclass(frozen=True)
class Training:
    """The config of one trial, to be trained with one seed."""

    number: int
    """Of the trial."""
    seed: int
    config: Config
    folder: Path

    @property
    def name(self) -> str:
        """What it is called in lines and messages."""
        return f"trial {self.number}, seed {self.seed}"

    def last_report(self) -> dict[str, Any] | None:
        """The report at the full budget; None before.

        Raises:
            InputError: the folder holds the training of another config.
        """
        config_file, results = self.folder / "config.json", self.folder / "results.parquet"
        if not (config_file.is_file() and results.is_file()):
            return None
        if Config.model_validate_json(config_file.read_text(encoding="utf-8")) != self.config:
            raise InputError([Fault(str(self.folder), "holds the training of another config", "move it away")])
        row: dict[str, Any] = pq.read_table(results).to_pylist()[-1]
        return row if row["iteration"] == self.config.train.max_iters else None


def confirm(folder: Path, *, top: int, seeds: int, jobs: int = 1, say: Say = print) -> Confirmation:
    """Train the best configs of a search and the default config with new seeds, and compare them.

    The score of a training is the metric at its last report, at the full budget. The search's own score is the best
    of all reports, which grows with their number; the last is chosen before anything is known, and so is unbiased.
    The best config is the one with the best mean; it may be the default. The intervals are those of each difference
    by itself: that the best was chosen among several is not taken into account.

    Writes `confirmed.parquet`, and everything else that a search leaves behind anew: `best_config.json` becomes the
    config with the best mean, `best_checkpoint/` the checkpoint of its trial in the search. A config whose loss
    diverges with a seed is out of the comparison.

    Args:
        folder: The folder of a run in which no trial is running.
        top: How many of the search's best trials to confirm, not counting the default.
        seeds: How many seeds to train each config with; an interval takes two or more.
        jobs: Trainings that run at a time.
        say: Takes one line at a time of what happens.

    Raises:
        InputError: the folder holds no search that can be confirmed, or the dataset or a number is wrong.
        WorkError: a training failed; those that have ended are not repeated by the next call.
    """
    _check_counts({"--top": top, "--seeds": seeds, "--jobs": jobs})
    run_dir = RunDir.open(folder)
    spec = load_space(run_dir.space)
    _check_trainable(run_dir, spec)
    with Journal(run_dir.journal):  # no resumed search and no second confirmation beside this one
        history = read_history(run_dir.journal)
        best = [trial for trial in _ranked_trials(run_dir, history) if not trial.is_default][:top]
        trials = [*best, *_default_trial(history, say)]
        trainings = _trainings(trials, seeds, spec, run_dir)
        diverged = _train_all(trainings, spec.objectives[0].metric, jobs, say)
        write_confirmed([_row(training, training.name in diverged) for training in trainings], len(best), run_dir)
        write_outcome(history, spec, run_dir)
        confirmation = read_confirmation(run_dir, history)
    if confirmation is None:
        raise WorkError("every config diverged: " + "; ".join(diverged.values()))
    for line in _summary(confirmation, spec.objectives[0].metric, history):
        say(line)
    return confirmation


def _check_counts(counts: Mapping[str, int]) -> None:
    faults = [Fault(name, f"{count} is below 1", "give 1 or more") for name, count in counts.items() if count < 1]
    if faults:
        raise InputError(faults)


def _check_trainable(run_dir: RunDir, spec: SearchSpec) -> None:
    """There is one config whose seed is known, and the seed must be free to choose."""
    if spec.trainable.config_model is not Config:
        what = f"was searched with {spec.trainable.name}, whose configs `train` cannot train and confirm cannot seed"
        raise InputError([Fault(str(run_dir.root), what, "train its best config with seeds of your own")])
    if any(parameter.path == "train.seed" for parameter in spec.parameters):
        what = "train.seed is searched, and is what confirm sets"
        raise InputError([Fault(str(run_dir.space), what, "search again with a fixed train.seed")])


def _ranked_trials(run_dir: RunDir, history: History) -> list[TrialHistory]:
    """The trials with a score that did not fail, best first, by their best report as the search ranks them."""
    running = [trial.number for trial in history.trials if trial.status == "running"]
    if running:
        what = f"the search has not finished: trial {running[0]} is still to end"
        raise InputError([Fault(str(run_dir.root), what, f"run `raysearch resume {run_dir.root}` first")])
    ranked = history.ranked()
    if not ranked:
        raise InputError([Fault(str(run_dir.root), "no trial has a score that could be confirmed", "search again")])
    return ranked


def _default_trial(history: History, say: Say) -> list[TrialHistory]:
    """The trial of the default config, where there is one that can be trained."""
    default = next((trial for trial in history.trials if trial.is_default), None)
    if default is not None and default.status in ("failed", "infeasible"):
        say(f"note: the default config was {default.status} in the search and is not trained again")
        return []
    return [] if default is None else [default]


def _trainings(trials: Sequence[TrialHistory], num_seeds: int, spec: SearchSpec, run_dir: RunDir) -> list[Training]:
    """Seed by seed, every config with the same ones: those that follow the search's own."""
    trainings = []
    searched = int(spec.config["train"]["seed"])
    for seed in range(searched + 1, searched + 1 + num_seeds):
        for trial in trials:
            values = {} if trial.is_default else trial.values
            config = Config.model_validate(spec.trial_config({**values, "train.seed": seed}))
            folder = run_dir.confirm_training(trial.number, seed)
            trainings.append(Training(trial.number, seed, config, folder))
    return trainings


def _row(training: Training, diverged: bool) -> dict[str, Any]:
    report = training.last_report()
    assert diverged or report is not None, "a training that is not done has diverged, or is an error"
    return {
        "trial": training.number,
        "seed": training.seed,
        "value": report["value"] if report and math.isfinite(report["value"]) else None,
        "iteration": training.config.train.max_iters,
    }


def _train_all(trainings: Sequence[Training], metric: str, jobs: int, say: Say) -> dict[str, str]:
    """Train what is not done yet; returns the name of each training that diverged, with its error."""
    pending = [training for training in trainings if training.last_report() is None]
    for notice in dict.fromkeys(line for config in _by_trial(pending) for line in preflight(config)):
        say(f"note: {notice}")
    done = f", {len(trainings) - len(pending)} of them done before" if len(pending) < len(trainings) else ""
    say(f"trainings: {len(trainings)}{done}")
    diverged: dict[str, str] = {}
    failed: dict[str, str] = {}
    waiting = deque(pending)
    running: dict[Connection, tuple[Training, SpawnProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                with _signals_held():
                    training = waiting.popleft()
                    messages, process = _start(training, metric)
                    running[messages] = (training, process)
            ready = wait(list(running))
            for messages in [known for known in running if known in ready]:
                training, process = running[messages]
                try:
                    kind, text = messages.recv()
                except EOFError:
                    process.join()
                    del running[messages]
                    if process.exitcode != 0:
                        failed[training.name] = f"{training.name}: its process ended with code {process.exitcode}"
                    continue
                say(f"{training.name}: {text}")
                if kind == "diverged":
                    diverged[training.name] = f"{training.name}: {text}"
                elif kind == "failed":
                    failed[training.name] = f"{training.name}: {text}; see {_log(training.folder)}"
    finally:
        for _, process in running.values():
            process.kill()
            process.join()
        if running:
            say("interrupted; everything is saved, and the same command goes on")
    if failed:
        raise WorkError("; ".join(failed.values()) + "; the same command repeats only what is not done")
    return diverged


def _by_trial(trainings: Sequence[Training]) -> list[Config]:
    return list({training.number: training.config for training in trainings}.values())


@contextmanager
def _signals_held() -> Iterator[None]:
    """No signal comes between the start of a process and its being known; the process begins with them held, too."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(training: Training, metric: str) -> tuple[Connection, SpawnProcess]:
    """A fresh process that trains, and what it says; the connection ends with the process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(training, metric, sender), name=training.name)
    process.start()
    sender.close()
    return receiver, process


def _train(training: Training, metric: str, messages: Connection) -> None:
    """What the fresh process does: train, and say how it went. Ctrl-C is left to the parent, which ends this one."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def say(line: str) -> None:
        if not line.startswith("note: "):  # the parent has said those
            messages.send(("line", line))

    try:
        standalone.train(training.config, training.folder, metric=metric, say=say)
    except FloatingPointError as error:
        messages.send(("diverged", str(error)))
    except Exception as error:
        training.folder.parent.mkdir(parents=True, exist_ok=True)
        _log(training.folder).write_text(traceback.format_exc(), encoding="utf-8")
        messages.send(("failed", f"{type(error).__name__}: {error}"))


def _log(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log")


def _end_with_parent() -> None:
    """Two processes must not write one folder: where the parent is killed, this one ends before it is run again."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only ever run in a process that was started here"
    parent.join()
    os._exit(1)


def _summary(confirmation: Confirmation, metric: str, history: History) -> list[str]:
    """The comparison in lines."""
    best, runner_up, default = confirmation.best, confirmation.runner_up, confirmation.default
    seeds = ", ".join(map(str, confirmation.seeds))
    lines = [f"{metric} at the full budget, mean and standard deviation over the seeds {seeds}; selection score:"]
    for trial in confirmation.trials:
        selection = history.trials[trial.number].best(history.mode)
        std = f"± {trial.std:.4f}" if trial.std is not None else "        "
        name = f"trial {trial.number}{' (default)' if trial is default else ''}"
        lines.append(f"  {name:<20} {trial.mean:.4f} {std}   {f'{selection.value:.4f}' if selection else ''}".rstrip())
    lines += [f"  trial {number} diverged and is out of the comparison" for number in confirmation.diverged]
    to_default, to_runner_up = confirmation.lead_over(default), confirmation.lead_over(runner_up)
    if to_default is not None:
        lines.append(f"trial {best.number} to the default: {verdict(to_default)}")
    if to_runner_up is not None and runner_up is not default:
        assert runner_up is not None, "it has a difference"
        lines.append(f"trial {best.number} to the runner-up, trial {runner_up.number}: {verdict(to_runner_up)}")
    pick = history.best_trial()
    assert pick is not None, "a search without a score is not confirmed"
    if best is default:
        lines.append("no config found by the search has a better mean than the default config")
    if pick.number != best.number:
        lines.append(f"the search had picked trial {pick.number}; the best config is that of trial {best.number} now")
    return lines
