"""Choices that are lists, such as crop sizes: Optuna only supports scalars, so it gets their JSON text."""

import json
from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution


def categorical(choices: Sequence[Any]) -> CategoricalDistribution:
    """Return a distribution whose choices may be lists; pass it to Optuna through `for_optuna`."""
    distribution = CategoricalDistribution([label(choice) for choice in choices])
    distribution.choices = tuple(choices)
    return distribution


def for_optuna(distribution: BaseDistribution) -> BaseDistribution:
    """Return the distribution with lists among its choices replaced by their JSON text."""
    choices = choices_with_lists(distribution)
    return distribution if choices is None else CategoricalDistribution([label(choice) for choice in choices])


def label(choice: Any) -> Any:
    """Return the JSON text of a list; return any other choice unchanged."""
    return json.dumps(choice, ensure_ascii=False) if isinstance(choice, list) else choice


def choices_with_lists(distribution: BaseDistribution) -> list[Any] | None:
    """Return the choices of a distribution if some of them are lists, else None."""
    choices = list(distribution.choices) if isinstance(distribution, CategoricalDistribution) else []
    return choices if any(isinstance(choice, list) for choice in choices) else None
