"""A first space file for a dataset: commented, with a budget for the machine at hand, to be edited by its owner."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from raysearch.data_tables import WEIGHT_POWER, percent
from raysearch.errors import Fault, InputError
from raysearch.machine import Machine
from trainables.config import IGNORE_INDEX, DataConfig
from trainables.data.census import SPLITS, Begin, Inspection, class_names, inspect_dataset, silently
from trainables.data.folder import one_folder, shown
from trainables.data.preflight import IMBALANCE_WORTH_WEIGHTS, SplitSummary, likely_bit_depth
from trainables.data.presets import PRESETS
from trainables.losses.class_weights import class_weights

_STRIDE = 32
"""Sides of a crop are multiples of it, as networks with five halvings want them."""
_CLASSES_LISTED = 40
"""Classes whose shares are written as a comment; the rest is a count."""
_MOST = 0.75
"""Share of a preset's ids from which labels look like it."""


@dataclass(frozen=True)
class _Budget:
    """What one machine can do in a first search."""

    shorter_side: int
    """Images are scaled down to about this, in pixels."""
    largest_crop: int
    batch_size: int
    num_trials: int
    seconds: float
    """The search may take about so long."""
    pixel_iterations_per_second: float
    """Pixels of a batch that one trial trains on in a second, of the small HRNet."""


_ON_CPU = _Budget(192, 160, 6, 16, 2 * 3600, 3e5)
"""`search_spaces/camvid.yaml` took 14 minutes on two cores: 4,000 iterations of six crops of 128 x 160."""
_ON_GPU = _Budget(1024, 512, 8, 48, 8 * 3600, 8e6)

_KEPT_BY_STOPPING = 0.5
"""Of the iterations without early stopping, those that a search trains, roughly."""


@dataclass(frozen=True)
class FirstSpace:
    """A space file that passes `check`, and what its owner should know of the dataset."""

    text: str
    notices: tuple[str, ...]


def first_space(
    folder: Path, machine: Machine, config: DataConfig | None = None, begin: Begin = silently
) -> FirstSpace:
    """A space file for a dataset.

    Args:
        folder: A dataset `{train,val[,test]}/{image,label}`.
        machine: What the budget is for.
        config: What the label values mean; without it every value but 255 is a class.
        begin: Is told of the progress.

    Raises:
        InputError: the folder is no such dataset, with the command that makes one of it where there is one; or
            files in it are wrong.
    """
    folder = folder.expanduser().absolute()
    _must_have_splits(folder)
    found = inspect_dataset(folder, config, begin)
    if found.faults:
        raise InputError([*found.faults, *_remedies(folder, found)])
    if found.config is None:
        values = ", ".join(str(value) for value in found.splits["train"].value_pixels())
        what = f"its labels hold only the value {values}; a network tells at least two classes apart"
        fix = "name the classes with --ids, or label more of them"
        if found.splits["train"].soft_edges is not None:  # of 0 and 255
            what, fix = found.notices[0], "255 always means ignore"
        raise InputError([Fault(shown(folder), what, fix)])
    depth = likely_bit_depth(image for census in found.splits.values() for image in census.traits)
    hints = () if config is not None else _preset_hints({v for c in found.splits.values() for v in c.value_pixels()})
    return FirstSpace(
        _text(folder, found, found.config.model_copy(update={"bit_depth": depth}), machine), (*found.notices, *hints)
    )


def _preset_hints(values: set[int]) -> tuple[str, ...]:
    """Presets whose ids the labels hold, nearly all of them and hardly any other value."""
    return tuple(
        f"the values are like those of {name}: `--preset {name}` takes its classes and names them"
        for name, preset in PRESETS.items()
        if len(values & set(preset.label_class_ids)) >= _MOST * len(preset.label_class_ids)
        and len(values - set(preset.label_class_ids) - {IGNORE_INDEX}) <= 1
    )


