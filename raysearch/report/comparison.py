"""Page that compares several searches: comparability, progress, and differences between their winners."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from raysearch.durations import duration
from raysearch.errors import Fault, InputError
from raysearch.history.events import Report
from raysearch.history.history import History, read_history
from raysearch.history.journal import read_facts
from raysearch.history.records import Fact
from raysearch.history.run_dir import RunDir
from raysearch.report.page import page_of
from raysearch.report.parts import MISSING, Part, Plot, Table, Text, new_figure, shown
from raysearch.results.confirmation import Confirmation, ConfirmedTrial, read_confirmation, winning_trial
from raysearch.space.parsing import load_space_of_run
from raysearch.space.spec import SearchSpec
from trainables.atomic_files import write_text
from trainables.dotted_paths import leaves
from trainables.plurals import counted
from trainables.protocol import ITERATIONS_SHARED

_COLORS = ("#3b82c4", "#c8642e", "#1f9d63", "#9a6dd7", "#b7811a", "#d64550", "#868e99")

_OF_DATA = ("data.dir", "data.drawn", "data.label_class_ids", "evaluation")
"""Config paths of the built-in trainer that decide which pixels are scored, and how."""


@dataclass(frozen=True)
class ComparedRun:
    """One search of the comparison."""

    label: str
    spec: SearchSpec
    history: History
    progress: tuple["Progress", ...]
    confirmation: Confirmation | None = None

    @property
    def metric(self) -> str:
        """Name of the objective."""
        return self.spec.objectives[0].metric


@dataclass(frozen=True)
class Progress:
    """State of a search when its best value improved."""

    iterations: int
    """Iterations trained by all trials up to this improvement."""
    hours: float
    """Hours of all trials up to this improvement; parallel trials are added up."""
    value: float
    """Best value from this improvement on."""


def write_comparison(folders: Sequence[Path], out: Path) -> Path:
    """Write one page about several runs, finished or not; their own folders are only read.

    Args:
        folders: Two or more folders of runs.
        out: The file to write.

    Raises:
        InputError: a folder is not a run, or is named twice.
    """
    runs: list[ComparedRun] = []
    faults: list[Fault] = []
    for folder, label in zip(folders, _labels(folders), strict=True):
        try:
            runs.append(_read_run(RunDir.open(folder), label))
        except InputError as error:
            faults += error.faults
    if len({Path(os.path.realpath(folder)) for folder in folders}) < len(folders):
        faults.append(Fault("report", "the same run is given twice", "give each run once"))
    if faults:
        raise InputError(faults)
    write_text(out, comparison_page(runs))
    return out


def comparison_page(runs: Sequence[ComparedRun]) -> str:
    """Return the page as HTML."""
    panels = [
        ("Can they be compared?", comparable_parts(runs)),
        ("Best so far", best_so_far_parts(runs)),
        ("Winners", winners_parts(runs)),
        ("Configs of the winners", config_parts(runs)),
        ("Searches", search_parts(runs)),
    ]
    trials = sum(len(run.history.trials) for run in runs)
    title = " · ".join(run.label for run in runs)
    return page_of(panels, title=title, summary=f"{len(runs)} searches compared · {counted(trials, 'trial')}")


def _labels(folders: Sequence[Path]) -> list[str]:
    """Return the names of the folders, together with their parents' names for those that are not unique."""
    whole = [Path(os.path.abspath(Path(folder).expanduser())) for folder in folders]
    names = [folder.name for folder in whole]
    return [str(Path(*folder.parts[-2:])) if names.count(folder.name) > 1 else folder.name for folder in whole]


def _read_run(run_dir: RunDir, label: str) -> ComparedRun:
    history = read_history(run_dir.journal)
    progress = progress_of(read_facts(run_dir.journal), history)
    return ComparedRun(
        label, load_space_of_run(run_dir.space), history, tuple(progress), read_confirmation(run_dir, history)
    )


