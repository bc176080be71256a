"""The view that algorithms have of a space: parameters, some of which depend on the values of others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from optuna.distributions import BaseDistribution

from raysearch.space.parameters import Parameter


class SearchedSpace(Protocol):
    """A space that algorithms can search; a `SearchSpec` is one."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters, always in the same order."""

    @property
    def parameters_in_order(self) -> tuple[Parameter, ...]:
        """All parameters, with every gate before the parameters that depend on it."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Nested values beside the searched ones, which conditions may refer to."""

    @property
    def constraints(self) -> Sequence[Any]:
        """Constraints on searched values; empty if every point of the space counts."""

    def allows(self, values: Mapping[str, Any]) -> bool:
        """Return True if values satisfy every constraint that can be decided from them alone."""


@dataclass(frozen=True)
class FlatSpace:
    """A space without conditions and constraints, such as that of a study of Optuna."""

    parameters: tuple[Parameter, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    constraints: Sequence[Any] = ()

    @classmethod
    def of(cls, distributions: Mapping[str, BaseDistribution]) -> "FlatSpace":
        """Return the space of some distributions by name."""
        return cls(tuple(Parameter(name, distribution, {}) for name, distribution in distributions.items()))

    @property
    def parameters_in_order(self) -> tuple[Parameter, ...]:
        """All parameters; none depends on another."""
        return self.parameters

    def allows(self, values: Mapping[str, Any]) -> bool:
        """Return True, because there are no constraints."""
        return True
