"""Conversion of ranges that Ray Tune and Optuna define in Python to the words of a space file."""

from collections.abc import Iterator, Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from raysearch.config.faults import FaultList, Place
from raysearch.space.parameters import WORDS

_NO_STEPS = "a log scale has no even steps", "use a log range without quantization, or list the values as choices"


class _Unsayable(ValueError):
    """A range that a space file cannot express; its arguments are what is wrong and the fix."""


def split_entries(
    entries: Mapping[str, Any], faults: FaultList, place: Place = ()
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the searched ranges in words and the fixed values, both by dotted path.

    Args:
        entries: Values by name or dotted path: a domain of Ray Tune, a distribution of Optuna, `{"grid_search":
            [...]}`, words of a space file, a mapping of such values, or a plain value.
        faults: List to which faults are added.
        place: Place of the entries in messages.
    """
    searched: dict[str, dict[str, Any]] = {}
    fixed: dict[str, Any] = {}
    for path, value in _flat(entries, ()):
        try:
            words = words_of(value)
        except _Unsayable as error:
            faults.add((*place, path), *error.args)
            continue
        if words is None:
            fixed[path] = value
        else:
            searched[path] = words
    return searched, fixed


def words_of(value: Any) -> dict[str, Any] | None:
    """Return the words of a range; None for a value that is not a range."""
    match value:
        case FloatDistribution(low=low, high=high, log=log, step=step):
            return _number("float", low, high, log, step)
        case IntDistribution(low=low, high=high, log=log, step=step):
            return _number("int", low, high, log, None if step == 1 else step)
        case CategoricalDistribution(choices=choices):
            return {"type": "categorical", "choices": list(choices)}
        case BaseDistribution():
            raise _Unsayable(f"{value!r} is of a deprecated kind", "use a Float- or IntDistribution")
        case {"grid_search": list(choices)}:
            return {"type": "categorical", "choices": list(choices)}
        case {"type": kind} if kind in WORDS:
            return dict(value)
    from ray.tune.search import sample  # late: nobody but a caller with such values waits for Ray

    return _domain_words(value, sample) if isinstance(value, sample.Domain) else None


def _domain_words(domain: Any, sample: Any) -> dict[str, Any]:
    sampler = domain.get_sampler()
    quantum = sampler.q if isinstance(sampler, sample.Quantized) else None
    inner = sampler.get_sampler() if quantum is not None else sampler
    log = isinstance(inner, sample.LogUniform)
    match domain:
        case sample.Categorical():
            return {"type": "categorical", "choices": list(domain.categories)}
        case sample.Integer() if log and quantum not in (None, 1):
            raise _Unsayable(f"tune.qlograndint with q = {quantum}: {_NO_STEPS[0]}", _NO_STEPS[1])
        case sample.Integer() if quantum in (None, 1):  # Ray Tune excludes the upper end of integer ranges
            return _number("int", domain.lower, domain.upper - 1, log, None)
        case sample.Integer():
            low, high = -(-domain.lower // quantum) * quantum, domain.upper // quantum * quantum
            return _number("int", low, high, False, quantum)
        case sample.Float() if log and quantum is not None:
            raise _Unsayable(f"tune.qloguniform with q = {quantum}: {_NO_STEPS[0]}", _NO_STEPS[1])
        case sample.Float() if log or isinstance(inner, sample.Uniform):
            return _number("float", domain.lower, domain.upper, log, quantum)
        case sample.Float():
            raise _Unsayable("a normal distribution has no limits, but a search needs them", "use tune.uniform")
        case _:
            what = f"a {type(domain).__name__} (such as tune.sample_from) is code, not a range"
            raise _Unsayable(what, "give a range, and a condition on it with when in the space file")


def _number(kind: str, low: float, high: float, log: bool, step: float | None) -> dict[str, Any]:
    words: dict[str, Any] = {"type": kind, "low": low, "high": high}
    return words | ({"log": True} if log else {}) | ({} if step is None else {"step": step})


def _flat(entries: Mapping[str, Any], sections: Place) -> Iterator[tuple[str, Any]]:
    """Yield the entries by dotted path; a mapping that is not a range is a section."""
    for key, value in entries.items():
        path = (*sections, str(key))
        is_range = isinstance(value, Mapping) and ("grid_search" in value or value.get("type") in WORDS)
        if isinstance(value, Mapping) and value and not is_range:
            yield from _flat(value, path)
        else:
            yield ".".join(path), value