def progress_of(facts: Iterable[Fact], history: History) -> list[Progress]:
    """Return each report of a journal that was better than all before it, and the final state.

    Reports of trials that cannot win, and reports that break a constraint, add to the cost but are not counted as best.
    """
    sign = 1.0 if history.mode == "max" else -1.0
    reached: dict[int, int] = {}
    iterations, seconds, best = 0, 0.0, -math.inf
    found: list[Progress] = []
    for fact in facts:
        report, number = fact.event, fact.trial
        if not isinstance(report, Report) or number is None:
            continue
        new = max(0, report.iteration - reached.get(number, 0))
        reached[number] = max(report.iteration, reached.get(number, 0))
        iterations += max(0, new - int(report.metrics.get(ITERATIONS_SHARED, 0)))
        seconds += report.seconds
        counts = history.trials[number].status not in ("failed", "infeasible")
        is_admissible = all(amount <= 0.0 for amount in report.violations.values())
        if counts and is_admissible and sign * report.value > best:
            best = sign * report.value
            found.append(Progress(iterations, seconds / 3600.0, report.value))
    return [*found, Progress(iterations, seconds / 3600.0, sign * best)] if found else []


# Comparability of the searches.


@dataclass(frozen=True)
class ComparableInfo:
    """Differences that prevent scores from being compared, and other differences."""

    obstacles: tuple[str, ...]
    differences: tuple[tuple[str, tuple[str, ...]], ...]
    """Dotted paths of the base configs with the value in each run, for values that differ and that no search varies."""


def comparable_info(runs: Sequence[ComparedRun]) -> ComparableInfo:
    """Compare metric, trainable, data and budget of the runs."""
    searched = {parameter.path for run in runs for parameter in run.spec.parameters}
    differing = [row for row in differences([run.spec.config for run in runs]) if row[0] not in searched]
    obstacles = [
        *_differing("the metric", [f"{run.metric} ({run.spec.objectives[0].mode})" for run in runs]),
        *_differing("the trainable", [run.spec.trainable.name for run in runs]),
        *(
            sentence
            for path, values in differing
            if any(path == of_data or path.startswith(f"{of_data}.") for of_data in _OF_DATA)
            for sentence in _differing(path, values)
        ),
        *_differing("the full budget", [str(run.spec.max_iters or "unknown") for run in runs]),
    ]
    return ComparableInfo(tuple(obstacles), tuple(differing))


def _differing(what: str, values: Sequence[str]) -> list[str]:
    return [f"{what} is {', '.join(values)}"] if len(set(values)) > 1 else []


