"""Share of false claims about equal configs: python -m benchmarks.confirmed_claims [--simulations 4000].

Some configs and the default have the same expected score. Every seed has a common effect on all of them and a separate
effect on each. The best mean is selected after the scores are known, and compared with the default and the runner-up.
Figure: the share of simulations in which one of these differences is called real. It is measured for the intervals of
`confirm` (Tukey's) and for a paired t interval that ignores the selection. Both have a nominal error of one in twenty.
"""

import argparse
import math

import numpy as np
from scipy.stats import t

from benchmarks import record
from benchmarks.record import Figure
from raysearch.results.confirmation import CONFIDENCE, tukey_half_width

SETTINGS = ((3, 3), (3, 5), (6, 3), (6, 5))
"""Numbers of confirmed configs besides the default, and of seeds."""


def claims(scores: np.ndarray) -> tuple[bool, bool]:
    """Return whether each method tells the best of (m, n) scores from another: `confirm`, and the plain t interval.

    The scores of the default are the last row.
    """
    means = scores.mean(axis=1)
    order = np.argsort(-means)
    best, others = order[0], {int(order[1]), len(scores) - 1} - {int(order[0])}
    half_width = tukey_half_width(scores.tolist())
    assert half_width is not None
    ours = any(abs(means[best] - means[other]) > half_width for other in others)
    return ours, any(_paired(scores[best] - scores[other]) for other in others)


def _paired(differences: np.ndarray) -> bool:
    num_seeds = len(differences)
    half_width = t.ppf(0.5 + CONFIDENCE / 2, num_seeds - 1) * differences.std(ddof=1) / math.sqrt(num_seeds)
    return bool(abs(differences.mean()) > half_width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=4000)
    record.add_option(parser)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    figures: dict[str, Figure] = {}
    print("| configs and the default | seeds | false claims: Tukey | plain paired t |\n|---|---|---|---|")
    for num_configs, num_seeds in SETTINGS:
        false = np.zeros(2)
        for _ in range(arguments.simulations):
            own = rng.standard_normal((num_configs + 1, num_seeds))
            false += claims(own + rng.standard_normal(num_seeds))
        ours, plain = false / arguments.simulations
        print(f"| {num_configs} + 1 | {num_seeds} | {ours:.1%} | {plain:.1%} |", flush=True)
        for interval, share in (("Tukey", ours), ("plain paired t", plain)):
            name = f"{num_configs} + 1 configs, {num_seeds} seeds: false claims, {interval}"
            figures[name] = Figure(100 * share, "%", "lower")
    record.write("confirmed_claims", arguments, figures)


if __name__ == "__main__":
    main()
