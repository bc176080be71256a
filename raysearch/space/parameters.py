"""Searched values: one parameter per path, with a range in Optuna's words and the conditions under which it matters."""

import math
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from raysearch.config.choices import categorical, label
from raysearch.config.config_tree import ConfigTree
from raysearch.config.faults import FaultList, Place
from raysearch.config.sections import Float, Int, Section, read_section
from raysearch.config.strict_yaml import kind_of, missing_quotes
from raysearch.config.values import show
from trainables.dotted_paths import ABSENT, lookup
from trainables.spelling import nearest


@dataclass(frozen=True)
class Parameter:
    """One searched value of the trial config."""

    path: str
    distribution: BaseDistribution
    when: Mapping[str, Any]
    """Values that other paths must have for this parameter to be active; a value or a list of values by dotted path."""

    def active(self, values: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
        """Return True if the parameter's conditions hold.

        Args:
            values: Searched values by dotted path.
            base: Nested base config for all other paths.
        """
        for path, allowed in self.when.items():
            value = values[path] if path in values else lookup(base, path)
            if not _holds(value, allowed):
                return False
        return True


class _FloatWords(Section):
    """A number between two limits."""

    low: Float
    """Smallest value, included."""
    high: Float
    """Largest value, included."""
    log: bool = False
    """Search the logarithm of the value, which suits rates and factors; needs `low` above 0."""
    step: Float | None = None
    """Distance of the values from each other, starting at `low`; absent: any value."""


class _IntWords(Section):
    """A whole number between two limits."""

    low: Int
    """Smallest value, included."""
    high: Int
    """Largest value, included."""
    log: bool = False
    """Search the logarithm of the value, which suits sizes and counts; needs `low` of at least 1."""
    step: Int = 1
    """Distance of the values from each other, starting at `low`."""


class _CategoricalWords(Section):
    """One value of an unordered list."""

    choices: list[Any]
    """Text, numbers, true, false, null, or lists of these."""


WORDS: dict[str, type[_FloatWords | _IntWords | _CategoricalWords]] = {
    "float": _FloatWords,
    "int": _IntWords,
    "categorical": _CategoricalWords,
}
"""Models of the words of a range, such as `low` and `high` in `{type: float, low: 1e-3, high: 0.1}`, by its type."""


_FLOAT, _INT = "{type: float, low: …, high: …}", "{type: int, low: …, high: …}"
_LOG_FLOAT = "{type: float, low: …, high: …, log: true}"
_WORDS_ELSEWHERE = {
    "uniform": _FLOAT,
    **dict.fromkeys(("loguniform", "log_uniform", "log_uniform_values"), _LOG_FLOAT),
    **dict.fromkeys(("quniform", "q_uniform", "discrete_uniform"), "{type: float, low: …, high: …, step: …}"),
    **dict.fromkeys(("randint", "int_uniform", "integer"), _INT),
    "lograndint": "{type: int, low: …, high: …, log: true}",
    **dict.fromkeys(("choice", "grid_search"), "{type: categorical, choices: […]}"),
}
"""The words of a space file for each kind of range in Ray Tune, W&B and Optuna."""


def read_parameters(searched: dict[str, Any], tree: ConfigTree, faults: FaultList) -> list[Parameter]:
    """Return the parameters under `space:`; faulty ones are left out."""
    if not searched:
        faults.add(("space",), "is missing or empty, so nothing would be searched", "give at least one path")
    parameters = []
    for path, words in searched.items():
        wrong = tree.misnamed(path)
        if wrong:
            faults.add(("space", path), *wrong)
        distribution = _distribution(path, words, faults)
        if distribution is not None and not wrong:
            parameters.append(Parameter(path, distribution, words.get("when") or {}))
    return parameters


def conditions_hold(
    parameters: Sequence[Parameter],
    searched: Mapping[str, Any],
    tree: ConfigTree,
    base: Mapping[str, Any],
    faults: FaultList,
) -> bool:
    """Check every `when`: its paths exist, its values can occur, and no parameter depends on itself."""
    num_faults = len(faults)
    by_path = {parameter.path: parameter for parameter in parameters}
    for parameter in parameters:
        place = ("space", parameter.path)
        for gate, allowed in parameter.when.items():
            fixed = lookup(base, gate)
            wrong = tree.misnamed(gate)
            if wrong:
                faults.add(place, f"when: {wrong[0]}", wrong[1])
            elif gate in by_path:
                for value in _options(by_path[gate], allowed, fixed):
                    if not _can_take(by_path[gate], value, fixed):
                        distribution = by_path[gate].distribution
                        texts = distribution.choices if isinstance(distribution, CategoricalDistribution) else ()
                        fix = missing_quotes(value, texts) or f"it is searched over {range_of(distribution)}"
                        faults.add(place, f"when: {gate} is never {show(value)}", fix)
            elif gate in searched:
                continue  # the gate's own fault is already recorded
            elif fixed is ABSENT:
                faults.add(place, f"when: the config has no {gate}", nearest(gate, searched))
            elif not _holds(fixed, allowed):
                hints = (missing_quotes(value, [fixed]) for value in _as_list(allowed))
                fix = next(filter(None, hints), f"it is {show(fixed)} in the config, and it is not searched")
                faults.add(place, f"when: {gate} is never {show(allowed)}", fix)
    try:
        gates_first(parameters)
    except CycleError as error:
        cycle = error.args[1]
        faults.add(("space", cycle[-1]), f"when: depends on itself ({' -> '.join(cycle)})", "remove one condition")
    return len(faults) == num_faults


def gates_first(parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Return the parameters in an order in which each follows the parameters that its conditions name."""
    by_path = {parameter.path: parameter for parameter in parameters}
    gates = {path: [gate for gate in parameter.when if gate in by_path] for path, parameter in by_path.items()}
    return tuple(by_path[path] for path in TopologicalSorter(gates).static_order())


def with_gates_open(
    state: Mapping[str, Any], parameter: Parameter, value: Any, parameters: Sequence[Parameter], base: dict[str, Any]
) -> dict[str, Any]:
    """Return a state with one more value, with its gates opened and without the values that become inactive."""
    by_path = {other.path: other for other in parameters}
    values = {**state, parameter.path: value}
    waiting = [parameter]
    while waiting:
        for gate, allowed in waiting.pop().when.items():
            if gate not in by_path:
                continue
            current = values.get(gate, lookup(base, gate))
            if not _holds(current, allowed):
                fixed = lookup(base, gate)
                options = _options(by_path[gate], allowed, fixed)
                values[gate] = next(v for v in options if _can_take(by_path[gate], v, fixed))
            if gate in values:
                waiting.append(by_path[gate])
    kept: dict[str, Any] = {}
    for other in parameters:  # gates come first, so their values are known
        if other.path in values and other.active(kept, base):
            kept[other.path] = values[other.path]
    return kept


def probes(distribution: BaseDistribution) -> Iterator[tuple[str, Any]]:
    """Yield the ends of a range (of whole numbers also the middle) or every choice, each described and as a value."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            for choice in choices:
                yield f"the choice {show(choice)}", choice
        case IntDistribution(low=low, high=high, step=step):
            middle = low + step * ((high - low) // step // 2)
            yield from ((f"low = {low}", low), (f"high = {high}", high), (f"{middle} (between low and high)", middle))
        case FloatDistribution(low=low, high=high):
            yield from ((f"low = {low}", low), (f"high = {high}", high))
        case _:
            raise AssertionError(distribution)


def combinations(
    parameters: Sequence[Parameter], paths: Collection[str], base: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the combinations of the searched values of some paths and of their gates, without inactive values.

    Of a range of whole numbers, only the first few and the last are combined, because faults show at small numbers.

    Args:
        parameters: All parameters of the space, gates first.
        paths: Dotted paths whose values are combined.
        base: The nested base config.
    """
    wanted = set(paths)
    for parameter in reversed(parameters):
        if parameter.path in wanted:
            wanted |= set(parameter.when)
    chosen = [parameter for parameter in parameters if parameter.path in wanted]
    if not any(parameter.path in paths for parameter in chosen):
        return
    states = [dict[str, Any]()]
    for parameter in chosen:
        values = _combined_values(parameter.distribution)
        states = [
            added
            for state in states
            for added in (
                [{**state, parameter.path: value} for value in values] if parameter.active(state, base) else [state]
            )
        ]
        states = states[:_MAX_COMBINATIONS]
    yield from states


_MAX_COMBINATIONS = 4096
"""Number of combinations up to which a space is checked; beyond it, a trial itself reports what is wrong."""
_FIRST_COMBINED = 8
"""Number of whole numbers of a range that are combined, besides the last."""


def _combined_values(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, IntDistribution):
        few = range(distribution.low, distribution.high + 1, distribution.step)
        return list(dict.fromkeys([*few[:_FIRST_COMBINED], few[-1]]))
    return [value for _, value in probes(distribution)]


def nearest_value(distribution: BaseDistribution, value: Any) -> Any:
    """Return the value of a distribution that is nearest to `value`; a choice must equal it, else ABSENT."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return next((choice for choice in choices if _same(choice, value)), ABSENT)
        case FloatDistribution(low=low, high=high, step=step) | IntDistribution(low=low, high=high, step=step):
            if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
                return ABSENT
            within = min(max(value, low), high)
            if step is not None:
                within = min(low + step * round((within - low) / step), high)
            return float(within) if isinstance(distribution, FloatDistribution) else within
        case _:
            raise AssertionError(distribution)


def range_of(distribution: BaseDistribution) -> str:
    """Return the choices or the limits as text."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return ", ".join(show(choice) for choice in choices)
        case FloatDistribution(low=low, high=high) | IntDistribution(low=low, high=high):
            return f"{low} to {high}"
        case _:
            raise AssertionError(distribution)


def _distribution(path: str, words: Any, faults: FaultList) -> BaseDistribution | None:
    place = ("space", path)
    if not isinstance(words, dict):
        faults.add(place, f"{show(words)} is {kind_of(words)}", "it must be a mapping: {type: float, low: …, high: …}")
        return None
    kind = words.get("type")
    if not isinstance(kind, str) or kind not in WORDS:
        what = "type is missing" if kind is None else f"type = {show(kind)} is not known"
        here = _WORDS_ELSEWHERE.get(str(words.get("distribution") if kind is None else kind))
        faults.add(place, what, f"write {here}" if here is not None else nearest(str(kind), WORDS))
        return None
    if not isinstance(words.get("when") or {}, dict):
        faults.add(place, f"when = {show(words['when'])}", "it must be a mapping of a path to the value it must have")
        return None
    own = {key: value for key, value in words.items() if key not in ("type", "when")}
    match read_section(own, place, WORDS[kind], faults):
        case _FloatWords(low=low, high=high, log=log, step=step) as floats:
            if _limits_fit(place, floats, faults):
                return FloatDistribution(low, high, log=log, step=step)
        case _IntWords(low=low, high=high, log=log, step=step) as ints:
            if _limits_fit(place, ints, faults):
                return IntDistribution(low, high, log=log, step=step)
        case _CategoricalWords(choices=choices):
            if _choices_fit(place, choices, faults):
                return categorical(choices)
    return None


def _limits_fit(place: Place, words: _FloatWords | _IntWords, faults: FaultList) -> bool:
    num_faults = len(faults)
    if words.low > words.high:
        faults.add(place, f"low = {words.low} is above high = {words.high}", "swap them")
    if words.log and isinstance(words, _FloatWords) and words.low <= 0:
        fix = "a log scale needs low > 0, for example 1e-5"
        faults.add(place, f"low = {words.low} with log: true", fix)
    if words.log and isinstance(words, _IntWords) and words.low < 1:
        faults.add(place, f"low = {words.low} with log: true", "a log scale over whole numbers needs low >= 1")
    if words.log and words.step not in (None, 1 if isinstance(words, _IntWords) else None):
        faults.add(place, f"step = {words.step} with log: true", "a log scale has no even steps; remove one of the two")
    if words.step is not None and words.step <= 0:
        faults.add(place, f"step = {words.step}", "a step must be greater than 0")
    return len(faults) == num_faults


def _choices_fit(place: Place, choices: list[Any], faults: FaultList) -> bool:
    if not choices:
        faults.add(place, "choices is empty", "give at least one choice")
    compound = [choice for choice in choices if _holds_mapping(choice)]
    for choice in compound:
        kind = kind_of(choice) if isinstance(choice, dict) else "a list with a mapping"
        faults.add(
            place,
            f"the choice {show(choice)} is {kind}",
            "a choice is text, a number, true, false, null, or a list of these",
        )
    texts = [choice for choice in choices if isinstance(choice, str)]
    for choice in choices:
        if isinstance(choice, list) and label(choice) in texts:
            faults.add(place, f"the choice {show(choice)} is also given as text", "keep one")
    for index, choice in enumerate(choices):
        for earlier in choices[:index]:
            if earlier == choice:
                faults.add(place, *_equal_choices(earlier, choice))
                break
    return bool(choices) and not compound


def _equal_choices(earlier: Any, choice: Any) -> tuple[str, str]:
    """Return what is wrong with two equal choices, and the fix; for Python and Optuna, truth values equal 0 and 1."""
    if show(earlier) == show(choice):
        return f"the choice {show(choice)} is given twice", "keep one"
    what = f"the choices {show(earlier)} and {show(choice)} count as the same value, so no search can tell them apart"
    return what, "keep one of the two"


def _can_take(gate: Parameter, value: Any, fixed: Any) -> bool:
    match gate.distribution:
        case CategoricalDistribution(choices=choices):
            taken = any(_same(choice, value) for choice in choices)
        case FloatDistribution(low=low, high=high, step=step) | IntDistribution(low=low, high=high, step=step):
            taken = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
            if taken and step is not None:
                steps = (value - low) / step
                taken = abs(steps - round(steps)) < 1e-8
        case _:
            raise AssertionError(gate.distribution)
    return taken or (bool(gate.when) and _same(fixed, value))  # an inactive gate keeps the value of the base config


def _holds_mapping(choice: Any) -> bool:
    return isinstance(choice, dict) or (isinstance(choice, list) and any(map(_holds_mapping, choice)))


def _holds(value: Any, allowed: Any) -> bool:
    """Return True if a value is the one that a condition names, or is in the list that it names."""
    return _same(value, allowed) or any(_same(value, other) for other in _as_list(allowed))


def _options(gate: Parameter, allowed: Any, fixed: Any) -> list[Any]:
    """Return the values that a condition names; if the gate's choices are lists, a list may be a single value."""
    return [allowed] if _can_take(gate, allowed, fixed) else _as_list(allowed)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _same(value: Any, other: Any) -> bool:
    return identity(value) == identity(other)


def identity(value: Any) -> Hashable:
    """Return a hashable that identifies a value: 1 and 1.0 are the same value, `true` is another one."""
    match value:
        case bool():
            return bool, value
        case Mapping():
            return Mapping, frozenset((key, identity(below)) for key, below in value.items())
        case list() | tuple():
            return list, tuple(identity(below) for below in value)
        case _:
            hashable: Hashable = value
            return hashable
