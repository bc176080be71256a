"""Export of the best trial for training, evaluation and loading: `best_config.json` and `best_checkpoint/`.

With several objectives, every trial of the Pareto set is exported as `pareto/trial-NNNNN.json`.
"""

import json
import platform
import shlex
import shutil
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from raysearch.config.config_tree import ConfigTree
from raysearch.errors import Fault, InputError
from raysearch.history.events import Report
from raysearch.history.history import History, TrialHistory, read_history
from raysearch.history.pareto import pareto_set
from raysearch.history.run_dir import RunDir
from raysearch.history.tables import pareto_table, write_table
from raysearch.results.confirmation import Confirmation, confirmed_entry, read_confirmation, winning_trial
from raysearch.space.parsing import load_space
from raysearch.space.spec import SearchSpec
from trainables.atomic_files import recover_folder, replaced_folder, write_text
from trainables.config import Config
from trainables.openseg.dialect import BLOCK
from trainables.openseg.writer import command_line, write_openseg

_PACKAGES = ("raysearch", "ray", "optuna", "torch", "torchvision", "timm", "albumentations", "numpy")


def write_best(history: History, spec: SearchSpec, run_dir: RunDir) -> None:
    """Write the winner's config and checkpoint; do nothing if no trial has reported yet.

    The checkpoint is that of the winning trial. If a confirmation changed the winner and the checkpoint of its trial
    was deleted, the checkpoint of its first confirming training is used.
    """
    confirmation = read_confirmation(run_dir, history)
    document = best_document(history, spec, confirmation)
    if document is None:
        return
    _write_document(document, run_dir.best_config)
    winner = winning_trial(history, confirmation)
    best = winner.best(history.mode) if winner else None
    if winner and best and best.checkpoint:
        source = run_dir.trial(winner.number) / best.checkpoint
        if confirmation is not None and winner is not history.best_trial() and not source.is_dir():
            source = run_dir.confirm_training(winner.number, confirmation.seeds[0]) / "checkpoint"
        _replace_folder(source, run_dir.best_checkpoint)


def write_pareto_set(history: History, spec: SearchSpec, run_dir: RunDir) -> None:
    """Write the configs and the table of the Pareto set; do nothing with a single objective."""
    if not history.further:
        return
    run_dir.pareto.mkdir(exist_ok=True)
    written = set()
    for trial in pareto_set(history):
        best = trial.best(history.mode)
        assert best is not None, "it has reported, or it would not be in the set"
        path = run_dir.pareto_config(trial.number)
        _write_document(_document(trial, best, history, spec), path)
        written.add(path)
    for path in run_dir.pareto.glob("trial-*.json"):
        if path not in written:
            path.unlink()
    write_table(pareto_table(history), run_dir.pareto_table)


def _write_document(document: dict[str, Any], path: Path) -> None:
    write_text(path, json.dumps(document, indent=2) + "\n")


def best_config_text(run_dir: RunDir) -> str:
    """Return the best config of a run as JSON, computed from its journal.

    Raises:
        InputError: the folder is not that of a run, or no trial has reported yet.
    """
    history = read_history(run_dir.journal)
    document = best_document(history, load_space(run_dir.space), read_confirmation(run_dir, history))
    if document is None:
        raise no_best(history, run_dir)
    return json.dumps(document, indent=2) + "\n"


def no_best(history: History, run_dir: RunDir) -> InputError:
    """Return the error for a search without a best config; its fix depends on whether the search has finished."""
    resume = f"`raysearch resume {shlex.quote(str(run_dir.root))}"
    if not history.is_finished:
        fix = f"wait for the first report, or go on with {resume}` if nothing runs"
        return InputError([Fault(str(run_dir.root), "no trial has reported yet", fix)])
    counts = Counter(trial.status for trial in history.trials)
    how = ", ".join(f"{count} {status}" for status, count in counts.items())
    fix = f"{run_dir.trials_table} says why for each; search again in a folder of its own"
    if history.failed:
        fix = f"mend the cause, then run them again with {resume} --retry-failed`"
    return InputError([Fault(str(run_dir.root), f"no trial has a score, and the search has finished ({how})", fix)])


