"""Trains the best configs of a search anew, with seeds that the search has not seen: a winner that is true.

A search picks the best of many scores of one seed each, so its pick owes something to luck. Here the best trials'
configs and the default config are trained to their full budget with the same new seeds, in fresh processes, and
compared seed by seed. Every training has a folder of its own in the run's folder; after a kill, the same call goes
on where it stood.
"""

import json
import math
import multiprocessing
import os
import shlex
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
import torch

from raysearch.config.config_files import ORIGIN
from raysearch.config.seed_and_threads import seed_of
from raysearch.config.trainable_loading import LoadedTrainable, load_trainable
from raysearch.errors import Fault, InputError, WorkError
from raysearch.execution import standalone
from raysearch.execution.chatter import capture_warnings
from raysearch.history.history import History, TrialHistory, read_history
from raysearch.history.journal import Journal
from raysearch.history.run_dir import RunDir
from raysearch.results.confirmation import Confirmation, lead_lines, read_confirmation, write_confirmed
from raysearch.results.expectation import expectations
from raysearch.runs.outcome import write_outcome
from raysearch.space.confirm_settings import Split, obstacle
from raysearch.space.parsing import load_space
from raysearch.space.settings import ResourceSettings
from raysearch.space.spec import SearchSpec
from trainables.atomic_files import write_text
from trainables.protocol import ChecksSplit

Say = Callable[[str], None]


@dataclass(frozen=True)
class Training:
    """The config of one trial, to be trained with one seed."""

    number: int
    """Of the trial."""
    seed: int
    trainable: str
    """Reference of the trainable, which a fresh process loads again."""
    config: dict[str, Any]
    """The nested config."""
    max_iters: int
    """The full budget."""
    folder: Path
    split: Split
    """The images that it is scored on at its end; its own reports are of the validation images."""

    @property
    def name(self) -> str:
        """What it is called in lines and messages."""
        return f"trial {self.number}, seed {self.seed}"

    @property
    def test_scores(self) -> Path:
        """The scores of the test images, once they are known."""
        return self.folder / "test.json"

    @property
    def divergence(self) -> Path:
        """Why the training diverged, where it did."""
        return self.folder / "diverged.txt"

    @property
    def done(self) -> bool:
        """It has diverged, or it is scored after its full budget.

        Raises:
            InputError: the folder holds the training of another config.
        """
        config_file = self.folder / "config.json"
        if not config_file.is_file():
            return False
        trainable = self.load()
        written = json.loads(config_file.read_text(encoding="utf-8"))
        written.pop(ORIGIN, None)
        if trainable.config_of(written) != trainable.config_of(self.config):
            raise InputError([Fault(str(self.folder), "holds the training of another config", "move it away")])
        if self.divergence.is_file():
            return True
        report = self.last_report()
        finished = report is not None and report["iteration"] >= self.max_iters
        return finished and (self.split == "val" or self.test_scores.is_file())

    def load(self) -> LoadedTrainable:
        """Return the trainable."""
        return load_trainable(self.trainable, Path())

    def train(self, metric: str, say: Say) -> None:
        """Train in this process, from where the training stands."""
        trainable = self.load()
        config = trainable.config_of(self.config)
        standalone.train(
            trainable, config, self.folder, metric=metric, seed=self.seed, max_iters=self.max_iters, say=say
        )

    def last_report(self) -> dict[str, Any] | None:
        """The last report so far."""
        results = self.folder / "results.parquet"
        if not results.is_file():
            return None
        row: dict[str, Any] = pq.read_table(results).to_pylist()[-1]
        return row

    def row(self, metric: str) -> dict[str, Any]:
        """Its row of `confirmed.parquet`, once it is done."""
        val_value, value = None, None
        if not self.divergence.is_file():
            report = self.last_report()
            assert report is not None, "it is done"
            val_value = value = report["value"]
            if self.split == "test":
                value = json.loads(self.test_scores.read_text(encoding="utf-8"))[metric]
        is_whole = all(number is not None and math.isfinite(number) for number in (value, val_value))
        return {
            "trial": self.number,
            "seed": self.seed,
            "value": value if is_whole else None,
            "iteration": self.max_iters,
            "split": self.split,
            "val_value": val_value if is_whole else None,
        }


