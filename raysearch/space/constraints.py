"""Constraints as text: `contrast.max_views <= contrast.max_samples`, `iou.bicyclist >= 0.15`.

Each side is a number, a name, or a number times a name. A name is a dotted path of the trial config or a metric that
the trainable reports. A constraint on config values alone is checked before a trial starts. A constraint on metrics is
checked at every report.
"""

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from raysearch.config.config_tree import ConfigTree
from raysearch.config.faults import FaultList
from raysearch.config.strict_yaml import kind_of
from raysearch.config.values import show
from raysearch.history.events import UNKNOWN_VIOLATION
from raysearch.history.metric_names import PEAK_MEMORY, entry_of, names_of_entries
from raysearch.space.parameters import Parameter
from trainables.dotted_paths import ABSENT, lookup
from trainables.spelling import nearest

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_SIDE = re.compile(rf"(?:(?P<factor>{_NUMBER})\s*\*\s*)?(?P<name>[A-Za-z_][^<>=*]*)|(?P<number>{_NUMBER})")
_OPERATOR = re.compile(r"(<=|>=|<|>)")
_FORM = "write it as `path <= number * path`, with one of <=, <, >=, >"


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a factor, multiplied by the value of a name if there is one."""

    factor: float
    path: str | None = None
    """Dotted path of a value of the trial config."""
    metric: str | None = None
    """Name of a reported number or list of numbers."""
    entry: int | None = None
    """Index of the number in the reported list."""

    @property
    def name(self) -> str | None:
        """Config path or metric of the side."""
        return self.path or self.metric


@dataclass(frozen=True)
class Constraint:
    """The condition that one side is at most, or less than, the other."""

    text: str
    """The constraint as it was written."""
    smaller: Side
    larger: Side
    is_strict: bool

    @property
    def is_on_reports(self) -> bool:
        """True if the constraint depends on a reported metric."""
        return self.smaller.metric is not None or self.larger.metric is not None

    def violation(self, value_of: Callable[[str], Any], reported: Mapping[str, Any] | None = None) -> float:
        """Return the amount by which the smaller side is too large; at most 0 if the constraint is satisfied.

        A constraint is satisfied if a config value in it is null. It is violated if a metric in it is not reported or
        is not a number.

        Args:
            value_of: Function that returns the trial's value at a dotted path.
            reported: The metrics of a report.
        """
        sides = []
        for side in (self.smaller, self.larger):
            value = 1.0 if side.name is None else _value(side, value_of, reported or {})
            if value is None:
                return 0.0
            sides.append(side.factor * value)
        difference = sides[0] - sides[1]
        if not math.isfinite(difference):
            return UNKNOWN_VIOLATION
        return sys.float_info.min if difference == 0.0 and self.is_strict else difference


def _value(side: Side, value_of: Callable[[str], Any], reported: Mapping[str, Any]) -> float | None:
    """Return the number that a name stands for: None for null in the config, NaN for a metric that is not reported."""
    if side.path is not None:
        value = value_of(side.path)
        return None if value is None or value is ABSENT else float(value)
    assert side.metric is not None
    value = reported.get(side.metric)
    if side.entry is not None:
        value = value[side.entry] if isinstance(value, list) and side.entry < len(value) else None
    return float(value) if isinstance(value, int | float) else math.nan


def read_constraints(
    given: Any,
    tree: ConfigTree,
    base: Mapping[str, Any],
    parameters: Sequence[Parameter],
    metrics: frozenset[str] | None,
    entries: Mapping[str, Sequence[str]],
    faults: FaultList,
) -> tuple[Constraint, ...]:
    """Return the constraints under `constraints:`; faulty ones are left out.

    Args:
        given: The value of `constraints:`.
        tree: The paths of the trial config.
        base: The nested base config.
        parameters: The searched parameters.
        metrics: Names of all reported metrics, if the trainable declares them.
        entries: Names of the entries of every reported list, by the list's name, if the config knows them.
        faults: List to which faults are added.
    """
    if given is None:
        return ()
    if not isinstance(given, list):
        faults.add(("constraints",), f"is {kind_of(given)}", "it must be a list of text")
        return ()
    names = _Names(tree, base, parameters, metrics, entries)
    constraints = []
    for text in given:
        num_faults = len(faults)
        constraint = _parse(text, names, faults)
        if constraint is not None:
            _check_values(constraint, names, faults)
        if constraint is not None and len(faults) == num_faults:
            _check_possible(constraint, names, faults)
            constraints.append(constraint)
    return tuple(constraints)


@dataclass(frozen=True)
class _Names:
    """The names that a side of a constraint may use."""

    tree: ConfigTree
    base: Mapping[str, Any]
    parameters: Sequence[Parameter]
    metrics: frozenset[str] | None
    entries: Mapping[str, Sequence[str]]

    def side(self, factor: float, name: str) -> Side | tuple[str, str]:
        """Return the side with a name, or what is wrong with the name and the fix."""
        list_name, _, rest = name.partition(".")
        if self._is_path(name):
            return Side(factor, path=self.tree.resolve(name).path)
        entry = entry_of(name, self.metrics, self.entries)
        if entry is not None:
            return Side(factor, metric=entry.metric, entry=entry.place)
        if list_name in self.entries:
            return f"the trainable reports no {name}", nearest(
                name, names_of_entries({list_name: self.entries[list_name]})
            )
        if name == PEAK_MEMORY or (self.metrics is not None and name in self.metrics):
            return Side(factor, metric=name)
        if self.metrics is None and not rest:
            return Side(factor, metric=name)
        reported = [*(self.metrics or ()), PEAK_MEMORY, *names_of_entries(self.entries)]
        paths = self.tree.paths or tuple(parameter.path for parameter in self.parameters)
        fix = nearest(name, [*paths, *sorted(reported)])
        return f"{name} is neither a value of the trial config nor a reported metric", fix

    def values_of(self, path: str) -> list[Any]:
        """Return the ends of the range of a path's values, or all of its values."""
        parameter = next((p for p in self.parameters if p.path == path), None)
        fixed = lookup(self.base, path, None)
        match None if parameter is None else parameter.distribution:
            case CategoricalDistribution(choices=choices):
                values = list(choices)
            case FloatDistribution(low=low, high=high) | IntDistribution(low=low, high=high):
                values = [low, high]
            case _:
                return [fixed]
        assert parameter is not None
        return [*values, fixed] if parameter.when else values  # an inactive parameter keeps the config's value

    def _is_path(self, name: str) -> bool:
        if self.tree.model is not None:
            return self.tree.resolve(name).kind == "value"
        return lookup(self.base, name) is not ABSENT or any(p.path == name for p in self.parameters)


