"""A survey of a space by the config model: valid values, used values, and budgets."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import FloatDistribution
from pydantic import BaseModel, ValidationError

from raysearch.config.breaches import Breach, explain
from raysearch.config.faults import FaultList
from raysearch.config.strict_yaml import kind_of
from raysearch.config.values import dumped, show
from raysearch.space.parameters import Parameter, identity, probes, with_gates_open
from trainables.dotted_paths import ABSENT, lookup, with_values
from trainables.protocol import HasBudget, HasSharedValues, HasUnused, HasWarmup

_MAX_STATES = 64
"""Number of configs after which the survey of a space with very many gates ends; unseen values are not faults."""


@dataclass
class Survey:
    """The findings of the config model about a space, from configs at the ends of the searched ranges."""

    budget: int | None = None
    """Largest full budget of a trial."""
    warmup_end: int = 0
    """Latest end of a warm-up."""
    used: set[str] = field(default_factory=set)
    """Searched paths that some config uses."""
    active: set[str] = field(default_factory=set)
    """Searched paths whose conditions hold in some config."""
    unused: dict[str, str] = field(default_factory=dict)
    """Reasons why no config uses a path or section, by path."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Reason why a config did not use a searched path, by path."""
    wrong: dict[tuple[str, str], tuple[str, str] | None] = field(default_factory=dict)
    """Fault and fix by searched path and value, if the value was invalid in every config so far; else None."""
    is_complete: bool = True
    """True if every reachable combination of used and unused values was seen."""


def survey_space(model: type[BaseModel], base: dict[str, Any], parameters: Sequence[Parameter]) -> Survey:
    """Return a survey of configs that differ by one searched value each, until no new values become used.

    Only configs in which other values are used than in all earlier ones are varied further. This finds gates without
    knowing which values are gates, and without trying all combinations.
    """
    survey = Survey()
    start = model.model_validate(base, by_name=True)
    own = {p.path: value for p in parameters if (value := lookup(base, p.path)) is not ABSENT}
    _note_iterations(survey, start)
    frontier: deque[dict[str, Any]] = deque([{}])
    survey.unused = _unused(start, own)
    seen = {frozenset(survey.unused.items())}
    num_states = 0
    while frontier and num_states < _MAX_STATES:
        state = frontier.popleft()
        num_states += 1
        for parameter in parameters:
            for words, value in probes(parameter.distribution):
                values = with_gates_open(state, parameter, value, parameters, base)
                if parameter.path not in values:
                    continue  # the parameter's conditions exclude each other
                survey.active |= set(values)
                nested = with_values(base, values)
                try:
                    config = model.model_validate(nested, by_name=True)
                except ValidationError as error:
                    refusal = _refusal(explain(error, model, nested), parameter.path, words)
                    survey.wrong.setdefault((parameter.path, words), refusal)
                    continue
                if survey.wrong.get((parameter.path, words), ABSENT) is not None:
                    survey.wrong[parameter.path, words] = _changed_kind(config, parameter, words, value)
                _note_iterations(survey, config)
                unused = _unused(config, own)
                survey.unused = {path: reason for path, reason in survey.unused.items() if path in unused}
                for path in values:
                    reason = next((unused[p] for p in _prefixes(path) if p in unused), None)
                    if reason is None:
                        survey.used.add(path)
                    else:
                        survey.reasons.setdefault(path, reason)
                key = frozenset(unused.items())
                if key not in seen:
                    seen.add(key)
                    frontier.append(values)
    survey.is_complete = not frontier
    return survey


def _refusal(breaches: Sequence[Breach], path: str, words: str) -> tuple[str, str]:
    """Return what is wrong with a searched value and the fix, given the faults of the config that contains it."""
    for breach in breaches:
        if ".".join(breach.place) == path:
            return (f"{words}: {breach.rule}" if breach.value is None else f"{words} {breach.rule}"), breach.fix
    return f"{words}: {breaches[0].what}", breaches[0].fix


def _changed_kind(config: BaseModel, parameter: Parameter, words: str, value: Any) -> tuple[str, str] | None:
    """Return a fault and its fix if the config model changes a searched value, as it may turn text into a number."""
    held = lookup(dumped(config), parameter.path)
    if isinstance(held, list) and isinstance(value, list):
        return (
            None
            if identity(held) == identity(value)
            else (f"{words} is converted to {show(held)}", f"write {show(held)}")
        )
    if type(held) is type(value) or (type(value) is int and type(held) is float):
        return None
    fix = "use type: int" if isinstance(parameter.distribution, FloatDistribution) else f"write {show(held)}"
    return f"{words} is {kind_of(value)} that the trial config converts to {show(held)}", fix


def check_parameters(parameters: Sequence[Parameter], survey: Survey, faults: FaultList) -> None:
    """Record the values that the config model rejects and the parameters that no trial would use."""
    for parameter in parameters:
        place = ("space", parameter.path)
        wrong = [fault for (path, _), fault in survey.wrong.items() if path == parameter.path and fault is not None]
        for what, fix in wrong:
            faults.add(place, what, fix)
        if parameter.path not in survey.active:
            faults.add(place, "its conditions contradict each other", "remove one of them from when")
        elif not wrong and parameter.path not in survey.used and survey.is_complete:
            what = f"no trial would use it: {survey.reasons[parameter.path]}"
            faults.add(place, what, "change that in config, or search that too, or remove this path")


def _note_iterations(survey: Survey, config: BaseModel) -> None:
    if isinstance(config, HasBudget) and callable(config.max_iters):
        survey.budget = max(survey.budget or 0, config.max_iters())
    if isinstance(config, HasWarmup) and callable(config.warmup_end):
        survey.warmup_end = max(survey.warmup_end, config.warmup_end())


def _unused(config: BaseModel, own: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that a trial would not use; shared iterations, if any, use the base config's `own` values."""
    trial = config.with_shared_values(own) if isinstance(config, HasSharedValues) else config
    return trial.unused() if isinstance(trial, HasUnused) and callable(trial.unused) else {}


def _prefixes(path: str) -> Iterator[str]:
    keys = path.split(".")
    return (".".join(keys[:length]) for length in range(1, len(keys) + 1))
