"""Retrains the best configs of a search with seeds that the search has not used, for unbiased scores.

A search selects the best of many scores with one seed each, so part of its winner's lead is luck. This module trains
the configs of the best trials and the default config to their full budget, all with the same new seeds, on the
executors of a search, and compares them seed by seed. Every training has a folder of its own in the run's folder. After
a kill, the same call continues where it stopped.
"""

import shlex
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raysearch.config.seed_and_threads import seed_of
from raysearch.errors import Fault, InputError, WorkError
from raysearch.execution.chatter import logging_to
from raysearch.execution.places import ExecutorName, Place, Where
from raysearch.execution.standalone import own_budget
from raysearch.execution.trial_actor import TrialContext
from raysearch.history.history import History, TrialHistory, read_history
from raysearch.history.journal import Journal
from raysearch.history.run_dir import RunDir
from raysearch.observers import Observer, Observers
from raysearch.results.confirmation import Confirmation, lead_lines, read_confirmation, write_confirmed
from raysearch.results.expectation import expectations
from raysearch.runs.interruption import Interrupted, Interruption
from raysearch.runs.outcome import write_outcome
from raysearch.runs.trainings import Given, GivenScorings, GivenTrainings, Training, scoring
from raysearch.search.loop import SearchHalted, SearchLoop
from raysearch.search.run import Run, check_unedited
from raysearch.search.search import Search
from raysearch.space.confirm_settings import ConfirmSettings, Split, obstacle
from raysearch.space.parsing import load_space_of_run
from raysearch.space.spec import SearchSpec
from trainables.plurals import counted
from trainables.protocol import ChecksSplit

Say = Callable[[str], None]


def confirm(
    folder: Path,
    *,
    top: int,
    seeds: int,
    split: Split = "val",
    jobs: int | None = None,
    address: str | None = None,
    executor: ExecutorName = "ray",
    say: Say = print,
    show: Observer | None = None,
) -> Confirmation:
    """Train the best configs of a search and the default config with new seeds, and compare them.

    The score of a training is the metric of its last report, at the full budget. The search itself uses the best of all
    reports, which grows with their number. The last report is fixed in advance and therefore unbiased. The best config
    is the one with the best mean over the new seeds; it may be the default. With `split="test"`, the trainings and the
    choice are the same, but the scores are those of the test images. Each finished network is scored on them once, and
    they do not influence the choice.

    The function writes `confirmed.parquet` and updates all results of the search: `best_config.json` becomes the config
    with the best mean, and `best_checkpoint/` the checkpoint of its trial in the search. A config whose loss diverges
    with any seed is excluded.

    Args:
        folder: Folder of a run without running trials.
        top: Number of the search's most promising trials to confirm, besides the default.
        seeds: Number of seeds for each config; a confidence interval needs at least two.
        split: Images on which the confirmed scores are measured.
        jobs: Maximum number of trainings that run at a time; None: as the run's `resources` say.
        address: Address of a Ray cluster; None starts a local Ray.
        executor: `local` trains in this process without Ray, one training at a time.
        say: Function that receives messages, one line each.
        show: Observer that shows the progress of the trainings, in addition to the messages.

    Raises:
        InputError: the folder holds no search that can be confirmed, or the dataset or a number has faults.
        WorkError: a training failed; the next call does not repeat those that have ended.
    """
    _check_counts({"--top": top, "--seeds": seeds, "--jobs": 1 if jobs is None else jobs})
    run_dir = RunDir.open(folder)
    spec = load_space_of_run(run_dir.space)
    searched = [parameter.path for parameter in spec.parameters]
    what = obstacle(spec.trainable, spec.config, searched, spec.objectives[0].metric, split)
    if what is not None:
        raise InputError([Fault(str(run_dir.root), *what)])
    if jobs is not None:
        spec = replace(spec, resources=spec.resources.model_copy(update={"concurrent": jobs}))
    observers = Observers([] if show is None else [show], say)
    with Interruption() as interruption, Journal(run_dir.journal):  # no other run or confirmation meanwhile
        try:
            run = Run(run_dir, spec, read_history(run_dir.journal))
            check_unedited(run_dir, run.history)
            settings = ConfirmSettings(top=top, seeds=seeds, split=split)
            return confirm_search(run, settings, Where(executor, address), interruption, observers, say=say)
        except Interrupted:
            pass
        finally:
            observers.end()
    assert interruption.signal is not None, "it interrupted"
    signal.raise_signal(interruption.signal)  # ends the process or the command, as elsewhere
    raise WorkError("interrupted")


