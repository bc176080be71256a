"""Trains the recorded tables: python -m benchmarks.search.train_table TASK FOLDER [--data DIR] [--processes N].

`camvid` is a small HRNet on CamVid at a quarter of its size; a trial takes two minutes on one thread. `drawn` is a tiny
EfficientNet on the images that the product draws itself; a trial takes fifteen seconds. Trial 0 is the task's default
config. The others are points of a scrambled Sobol sequence. All share one seed and the first iterations. At every
report, the weights and their moving average are scored on each image. Trials that are already in FOLDER are not trained
again. The table is written from all trials in FOLDER.
"""

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import qmc
from torch import nn

from benchmarks.search.recorded import METADATA
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec
from trainables.atomic_files import replaced_file
from trainables.config import Config
from trainables.data import evaluation_samples, open_split
from trainables.dotted_paths import with_values
from trainables.evaluation import predictions
from trainables.metrics import ConfusionMatrix
from trainables.shared_beginning import take_up_beginning
from trainables.trainer import Trainer


@dataclass(frozen=True)
class Training:
    """What the trials of a table have in common."""

    name: str
    config: dict[str, Any]
    """Nested base config."""
    space: dict[str, dict[str, Any]]
    """Searched values in the form of `space:` in a space file."""
    shared_iters: int
    """Number of first iterations in which no searched value has an effect."""

    @cached_property
    def spec(self) -> SearchSpec:
        """Search of a space file that only states the config and the space."""
        document = {
            "name": self.name,
            "config": self.config,
            "space": self.space,
            "objective": {"metric": "miou", "mode": "max"},
        }
        return parse_space(document, Path.cwd(), self.name)


@dataclass(frozen=True)
class TrialRow:
    """One report of one trial."""

    trial: int
    values: Mapping[str, Any]
    iteration: int
    seconds: float
    """Time since the previous report."""
    miou: float | None = None
    """Score of the weights."""
    miou_ema: float | None = None
    """Score of their moving average."""
    iou_ema: Sequence[float] | None = None
    error: str | None = None
    """Reason why the training diverged; such a row has no scores."""

    @property
    def status(self) -> Literal["ok", "diverged"]:
        return "ok" if self.error is None else "diverged"


CAMVID = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]

_SPACE: Mapping[str, dict[str, Any]] = {
    "optim.lr": {"type": "float", "low": 0.005, "high": 0.5, "log": True},
    "optim.poly_power": {"type": "float", "low": 0.3, "high": 1.5},
    "loss.ce_weight_power": {"type": "float", "low": 0.0, "high": 1.0},
    "contrast.loss_weight": {"type": "float", "low": 0.01, "high": 1.0, "log": True},
    "contrast.temperature": {"type": "float", "low": 0.05, "high": 0.5, "log": True},
    "contrast.max_samples": {"type": "int", "low": 256, "high": 4096, "log": True},
    "contrast.max_views": {"type": "int", "low": 4, "high": 256, "log": True},
}

TASKS: Mapping[str, Training] = {
    "camvid": Training(
        name="camvid",
        config=with_values(
            {},
            {
                "data.label_class_ids": list(range(11)),
                "data.class_names": CAMVID,
                "data.image_scale": 0.25,
                "data.augmentation.crop_size": [96, 128],
                "model.backbone": "hrnet_w18_small",
                "model.output_stride": 4,
                "loss.ce_weight_power": 0.5,
                "contrast.warmup_iters": 100,
                "contrast.max_views": 32,
                "optim.lr": 0.05,
                "train.max_iters": 400,
                "train.report_iters": 50,
                "train.shared_iters": 100,
                "train.batch_size": 6,
                "train.num_threads": 1,
                "train.ema_decay": 0.98,
            },
        ),
        space=dict(_SPACE),
        shared_iters=100,
    ),
    "drawn": Training(
        name="drawn",
        config=with_values(
            {},
            {
                "contrast.warmup_iters": 50,
                "train.max_iters": 200,
                "train.report_iters": 25,
                "train.shared_iters": 50,
                "train.num_threads": 1,
                "train.ema_decay": 0.96,
            },
        ),
        space={**_SPACE, "optim.lr": {"type": "float", "low": 0.001, "high": 0.5, "log": True}},
        shared_iters=50,
    ),
}
"""A quarter of the budget is shared; the moving average spans 50 iterations of `camvid` and 25 of `drawn`."""


def values_of(task: Training, trial: int) -> dict[str, Any]:
    """Return the searched values of a trial; none for trial 0, which is the default config."""
    if trial == 0:
        return {}
    points = qmc.Sobol(len(task.space), scramble=True, rng=np.random.default_rng(0)).random(128)
    values: dict[str, Any] = {}
    for u, (path, words) in zip(points[trial], task.space.items(), strict=True):
        low, high = words["low"], words["high"]
        value = np.exp(np.log(low) + u * np.log(high / low)) if words.get("log") else low + u * (high - low)
        values[path] = round(float(value)) if words["type"] == "int" else float(value)
    return values


def config_of(task: Training, trial: int, data: str | None) -> Config:
    """Return the config of a trial in a search over the task's config and space."""
    nested = with_values(task.spec.trial_config(values_of(task, trial)), {"data.dir": data})
    return Config.model_validate(nested)


