"""fANOVA: the share of a score's variance that the main effect of each parameter explains."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import BaseImportanceEvaluator
from optuna.search_space import intersection_search_space
from optuna.trial import FrozenTrial, TrialState
from sklearn.ensemble import RandomForestRegressor

from raysearch.algorithms.unit_cube import to_unit

Floats = NDArray[np.float64]


class MainEffectsEvaluator(BaseImportanceEvaluator):
    """fANOVA for any study of Optuna, computed as in the report of a search.

    Unlike Optuna's `FanovaImportanceEvaluator`, it scales every parameter as it is searched, for example by its
    logarithm, and treats a choice as one dimension.
    """

    def __init__(self, *, n_trees: int = 64, seed: int = 0) -> None:
        """Create an evaluator with a forest of `n_trees` trees and the given seed."""
        self._num_trees, self._seed = n_trees, seed

    def evaluate(
        self,
        study: Study,
        params: list[str] | None = None,
        *,
        target: Callable[[FrozenTrial], float] | None = None,
    ) -> dict[str, float]:
        """Return the share of each parameter, the largest first; by default for all that completed trials share."""
        if target is None and len(study.directions) > 1:
            raise ValueError("a study with several objectives needs a target, such as lambda trial: trial.values[0]")
        completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        distributions = intersection_search_space(completed) if params is None else _distributions_of(completed, params)
        scored = [
            (trial, float(value))
            for trial in completed
            if distributions.keys() <= trial.params.keys()
            and np.isfinite(value := trial.values[0] if target is None else target(trial))
        ]
        shares = dict.fromkeys(distributions, 0.0)
        varied = [name for name, distribution in distributions.items() if not distribution.single()]
        if varied and len(scored) > 1:
            points = np.array(
                [[place_of(distributions[name], trial.params[name]) for name in varied] for trial, _ in scored]
            )
            values = np.array([value for _, value in scored])
            found = fanova(points, values, num_trees=self._num_trees, seed=self._seed)
            shares |= dict(zip(varied, found.tolist(), strict=True))
        return dict(sorted(shares.items(), key=lambda share: -share[1]))


def _distributions_of(completed: Sequence[FrozenTrial], names: Sequence[str]) -> dict[str, BaseDistribution]:
    """Return the distributions of some parameters, which must be the same in every trial that has all of them."""
    having = [trial for trial in completed if {*names} <= trial.params.keys()]
    if names and not having:
        raise ValueError(f"no completed trial has all of {', '.join(names)}")
    distributions = {name: having[0].distributions[name] for name in names}
    for trial in having:
        changed = [name for name in names if trial.distributions[name] != distributions[name]]
        if changed:
            raise ValueError(f"the range of {', '.join(changed)} changed during the study")
    return distributions


def place_of(distribution: BaseDistribution, value: Any) -> float:
    """Return the position of a value in [0, 1]; all choices have equal widths."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return (float(distribution.to_internal_repr(value)) + 0.5) / len(choices)
        case FloatDistribution() | IntDistribution():
            return to_unit(distribution, value)
    raise AssertionError(f"unknown distribution {distribution}")


def fanova(points: Floats, values: Floats, *, num_trees: int, seed: int) -> Floats:
    """Return the share of each dimension's main effect in the variance of a random forest over the unit cube, (d,).

    The method is that of Hutter et al. (ICML 2014). Forest and shares are those of Optuna's
    `FanovaImportanceEvaluator`: a share is the variance of a tree's marginal divided by the variance of the tree,
    averaged over the trees. Optuna traverses a tree in Python once for each piece of a marginal, which takes a second
    for 300 trials. This function adds each leaf, which is a box, to all pieces at once.

    Args:
        points: (n, d) in [0, 1].
        values: (n,).
        num_trees: Number of trees of the forest.
        seed: Seed of the forest.
    """
    forest = RandomForestRegressor(num_trees, max_depth=64, random_state=seed).fit(points, values)
    shares = [_tree_shares(tree.tree_, points.shape[1]) for tree in forest.estimators_]
    told = [share for share in shares if share is not None]
    return np.mean(told, axis=0) if told else np.zeros(points.shape[1])


def _tree_shares(tree: Any, num_dims: int) -> Floats | None:
    """Return the shares in one tree, (d,); None for a tree that is constant."""
    low, high = np.zeros((tree.node_count, num_dims)), np.ones((tree.node_count, num_dims))
    for node, (left, right) in enumerate(zip(tree.children_left, tree.children_right, strict=True)):
        if left >= 0:  # parents come before their children
            low[left] = low[right] = low[node]
            high[left] = high[right] = high[node]
            high[left, tree.feature[node]] = low[right, tree.feature[node]] = tree.threshold[node]
    is_leaf = tree.children_left < 0
    low, high, values = low[is_leaf], high[is_leaf], tree.value[is_leaf, 0, 0]
    volumes = (high - low).prod(axis=1)
    mean = volumes @ values
    variance = volumes @ (values - mean) ** 2
    if variance <= 0.0:
        return None
    contents = volumes * (values - mean)
    variances = [_marginal_variance(low[:, j], high[:, j], contents) for j in range(num_dims)]
    return np.array(variances, np.float64) / float(variance)


def _marginal_variance(low: Floats, high: Floats, contents: Floats) -> float:
    """Return the variance along one dimension of a function with mean 0, given its integrals over boxes, (boxes,)."""
    edges, places = np.unique(np.concatenate([low, high]), return_inverse=True)
    slopes = np.zeros(len(edges))
    widths = high - low
    heights = np.divide(contents, widths, out=np.zeros_like(contents), where=widths > 0.0)
    np.add.at(slopes, places, np.concatenate([heights, -heights]))
    return float(np.diff(edges) @ np.cumsum(slopes)[:-1] ** 2)
