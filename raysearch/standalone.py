"""Trains and scores one config outside a search: what an exported config is for."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from pydantic import ValidationError

from raysearch.errors import Fault, InputError
from raysearch.overrides import set_pairs, validation_faults
from raysearch.records import write_reports
from trainables.config import Config
from trainables.data import evaluation_samples, open_split
from trainables.evaluation import evaluate
from trainables.metrics import ConfusionMatrix
from trainables.models import build_model
from trainables.trainer import MODEL_FILE, Trainer, pick_device

Say = Callable[[str], None]


@dataclass(frozen=True)
class LoadedConfig:
    """A config file as it is trained: validated, with the block that a search wrote beside it."""

    config: Config
    metric: str
    """The metric that the search chose it by; mIoU for a config written by hand."""
    origin: dict[str, Any]
    """The `raysearch` block; empty for a config written by hand."""


def load_config(path: Path, overrides: Sequence[str] = ()) -> LoadedConfig:
    """Read a config file, with pairs `a.b.c value` on top.

    Raises:
        InputError: the file cannot be read, or values in it or in the pairs break a rule of the config.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError([Fault(str(path), f"cannot be read ({error})", "name a config file")]) from None
    except json.JSONDecodeError as error:
        raise InputError([Fault(f"{path}: line {error.lineno}", error.msg, "mend the JSON")]) from None
    if not isinstance(document, dict):
        raise InputError([Fault(str(path), "must be a mapping", "write {section: {name: value}}")])
    origin = document.pop("raysearch", {})
    document = set_pairs(document, overrides, Config)
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        raise InputError(validation_faults(error, str(path), Config)) from None
    return LoadedConfig(config, origin.get("metric", "miou"), origin)


def train(loaded: LoadedConfig, out: Path, *, say: Say = print) -> float:
    """Train a config to its full budget; a training that was cut off in `out` goes on from its last report.

    Writes `config.json`, `results.parquet` and `checkpoint/` into `out`, at every report.

    Returns:
        The value of the metric at the last report.

    Raises:
        InputError: `out` holds another training, or the dataset is wrong.
    """
    config_file, results, checkpoint = out / "config.json", out / "results.parquet", out / "checkpoint"
    text = json.dumps(loaded.config.model_dump(mode="json"), indent=2) + "\n"
    if config_file.exists() and config_file.read_text(encoding="utf-8") != text:
        raise InputError([Fault(str(out), "holds the training of another config", "name another --out")])
    out.mkdir(parents=True, exist_ok=True)
    config_file.write_text(text, encoding="utf-8")
    trainer = Trainer(loaded.config)
    rows: list[dict[str, Any]] = []
    if (checkpoint / MODEL_FILE).exists() and results.exists():
        trainer.load(checkpoint)
        rows = [row for row in pq.read_table(results).to_pylist() if row["iteration"] <= trainer.iteration]
        say(f"going on at iteration {trainer.iteration}")
    while not trainer.done:
        report = trainer.run_to_report()
        value = report.pop(loaded.metric)
        rows.append({"trial": 0, "iteration": report.pop("iteration"), "value": value, **report})
        _save(trainer, checkpoint)
        write_reports(rows, results)
        say(f"iteration {trainer.iteration}/{loaded.config.train.max_iters}  {loaded.metric} {value:.4f}")
    return float(rows[-1]["value"])


def _save(trainer: Trainer, checkpoint: Path) -> None:
    part = checkpoint.with_name(".checkpoint.part")
    trainer.save(part)
    for file in sorted(part.iterdir()):
        checkpoint.mkdir(exist_ok=True)
        file.replace(checkpoint / file.name)
    part.rmdir()


def score(
    loaded: LoadedConfig, checkpoint: Path, *, split: str = "val", folder: Path | None = None
) -> ConfusionMatrix:
    """Score a checkpoint's network on a split, of the config's own dataset or of another folder of the layout.

    Raises:
        InputError: the checkpoint does not fit the config, or the dataset is wrong.
    """
    config = loaded.config
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