def _must_have_splits(folder: Path) -> None:
    """A dataset that has still to be split is told the command.

    Raises:
        InputError: there is no train/ or no val/.
    """
    if not folder.is_dir():
        raise InputError([Fault(shown(folder), "is no folder", "give the folder of a dataset")])
    present = [name for name in SPLITS if (folder / name).is_dir()]
    if {"train", "val"} <= set(present):
        return
    split = f"python -m raysearch data split {folder} {folder}_split --val 0.2"
    pairs = [folder / name for name in present] or [folder]
    if all(one_folder(place, names)[0] for place in pairs for names in (("image", "images"), ("label", "labels"))):
        what = f"has {' and '.join(f'{name}/' for name in present)} alone" if present else "is not split yet"
        raise InputError([Fault(shown(folder), what, f"make train/ and val/ of it:  {split}")])
    below = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())[:10]) or "no folder"
    what = f"has no train/ and val/ with image/ and label/ in each (it has {below})"
    fix = f"put all images into image/ and all label PNGs into label/, then:  {split}"
    raise InputError([Fault(shown(folder), what, fix)])


def _remedies(folder: Path, found: Inspection) -> list[Fault]:
    """The command that makes labels of colour masks, where that is what is wrong."""
    if not any("data convert" in fault.fix for fault in found.faults):
        return []
    fix = f"python -m raysearch data convert {folder} {folder}_ids --palette colours.csv"
    what = "colours become ids by a table of rows r,g,b,id[,name] (camvid and cityscapes are known by name)"
    return [Fault(shown(folder), what, fix)]