@dataclass(frozen=True)
class OpensegExport:
    """The best config of a run as a file of the openseg dialect."""

    text: str
    flags: str
    """Flags that the original trainer needs beside the file."""
    unsaid: tuple[str, ...]
    """Dotted paths of the values in use that the original trainer does not support."""


def best_openseg(run_dir: RunDir) -> OpensegExport:
    """Return the best config of a run as a JSON file for the trainer of openseg and ContrastiveSeg.

    Raises:
        InputError: the folder is not that of a run, no trial has reported yet, the run used another trainable, or its
            dataset cannot be read, which the class weights need.
    """
    spec = load_space(run_dir.space)
    if not ConfigTree(spec.trainable.config_model).takes_openseg:
        what = f"{spec.trainable.name} has a config of its own, which an openseg file cannot hold"
        raise InputError([Fault(str(run_dir.root), what, "leave --format out")])
    history = read_history(run_dir.journal)
    document = best_document(history, spec, read_confirmation(run_dir, history))
    if document is None:
        raise no_best(history, run_dir)
    origin = document.pop("raysearch")
    config = Config.model_validate(document)
    written = write_openseg(config, _class_weights(config))
    block = written.pop(BLOCK, {})
    unused = config.unused()
    return OpensegExport(
        text=json.dumps({**written, BLOCK: {**origin, **block}}, indent=2) + "\n",
        flags=command_line(config),
        unsaid=tuple(path for path in block if not any(f"{path}.".startswith(f"{other}.") for other in unused)),
    )


def _class_weights(config: Config) -> list[float] | None:
    """Compute the weight of every class from the training pixels, as the trainer does; None if no scheme is used.

    Raises:
        InputError: the scheme needs the dataset, and it cannot be read.
    """
    from trainables.data import open_split, training_pixel_counts
    from trainables.losses import cross_entropy_weights

    if config.loss.ce_weight_power == 0.0 or isinstance(config.loss.ce_weights, tuple):
        return None
    counts = training_pixel_counts(open_split(config.data, "train"), config.data)
    weights = cross_entropy_weights(config.loss, counts)
    return None if weights is None else weights.tolist()


def best_document(
    history: History, spec: SearchSpec, confirmation: Confirmation | None = None
) -> dict[str, Any] | None:
    """Return the winner's complete config with a `raysearch` block on its origin; None before the first report."""
    winner = winning_trial(history, confirmation)
    best = winner.best(history.mode) if winner else None
    if winner is None or best is None:
        return None
    document = _document(winner, best, history, spec)
    if confirmation is not None:
        document["raysearch"]["confirmed"] = confirmed_entry(confirmation, spec.objectives[0].metric, history)
    return document


def _document(trial: TrialHistory, best: Report, history: History, spec: SearchSpec) -> dict[str, Any]:
    """Return a trial's complete config with a `raysearch` block on its origin; `best` is its best report."""
    config = spec.trial_config({} if trial.is_default else trial.values)
    default = next((trial for trial in history.trials if trial.is_default), None)
    default_best = default.best(history.mode) if default else None
    train = config.get("train")
    train = train if isinstance(train, dict) else {}
    metrics = [objective.metric for objective in spec.objectives]
    several = dict(zip(metrics, history.values_at(trial, best), strict=True)) if history.further else None
    return {
        **config,
        "raysearch": {
            "metric": metrics[0],
            "value": best.value,
            **({"objectives": several} if several else {}),
            "iteration": best.iteration,
            "trial": trial.number,
            "seed": train.get("seed", spec.search.seed),
            "default_value": default_best.value if default_best else None,
            "num_threads": train.get("num_threads"),
            "space_sha256": spec.sha256(),
            "versions": versions(),
            **({"breaks": broken} if (broken := list(trial.broken(history.mode))) else {}),
        },
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of all packages that can change a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


_PRIVATE_FILES = shutil.ignore_patterns("trainer.pt", "raysearch_state.json")


def _replace_folder(source: Path, target: Path) -> None:
    """Replace `target` by the weights of a checkpoint, without the files that only a resumed training needs."""
    recover_folder(target)
    if not source.is_dir():
        return
    with replaced_folder(target) as part:
        shutil.copytree(source, part, ignore=_PRIVATE_FILES, dirs_exist_ok=True)