def differences(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the dotted paths at which nested configs differ, and the value of each config there."""
    flat = [dict(leaves(config)) for config in configs]
    paths = dict.fromkeys(path for values in flat for path in values)
    rows = [(path, tuple(shown(values[path]) if path in values else MISSING for values in flat)) for path in paths]
    return [(path, values) for path, values in rows if len(set(values)) > 1]


def comparable_parts(runs: Sequence[ComparedRun]) -> list[Part]:
    """Return a sentence, and a table of all differences between the base configs."""
    info = comparable_info(runs)
    if info.obstacles:
        text = f"The scores of these searches cannot be compared: {'; '.join(info.obstacles)}."
    else:
        text = "The scores can be compared: metric, trainable, data, scoring and full budget are the same."
    if not info.differences:
        return [Text(text), Text("Their base configs agree in all values that no search varies.")]
    return [
        Text(text),
        Text("Values of the base configs that no search varies and that differ nevertheless:"),
        _table(runs, "path", info.differences),
    ]


# Progress of the searches.


def best_so_far_parts(runs: Sequence[ComparedRun]) -> list[Part]:
    """Draw the best value against the iterations and the hours of all trials."""
    drawn = [run for run in runs if run.progress]
    if not drawn:
        return [Text("No trial has reported yet.")]
    axes = (("iterations trained, all trials", "iterations"), ("hours of trials, all trials", "hours"))
    return [
        Text("The best value so far. Hours are summed over trials, so an hour with two running trials counts as two."),
        *(_curves(drawn, title, name) for title, name in axes),
    ]


def _curves(runs: Sequence[ComparedRun], title: str, name: str) -> Plot:
    figure = new_figure(320, hovermode="closest")
    figure.update_xaxes(title=title, rangemode="tozero")
    figure.update_yaxes(title=escape(runs[0].metric))
    for place, run in enumerate(runs):
        figure.add_scatter(
            x=[getattr(one, name) for one in run.progress],
            y=[one.value for one in run.progress],
            mode="lines",
            name=escape(run.label),
            line={"shape": "hv", "width": 2, "color": _COLORS[place % len(_COLORS)]},
            hovertemplate=f"{escape(run.label)}<br>%{{y:.4g}} after %{{x:.4g}}<extra></extra>",
        )
    return Plot(figure, f"Best value so far of each search, over its {name}.")


# Results of the searches.


def winners_rows(runs: Sequence[ComparedRun]) -> list[tuple[str, tuple[str, ...]]]:
    """Return what each search found, and its winner's searched values."""
    facts: dict[str, list[str]] = {}
    values = [_winner_values(run) for run in runs]
    for run in runs:
        for name, value in _winner_facts(run).items():
            facts.setdefault(name, []).append(value)
    paths = dict.fromkeys(parameter.path for run in runs for parameter in run.spec.parameters)
    searched = [(path, tuple(shown(of[path]) if path in of else MISSING for of in values)) for path in paths]
    known = [(name, tuple(row)) for name, row in facts.items() if set(row) != {MISSING}]
    return [*known, *searched]


def _winner_facts(run: ComparedRun) -> dict[str, str]:
    winner = winning_trial(run.history, run.confirmation)
    best = winner.best(run.history.mode) if winner else None
    default = next((trial for trial in run.history.trials if trial.is_default), None)
    of_default = default.best(run.history.mode) if default else None
    trained = run.progress[-1] if run.progress else None
    confirmed = run.confirmation
    return {
        "best value": shown(best.value) if best else MISSING,
        "trial": str(winner.number) if winner and best else MISSING,
        "iteration": str(best.iteration) if best else MISSING,
        "confirmed": _mean(confirmed.best) if confirmed else MISSING,
        "default": shown(of_default.value) if of_default else MISSING,
        "default (confirmed)": _mean(confirmed.default) if confirmed and confirmed.default else MISSING,
        "trials": f"{len(run.history.trials)} of {run.history.target_trials}",
        "iterations trained": f"{trained.iterations:,}" if trained else MISSING,
        "time of trials": duration(3600.0 * trained.hours) if trained else MISSING,
    }


def _mean(trial: ConfirmedTrial) -> str:
    return shown(trial.mean) if trial.std is None else f"{shown(trial.mean)} ± {trial.std:.2g}"


def _winner_values(run: ComparedRun) -> Mapping[str, Any]:
    winner = winning_trial(run.history, run.confirmation)
    return winner.values if winner else {}


def winners_parts(runs: Sequence[ComparedRun]) -> list[Part]:
    """Return a table with the winners side by side."""
    return [_table(runs, "", winners_rows(runs))]


def config_parts(runs: Sequence[ComparedRun]) -> list[Part]:
    """Return a table of all paths at which the winners' whole configs differ, except the searched ones."""
    known = [run for run in runs if run.history.best_trial() is not None]
    if len(known) < 2:
        return [Text("Fewer than two searches have a winner to compare.")]
    configs = []
    for run in known:
        winner = winning_trial(run.history, run.confirmation)
        assert winner is not None, "some trial can win"
        configs.append(run.spec.trial_config({} if winner.is_default else winner.values))
    searched = {parameter.path for run in known for parameter in run.spec.parameters}
    rows = [row for row in differences(configs) if row[0] not in searched]
    if not rows:
        return [Text("Apart from the searched values in the table above, the configs are equal.")]
    return [Text("Other differences, apart from the searched values in the table above:"), _table(known, "path", rows)]


def search_rows(runs: Sequence[ComparedRun]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the differences between the searches' spaces and settings."""
    settings = []
    for run in runs:
        spec = run.spec
        sections = {name: getattr(spec, name).model_dump(mode="json") for name in ("search", "scheduler", "resources")}
        settings.append({"space": spec.document["space"], **sections})
    return differences(settings)


def search_parts(runs: Sequence[ComparedRun]) -> list[Part]:
    """Return a table of the ranges and settings that differ."""
    rows = search_rows(runs)
    return (
        [_table(runs, "setting", rows)] if rows else [Text("Space, algorithm, scheduler and resources are the same.")]
    )


def _table(runs: Sequence[ComparedRun], first: str, rows: Sequence[tuple[str, tuple[str, ...]]]) -> Table:
    header = (first, *(run.label for run in runs))
    return Table(header, tuple((name, *values) for name, values in rows), text_columns=tuple(range(len(header))))