def confirm(
    folder: Path, *, top: int, seeds: int, split: Split = "val", jobs: int | None = None, say: Say = print
) -> Confirmation:
    """Train the best configs of a search and the default config with new seeds, and compare them.

    The score of a training is the metric at its last report, at the full budget. The search's own score is the best
    of all reports, which grows with their number; the last is chosen before anything is known, and so is unbiased.
    The best config is the one with the best mean over the new seeds; it may be the default. With `split="test"` the
    trainings and the choice are the same, and the figures are of the test images, scored once by each finished
    network: images that chose nothing.

    Writes `confirmed.parquet`, and everything else that a search leaves behind anew: `best_config.json` becomes the
    config with the best mean, `best_checkpoint/` the checkpoint of its trial in the search. A config whose loss
    diverges with a seed is out of the comparison.

    Args:
        folder: The folder of a run in which no trial is running.
        top: How many of the search's most promising trials to confirm, not counting the default.
        seeds: How many seeds to train each config with; an interval takes two or more.
        split: The images of the confirmed figure.
        jobs: Trainings that run at a time; absent: as many as this machine holds by the run's `resources`.
        say: Takes one line at a time of what happens.

    Raises:
        InputError: the folder holds no search that can be confirmed, or the dataset or a number is wrong.
        WorkError: a training failed; those that have ended are not repeated by the next call.
    """
    _check_counts({"--top": top, "--seeds": seeds, "--jobs": 1 if jobs is None else jobs})
    run_dir = RunDir.open(folder)
    spec = load_space(run_dir.space)
    searched = [parameter.path for parameter in spec.parameters]
    what = obstacle(spec.trainable, spec.config, searched, spec.objectives[0].metric, split)
    if what is not None:
        raise InputError([Fault(str(run_dir.root), *what)])
    with Journal(run_dir.journal):  # no resumed search and no second confirmation beside this one
        history = read_history(run_dir.journal)
        return confirm_search(history, spec, run_dir, top=top, seeds=seeds, split=split, jobs=jobs, say=say)


def confirm_search(
    history: History,
    spec: SearchSpec,
    run_dir: RunDir,
    *,
    top: int,
    seeds: int,
    split: Split,
    jobs: int | None = None,
    say: Say,
) -> Confirmation:
    """As `confirm`, of a search whose journal the caller has open and which nothing keeps from being confirmed."""
    best = [trial for trial in _candidates(spec, run_dir, history) if not trial.is_default][:top]
    trials = [*best, *_default_trial(history, say)]
    trainings = _trainings(trials, seeds, split, spec, run_dir)
    metric = spec.objectives[0].metric
    _train_all(trainings, metric, visible_gpus(spec.resources, jobs), say)
    write_confirmed([training.row(metric) for training in trainings], len(best), run_dir)
    write_outcome(history, spec, run_dir)
    confirmation = read_confirmation(run_dir, history)
    if confirmation is None:
        diverged = [training for training in trainings if training.divergence.is_file()]
        why = (f"{training.name}: {training.divergence.read_text(encoding='utf-8')}" for training in diverged)
        raise WorkError("every config diverged: " + "; ".join(why))
    for line in _summary(confirmation, metric, history):
        say(line)
    return confirmation


def _check_counts(counts: Mapping[str, int]) -> None:
    faults = [Fault(name, f"{count} is below 1", "give 1 or more") for name, count in counts.items() if count < 1]
    if faults:
        raise InputError(faults)


def visible_gpus(resources: ResourceSettings, jobs: int | None) -> list[str | None]:
    """One entry for each training that runs at a time: the GPUs it may see, in the words of CUDA_VISIBLE_DEVICES.

    None leaves them as they are, where a trial asks for no GPU. Without `jobs`, as many as this machine holds.

    Raises:
        InputError: a trial asks for GPUs that this machine does not have.
    """
    slots: list[str | None] = [None] * max(1, int((os.cpu_count() or 1) / resources.cpu + 1e-9))
    if resources.gpu > 0:
        num_gpus = torch.cuda.device_count()
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = given.split(",")[:num_gpus] if given else [str(number) for number in range(num_gpus)]
        each = max(1, int(resources.gpu))
        groups = [",".join(names[start : start + each]) for start in range(0, num_gpus - each + 1, each)]
        if not groups:
            what = f"a training asks for {resources.gpu:g} GPU, and this machine has {num_gpus}"
            raise InputError([Fault("resources.gpu", what, "confirm on a machine that has them")])
        shared = max(1, int(1 / resources.gpu + 1e-9))
        on_gpus = [group for _ in range(shared) for group in groups]
        slots = list(on_gpus if jobs is not None else on_gpus[: len(slots)])
    if jobs is not None:
        return [slots[index % len(slots)] for index in range(jobs)]
    return slots if resources.concurrent == "auto" else slots[: int(resources.concurrent)]


