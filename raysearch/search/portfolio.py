"""Configs to try first, chosen so that at least one of them is good wherever an earlier search has been.

Every group of scored configs, such as an earlier search on another dataset, gives a model of its losses. The chosen
configs minimise the mean over the groups of the best predicted regret among them, and are chosen greedily, one after
another (Wistuba, Schilling, Schmidt-Thieme: Sequential Model-free Hyperparameter Tuning, 2015). Losses of two groups
are never compared: the regret is relative to the group's own best and median.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from raysearch.algorithms.curve_model import Space, fit
from raysearch.algorithms.searched_space import SearchedSpace

Array = npt.NDArray[np.float64]

_NUM_BEST = 10
"""Number of best configs of every group from which the chosen ones come."""
_WORST = 2.0
"""Largest regret that counts; the regret of the median config is 1."""


@dataclass(frozen=True)
class Scored:
    """A config with its loss."""

    values: Mapping[str, Any]
    """Active searched values by dotted path."""
    loss: float
    """Smaller is better; comparable within the group alone."""


def portfolio(groups: Sequence[Sequence[Scored]], searched: SearchedSpace, size: int) -> list[tuple[int, int]]:
    """Return the group and the place in it of every chosen config, the first one first.

    A group with so few configs that a plane fits them exactly has no model and is left out. The list is empty if fewer
    than two groups have a model, because there is then nothing to balance.
    """
    modelled = [number for number, group in enumerate(groups) if len(group) > len(searched.parameters)]
    if len(modelled) < 2:
        return []
    space = Space(searched)
    places = [
        (number, place)
        for number in modelled
        for place in sorted(range(len(groups[number])), key=lambda at: groups[number][at].loss)[:_NUM_BEST]
    ]
    candidates = np.array([space.features_of(dict(groups[number][place].values)) for number, place in places])
    regrets = np.array([_regrets(groups[number], space, candidates) for number in modelled])
    chosen: list[int] = []
    least = np.full(len(modelled), _WORST)
    for _ in range(min(size, len(places))):
        means = np.minimum(least[:, None], regrets).mean(axis=0)
        means[chosen] = np.inf
        chosen.append(int(means.argmin()))
        least = np.minimum(least, regrets[:, chosen[-1]])
    return [places[at] for at in chosen]


def _regrets(group: Sequence[Scored], space: Space, candidates: Array) -> Array:
    """Return the predicted regrets (m,) of candidates (m, F): 0 is the best of them, 1 the group's median config."""
    x = np.array([space.features_of(dict(scored.values)) for scored in group])
    losses = np.array([scored.loss for scored in group])
    centre, scale = float(losses.mean()), float(losses.std()) or 1.0
    process = fit(x, (losses - centre) / scale, np.zeros(len(group)), space.groups)
    expected = process.posterior(candidates)[0]
    lowest, median = float(expected.min()), (float(np.median(losses)) - centre) / scale
    regrets: Array = np.clip((expected - lowest) / max(median - lowest, 1e-9), 0.0, _WORST)
    return regrets
