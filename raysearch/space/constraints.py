"""Constraints as text: `contrast.max_views <= contrast.max_samples`, `iou.bicyclist >= 0.15`.

A side is a number, a name, or a number times a name; a name is a dotted path of the trial config or something that the
trainable reports. What compares values of the config alone is known before a trial starts; what compares a reported
number too is known of every report.
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
    """One side of a comparison: a factor, times what a name stands for where there is one."""

    factor: float
    path: str | None = None
    """Of a value of the trial config."""
    metric: str | None = None
    """Of a reported number, or list of numbers."""
    entry: int | None = None
    """Which number of the list."""

    @property
    def name(self) -> str | None:
        """The config path or the metric."""
        return self.path or self.metric


@dataclass(frozen=True)
class Constraint:
    """That one side is at most, or less than, another."""

    text: str
    """As it was written."""
    smaller: Side
    larger: Side
    is_strict: bool

    @property
    def is_on_reports(self) -> bool:
        """Whether a report decides it, and not the config alone."""
        return self.smaller.metric is not None or self.larger.metric is not None

    def violation(self, value_of: Callable[[str], Any], reported: Mapping[str, Any] | None = None) -> float:
        """By how much the smaller side is too large; at most 0 where the constraint holds.

        Where a value of the config is null the constraint says nothing and holds; where something is not reported, or
        is no number, it does not.

        Args:
            value_of: The trial's value of a dotted path.
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
    """The number a name stands for: None for null in the config, NaN for what a report lacks."""
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
    """The constraints under `constraints:`; those with a fault are left out.

    Args:
        given: What stands there.
        tree: The paths of the trial config.
        base: The nested base config.
        parameters: What is searched.
        metrics: The names of all numbers that are reported, where the trainable declares them.
        entries: Name of every list that is reported -> the name of each of its numbers, where the config knows them.
        faults: Takes what is wrong.
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
    """What the name of a side can stand for."""

    tree: ConfigTree
    base: Mapping[str, Any]
    parameters: Sequence[Parameter]
    metrics: frozenset[str] | None
    entries: Mapping[str, Sequence[str]]

    def side(self, factor: float, name: str) -> Side | tuple[str, str]:
        """The side with a name; or what is wrong with the name, and the fix."""
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
        return f"{name} is neither in the trial config nor reported", fix

    def values_of(self, path: str) -> list[Any]:
        """The ends of the range of a path's values, or all of them."""
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
        return [*values, fixed] if parameter.when else values  # where it is inactive, the config's own value holds

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
        faults.add(place, f"{text}: {count or 'no'} comparison{'s' if count else ''}, and it must be one", _FORM)
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
        faults.add(place, f"{text}: compares two numbers", "name a value of the trial config, or what is reported")
        return None
    smaller, larger = (left, right) if parts[1].startswith("<") else (right, left)
    return Constraint(text.strip(), smaller, larger, is_strict=not parts[1].endswith("="))


def _check_values(constraint: Constraint, names: _Names, faults: FaultList) -> None:
    """Whatever a path can be must be a number, or null."""
    for side in (constraint.smaller, constraint.larger):
        for value in [] if side.path is None else names.values_of(side.path):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                what = f"{constraint.text}: {side.path} can be {show(value)}, which is {kind_of(value)}"
                faults.add(("constraints",), what, "compare numbers")
                break


def _check_possible(constraint: Constraint, names: _Names, faults: FaultList) -> None:
    """The config as it stands must hold it where a trial is made of that, and some value of the space must."""
    if constraint.is_on_reports:
        return
    place = ("constraints",)
    smaller, larger = (_ends(side, names) for side in (constraint.smaller, constraint.larger))
    if smaller is not None and larger is not None:
        least, most = smaller[0], larger[1]
        if least > most or (least == most and constraint.is_strict):
            what = (
                f"{constraint.text}: never holds, the smaller side is at least {least:g}, the larger at most {most:g}"
            )
            faults.add(place, what, "change it, or the ranges in space")
            return
    sides = (constraint.smaller, constraint.larger)
    if names.tree.model is not None and constraint.violation(lambda path: lookup(names.base, path)) > 0.0:
        values = ", ".join(f"{side.path} = {show(lookup(names.base, side.path))}" for side in sides if side.path)
        what = f"{constraint.text}: the config as it stands, which is the first trial, does not hold it ({values})"
        faults.add(place, what, "change these values in config, or the constraint")


def _ends(side: Side, names: _Names) -> tuple[float, float] | None:
    """The least and the largest that a side can be; None where it can be null."""
    if side.path is None:
        return side.factor, side.factor
    values = names.values_of(side.path)
    if any(value is None for value in values):
        return None
    ends = [side.factor * float(value) for value in values]
    return min(ends), max(ends)
