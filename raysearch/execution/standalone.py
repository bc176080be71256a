"""Trains, scores and predicts with one config outside a search: what an exported config is for."""

import json
import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq
import torch

from raysearch.config.documents import Kind, check_kind
from raysearch.config.strict_yaml import read_mapping
from raysearch.errors import Fault, InputError
from raysearch.history.metric_names import entry_of, with_entries
from raysearch.history.tables import write_reports
from trainables.atomic_files import recover_folder, replaced_folder, write_text
from trainables.config import Config
from trainables.data import evaluation_samples, open_split
from trainables.data.output_folder import new_folder
from trainables.data.preflight import inspect, notices
from trainables.evaluation import evaluate
from trainables.metrics import ConfusionMatrix
from trainables.models import Segmenter, network_of
from trainables.prediction import Ids, predict_images, readable_images
from trainables.preflight import preflight
from trainables.trainer import METRICS, MODEL_FILE, Trainer, pick_device

Sample = TypeVar("Sample")
Say = Callable[[str], None]
Progress = Callable[[int, int], None]
"""Takes how much is done, and of how much."""


def _unseen(done: int, total: int) -> None:
    """Progress that nobody watches."""


def metric_of(path: Path) -> str:
    """The metric that the search chose a config file by; mIoU for a config written by hand."""
    document, _ = read_mapping(path.expanduser(), str(path))
    origin = document.get("raysearch")
    return str(origin.get("metric", "miou")) if isinstance(origin, dict) else "miou"


def train(config: Config, out: Path, *, metric: str = "miou", say: Say = print, progress: Progress = _unseen) -> float:
    """Train a config to its full budget; a training that was cut off in `out` goes on from its last report.

    Writes `config.json`, `results.parquet` and `checkpoint/` into `out`, at every report. `progress` takes iterations.

    Returns:
        The value of the metric at the last report.

    Raises:
        InputError: `out` holds another training, or the dataset or the network's weights are wrong.
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
    """Score a checkpoint's network on a split, of the config's own dataset or of another folder of the layout.

    `progress` takes images.

    Raises:
        InputError: there is no checkpoint, it does not fit the config, or the dataset is wrong.
    """
    for notice in notices(inspect(config.data, config.data.augmentation.crop_size, (split,), folder), config.data):
        say(f"note: {notice}")
    network, device = load_network(config, checkpoint)
    opened = open_split(config.data, split, folder)
    return evaluate(
        network,
        _counted(evaluation_samples(opened, config.data), len(opened), progress),
        config.data.num_classes,
        config.evaluation,
        padding_multiple=network.padding_multiple,
        crop_size=config.data.augmentation.crop_size,
        device=device,
        precision=config.train.precision,
    )


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
    """Write what a checkpoint's network predicts for every image of a folder, as `predict_images` does.

    Args:
        config: The config that the checkpoint was trained with.
        checkpoint: Its folder.
        images: Folder of images.
        out: A folder that is absent or empty; it is there once it is whole.
        ids: What the pixels of the written labels are.
        with_overlay: Write the classes in colour over each image too.
        progress: Takes the number of images that are done, and of all.

    Returns:
        The number of images.

    Raises:
        InputError: there is no checkpoint, it does not fit the config, an image cannot be read, or `out` is taken.
    """
    with new_folder(out, images) as folder:
        paths = readable_images(images, config.data)
        network, device = load_network(config, checkpoint)
        written = predict_images(network, paths, folder, config, device=device, ids=ids, with_overlay=with_overlay)
        for done, _ in enumerate(written, start=1):
            progress(done, len(paths))
    return len(paths)


def _counted(samples: Iterable[Sample], total: int, progress: Progress) -> Iterator[Sample]:
    for done, sample in enumerate(samples, start=1):
        yield sample
        progress(done, total)


def load_network(config: Config, checkpoint: Path) -> tuple[Segmenter, torch.device]:
    """A checkpoint's network on the device of its config, in the process set up as for its training.

    Raises:
        InputError: there is no checkpoint, it does not fit the config, or there is no such device.
    """
    if config.train.num_threads is not None:
        torch.set_num_threads(config.train.num_threads)
    device = pick_device(config)
    network = network_of(config)
    _load_weights(network, checkpoint / MODEL_FILE)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, device


def _load_weights(network: Segmenter, file: Path) -> None:
    if not file.is_file():
        check_kind(file.parent, str(file.parent), Kind.CHECKPOINT)
        raise InputError([Fault(str(file.parent), f"holds no {file.name}", "name the folder of a checkpoint")])
    try:
        given: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        what = f"cannot be read as weights ({type(error).__name__})"
        raise InputError([Fault(str(file), what, "name the folder of a whole checkpoint")]) from error
    wanted = network.state_dict()
    differing = [
        key
        for key in [*wanted, *(key for key in given if key not in wanted)]
        if key not in given or key not in wanted or given[key].shape != wanted[key].shape
    ]
    if differing:
        what = f"does not fit the config: {len(differing)} of its tensors differ, such as {differing[0]}"
        raise InputError([Fault(str(file), what, "give the config it was trained with")])
    network.load_state_dict(given)
