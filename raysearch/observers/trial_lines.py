"""A trial in one line of text: its values and how it ended."""

from collections.abc import Mapping
from typing import Any

from raysearch.config.strict_yaml import reads_as_text
from raysearch.history.history import History, TrialHistory


def title(trial: TrialHistory) -> str:
    """Return the number and the searched values of a trial."""
    return f"trial {trial.number}: {values_in_words(trial.values)}"


def values_in_words(values: Mapping[str, Any]) -> str:
    """Format values as `optim.lr=0.08414, contrast.memory=True`."""
    return ", ".join(f"{path}={short(value)}" for path, value in values.items())


def short(value: Any) -> str:
    """Return a searched value as short text: numbers with four digits, and ambiguous text in quotes.

    The text `'0.1'` and the number 0.1 are two different choices, and so are `'None'` and None.
    """
    match value:
        case float():
            return f"{value:.4g}"
        case str() if value == str(None) or not reads_as_text(value):
            return repr(value)
        case _:
            return str(value)


def ending_line(trial: TrialHistory, history: History, metric: str, *, is_best: bool) -> str:
    """Return the status, best score and values of a trial that has ended; a star marks the best so far."""
    best = trial.best(history.mode)
    score = f"no {metric}"
    if best is not None:
        values = zip(history.further, history.values_at(trial, best)[1:], strict=True)
        further = "".join(f", {name} {value:.4g}" for (name, _), value in values)
        score = f"{metric} {best.value:.4f}{further} at iteration {best.iteration}"
    mark = " *" if is_best else ""
    what = "default config" if trial.is_default else values_in_words(trial.values)
    why = f" ({trial.error})" if trial.error else ""
    broken = "".join(f" (breaks {text})" for text in trial.broken(history.mode))
    return f"trial {trial.number:>4} {trial.status:<10} {score}{mark}  {what}{why}{broken}"