def _candidates(spec: SearchSpec, run_dir: RunDir, history: History) -> list[TrialHistory]:
    """The trials that may be confirmed, the most promising first.

    The search's pick; then by what their configs are expected to score, so that scores that owe much to luck do not
    keep a better config out; then, where nothing tells that, by their best report as the search ranks them.
    """
    running = [trial.number for trial in history.trials if trial.status == "running"]
    if running:
        what = f"the search has not finished: trial {running[0]} is still to end"
        raise InputError(
            [Fault(str(run_dir.root), what, f"run `raysearch resume {shlex.quote(str(run_dir.root))}` first")]
        )
    ranked = history.ranked()
    if not ranked:
        raise InputError([Fault(str(run_dir.root), "no trial has a score that could be confirmed", "search again")])
    expected = [expectation.trial for expectation in expectations(spec, history)]
    return list({trial.number: trial for trial in [ranked[0], *expected, *ranked]}.values())


def _default_trial(history: History, say: Say) -> list[TrialHistory]:
    """The trial of the default config, where there is one that can be trained."""
    default = next((trial for trial in history.trials if trial.is_default), None)
    if default is not None and default.status in ("failed", "infeasible"):
        say(f"note: the default config was {default.status} in the search and is not trained again")
        return []
    return [] if default is None else [default]


def _trainings(
    trials: Sequence[TrialHistory], num_seeds: int, split: Split, spec: SearchSpec, run_dir: RunDir
) -> list[Training]:
    """Seed by seed, every config with the same ones: those that follow the search's own."""
    trainings = []
    own = seed_of(spec.trainable.config_model, spec.config)
    assert own is not None, "nothing keeps the search from being confirmed"
    searched = int(own.value or 0)
    for seed in range(searched + 1, searched + 1 + num_seeds):
        for trial in trials:
            values = {} if trial.is_default else trial.values
            config = spec.trial_config({**values, own.path: seed})
            folder = run_dir.confirm_training(trial.number, seed)
            training = Training(trial.number, seed, spec.trainable.name, config, _budget(spec, config), folder, split)
            trainings.append(training)
    return trainings


def _budget(spec: SearchSpec, config: dict[str, Any]) -> int:
    """Return the full budget of a config.

    Raises:
        InputError: neither the config nor the scheduler knows it.
    """
    own = standalone.own_budget(spec.trainable.config_of(config))
    max_iters = spec.max_iters if own is None else own
    if max_iters is None:
        what = "neither the config nor the scheduler says how long a training is"
        raise InputError([Fault("scheduler.max_iters", what, "give the full budget in iterations")])
    return max_iters


def _train_all(trainings: Sequence[Training], metric: str, gpus: Sequence[str | None], say: Say) -> None:
    """Train what is not done yet, one at a time on each entry of `gpus`."""
    pending = [training for training in trainings if not training.done]
    for notice in _preflight(pending):
        say(f"note: {notice}")
    done = f", {len(trainings) - len(pending)} of them done before" if len(pending) < len(trainings) else ""
    say(f"trainings: {len(trainings)}{done}")
    failed: dict[str, str] = {}
    waiting, free = deque(pending), deque(gpus)
    running: dict[Connection, tuple[Training, str | None, SpawnProcess]] = {}
    try:
        while waiting or running:
            while waiting and free:
                with _signals_held():
                    training, gpu = waiting.popleft(), free.popleft()
                    messages, process = _start(training, metric, gpu)
                    running[messages] = (training, gpu, process)
            ready = wait(list(running))
            for messages in [known for known in running if known in ready]:
                training, gpu, process = running[messages]
                try:
                    kind, text = messages.recv()
                except EOFError:
                    process.join()
                    del running[messages]
                    free.append(gpu)
                    if process.exitcode != 0:
                        failed[training.name] = f"{training.name}: its process ended with code {process.exitcode}"
                    continue
                say(f"{training.name}: {text}")
                if kind == "failed":
                    failed[training.name] = f"{training.name}: {text}; see {_log(training.folder)}"
    finally:
        for _, _, process in running.values():
            process.kill()
            process.join()
        if running:
            say("interrupted; everything is saved, and the next call goes on")
    if failed:
        raise WorkError("; ".join(failed.values()) + "; the next call repeats only what is not done")


