"""Trains, scores and predicts with one config outside a search, such as an exported one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from raysearch.config.documents import Kind, check_kind
from raysearch.config.strict_yaml import read_mapping
from raysearch.errors import Fault, InputError
from raysearch.history.metric_names import entry_of, with_entries
from raysearch.history.tables import write_reports
from trainables import scoring
from trainables.atomic_files import recover_folder, replaced_folder, write_text
from trainables.config import Config
from trainables.data.output_folder import new_folder
from trainables.data.preflight import inspect, notices
from trainables.metrics import ConfusionMatrix
from trainables.models import Segmenter
from trainables.prediction import Ids, predict_images, readable_images
from trainables.preflight import preflight
from trainables.protocol import Progress
from trainables.trainer import METRICS, MODEL_FILE, Trainer

Say = Callable[[str], None]


def _unseen(done: int, total: int) -> None:
    """Ignore the progress."""


def metric_of(path: Path) -> str:
    """Return the metric by which a search selected a config file; mIoU for a config written by hand."""
    document, _ = read_mapping(path.expanduser(), str(path))
    origin = document.get("raysearch")
    return str(origin.get("metric", "miou")) if isinstance(origin, dict) else "miou"


def train(config: Config, out: Path, *, metric: str = "miou", say: Say = print, progress: Progress = _unseen) -> float:
    """Train a config to its full budget; an interrupted training in `out` resumes from its last report.

    At every report, `config.json`, `results.parquet` and `checkpoint/` are written to `out`, and `progress` receives
    the iterations.

    Returns:
        The value of the metric at the last report.

    Raises:
        InputError: `out` holds another training, or the dataset or the network's weights have faults.
    """
    for notice in preflight(config):
        say(f"note: {notice}")
    config_file, results, checkpoint = out / "config.json", out / "results.parquet", out / "checkpoint"
    text = json.dumps(config.model_dump(mode="json"), indent=2) + "\n"
    if not config_file.exists():
        if results.exists() or checkpoint.exists():
            raise InputError([Fault(str(out), "holds results of something else", "name another --out")])
        out.mkdir(parents=True, exist_ok=True)
        write_text(config_file, text)
    elif config_file.read_text(encoding="utf-8") != text:
        raise InputError([Fault(str(out), "holds the training of another config", "name another --out")])
    entry = entry_of(metric, METRICS, config.metric_entries())
    trainer = Trainer(config)
    rows: list[dict[str, Any]] = []
    recover_folder(checkpoint)
    if (checkpoint / MODEL_FILE).exists() and results.exists():
        trainer.load(checkpoint)
        rows = [row for row in pq.read_table(results).to_pylist() if row["iteration"] <= trainer.iteration]
        say(f"going on at iteration {trainer.iteration}")
    trainer.after_iteration = lambda iteration: progress(iteration, config.train.max_iters)
    while not trainer.done:
        report = with_entries(trainer.run_to_report(), {} if entry is None else {metric: entry})
        value = report.pop(metric)
        rows.append({"trial": 0, "iteration": report.pop("iteration"), "value": value, **report})
        write_reports(rows, results)
        with replaced_folder(checkpoint) as part:
            trainer.save(part)
        say(f"iteration {trainer.iteration}/{config.train.max_iters}  {metric} {value:.4f}")
    return float(rows[-1]["value"])


def score(
    config: Config,
    checkpoint: Path,
    *,
    split: str = "val",
    folder: Path | None = None,
    say: Say = print,
    progress: Progress = _unseen,
) -> ConfusionMatrix:
    """Score a checkpoint's network on a split of the config's own dataset or of another dataset folder.

    `progress` receives the number of images.

    Raises:
        InputError: there is no checkpoint, it does not fit the config, or the dataset has faults.
    """
    if folder is not None:
        data = config.data.model_copy(update={"dir": str(folder.expanduser().absolute())})
        config = config.model_copy(update={"data": data})
    for notice in notices(inspect(config.data, config.data.augmentation.crop_size, (split,)), config.data):
        say(f"note: {notice}")
    check_kind(checkpoint, str(checkpoint), Kind.CHECKPOINT)
    return scoring.score(config, checkpoint, split, progress)


def predict(
    config: Config,
    checkpoint: Path,
    images: Path,
    out: Path,
    *,
    ids: Ids = "raw",
    with_overlay: bool = False,
    progress: Progress = _unseen,
) -> int:
    """Write the predictions of a checkpoint's network for every image of a folder, as `predict_images` does.

    Args:
        config: Config with which the checkpoint was trained.
        checkpoint: Folder of the checkpoint.
        images: Folder of images.
        out: Absent or empty folder; it only appears when it is complete.
        ids: Meaning of the pixels in the written labels.
        with_overlay: Also write the classes in colour over each image.
        progress: Function that receives the number of finished images and the number of all images.

    Returns:
        The number of images.

    Raises:
        InputError: there is no checkpoint, it does not fit the config, an image cannot be read, or `out` is not empty.
    """
    with new_folder(out, images) as folder:
        paths = readable_images(images, config.data)
        network, device = load_network(config, checkpoint)
        written = predict_images(network, paths, folder, config, device=device, ids=ids, with_overlay=with_overlay)
        for done, _ in enumerate(written, start=1):
            progress(done, len(paths))
    return len(paths)


def load_network(config: Config, checkpoint: Path) -> tuple[Segmenter, torch.device]:
    """Return a checkpoint's network on the device of its config, in a process set up as for its training.

    Raises:
        InputError: there is no checkpoint, it does not fit the config, or there is no such device.
    """
    check_kind(checkpoint, str(checkpoint), Kind.CHECKPOINT)
    return scoring.load_network(config, checkpoint)
