"""Sources that a search starts from: evidence to learn from, and first points to try.

**Evidence** consists of the ended trials of an earlier run that would be the same trials in this search: the names of
the trainables, the objectives, the full budgets and the constraints on reports agree, and the complete config of the
trial is that of a point of this space. Algorithms learn from it as from ended trials of the search. Nothing else counts
it. Infeasible trials are evidence only if trials have the same resources in both searches.

All other sources give **first points**: trials under other conditions, tables of notes (which never hold a complete
config), and files with one config. Their scores only decide the order in which they are tried. Scores of two sources,
or of two datasets in one table, cannot be compared. With several sources of enough scores, the points are chosen so
that at least one of them is good for each (`portfolio.py`). Then comes the best point of each, then the second of
each. Values that a source does not give are those of the base config. A number outside its range is replaced by the
nearest one inside, because no algorithm can learn from a point outside. A point with an unknown choice is skipped.

The sources are read once, when a search starts, and are stored in the first line of its journal.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raysearch.algorithms.curve_model import observations
from raysearch.algorithms.unit_cube import active_values, from_unit
from raysearch.config.config_files import Beside, read_config_file
from raysearch.config.config_tree import ConfigTree
from raysearch.config.documents import Kind, check_kind
from raysearch.config.faults import FaultList
from raysearch.config.values import plain, show
from raysearch.errors import Fault, InputError
from raysearch.history.events import FirstPoint, Mode, Started
from raysearch.history.history import TrialHistory, read_history
from raysearch.history.journal import read_records
from raysearch.history.records import lines_of, lines_of_trials
from raysearch.history.run_dir import RunDir
from raysearch.search.notes_table import read_notes
from raysearch.search.portfolio import Scored, portfolio
from raysearch.space.parameters import nearest_value, range_of
from raysearch.space.parsing import load_space_of_run
from raysearch.space.spec import SearchSpec
from trainables.dotted_paths import ABSENT, leaves, lookup, with_values
from trainables.plurals import counted
from trainables.protocol import DialectFlags

_LEARNERS = ("auto", "tpe", "gp", "curve_gp", "cmaes", "nsga2")
"""Algorithms that learn from scores."""


@dataclass(frozen=True)
class Prior:
    """The evidence and first points for the first line of a journal."""

    evidence: tuple[Mapping[str, Any], ...]
    """Journal lines of ended trials, numbered from 0."""
    first_points: tuple[FirstPoint, ...]
    """Distinct points in the order in which they are tried."""
    notices: tuple[str, ...]


def read_prior(spec: SearchSpec) -> Prior:
    """Read all sources of `search.warm_start`.

    Raises:
        InputError: the sources have faults.
    """
    faults: list[Fault] = []
    sources: list[_Source] = []
    for name in dict.fromkeys(spec.search.warm_start):
        try:
            sources.append(_read(Path(name), spec))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    evidence: list[Mapping[str, Any]] = []
    num_trials = 0
    for source in sources:
        evidence += lines_of_trials(source.records, source.starts, first_number=num_trials)
        num_trials += len(source.starts)
    notices = [notice for source in sources for notice in (*source.notices, *_misfit_notices(source, spec))]
    first_points = _first_points(sources, spec, notices)
    notices += [point.origin for point in first_points]
    return Prior(tuple(evidence), tuple(first_points), tuple(notices))


@dataclass(frozen=True)
class _Point:
    """The point of the space nearest to given values."""

    values: dict[str, Any]
    """Active values of the point."""
    moved: dict[str, Any]
    """Given values that were moved into the space, by active path."""
    foreign: dict[str, Any]
    """Given values that the space has nothing similar to, by active path."""
    is_given: bool
    """True if at least one active value was given."""


@dataclass(frozen=True)
class _Candidate:
    """A candidate for a first point."""

    place: str
    point: _Point
    loss: float | None = None
    group: str = ""
    """Group within the source in which losses can be compared."""
    circumstances: str = ""
    """Description of the conditions under which its score was measured."""

    @property
    def origin(self) -> str:
        return f"first point: {self.place}" + (f" ({self.circumstances})" if self.circumstances else "")


@dataclass
class _Source:
    """The content of one path of `warm_start`."""

    name: str
    candidates: list[_Candidate] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    """Records of the journal of a run."""
    starts: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Line that starts a trial in this search, by the number of each earlier trial that is evidence."""


def _read(path: Path, spec: SearchSpec) -> _Source:
    if path.is_dir():
        return _read_run(path, spec)
    if not path.exists():
        raise InputError([Fault(f"search.warm_start: {path}", "there is no such file or folder", "check the path")])
    match path.suffix:
        case ".csv" | ".parquet":
            return _read_table(path, spec)
        case ".json" | ".yaml" | ".yml":
            return _read_config(path, spec)
    check_kind(path, f"search.warm_start: {path}", Kind.RUN)
    what = "is neither the folder of a run nor a file that ends in .csv, .parquet, .json or .yaml"
    raise InputError([Fault(f"search.warm_start: {path}", what, "name one")])


