"""What every table of the benchmark offers: a space, learning curves, and the true score of every config."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from raysearch.algorithms.unit_cube import active_values, from_unit, to_unit
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec

Array = npt.NDArray[np.float64]

METRIC = "score"
"""Name of the metric of every table; larger is better."""

ENDLESS = 1_000_000
"""Number of trials that a search may start; the simulation ends it before."""


class Simulated:
    """The trainable of every space; its trainings are simulated."""


@dataclass(frozen=True)
class Task:
    """The space and the reports that the trainings of a table have in common."""

    name: str
    space: Mapping[str, Mapping[str, Any]]
    """Searched values in the form of `space:` in a space file."""
    iterations: tuple[int, ...]
    """Iterations of the reports; the last one is the full budget."""
    shared_iters: int = 0
    """Number of first iterations in which no searched value has an effect."""

    def spec(self, seed: int, settings: Mapping[str, Mapping[str, Any]] | None = None) -> SearchSpec:
        """Return the search of a space file that states the task and these settings by section, and no others."""
        given = settings or {}
        document = {
            "name": self.name,
            "trainable": f"{__name__}:{Simulated.__name__}",
            "config": {"table": self.name},
            "space": {path: dict(words) for path, words in self.space.items()},
            "objective": {"metric": METRIC, "mode": "max"},
            "search": {"trials": ENDLESS, "seed": seed, **given.get("search", {})},
            "scheduler": {"max_iters": self.iterations[-1], **given.get("scheduler", {})},
        }
        return parse_space(document, Path.cwd(), self.name)


@dataclass(frozen=True)
class Curve:
    """The learning curve of one config."""

    scores: tuple[float, ...]
    """Score at every report; NaN from the report at which the training diverges."""
    seconds_per_iteration: float


class World(Protocol):
    """The learning curves that the searches of one seed meet."""

    @property
    def best(self) -> float:
        """Largest known true score of any config."""
        ...

    @property
    def median(self) -> float:
        """Median true score of random configs."""
        ...

    def curve(self, values: Mapping[str, Any]) -> Curve:
        """Return the learning curve of a config; it is always the same in this world."""
        ...

    def true_score(self, values: Mapping[str, Any]) -> float:
        """Return the score of a config at the full budget, without noise."""
        ...


class Table(Protocol):
    """A source of worlds."""

    @property
    def task(self) -> Task:
        """Space and reports of the table."""
        ...

    def world(self, seed: int) -> World:
        """Return the world of a seed."""
        ...


def regret(world: World, values: Mapping[str, Any] | None) -> float:
    """Return how far a config is from the best one: 0 for the best config, 1 for the median random config.

    If there is no config yet, the regret is that of the median random config.
    """
    if values is None:
        return 1.0
    return (world.best - world.true_score(values)) / (world.best - world.median)


def values_at(spec: SearchSpec, point: Sequence[float] | Array) -> dict[str, Any]:
    """Return the active searched values at a point of the unit cube."""
    values = {p.path: from_unit(p.distribution, float(u)) for p, u in zip(spec.parameters, point, strict=True)}
    return active_values(spec, values)


def point_of(spec: SearchSpec, values: Mapping[str, Any]) -> Array:
    """Return the point of the unit cube, (D,), of searched values that are all numbers."""
    return np.array([to_unit(p.distribution, values[p.path]) for p in spec.parameters])  # type: ignore[arg-type]


def noise_of(values: Mapping[str, Any], seed: int, num_draws: int) -> Array:
    """Return standard normal draws, (num_draws,), that depend on the config and the seed alone."""
    digest = hashlib.sha256(json.dumps([seed, sorted(values.items())]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little")).standard_normal(num_draws)