def train(name: str, trial: int, folder: Path, data: str | None) -> str:
    """Train a trial and write `NNN.npz`: confusions (reports, images, K, K) of the `raw` weights and their `ema`."""
    task, started = TASKS[name], time.perf_counter()
    trainer = Trainer(config_of(task, trial, data))
    rows: list[dict[str, Any]] = []
    raw, average = [], []
    try:
        take_up_beginning(trainer, folder / "shared", str(trial))
        while not trainer.done:
            before = time.perf_counter()
            trainer.train_to(trainer.iteration + trainer.config.train.report_iters)
            rows.append({"iteration": trainer.iteration, "seconds": time.perf_counter() - before})
            raw.append(confusions(trainer.network, trainer.config))
            average.append(confusions(trainer.scored_network, trainer.config))
    except FloatingPointError as error:
        rows.append({"error": str(error)})
    meta = json.dumps({"trial": trial, "values": values_of(task, trial), "rows": rows})
    with replaced_file(folder / f"{trial:03d}.npz") as part, part.open("wb") as file:
        np.savez_compressed(file, raw=np.array(raw, np.int32), ema=np.array(average, np.int32), meta=meta)
    return f"trial {trial}: {time.perf_counter() - started:.0f} s"


def confusions(network: nn.Module, config: Config) -> npt.NDArray[np.int64]:
    """Return the confusion matrices (N, K, K) of the validation images."""
    found = []
    for batch, predicted in predictions(
        network,
        evaluation_samples(open_split(config.data, "val"), config.data),
        config.evaluation,
        padding_multiple=network.padding_multiple,  # type: ignore[arg-type]
        crop_size=config.data.augmentation.crop_size,
        device=next(network.parameters()).device,
        precision=config.train.precision,
    ):
        for sample, classes in zip(batch, predicted, strict=True):
            confusion = ConfusionMatrix(config.data.num_classes)
            confusion.update(classes, sample.label)
            found.append(confusion.counts)
    return np.stack(found)


def rows_of(task: Training, file: Path) -> list[TrialRow]:
    """Return the rows of the table for a trained trial."""
    with np.load(file) as stored:
        meta = json.loads(str(stored["meta"]))
        raw, average = ious(stored["raw"]), ious(stored["ema"])
    values = {**task.spec.default_values(), **meta["values"]}
    rows = []
    for report, row in enumerate(meta["rows"]):
        if "error" in row:
            iteration = int(row["error"].rsplit(" ", 1)[1])
            rows.append(TrialRow(meta["trial"], values, iteration, 0.0, error=row["error"]))
            continue
        batch = task.spec.config["train"]["batch_size"]
        reports = task.spec.config["train"]["report_iters"]
        seconds = row.get("seconds", reports * batch / row.get("images_per_second", 1.0))
        rows.append(
            TrialRow(
                trial=meta["trial"],
                values=values,
                iteration=row["iteration"],
                seconds=seconds,
                miou=float(np.nanmean(raw[report])),
                miou_ema=float(np.nanmean(average[report])),
                iou_ema=average[report].tolist(),
            )
        )
    return rows


def ious(confusions: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the IoU (R, K) of every report and class from confusion matrices (R, N, K, K); NaN for absent classes."""
    counts = confusions.sum(axis=1, dtype=np.int64)
    hits = np.diagonal(counts, axis1=1, axis2=2).astype(float)
    unions = counts.sum(axis=1) + counts.sum(axis=2) - hits
    return np.divide(hits, unions, out=np.full(hits.shape, np.nan), where=unions > 0)


def write(path: Path, task: Training, rows: Sequence[TrialRow]) -> None:
    """Write a table, its rows in the order of trials and iterations; the metadata holds what they have in common."""
    rows = sorted(rows, key=lambda row: (row.trial, row.iteration))
    columns: dict[str, list[Any]] = {"trial": [row.trial for row in rows]}
    columns |= {searched: [row.values[searched] for row in rows] for searched in task.space}
    for name in ("iteration", "miou", "miou_ema", "iou_ema", "seconds", "status", "error"):
        columns[name] = [getattr(row, name) for row in rows]
    types = {"iou_ema": pa.list_(pa.float64()), "error": pa.string(), "miou": pa.float64(), "miou_ema": pa.float64()}
    arrays = {name: pa.array(values, type=types.get(name)) for name, values in columns.items()}
    table = pa.table(arrays).replace_schema_metadata({METADATA: json.dumps(asdict(task))})
    pq.write_table(table, path, compression="zstd")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", help="the folder of the dataset, for camvid")
    parser.add_argument("--trials", type=int, default=96)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    task, folder = TASKS[arguments.task], arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    missing = [trial for trial in range(arguments.trials) if not (folder / f"{trial:03d}.npz").exists()]
    with ProcessPoolExecutor(arguments.processes) as pool:
        count = len(missing)
        calls = [[arguments.task] * count, missing, [folder] * count, [arguments.data] * count]
        for line in pool.map(train, *calls):
            print(line, flush=True)
    rows = [row for file in sorted(folder.glob("[0-9]*.npz")) for row in rows_of(task, file)]
    path = Path(__file__).with_name(f"{arguments.task}.parquet")
    write(path, task, rows)
    print(f"{len({row.trial for row in rows})} trials, {path.stat().st_size / 1e6:.2f} MB: {path.name}")


if __name__ == "__main__":
    main()
