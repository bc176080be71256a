"""What an algorithm searches: parameters, some of which may wait for the values of others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from optuna.distributions import BaseDistribution

from raysearch.space.parameters import Parameter


class SearchedSpace(Protocol):
    """What algorithms ask of a space; a `SearchSpec` is one."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All of them, in an order that stays."""

    @property
    def parameters_in_order(self) -> tuple[Parameter, ...]:
        """The same, with every gate before what it gates."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Nested values beside the searched ones, which conditions may name."""

    @property
    def constraints(self) -> Sequence[Any]:
        """The constraints, none of them if every point of the space counts."""

    def allows(self, values: Mapping[str, Any]) -> bool:
        """Return True if values hold every constraint that they alone decide."""


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
        """Return the parameters: none waits for another."""
        return self.parameters

    def allows(self, values: Mapping[str, Any]) -> bool:
        """Return True: there are no constraints."""
        return True
