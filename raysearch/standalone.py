"""Trains and scores one config outside a search: what an exported config is for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from raysearch.errors import Fault, InputError
from raysearch.records import write_reports
from trainables.config import Config
from trainables.data import evaluation_samples, open_split
from trainables.evaluation import evaluate
from trainables.metrics import ConfusionMatrix
from trainables.models import build_model
from trainables.trainer import MODEL_FILE, Trainer, pick_device

Say = Callable[[str], None]


def metric_of(path: Path) -> str:
    """The metric that the search chose a config file by; mIoU for a config written by hand."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return str(document.get("raysearch", {}).get("metric", "miou"))


def train(config: Config, out: Path, *, metric: str = "miou", say: Say = print) -> float:
    """Train a config to its full budget; a training that was cut off in `out` goes on from its last report.

    Writes `config.json`, `results.parquet` and `checkpoint/` into `out`, at every report.

    Returns:
        The value of the metric at the last report.

    Raises:
        InputError: `out` holds another training, or the dataset is wrong.
    """
    config_file, results, checkpoint = out / "config.json", out / "results.parquet", out / "checkpoint"
    text = json.dumps(config.model_dump(mode="json"), indent=2) + "\n"
    if config_file.exists() and config_file.read_text(encoding="utf-8") != text:
        raise InputError([Fault(str(out), "holds the training of another config", "name another --out")])
    out.mkdir(parents=True, exist_ok=True)
    config_file.write_text(text, encoding="utf-8")
    trainer = Trainer(config)
    rows: list[dict[str, Any]] = []
    if not checkpoint.exists() and checkpoint.with_name(".before").exists():
        checkpoint.with_name(".before").rename(checkpoint)
    if (checkpoint / MODEL_FILE).exists() and results.exists():
        trainer.load(checkpoint)
        rows = [row for row in pq.read_table(results).to_pylist() if row["iteration"] <= trainer.iteration]
        say(f"going on at iteration {trainer.iteration}")
    while not trainer.done:
        report = trainer.run_to_report()
        value = report.pop(metric)
        rows.append({"trial": 0, "iteration": report.pop("iteration"), "value": value, **report})
        write_reports(rows, results)
        _save(trainer, checkpoint)
        say(f"iteration {trainer.iteration}/{config.train.max_iters}  {metric} {value:.4f}")
    return float(rows[-1]["value"])


def _save(trainer: Trainer, checkpoint: Path) -> None:
    """Put a new checkpoint into place of the one before; a kill in between leaves one of the two under `.before`."""
    part, before = checkpoint.with_name(".part"), checkpoint.with_name(".before")
    shutil.rmtree(part, ignore_errors=True)
    trainer.save(part)
    shutil.rmtree(before, ignore_errors=True)
    if checkpoint.exists():
        checkpoint.rename(before)
    part.rename(checkpoint)
    shutil.rmtree(before, ignore_errors=True)


def score(config: Config, checkpoint: Path, *, split: str = "val", folder: Path | None = None) -> ConfusionMatrix:
    """Score a checkpoint's network on a split, of the config's own dataset or of another folder of the layout.

    Raises:
        InputError: the checkpoint does not fit the config, or the dataset is wrong.
    """
    weights = checkpoint / MODEL_FILE
    if not weights.is_file():
        raise InputError([Fault(str(checkpoint), f"holds no {MODEL_FILE}", "name the folder of a checkpoint")])
    if config.train.num_threads is not None:
        torch.set_num_threads(config.train.num_threads)
    device = pick_device(config)
    proj_dim = config.contrast.proj_dim if config.contrast.loss_weight > 0.0 else None
    network = build_model(config.model, config.data.num_classes, proj_dim, config.train.seed)
    try:
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except RuntimeError as error:
        raise InputError(
            [Fault(str(weights), f"does not fit the config: {error}", "give the config it was trained with")]
        ) from None
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return evaluate(
        network,
        evaluation_samples(open_split(config.data, split, folder), config.data),
        config.data.num_classes,
        config.evaluation,
        padding_multiple=network.padding_multiple,
        crop_size=config.evaluation.crop_size or config.data.augmentation.crop_size,
        device=device,
        precision=config.train.precision,
    )