def _read_table(path: Path, spec: SearchSpec) -> _Source:
    table = read_notes(path, spec)
    source = _Source(path.name)
    if table.not_searched:
        source.notices.append(
            f"{path.name}: columns ignored, because they are not searched: {', '.join(table.not_searched)}"
        )
    for row in table.rows:
        said = [f"score {row.score:g}"] if row.score is not None else []
        said += [f"{row.iterations} iteration{'' if row.iterations == '1' else 's'}"] if row.iterations else []
        said += [f"dataset {row.dataset}"] if row.dataset else []
        loss = None if row.score is None else _sign(spec.objectives[0].mode) * row.score
        point = _nearest_point(row.values, spec)
        place = f"{path.name} row {row.number}"
        source.candidates.append(_Candidate(place, point, loss, row.dataset, ", ".join(said)))
    return source


def _read_config(path: Path, spec: SearchSpec) -> _Source:
    faults = FaultList(str(path))
    tree = ConfigTree(spec.trainable.config_model)
    file = read_config_file(path, str(path), tree, Beside((), DialectFlags(), path.parent))
    faults.extend(file.faults)
    config = tree.prepare(plain(file.values, (), faults), path.parent, (), faults)
    faults.raise_any(file.values)
    name = f"{path.parent.name}/{path.name}"
    return _Source(name, [_Candidate(name, _nearest_point(_searched_values(config, spec), spec))])


def _read_run(path: Path, spec: SearchSpec) -> _Source:
    run_dir = RunDir.open(path)
    source = _Source(path.name, records=list(read_records(run_dir.journal)))
    history = read_history(run_dir.journal)
    earlier: SearchSpec | None = None
    try:
        earlier = load_space_of_run(run_dir.space)
        differences = _differences(earlier, spec)
    except InputError as error:
        differences = [f"its space file no longer loads ({error.faults[0]})"]

    expected = {o.trial.number: o.loss for o in observations(history.trials, history)}
    evidence: list[TrialHistory] = []
    unlike: dict[str, None] = {}
    for trial in history.trials:
        config = {} if earlier is None else with_values(earlier.config, {} if trial.is_default else trial.values)
        point = _nearest_point(trial.values if earlier is None else _searched_values(config, spec), spec)
        if trial.status == "infeasible" and earlier is not None and _room(earlier) != _room(spec):
            continue
        if not differences and trial.status not in ("running", "failed"):
            elsewhere = _differing_paths(config, with_values(spec.config, point.values))
            if not elsewhere and spec.allows(point.values):
                source.starts[trial.number] = _start_line(point, spec)
                evidence.append(trial)
                continue
            unlike |= dict.fromkeys(elsewhere)
        best = trial.best(history.mode)
        if best is not None and trial.status not in ("failed", "infeasible"):
            loss = expected.get(trial.number, _sign(history.mode) * best.value)
            circumstances = f"score {best.value:.4g}"
            place = f"{path.name} trial {trial.number}"
            source.candidates.append(_Candidate(place, point, loss, circumstances=circumstances))
    if evidence:
        source.notices.append(_evidence_notice(path.name, evidence, spec))
    if source.candidates:
        why = "; ".join(differences) or (
            f"configs differ in {', '.join(unlike)}" if unlike else "they have not ended or are not allowed"
        )
        trials = counted(len(source.candidates), "trial")
        source.notices.append(
            f"{path.name}: {trials} may be tried first, but the search does not learn from them: {why}"
        )
    return source


def _differences(earlier: SearchSpec, spec: SearchSpec) -> list[str]:
    """Return the differences that make all scores of an earlier search incomparable."""
    compared = (
        ("the trainable", earlier.trainable.name, spec.trainable.name),
        ("the objective", _objectives(earlier), _objectives(spec)),
        ("the full budget", earlier.max_iters, spec.max_iters),
        ("the constraints on reports", _constraints(earlier), _constraints(spec)),
    )
    return [f"{name} is {there} there and {here} here" for name, there, here in compared if there != here]


def _room(spec: SearchSpec) -> tuple[float | None, ...]:
    """Return the resources of one trial; a trial that ran out of memory may fit with other ones."""
    return spec.resources.cpu, spec.resources.gpu, spec.resources.memory_gb


def _objectives(spec: SearchSpec) -> str:
    return ", ".join(f"{objective.mode} {objective.metric}" for objective in spec.objectives)


def _constraints(spec: SearchSpec) -> str:
    return ", ".join(constraint.text for constraint in spec.constraints if constraint.is_on_reports) or "nothing"