def _text(folder: Path, found: Inspection, config: DataConfig, machine: Machine) -> str:
    train, val = (found.splits[name].summary(config) for name in ("train", "val"))
    budget = _ON_GPU if machine.gpus else _ON_CPU
    height, width = (int(median(sides)) for sides in zip(*found.splits["train"].sizes, strict=True))
    scale = _image_scale(min(height, width), budget.shorter_side)
    crop = [_crop_side(side * scale, budget.largest_crop) for side in (height, width)]
    batch = min(budget.batch_size, train.num_images)
    concurrent = machine.gpus or max(1, int(machine.cpus))
    max_iters, report_iters = _iterations(budget, train.num_images, batch, crop, concurrent)
    epochs = max_iters * batch / train.num_images
    cpu = max(1, int(machine.cpus) // machine.gpus) if machine.gpus else 1
    data = {
        "dir": str(folder),
        "label_class_ids": list(config.label_class_ids),
        **({"reduce_zero_label": True} if config.reduce_zero_label else {}),
        "class_names": list(class_names(config)),
        **({"bit_depth": config.bit_depth} if config.bit_depth < 16 else {}),
    }
    named = "\n".join(f"    {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in data.items())
    name = re.sub(r"[^\w-]+", "-", folder.name).strip("-_") or "dataset"
    return f"""\
# A first search on {name}, written by `raysearch init`: change whatever you know better.
#   python -m raysearch check THIS_FILE    what is wrong, how long it will take, what memory it needs
#   python -m raysearch run THIS_FILE      the search; with --set search.trials=4 a first try
name: {json.dumps(name, ensure_ascii=False)}

# The config of the default trial, with which all others are compared. What is not named here keeps its default.
config:
  data:
    # {train.num_images} training and {val.num_images} validation images; their median size is {height} x {width}.
    # label_class_ids is the raw label value of every class, in order. Other values, and 255, are ignored in loss and
    # score: leave out what is no class. class_names has one name for each class, for tables and the report.
{named}
    # What the labels hold, and the weights that max_over_count gives at power {WEIGHT_POWER}:
{_class_comments(train, val, config)}
    # Images are shrunk by this factor when they are read; scores are taken at the labels' own size all the same.
    image_scale: {scale:g}
    # Height and width of what a training step sees of an image; divisible by {_STRIDE}, as many networks want it.
    augmentation: {{crop_size: {crop}}}
  # Any timm backbone, with the head fcn, ocr or deeplab_v3. `weights: timm` begins from its published weights: they
  # are downloaded once, and help most on small datasets.
  model: {{backbone: hrnet_w18_small}}
  # The class weights to this power: 0 is none at all, 1 the full ratio of the most frequent class to each.
  loss: {{ce_weights: max_over_count, ce_weight_power: {WEIGHT_POWER if _is_imbalanced(train) else 0.0}}}
  optim: {{lr: 0.02}}
  train:
    # The full budget of a trial, {epochs:.0f} times through the training images; it is scored every report_iters.
    max_iters: {max_iters}
    report_iters: {report_iters}
    batch_size: {batch}
    # What is scored is a moving average of the weights: its early scores say more of the final ones.
    ema_decay: {0.98 if max_iters < 2000 else 0.995}

# What is searched, by dotted path into the config, in Optuna's words: type, low, high, log, step, choices.
# A value may have a condition:  contrast.memory_size: {{…, when: {{contrast.memory: true}}}}
space:
  optim.lr:              {{type: float, low: 5e-3, high: 0.2, log: true}}
  optim.poly_power:      {{type: float, low: 0.5, high: 1.0}}
  loss.ce_weight_power:  {{type: float, low: 0.0, high: 1.0}}
  contrast.loss_weight:  {{type: float, low: 0.01, high: 1.0, log: true}}
  contrast.temperature:  {{type: float, low: 0.05, high: 0.5, log: true}}
  contrast.max_samples:  {{type: int, low: 256, high: 4096, log: true}}
  contrast.max_views:    {{type: int, low: 4, high: 256, log: true}}

# No trial breaks a rule between its values; one on what is reported, such as iou.2 >= 0.15, binds the winner.
constraints:
  - contrast.max_views <= contrast.max_samples

objective: {{metric: miou, mode: max}}

# `confirm: {{top: 3, seeds: 3}}` here trains the best again with new seeds at the end, to tell merit from luck.
search: {{algorithm: auto, trials: {budget.num_trials}, seed: 0}}

# asha: a few trials are trained to the end and show from where on early scores foretell final ones; of the rest one in
# three passes each rung. none: every trial is trained to the end.
scheduler: {{name: asha, reduction_factor: 3}}

# What one trial occupies. Found here: {machine.words}.
resources: {{cpu: {cpu}, gpu: {1 if machine.gpus else 0}, concurrent: auto}}
"""


def _is_imbalanced(train: SplitSummary) -> bool:
    return train.imbalance >= IMBALANCE_WORTH_WEIGHTS


def _class_comments(train: SplitSummary, val: SplitSummary, config: DataConfig) -> str:
    """A line a class: its share of the training pixels, the images that have it, the weight that is suggested."""
    weights = class_weights("max_over_count", WEIGHT_POWER, train.class_pixels)
    ids = config.label_class_ids[1:] if config.reduce_zero_label else config.label_class_ids
    total = sum(train.class_pixels)
    rows = [("value", "share", "images", "of val", f"weight at power {WEIGHT_POWER}", "")]
    for k, name in enumerate(class_names(config)):
        images = str(train.class_images[k]), str(val.class_images[k])
        rows.append((str(ids[k]), percent(train.class_pixels[k], total), *images, f"{weights[k]:.3g}", name))
    left_out = len(rows) - 1 - _CLASSES_LISTED
    if left_out > 0:
        rows = [*rows[: _CLASSES_LISTED + 1], ("…", "", "", "", "", f"and {left_out} more classes")]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    cells = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=False)) for row in rows)
    return "\n".join(f"    #   {line}  {row[5]}".rstrip() for line, row in zip(cells, rows, strict=True))


def _image_scale(side: int, wanted: int) -> float:
    """1, or the least of 1/2, 1/4, 1/8 that leaves about the wanted pixels of the shorter side."""
    halvings = max(0, min(3, round(math.log2(side / wanted)))) if side > wanted else 0
    return float(0.5**halvings)


def _crop_side(side: float, largest: int) -> int:
    return max(_STRIDE, min(largest, int(side) // _STRIDE * _STRIDE))


def _iterations(budget: _Budget, num_images: int, batch: int, crop: Sequence[int], concurrent: int) -> tuple[int, int]:
    """The full budget and the iterations between reports: what the time allows, but no more than 100 epochs."""
    per_second = budget.pixel_iterations_per_second / (batch * crop[0] * crop[1])
    affordable = budget.seconds * per_second * concurrent / (budget.num_trials * _KEPT_BY_STOPPING)
    epochs = 100 * num_images / batch
    report_iters = max(10, int(min(affordable, epochs, 40_000) / 80) * 10)
    return 8 * report_iters, report_iters
