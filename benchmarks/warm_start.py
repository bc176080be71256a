"""Value of an earlier search or of notes for a new search: python -m benchmarks.warm_start [--seeds 15] [--trials 24].

The six-dimensional Hartmann function with noise of 0.02 is maximised. A search starts from nothing, from the folder of
an earlier search of the same length, or from a table of that search's configs. The scores in the table are on another
scale, like notes for another budget. Figure: the best true value among the search's own trials. The maximum is 3.322.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import optuna
import pandas as pd

from benchmarks import record
from benchmarks.record import Figure
from raysearch.history.events import Report
from raysearch.history.journal import Journal
from raysearch.history.run_dir import RunDir
from raysearch.search.search import Search
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec

SIDES = ("nothing", "an earlier search", "a table of notes")

_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


class Formula:
    """A stand-in for the trainable that a space file must name."""


def hartmann(config: Mapping[str, Any]) -> float:
    x = np.array([config[f"x{i}"] for i in range(6)])
    return float(_ALPHA @ np.exp(-(_A * (x - _P) ** 2).sum(axis=1)))


def search(folder: Path, seed: int, num_trials: int, warm_start: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """Search into a new run folder, and return the config and the true value of every trial."""
    run_dir = RunDir.create("hartmann", folder)
    spec = _spec(seed, num_trials, warm_start)
    run_dir.space.write_text(spec.to_yaml(), encoding="utf-8")
    noise = np.random.default_rng([seed, 1])
    rows = []
    with Journal(run_dir.journal) as journal:
        running = Search(spec, journal)
        while (proposal := running.propose()) is not None:
            rows.append({**proposal.config, "score": hartmann(proposal.config)})
            running.take(
                proposal.number,
                Report(
                    iteration=1,
                    value=rows[-1]["score"] + 0.02 * noise.standard_normal(),
                    metrics={},
                    checkpoint=None,
                    seconds=0.0,
                    done=True,
                ),
            )
    return rows


def best_by_side(seed: int, num_trials: int) -> list[float]:
    """Return the best true value of each side."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        earlier = search(folder / "earlier", 1000 + seed, num_trials)
        notes = pd.DataFrame(earlier)
        notes["score"] = 0.3 * notes["score"] - 1.0
        notes.to_csv(folder / "notes.csv", index=False)
        given = ((), (folder / "earlier",), (folder / "notes.csv",))
        found = [search(folder / f"{i}", seed, num_trials, warm_start) for i, warm_start in enumerate(given)]
    return [max(row["score"] for row in rows) for rows in found]


def _spec(seed: int, num_trials: int, warm_start: Sequence[Path]) -> SearchSpec:
    document = {
        "name": "hartmann",
        "trainable": f"{__spec__.name if __spec__ else __name__}:{Formula.__name__}",
        "space": {f"x{i}": {"type": "float", "low": 0.0, "high": 1.0} for i in range(6)},
        "objective": {"metric": "value", "mode": "max"},
        "search": {"trials": num_trials, "seed": seed, "warm_start": [str(path) for path in warm_start]},
        "scheduler": {"name": "none"},
        "resources": {"cpu": 1},
    }
    return parse_space(document, Path.cwd(), "hartmann.yaml")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=15)
    parser.add_argument("--trials", type=int, default=24)
    record.add_option(parser)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = zip(*(best_by_side(seed, arguments.trials) for seed in range(arguments.seeds)), strict=True)
    print("| begins with | best true value, median (lowest to highest) |\n|---|---|")
    figures: dict[str, Figure] = {}
    for side, values in zip(SIDES, found, strict=True):
        print(f"| {side} | {median(values):.2f} ({min(values):.2f} to {max(values):.2f}) |", flush=True)
        figures[f"begins with {side}: best true value"] = Figure.of(values, "", "higher")
    record.write("warm_start", arguments, figures)


if __name__ == "__main__":
    main()