def _differing_paths(config: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    one, two = dict(leaves(config)), dict(leaves(other))
    return [path for path in {**one, **two} if one.get(path, ABSENT) != two.get(path, ABSENT)]


def _start_line(point: _Point, spec: SearchSpec) -> dict[str, Any]:
    distributions = {p.path: p.distribution for p in spec.parameters if p.path in point.values}
    (line,) = lines_of(Started(point.values, distributions, point.values, is_default=False))
    return line


def _evidence_notice(name: str, trials: Sequence[TrialHistory], spec: SearchSpec) -> str:
    mode, metric, algorithm = spec.objectives[0].mode, spec.objectives[0].metric, spec.search.algorithm
    same = f"{name}: {counted(len(trials), 'trial')} under the same conditions"
    if algorithm not in _LEARNERS:
        return f"{same}; {algorithm} does not learn from scores"
    values = [best.value for trial in trials if trial.status != "infeasible" and (best := trial.best(mode))]
    best_value = f" (best {metric} {(min if mode == 'min' else max)(values):.4g})" if values else ""
    return f"{same}{best_value}; {algorithm} learns from them, but they do not count as trials of this search"


def _nearest_point(given: Mapping[str, Any], spec: SearchSpec) -> _Point:
    """Return the nearest point of the space; other values are the config's own, else the middle of the range."""
    own = spec.default_values()
    full: dict[str, Any] = {}
    moved: dict[str, Any] = {}
    foreign: dict[str, Any] = {}
    for path, distribution in ((parameter.path, parameter.distribution) for parameter in spec.parameters):
        value = ABSENT
        if path in given:
            value = nearest_value(distribution, given[path])
            if value is ABSENT:
                foreign[path] = given[path]
            elif value != given[path]:
                moved[path] = given[path]
        if value is ABSENT and path in own:
            value = nearest_value(distribution, own[path])
        full[path] = from_unit(distribution, 0.5) if value is ABSENT else value
    values = active_values(spec, full)
    return _Point(
        values=values,
        moved={path: value for path, value in moved.items() if path in values},
        foreign={path: value for path, value in foreign.items() if path in values},
        is_given=not values.keys().isdisjoint(given),
    )


def _searched_values(config: Mapping[str, Any], spec: SearchSpec) -> dict[str, Any]:
    found = {parameter.path: lookup(config, parameter.path) for parameter in spec.parameters}
    return {path: value for path, value in found.items() if value is not ABSENT}


def _misfit_notices(source: _Source, spec: SearchSpec) -> Iterator[str]:
    """Yield notices about given values that are outside the space, one line per path."""
    for parameter in spec.parameters:
        path, within = parameter.path, range_of(parameter.distribution)
        moved = [(c.place, c.point.moved[path]) for c in source.candidates if path in c.point.moved]
        foreign = [(c.place, c.point.foreign[path]) for c in source.candidates if path in c.point.foreign]
        for misfits, what in ((moved, "moved to the nearest value"), (foreign, "the point is skipped")):
            if misfits:
                place, value = misfits[0]
                more = f"; so in {len(misfits) - 1} more" if len(misfits) > 1 else ""
                yield f"{place}: {path} = {show(value)} is not searched ({within}): {what}{more}"


def _first_points(sources: Sequence[_Source], spec: SearchSpec, notices: list[str]) -> list[FirstPoint]:
    """Return the best candidates that differ from each other and from the default trial, `first_points` at most."""
    default = spec.default_values()
    tried = [{p.path: default[p.path] for p in spec.parameters if p.path in default and p.active({}, spec.config)}]
    found: list[FirstPoint] = []
    for candidate in _in_order(sources, spec):
        if len(found) == spec.search.first_points:
            break
        point = candidate.point
        if point.foreign or not point.is_given or point.values in tried:
            continue
        if not spec.allows(point.values):
            notices.append(f"{candidate.place}: skipped, because it breaks a constraint")
            continue
        try:
            spec.trial_config(point.values)
        except InputError as error:
            notices.append(f"{candidate.place}: skipped: {error.faults[0]}")
            continue
        tried.append(point.values)
        found.append(FirstPoint(point.values, candidate.origin))
    return found


def _in_order(sources: Sequence[_Source], spec: SearchSpec) -> Iterator[_Candidate]:
    """Yield the portfolio of all groups, then the best of every group, the second of each, and so on.

    Candidates without a score come last.
    """
    groups: dict[tuple[int, str], list[_Candidate]] = {}
    for index, source in enumerate(sources):
        for candidate in source.candidates:
            groups.setdefault((index, candidate.group), []).append(candidate)
    scored = [[c for c in group if c.loss is not None and not c.point.foreign] for group in groups.values()]
    losses = [[Scored(c.point.values, c.loss) for c in group if c.loss is not None] for group in scored]
    for number, place in portfolio(losses, spec, spec.search.first_points):
        yield scored[number][place]
    ranked = [sorted(group, key=lambda c: math.inf if c.loss is None else c.loss) for group in groups.values()]
    yield from (candidate for turn in itertools.zip_longest(*ranked) for candidate in turn if candidate is not None)


def _sign(mode: Mode) -> float:
    return 1.0 if mode == "min" else -1.0
