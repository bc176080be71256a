"""Export of the best trial for training, evaluation and loading: `best_config.json` and `best_checkpoint/`.

With several objectives, every trial of the Pareto set is exported as `pareto/trial-NNNNN.json`.
"""

import json
import platform
import shlex
import shutil
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from raysearch.config.config_files import ORIGIN
from raysearch.config.seed_and_threads import seed_of, threads_of
from raysearch.config.trainable_loading import DEFAULT_TRAINABLE
from raysearch.errors import Fault, InputError
from raysearch.history.events import Report
from raysearch.history.history import History, TrialHistory, read_history
from raysearch.history.pareto import pareto_set
from raysearch.history.run_dir import STATE_FILE, RunDir
from raysearch.history.tables import pareto_table, write_table
from raysearch.results.confirmation import Confirmation, confirmed_entry, read_confirmation, winning_trial
from raysearch.search.run import Run
from raysearch.space.parsing import load_space_of_run
from raysearch.space.spec import SearchSpec
from trainables.atomic_files import recover_folder, replaced_folder, write_text
from trainables.checksums import CHECKSUMS_FILE, damage
from trainables.protocol import HasBudget, NamesResumeFiles, WritesDialect

_PACKAGES = ("raysearch", "ray", "optuna", "torch", "torchvision", "timm", "albumentations", "numpy")


def write_best(run: Run) -> None:
    """Write the winner's config and checkpoint; do nothing if no trial has reported yet.

    The checkpoint is that of the winning trial. If a confirmation changed the winner and the checkpoint of its trial
    was deleted, the checkpoint of its first confirming training is used.
    """
    confirmation = read_confirmation(run.dir, run.history)
    document = best_document(run.spec, run.history, confirmation)
    if document is None:
        return
    _write_document(document, run.dir.best_config)
    source = _winners_checkpoint(run, confirmation)
    if source is not None:
        _replace_folder(source, run.dir.best_checkpoint, _resume_files(run.spec))


def lost_weights(run: Run) -> str | None:
    """Return what happened to the winner's checkpoint if it is gone or damaged, else None."""
    source = _winners_checkpoint(run, read_confirmation(run.dir, run.history))
    what = None if source is None else damage(source)
    return None if what is None else f"{source} {what}; `train` with the best config writes it again"


def _winners_checkpoint(run: Run, confirmation: Confirmation | None) -> Path | None:
    """Return the folder of the winner's checkpoint; None if there is no winner or its trainable writes none."""
    winner = winning_trial(run.history, confirmation)
    best = winner.best(run.history.mode) if winner else None
    if winner is None or best is None or best.checkpoint is None:
        return None
    source = run.dir.checkpoint(winner.number, best.checkpoint)
    if confirmation is not None and winner is not run.history.best_trial() and not source.is_dir():
        return run.dir.confirm_training(winner.number, confirmation.seeds[0]) / "checkpoint"
    return source


def write_pareto_set(run: Run) -> None:
    """Write the configs and the table of the Pareto set; do nothing with a single objective."""
    if not run.history.further:
        return
    run.dir.pareto.mkdir(exist_ok=True)
    written = set()
    for trial in pareto_set(run.history):
        best = trial.best(run.history.mode)
        assert best is not None, "it has reported, or it would not be in the set"
        path = run.dir.pareto_config(trial.number)
        _write_document(_document(trial, best, run.spec, run.history), path)
        written.add(path)
    for path in run.dir.pareto.glob("trial-*.json"):
        if path not in written:
            path.unlink()
    write_table(pareto_table(run.history), run.dir.pareto_table)


def _write_document(document: dict[str, Any], path: Path) -> None:
    write_text(path, json.dumps(document, indent=2) + "\n")


def best_config_text(run_dir: RunDir) -> str:
    """Return the best config of a run as JSON, computed from its journal.

    Raises:
        InputError: the folder is not that of a run, or no trial has reported yet.
    """
    history = read_history(run_dir.journal)
    document = best_document(load_space_of_run(run_dir.space), history, read_confirmation(run_dir, history))
    if document is None:
        raise no_best(history, run_dir)
    return json.dumps(document, indent=2) + "\n"


def no_best(history: History, run_dir: RunDir) -> InputError:
    """Return the error for a search without a best config; its fix depends on whether the search has finished."""
    resume = f"`raysearch resume {shlex.quote(str(run_dir.root))}"
    if not history.is_finished:
        fix = f"wait for the first report, or continue with {resume}` if nothing runs"
        return InputError([Fault(str(run_dir.root), "no trial has reported yet", fix)])
    counts = Counter(trial.status for trial in history.trials)
    how = ", ".join(f"{count} {status}" for status, count in counts.items())
    fix = f"{run_dir.trials_table} gives the reasons; search again in a new folder"
    if history.failed:
        fix = f"correct the cause, then run them again with {resume} --retry-failed`"
    return InputError([Fault(str(run_dir.root), f"no trial has a score, and the search has finished ({how})", fix)])


