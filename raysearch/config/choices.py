"""Choices that are lists, such as sizes of a crop: Optuna knows scalars alone, so it is given their JSON text."""

import json
from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution


def categorical(choices: Sequence[Any]) -> CategoricalDistribution:
    """Return a distribution over choices that may be lists; Optuna must be given `for_optuna` of it."""
    distribution = CategoricalDistribution([label(choice) for choice in choices])
    distribution.choices = tuple(choices)
    return distribution


def for_optuna(distribution: BaseDistribution) -> BaseDistribution:
    """Return a distribution with the JSON text of every list among its choices."""
    choices = choices_with_lists(distribution)
    return distribution if choices is None else CategoricalDistribution([label(choice) for choice in choices])


def label(choice: Any) -> Any:
    """Return the JSON text of a list, and any other choice as it is."""
    return json.dumps(choice, ensure_ascii=False) if isinstance(choice, list) else choice


def choices_with_lists(distribution: BaseDistribution) -> list[Any] | None:
    """Return the choices of a distribution some of which are lists; None for any other distribution."""
    choices = list(distribution.choices) if isinstance(distribution, CategoricalDistribution) else []
    return choices if any(isinstance(choice, list) for choice in choices) else None
