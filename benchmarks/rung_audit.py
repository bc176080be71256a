"""How well early scores predict final ones, before and after each measure that is meant to improve this.

    python -m benchmarks.rung_audit                    the tables, from rung_audit.parquet beside this file
    python -m benchmarks.rung_audit --reduce FOLDER    writes that file from what the line below has trained
    python -m benchmarks.search.train_table camvid FOLDER --data CAMVID

The trials share one seed and the first 100 of 400 iterations. Every 50 iterations, their weights and the moving average
of the weights are scored on each image. The confusions of all images are too large to keep, so only the scores on parts
of the images are stored.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import record
from benchmarks.record import Figure
from raysearch.schedulers import Decision, Observation, Scheduler
from raysearch.schedulers.learned_stopping import LearnedStopping
from raysearch.schedulers.rung import Slack
from raysearch.schedulers.rung_audit import spearman
from raysearch.schedulers.successive_halving import SuccessiveHalving
from trainables.data.subset import difference_noise, stratified_choice
from trainables.metrics import bootstrap_miou

TABLE = Path(__file__).with_suffix(".parquet")
SIZES = (12, 25)
"""Sizes of the parts of the 101 validation images that are tried."""
NUM_RANDOM = 20
"""Number of random parts of every size."""
NUM_DRAWS = 100
NUM_ORDERS = 100
"""Number of orders of the trials over which a rule is averaged."""
TOP = 0.1
ETA = 3

Floats = npt.NDArray[np.float64]


# Reducing


def reduce(folder: Path) -> None:
    """Write the table: one row per trial, iteration and kind of weights, with scores on all images and on parts."""
    rows = [row for file in sorted(folder.glob("[0-9]*.npz")) for row in _rows(file)]
    schema = pa.schema(
        [
            ("trial", pa.int32()),
            ("iteration", pa.int32()),
            ("weights", pa.string()),
            ("miou", pa.float64()),
            *((f"stratified_{size}", pa.float64()) for size in SIZES),
            *((f"random_{size}", pa.list_(pa.float32())) for size in SIZES),
            ("draws", pa.list_(pa.float32())),
            *((f"draws_{size}", pa.list_(pa.float32())) for size in SIZES),
        ]
    )
    metadata = {_EXPECTED_NOISE: json.dumps(_expected_noise(folder))}
    pq.write_table(
        pa.Table.from_pylist(rows, schema.with_metadata(metadata)), TABLE, compression="zstd", compression_level=19
    )
    print(f"{len({row['trial'] for row in rows})} trials, {TABLE.stat().st_size / 1e6:.2f} MB in {TABLE.name}")


_EXPECTED_NOISE = b"expected noise of a difference, by number of images"


def _expected_noise(folder: Path) -> dict[int, float]:
    """Return the noise that `difference_noise` expects for all images and for every stratified part, from labels."""
    with np.load(next(folder.glob("[0-9]*.npz"))) as stored:
        labels = stored["raw"][0].sum(axis=2)
    chosen = {size: stratified_choice(labels, size) for size in (*SIZES, len(labels))}
    return {size: difference_noise(labels[images]) for size, images in chosen.items()}


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with np.load(file) as stored:
        meta = json.loads(str(stored["meta"]))
        by_weights = {"raw": stored["raw"], "average": stored["ema"]}
    if any("error" in row for row in meta["rows"]):
        return  # a diverged trial has no final score
    labels = by_weights["raw"][0].sum(axis=2)  # (N, K) pixels of every class
    parts = {size: stratified_choice(labels, size) for size in SIZES}
    rng = np.random.default_rng(0)
    by_chance = {size: [rng.permutation(len(labels))[:size] for _ in range(NUM_RANDOM)] for size in SIZES}
    for weights, confusions in by_weights.items():
        for row, counts in zip(meta["rows"], confusions, strict=True):
            hits = np.diagonal(counts, axis1=1, axis2=2).astype(np.int64)
            unions = counts.sum(axis=1, dtype=np.int64) + counts.sum(axis=2, dtype=np.int64) - hits
            yield {
                "trial": meta["trial"],
                "iteration": row["iteration"],
                "weights": weights,
                "miou": _miou(hits, unions),
                "draws": _draws(hits, unions) if weights == "average" else [],
                **{f"stratified_{n}": _miou(hits[part], unions[part]) for n, part in parts.items()},
                **{f"random_{n}": [_miou(hits[p], unions[p]) for p in chosen] for n, chosen in by_chance.items()},
                **{
                    f"draws_{n}": _draws(hits[part], unions[part]) if weights == "average" else []
                    for n, part in parts.items()
                },
            }


def _miou(hits: npt.NDArray[np.int64], unions: npt.NDArray[np.int64]) -> float:
    hit, union = hits.sum(axis=0), unions.sum(axis=0)
    return float((hit[union > 0] / union[union > 0]).mean())


def _draws(hits: npt.NDArray[np.int64], unions: npt.NDArray[np.int64]) -> list[float]:
    return [float(draw) for draw in bootstrap_miou(hits, unions, NUM_DRAWS)]


# Tables


@dataclass(frozen=True)
class Scores:
    """Scores of T trials at R iterations, the last of which is the full budget."""

    iterations: tuple[int, ...]
    raw: dict[str, Floats]
    """Scores of the weights, (T, R) by column, or (T, R, ...) if the column holds lists."""
    average: dict[str, Floats]
    """Scores of the moving average of the weights, in the same form."""
    expected_noise: dict[int, float]
    """Expected noise of a difference of two scores by number of images, from the labels alone."""

    @classmethod
    def read(cls) -> "Scores":
        table = pq.read_table(TABLE)
        rows, noise = table.to_pylist(), json.loads(table.schema.metadata[_EXPECTED_NOISE])
        iterations = tuple(sorted({row["iteration"] for row in rows}))
        trials = sorted({row["trial"] for row in rows})
        by_key = {(row["weights"], row["trial"], row["iteration"]): row for row in rows}

        def columns(weights: str) -> dict[str, Floats]:
            grid = [[by_key[weights, trial, iteration] for iteration in iterations] for trial in trials]
            names = [name for name in rows[0] if name not in ("trial", "iteration", "weights")]
            return {name: np.array([[row[name] for row in rows_of] for rows_of in grid]) for name in names}

        expected = {int(size): expected for size, expected in noise.items()}
        return cls(iterations, columns("raw"), columns("average"), expected)

    @property
    def rungs(self) -> tuple[int, ...]:
        return self.iterations[:-1]

    def __len__(self) -> int:
        return len(self.average["miou"])


def correlations(scores: Scores) -> dict[str, Figure]:
    """Print and return the rank correlation of every rung with the final score of the same weights on all images."""
    print(
        f"\nRank correlation with the final score, {len(scores)} trials (95 % interval); random: mean of {NUM_RANDOM}\n"
    )
    print(f"| scored at the rung | {' | '.join(map(str, scores.rungs))} |\n|---|{'---|' * len(scores.rungs)}")
    rungs = range(len(scores.rungs))
    rows: dict[str, list[Figure]] = {}
    for name, columns in (("weights", scores.raw), ("moving average", scores.average)):
        final = columns["miou"][:, -1]
        rows[f"{name}, all images"] = [_correlation(columns["miou"][:, r], final) for r in rungs]
        for size in SIZES:
            part, random = columns[f"stratified_{size}"], columns[f"random_{size}"]
            rows[f"{name}, {size} stratified"] = [_correlation(part[:, r], final) for r in rungs]
            rows[f"{name}, {size} random"] = [_mean_correlation(random[:, r], final) for r in rungs]
    for name, row in rows.items():
        print(_line(name, [f"{f.value:.2f} ({f.spread[0]:.2f} to {f.spread[1]:.2f})" for f in row if f.spread]))
    return _by_rung(scores, "rank correlation", rows)


def _correlation(first: Floats, second: Floats) -> Figure:
    """Return the correlation of two columns, (T,), with its interval."""
    found = spearman(first.tolist(), second.tolist())
    assert found is not None
    return Figure(found[0], "", "higher", found[1])


def _mean_correlation(parts: Floats, final: Floats) -> Figure:
    """Return the mean correlation of several columns, (T, P), with another, and the lowest and the highest."""
    found = [_correlation(parts[:, k], final).value for k in range(NUM_RANDOM)]
    return Figure(float(np.mean(found)), "", "higher", (min(found), max(found)))


def _by_rung(scores: Scores, what: str, rows: Mapping[str, Sequence[Figure]]) -> dict[str, Figure]:
    return {
        f"{what}, {name}, rung {rung}": figure
        for name, row in rows.items()
        for rung, figure in zip(scores.rungs, row, strict=True)
    }


def _line(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


def noise(scores: Scores) -> dict[str, Figure]:
    """Print and return the noise of a score and of a difference, against the differences on which a rung decides."""
    print(f"\nNoise in 0.001 mIoU of the moving average, medians; the cut lets one in {ETA} on\n")
    print(f"| | {' | '.join(map(str, scores.rungs))} |\n|---|{'---|' * len(scores.rungs)}")
    miou = scores.average["miou"]
    rows: dict[str, list[Figure]] = {}
    for size in (None, *reversed(SIZES)):
        draws = scores.average["draws" if size is None else f"draws_{size}"]
        images = "all images" if size is None else f"{size} stratified"
        alone, paired = [], []
        for r in range(len(scores.rungs)):
            cut = _cut(miou[:, r])
            others = np.arange(len(miou)) != cut
            alone.append(np.median(draws[:, r].std(axis=1, ddof=1)))
            paired.append(np.median((draws[others, r] - draws[cut, r]).std(axis=1, ddof=1)))
        print(_line(f"standard error of a score, {images}", _thousandths(alone)))
        print(_line(f"... of its difference to the cut, {images}", _thousandths(paired)))
        for name, errors in (("score", alone), ("difference to the cut", paired)):
            rows[f"{name}, {images}"] = [Figure(1000 * float(error), "0.001 mIoU", "lower") for error in errors]
        expected = scores.expected_noise[size or max(scores.expected_noise)]
        print(_line("... as expected from the labels alone", _thousandths([expected] * len(scores.rungs))))
    gaps, changes = [], []
    for r in range(len(scores.rungs)):
        cut = _cut(miou[:, r])
        others = np.arange(len(miou)) != cut
        gaps.append(np.median(np.abs(miou[others, r] - miou[cut, r])))
        change = (miou[others, -1] - miou[cut, -1]) - (miou[others, r] - miou[cut, r])
        changes.append(np.median(np.abs(change)))
    print(_line("difference to the cut", _thousandths(gaps)))
    print(_line("change of that difference until the end", _thousandths(changes)))
    return _by_rung(scores, "standard error", rows)


def _cut(values: Floats) -> int:
    return int(np.argsort(-values, kind="stable")[max(1, len(values) // ETA) - 1])


def _thousandths(values: Sequence[Any]) -> list[str]:
    return [f"{1000 * value:.1f}" for value in values]


def slack(scores: Scores) -> dict[str, Figure]:
    """Print and return the share of the finally best trials that a rung with slack stops, and its cost."""
    top = max(1, round(TOP * len(scores)))
    print(f"\nOne rung that lets one in {ETA} on, {NUM_ORDERS} orders: share of the final best {top} that it stops,")
    print("and iterations of the search relative to full trials; moving average, all images\n")
    print(f"| slack | {' | '.join(map(str, scores.rungs))} |\n|---|{'---|' * len(scores.rungs)}")
    slacks: tuple[Slack, ...] = (0.0, 0.003, 0.01, "auto")
    rules = {str(given): (scores.average, given) for given in slacks}
    rules["0.0, weights as they are"] = (scores.raw, 0.0)
    figures: dict[str, Figure] = {}
    for name, (columns, given) in rules.items():
        row = [_stopped(columns, scores.iterations, _halving(rung, scores, given)) for rung in scores.rungs]
        print(_line(name, [str(stopped) for stopped in row]))
        for rung, stopped in zip(scores.rungs, row, strict=True):
            figures |= stopped.figures(f"slack {name}, rung {rung}")
    return figures


def _halving(rung: int, scores: Scores, slack: Slack) -> Callable[[], Scheduler]:
    full = scores.iterations[-1]
    return lambda: SuccessiveHalving(grace_iters=rung, max_iters=full, reduction_factor=ETA, slack=slack)


def learned(scores: Scores) -> dict[str, Figure]:
    """Print and return what `grace_iters: auto` stops and saves, by the number of its pilots."""
    full, smallest = scores.iterations[-1], scores.iterations[0]
    print(f"\n`grace_iters: auto` over {NUM_ORDERS} orders; no trial is stopped before {smallest}\n")
    print("| pilots, weights | best stopped; iterations |\n|---|---|")
    figures: dict[str, Figure] = {}
    for name, columns in (("weights", scores.raw), ("moving average", scores.average)):
        for num_pilots in (6, 12):
            rule = partial(LearnedStopping, num_pilots, grace_iters=smallest, max_iters=full, reduction_factor=ETA)
            outcome = _stopped(columns, scores.iterations, rule)
            print(f"| {num_pilots}, {name} | {outcome} |")
            figures |= outcome.figures(f"{num_pilots} pilots, {name}")
    return figures


class Stopped(NamedTuple):
    """Cost and gain of a rule, averaged over the orders of the trials."""

    share: float
    """Share of the finally best trials that it stops."""
    iterations: float
    """Iterations that it spends, relative to full trials."""

    def __str__(self) -> str:
        return f"{self.share:.0%}; {self.iterations:.0%}"

    def figures(self, rule: str) -> dict[str, Figure]:
        return {
            f"{rule}: best stopped": Figure(100 * self.share, "%", "lower"),
            f"{rule}: iterations": Figure(100 * self.iterations, "%", "lower"),
        }


def _stopped(columns: dict[str, Floats], iterations: Sequence[int], build: Callable[[], Scheduler]) -> Stopped:
    """Return the share of the finally best trials that a rule stops, and its iterations relative to full trials."""
    miou, draws = columns["miou"], columns["draws"]
    top = set(np.argsort(-miou[:, -1], kind="stable")[: max(1, round(TOP * len(miou)))].tolist())
    num_stopped, spent = 0, 0
    for order in range(NUM_ORDERS):
        rule = build()
        for trial in np.random.default_rng(order).permutation(len(miou)).tolist():
            for r, iteration in enumerate(iterations):
                seen = Observation(trial, iteration, (-float(miou[trial, r]),), draws[trial, r])
                if rule.observe(seen) is not Decision.CONTINUE and r + 1 < len(iterations):
                    num_stopped += trial in top
                    break
            spent += iteration
    return Stopped(num_stopped / NUM_ORDERS / len(top), spent / NUM_ORDERS / len(miou) / iterations[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reduce", type=Path, metavar="FOLDER")
    record.add_option(parser)
    arguments = parser.parse_args()
    if arguments.reduce is not None:
        if arguments.json is not None:
            parser.error("--reduce writes the table and measures nothing; give --json without it")
        reduce(arguments.reduce)
        return
    scores = Scores.read()
    figures: dict[str, Figure] = {}
    for table in (correlations, noise, slack, learned):
        figures |= table(scores)
    record.write("rung_audit", arguments, figures)


if __name__ == "__main__":
    main()