@dataclass(frozen=True)
class DialectExport:
    """The best config of a run as a file of another program."""

    text: str
    flags: str
    """Flags that the other program needs besides the file."""
    unsaid: tuple[str, ...]
    """Dotted paths of the values in use that the other program does not support."""


def best_in_dialect(run_dir: RunDir, name: str) -> DialectExport:
    """Return the best config of a run as a file of the dialect with this name.

    Raises:
        InputError: the folder is not that of a run, no trial has reported yet, the run's config does not support the
            dialect, or data that the file must contain cannot be read.
    """
    spec = load_space_of_run(run_dir.space)
    target: Any = spec.trainable.target
    known = isinstance(target, WritesDialect)
    if not known or name != target.DIALECT_NAME:
        what = f"{spec.trainable.name} has its own config, which an {name} file cannot hold"
        fix = f"give --format {target.DIALECT_NAME}, or leave it out" if known else "leave --format out"
        raise InputError([Fault(str(run_dir.root), what, fix)])
    history = read_history(run_dir.journal)
    document = best_document(spec, history, read_confirmation(run_dir, history))
    if document is None:
        raise no_best(history, run_dir)
    origin = document.pop(ORIGIN)
    written = target.write_dialect(spec.trainable.config_of(document))
    content = {**written.document, ORIGIN: {**origin, **written.document.get(ORIGIN, {})}}
    return DialectExport(json.dumps(content, indent=2) + "\n", written.flags, written.unsaid)


def best_document(
    spec: SearchSpec, history: History, confirmation: Confirmation | None = None
) -> dict[str, Any] | None:
    """Return the winner's complete config with a `raysearch` block on its origin; None before the first report."""
    winner = winning_trial(history, confirmation)
    best = winner.best(history.mode) if winner else None
    if winner is None or best is None:
        return None
    document = _document(winner, best, spec, history)
    if confirmation is not None:
        document[ORIGIN]["confirmed"] = confirmed_entry(confirmation, spec.objectives[0].metric, history)
    return document


def _document(trial: TrialHistory, best: Report, spec: SearchSpec, history: History) -> dict[str, Any]:
    """Return a trial's complete config with a `raysearch` block on its origin; `best` is its best report."""
    config = spec.trial_config({} if trial.is_default else trial.values)
    default = next((trial for trial in history.trials if trial.is_default), None)
    default_best = default.best(history.mode) if default else None
    model = spec.trainable.config_model
    seed, threads = seed_of(model, config), threads_of(model, config)
    metrics = [objective.metric for objective in spec.objectives]
    several = dict(zip(metrics, history.values_at(trial, best), strict=True)) if history.further else None
    return {
        **config,
        ORIGIN: {
            "metric": metrics[0],
            "value": best.value,
            **({"objectives": several} if several else {}),
            "iteration": best.iteration,
            "trial": trial.number,
            "seed": spec.search.seed if seed is None else seed.value,
            "default_value": default_best.value if default_best else None,
            "num_threads": None if threads is None else threads.value,
            **_of_other_trainable(spec),
            "space_sha256": spec.sha256(),
            "versions": versions(),
            **({"breaks": broken} if (broken := list(trial.broken(history.mode))) else {}),
        },
    }


def _of_other_trainable(spec: SearchSpec) -> dict[str, Any]:
    """Return the entries that `train` needs besides a config, for another trainable than the default one."""
    trainable = spec.trainable
    if trainable.name == DEFAULT_TRAINABLE:
        return {}
    is_budget_known = trainable.config_model is not None and issubclass(trainable.config_model, HasBudget)
    return {"trainable": trainable.name, **({} if is_budget_known else {"max_iters": spec.max_iters})}


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of all packages that can change a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _resume_files(spec: SearchSpec) -> frozenset[str]:
    """Return the names of the files in a checkpoint that only a resumed training needs."""
    target: Any = spec.trainable.target
    of_trainable = target.RESUME_FILES if isinstance(target, NamesResumeFiles) else frozenset()
    return of_trainable | {STATE_FILE, CHECKSUMS_FILE}


def _replace_folder(source: Path, target: Path, left_out: frozenset[str]) -> None:
    """Replace `target` by the weights of a checkpoint, without the files that only a resumed training needs.

    A checkpoint that is gone or damaged replaces nothing.
    """
    recover_folder(target)
    if not source.is_dir() or damage(source) is not None:
        return
    with replaced_folder(target) as part:
        shutil.copytree(source, part, ignore=shutil.ignore_patterns(*left_out), dirs_exist_ok=True)