def _parse(text: Any, names: _Names, faults: FaultList) -> Constraint | None:
    place = ("constraints",)
    if not isinstance(text, str):
        faults.add(place, f"{show(text)} is {kind_of(text)}, not text", _FORM)
        return None
    parts = [part.strip() for part in _OPERATOR.split(text)]
    if len(parts) != 3:
        count = len(parts) // 2
        faults.add(place, f"{text}: {count or 'no'} comparison{'s' if count else ''}; exactly one is allowed", _FORM)
        return None
    sides = []
    for part in (parts[0], parts[2]):
        found = _SIDE.fullmatch(part)
        if found is None:
            faults.add(place, f"{text}: {show(part)} is neither a number, a name, nor a number times a name", _FORM)
            continue
        if found["number"] is not None:
            sides.append(Side(float(found["number"])))
            continue
        side = names.side(float(found["factor"] or 1.0), found["name"].strip())
        if isinstance(side, Side):
            sides.append(side)
        else:
            faults.add(place, f"{text}: {side[0]}", side[1])
    if len(sides) < 2:
        return None
    left, right = sides
    if left.name is None and right.name is None:
        faults.add(place, f"{text}: compares two fixed numbers", "use a value of the trial config or a reported metric")
        return None
    smaller, larger = (left, right) if parts[1].startswith("<") else (right, left)
    return Constraint(text.strip(), smaller, larger, is_strict=not parts[1].endswith("="))


def _check_values(constraint: Constraint, names: _Names, faults: FaultList) -> None:
    """Record a fault if a path can have a value that is neither a number nor null."""
    for side in (constraint.smaller, constraint.larger):
        for value in [] if side.path is None else names.values_of(side.path):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                what = f"{constraint.text}: {side.path} can be {show(value)}, which is {kind_of(value)}"
                faults.add(("constraints",), what, "compare numbers")
                break


def _check_possible(constraint: Constraint, names: _Names, faults: FaultList) -> None:
    """Record a fault if a constraint never holds, or if the base config violates it."""
    if constraint.is_on_reports:
        return
    place = ("constraints",)
    smaller, larger = (_ends(side, names) for side in (constraint.smaller, constraint.larger))
    if smaller is not None and larger is not None:
        least, most = smaller[0], larger[1]
        if least > most or (least == most and constraint.is_strict):
            limits = f"the smaller side is at least {least:g}, the larger at most {most:g}"
            what = f"{constraint.text}: can never hold: {limits}"
            faults.add(place, what, "change it, or the ranges in space")
            return
    sides = (constraint.smaller, constraint.larger)
    if names.tree.model is not None and constraint.violation(lambda path: lookup(names.base, path)) > 0.0:
        values = ", ".join(f"{side.path} = {show(lookup(names.base, side.path))}" for side in sides if side.path)
        what = f"{constraint.text}: the default config, which is the first trial, breaks it ({values})"
        faults.add(place, what, "change these values in config, or the constraint")


def _ends(side: Side, names: _Names) -> tuple[float, float] | None:
    """Return the smallest and the largest value of a side; None if it can be null."""
    if side.path is None:
        return side.factor, side.factor
    values = names.values_of(side.path)
    if any(value is None for value in values):
        return None
    ends = [side.factor * float(value) for value in values]
    return min(ends), max(ends)