def confirm_search(
    run: Run,
    settings: ConfirmSettings,
    where: Where,
    interruption: Interruption,
    observers: Observers,
    *,
    say: Say,
) -> Confirmation:
    """Confirm a search as `confirm` does; the caller holds the journal open, and `obstacle` has found nothing.

    Raises:
        Interrupted: a signal was received.
    """
    best = [trial for trial in _candidates(run) if not trial.is_default][: settings.top]
    if len(best) < settings.top:
        scored = counted(len(best), "trial has", "trials have")
        say(f"note: top is {settings.top}, but besides the default only {scored} a score")
    trials = [*best, *_default_trial(run.history, say)]
    trainings = _trainings(trials, settings.seeds, settings.split, run)
    metric = run.spec.objectives[0].metric
    try:
        _train_all(trainings, run, where, interruption, observers, say)
    except Interrupted:
        say("interrupted; everything is saved, and the next call continues")
        raise
    except SearchHalted as halted:
        halt = halted.halted
        raise WorkError(f"{halt.what}; {halt.fix}; the next call only repeats trainings that are not done") from None
    write_confirmed([training.row(metric) for training in trainings], len(best), run.dir)
    write_outcome(run)
    confirmation = read_confirmation(run.dir, run.history)
    if confirmation is None:
        diverged = [training for training in trainings if training.has_diverged]
        why = (f"{training.name}: {training.divergence.read_text(encoding='utf-8')}" for training in diverged)
        raise WorkError("all configs diverged: " + "; ".join(why))
    for line in _summary(confirmation, metric, run.history):
        say(line)
    return confirmation


def _check_counts(counts: Mapping[str, int]) -> None:
    faults = [Fault(name, f"{count} is below 1", "give 1 or more") for name, count in counts.items() if count < 1]
    if faults:
        raise InputError(faults)


def _candidates(run: Run) -> list[TrialHistory]:
    """Return the trials that can be confirmed, the most promising first.

    The best trial of the search comes first. The others are ordered by the expected scores of their configs, so that
    lucky scores do not displace a better config. Trials without an expected score follow in the order of the search.
    """
    running = [trial.number for trial in run.history.trials if trial.status == "running"]
    if running:
        what = f"the search has not finished: trial {running[0]} has not ended"
        raise InputError(
            [Fault(str(run.dir.root), what, f"run `raysearch resume {shlex.quote(str(run.dir.root))}` first")]
        )
    ranked = run.history.ranked()
    if not ranked:
        raise InputError([Fault(str(run.dir.root), "no trial has a score that could be confirmed", "search again")])
    expected = [expectation.trial for expectation in expectations(run.spec, run.history)]
    return list({trial.number: trial for trial in [ranked[0], *expected, *ranked]}.values())


def _default_trial(history: History, say: Say) -> list[TrialHistory]:
    """Return the default trial in a list; the list is empty if its config cannot be trained."""
    default = next((trial for trial in history.trials if trial.is_default), None)
    if default is not None and default.status in ("failed", "infeasible"):
        say(f"note: the default config was {default.status} in the search and is not trained again")
        return []
    return [] if default is None else [default]


def _trainings(trials: Sequence[TrialHistory], num_seeds: int, split: Split, run: Run) -> list[Training]:
    """Return the trainings seed by seed; all configs use the same seeds, which follow the seed of the search."""
    trainings = []
    own = seed_of(run.spec.trainable.config_model, run.spec.config)
    assert own is not None, "nothing keeps the search from being confirmed"
    searched = int(own.value or 0)
    for seed in range(searched + 1, searched + 1 + num_seeds):
        for trial in trials:
            values = {} if trial.is_default else trial.values
            config = run.spec.trial_config({**values, own.path: seed})
            folder = run.dir.confirm_training(trial.number, seed)
            training = Training(
                trial.number, seed, run.spec.trainable, config, _budget(run.spec, config), folder, split
            )
            trainings.append(training)
    return trainings