def _preflight(trainings: Sequence[Training]) -> list[str]:
    """What the data have to say, a line each; test images are looked at too where they are to be scored."""
    notices: list[str] = []
    faults: list[Fault] = []
    for training in {training.number: training for training in trainings}.values():
        trainable = training.load()
        target: Any = trainable.target
        config = trainable.config_of(training.config)
        try:
            if trainable.preflight is not None:
                notices += trainable.preflight(config)
        except InputError as error:
            faults += error.faults
        try:
            if training.split == "test" and isinstance(target, ChecksSplit):
                target.check_split(config, "test")
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(list(dict.fromkeys(faults)))
    return list(dict.fromkeys(notices))


@contextmanager
def _signals_held() -> Iterator[None]:
    """No signal comes between the start of a process and its being known; the process begins with them held, too."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(training: Training, metric: str, gpu: str | None) -> tuple[Connection, SpawnProcess]:
    """A fresh process that trains, and what it says; the connection ends with the process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(training, metric, gpu, sender), name=training.name)
    process.start()
    sender.close()
    return receiver, process


def _train(training: Training, metric: str, gpu: str | None, messages: Connection) -> None:
    """What the fresh process does: train, and say how it went. Ctrl-C is left to the parent, which ends this one."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    capture_warnings()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # in time: CUDA has not been asked for anything here yet

    def say(line: str) -> None:
        if not line.startswith("note: "):  # the parent has said those
            messages.send(("line", line))

    try:
        training.train(metric, say)
        if training.split == "test":
            _score_test_images(training, say)
    except FloatingPointError as error:
        write_text(training.divergence, str(error))
        say(str(error))
    except Exception as error:
        training.folder.parent.mkdir(parents=True, exist_ok=True)
        _log(training.folder).write_text(traceback.format_exc(), encoding="utf-8")
        messages.send(("failed", f"{type(error).__name__}: {error}"))


def _score_test_images(training: Training, say: Say) -> None:
    """Score the finished network on the test images, once."""
    trainable = training.load()
    config = trainable.config_of(training.config)
    scores = standalone.evaluate(trainable, config, training.folder / "checkpoint", split="test", say=say)
    numbers = {name: value for name, value in scores.items() if isinstance(value, int | float)}
    write_text(training.test_scores, json.dumps(numbers) + "\n")
    say("test images: " + "  ".join(f"{name} {value:.4f}" for name, value in list(numbers.items())[:1]))


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
    best, default = confirmation.best, confirmation.default
    on_test = confirmation.split == "test"
    seeds = ", ".join(map(str, confirmation.seeds))
    of_test = " of the test images" if on_test else ""
    beside = "the same of the validation images, by which they are ranked; " if on_test else ""
    lines = [
        f"{metric}{of_test} at the full budget, mean and standard deviation over the seeds {seeds}; {beside}"
        "selection score:"
    ]
    for trial in confirmation.trials:
        selection = history.trials[trial.number].best(history.mode)
        std = f"± {trial.std:.4f}" if trial.std is not None else "        "
        name = f"trial {trial.number}{' (default)' if trial is default else ''}"
        val_mean = f"   {trial.val_mean:.4f}" if on_test else ""
        lines.append(
            f"  {name:<20} {trial.mean:.4f} {std}{val_mean}   {f'{selection.value:.4f}' if selection else ''}".rstrip()
        )
    lines += [f"  trial {number} diverged and is out of the comparison" for number in confirmation.diverged]
    lines += lead_lines(confirmation)
    pick = history.best_trial()
    assert pick is not None, "a search without a score is not confirmed"
    if best is default:
        lines.append("no config found by the search has a better mean than the default config")
    if pick.number != best.number:
        lines.append(f"the search had picked trial {pick.number}; the best config is that of trial {best.number} now")
    return lines