def _budget(spec: SearchSpec, config: dict[str, Any]) -> int:
    """Return the full budget of a config.

    Raises:
        InputError: neither the config nor the scheduler states it.
    """
    own = own_budget(spec.trainable.config_of(config))
    max_iters = spec.max_iters if own is None else own
    if max_iters is None:
        what = "neither the config nor the scheduler states the length of a training"
        raise InputError([Fault("scheduler.max_iters", what, "give the full budget in iterations")])
    return max_iters


@dataclass(frozen=True)
class _Trainer:
    """A runner of trainings and scorings on the executors of one place."""

    run: Run
    place: Place
    interruption: Interruption
    observers: Observers

    def train(self, given: Given, trainable: Any) -> None:
        """Run trainings, or their scorings, until all have ended or failed."""
        observers = self.observers
        context = replace(TrialContext.of(self.run.spec, share=self.place.share), trainable=trainable)
        search = Search(given.spec, given, given.next_candidate)

        def watch(changed: Sequence[TrialHistory]) -> None:
            observers.update_confirmation(changed)
            self.interruption.check()

        observers.begin_confirmation(Run(self.run.dir, given.spec, search.history))
        try:
            executor = self.place.executor(context, self.run.dir.tune, self.interruption.raised)
            executor.run(SearchLoop(search, given.assignment, watch))
        finally:
            observers.update_confirmation(search.take_changed())
            observers.rest_confirmation()


def _train_all(
    trainings: Sequence[Training],
    run: Run,
    where: Where,
    interruption: Interruption,
    observers: Observers,
    say: Say,
) -> None:
    """Train and score what is not done yet."""
    for training in trainings:
        training.check()
    for training in trainings:
        if training.is_trained:
            training.finish()
    pending = [training for training in trainings if not training.is_done]
    for notice in _preflight(pending):
        say(f"note: {notice}")
    done = f", {len(trainings) - len(pending)} of them already done" if len(pending) < len(trainings) else ""
    say(f"trainings: {len(trainings)}{done}")
    failed: dict[str, str] = {}
    if pending:
        with where.open(run.spec.resources) as place, logging_to(run.dir.log):
            trainer = _Trainer(run, place, interruption, observers)
            if new := [training for training in pending if not training.is_trained]:
                given: Given = GivenTrainings(new, run.spec, say)
                trainer.train(given, run.spec.trainable.target)
                failed |= given.failed
            if unscored := [training for training in pending if training.is_trained and not training.is_done]:
                given = GivenScorings(unscored, run.spec, say)
                trainer.train(given, scoring(run.spec.trainable))
                failed |= given.failed
    if failed:
        raise WorkError("; ".join(failed.values()) + "; the next call only repeats trainings that are not done")


def _preflight(trainings: Sequence[Training]) -> list[str]:
    """Return notices about the data, one line each; test images are also checked if they will be scored."""
    notices: list[str] = []
    faults: list[Fault] = []
    for training in {training.number: training for training in trainings}.values():
        trainable = training.trainable
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


def _summary(confirmation: Confirmation, metric: str, history: History) -> list[str]:
    """Return the comparison as lines."""
    best, default = confirmation.best, confirmation.default
    on_test = confirmation.split == "test"
    seeds = ", ".join(map(str, confirmation.seeds))
    of_test = " on the test images" if on_test else ""
    beside = "the same on the validation images, which decide the ranking; " if on_test else ""
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
    lines += [f"  trial {number} diverged and is left out of the comparison" for number in confirmation.diverged]
    lines += lead_lines(confirmation)
    pick = history.best_trial()
    assert pick is not None, "a search without a score is not confirmed"
    if best is default:
        lines.append("no config found by the search has a better mean than the default config")
    if pick.number != best.number:
        lines.append(f"the search had picked trial {pick.number}; the best config is now that of trial {best.number}")
    return lines
