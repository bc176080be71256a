"""Writes a first space file for a dataset: commented, with a budget that fits the machine, meant to be edited."""

import itertools
import json
import math
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from raysearch.checks import check
from raysearch.checks.measure import NotMeasured
from raysearch.command_line import command_line
from raysearch.errors import Fault, InputError
from raysearch.execution.machine import Machine
from raysearch.search.estimate import Interval
from raysearch.space.parsing import load_space
from raysearch.space.spec import SearchSpec
from trainables.config import IGNORE_INDEX, DataConfig
from trainables.data.annotations import FORMATS, ConvertedExport, convert_export, recognise
from trainables.data.census import SPLITS, Begin, Inspection, class_names, inspect_dataset, silently
from trainables.data.class_list import read_class_list
from trainables.data.conversion import ConversionNeeded, conversion_needed
from trainables.data.folder import scan_pairs, shown
from trainables.data.layouts import find_places
from trainables.data.output_folder import free_folder
from trainables.data.preflight import IMBALANCE_WORTH_WEIGHTS, SplitSummary, likely_bit_depth
from trainables.data.presets import PRESETS
from trainables.data_tables import WEIGHT_POWER, percent
from trainables.losses.class_weights import class_weights
from trainables.plurals import counted

_STRIDE = 32
"""Divisor of crop sides, which networks with five halvings need."""
_CLASSES_LISTED = 40
"""Number of classes whose shares are listed in a comment."""
_MOST = 0.75
"""Share of a preset's ids that labels must contain to resemble it."""


@dataclass(frozen=True)
class _Budget:
    """The budget of a first search on one kind of machine."""

    shorter_side: int
    """Approximate length to which the shorter side of images is scaled down, in pixels."""
    largest_crop: int
    batch_size: int
    num_trials: int
    seconds: float
    """Approximate duration of the search."""
    pixel_iterations_per_second: float
    """Pixels per second on which one trial trains a small HRNet."""


_ON_CPU = _Budget(192, 160, 6, 16, 2 * 3600, 3e5)
"""CPU budget: `search_spaces/camvid.yaml` took 14 minutes on two cores for 4,000 iterations of six 128 x 160 crops."""
_ON_GPU = _Budget(1024, 512, 8, 48, 8 * 3600, 8e6)

_QUICK_S = 480.0
"""Largest estimated duration of a quick search, so that it ends within ten minutes."""
_QUICK_TRIALS = (8, 4)
"""Number of trials of a quick search; the second is used if the first does not fit."""
_QUICK_SCORED = 50
"""Number of validation images that are scored at each report of a quick search."""
_QUICK_REPORT_ITERS = (2, 5, 10, 20, 50, 100, 200, 500, 1000)

_KEPT_BY_STOPPING = 0.5
"""Approximate share of the iterations that a search still trains with early stopping."""


@dataclass(frozen=True)
class _Effort:
    """The amount of training in a search."""

    num_trials: int
    report_iters: int
    num_scored: int | None = None
    """Number of validation images that are scored at each report; None: all."""

    @property
    def max_iters(self) -> int:
        """Full budget of a trial, which has eight reports."""
        return 8 * self.report_iters


@dataclass(frozen=True)
class FirstSpace:
    """A space file that passes `check`, and notices about the dataset."""

    text: str
    notices: tuple[str, ...]


def first_space(
    folder: Path,
    machine: Machine,
    config: DataConfig | None = None,
    begin: Begin = silently,
    options: Sequence[str] = (),
    name: str | None = None,
    quick: bool = False,
) -> FirstSpace:
    """Return a space file for a dataset.

    Args:
        folder: A dataset `{train,val[,test]}/{image,label}`.
        machine: Machine for which the budget is planned.
        config: Meaning of the label values; None: every value but 255 is a class, named by the dataset's own list.
        begin: Function that receives the progress.
        options: Options of `init` to repeat in a suggested command.
        name: Name of the search; None: that of the folder.
        quick: Plan a search that ends within ten minutes, by measuring its first iterations on this machine.

    Raises:
        InputError: the folder is not such a dataset, or files in it have faults. The message contains a command that
            converts the dataset if there is one.
    """
    folder = folder.expanduser().absolute()
    _must_have_splits(folder, begin, options, config)
    known = config or _listed_classes(folder)
    found = inspect_dataset(folder, known, begin)
    if found.faults or found.config is None:
        needed = _conversion_needed(folder, begin)
        if needed is not None:
            raise InputError([_convert_first(folder, needed, options, config)])
    if found.faults:
        raise InputError(found.faults)
    if found.config is None:
        values = ", ".join(str(value) for value in found.splits["train"].value_pixels())
        what = f"its labels hold only the value {values}, but a network needs at least two classes"
        raise InputError([Fault(shown(folder), what, "label more classes")])
    depth = likely_bit_depth(image for census in found.splits.values() for image in census.traits)
    hints = () if known is not None else _preset_hints({v for c in found.splits.values() for v in c.value_pixels()})
    text_of = _text(folder, name or folder.name, found, found.config.model_copy(update={"bit_depth": depth}), machine)
    if not quick:
        return FirstSpace(text_of(None), (*found.notices, *hints))
    text, told = _quick_text(text_of, len(found.splits["val"].pairs))
    return FirstSpace(text, (*found.notices, *hints, told))


def first_space_of_export(
    folder: Path,
    space_file: Path,
    name: str,
    machine: Machine,
    config: DataConfig | None = None,
    *,
    link: bool = False,
    quick: bool = False,
    begin: Begin = silently,
) -> tuple[ConvertedExport, FirstSpace]:
    """Convert the export of an annotation tool to a folder beside the space file, and return the space file for it.

    Args:
        folder: The export; it is never changed.
        space_file: Path of the future space file; the dataset is stored in its `data_folder`.
        name: Name of the format, one of `FORMATS`.
        machine: Machine for which the budget is planned.
        config: Meaning of the label values, if the export does not define it.
        link: Create hard links to the images instead of copies.
        quick: See `first_space`.
        begin: Function that receives the progress.

    Raises:
        InputError: the export has faults; nothing is left behind in that case.
    """
    destination = data_folder(space_file)
    if folder.resolve() in destination.resolve().parents:
        what = "would be in the export, which is never changed"
        outside = folder.resolve().parent / space_file.name
        raise InputError([Fault(shown(destination), what, f"give another place with --out, such as --out {outside}")])
    converted = convert_export(folder, destination, name, link=link, begin=begin)
    try:
        return converted, first_space(destination, machine, config, begin, name=folder.resolve().name, quick=quick)
    except BaseException:
        shutil.rmtree(destination, ignore_errors=True)
        raise


def data_folder(space_file: Path) -> Path:
    """Return the folder of the dataset that is converted from an export: NAME_data beside NAME.yaml."""
    return space_file.expanduser().absolute().with_name(f"{space_file.stem}_data")


def format_of(folder: Path, given: str | None) -> str | None:
    """Return the name of the export's format; None if the folder holds images and label images.

    Args:
        folder: The folder that was given to `init`.
        given: The format that the user named.

    Raises:
        InputError: there is no such format, or the folder matches several.
    """
    if given is not None and given not in FORMATS:
        raise InputError([Fault(f"--from {given}", "is not a known format", f"give one of {', '.join(FORMATS)}")])
    folder = folder.expanduser()
    if given is not None or not folder.is_dir() or scan_pairs(folder, "train")[0]:
        return given
    return recognise(folder)


def _listed_classes(folder: Path) -> DataConfig | None:
    """Return the classes of the dataset's own list; None if it lists fewer than two."""
    names = read_class_list(folder)
    return DataConfig(label_class_ids=tuple(names), class_names=tuple(names.values())) if len(names) > 1 else None


def _preset_hints(values: set[int]) -> tuple[str, ...]:
    """Return hints to the presets whose ids the labels contain, nearly all of them and hardly any other value."""
    return tuple(
        f"the values look like those of {name}; `--preset {name}` uses its classes and their names"
        for name, preset in PRESETS.items()
        if len(values & set(preset.label_class_ids)) >= _MOST * len(preset.label_class_ids)
        and len(values - set(preset.label_class_ids) - {IGNORE_INDEX}) <= 1
    )


def _must_have_splits(folder: Path, begin: Begin, options: Sequence[str], config: DataConfig | None) -> None:
    """Raise an error with the command that converts or splits a dataset, unless it has both splits.

    Raises:
        InputError: there is no train/ or no val/.
    """
    if not folder.is_dir():
        raise InputError([Fault(shown(folder), "is not a folder", "give the folder of a dataset")])
    present = [name for name in SPLITS if (folder / name).is_dir()]
    if {"train", "val"} <= set(present):
        return
    places, faults = find_places(folder)
    if faults:
        raise InputError(faults)
    if not places:
        below = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())[:10]) or "no folder"
        what = f"has no train/ and val/ with image/ and label/ in each (it has {below}), and it is not an export of "
        what += ", ".join(one.title for one in FORMATS.values())
        fix = "put all images into image/ and all labels into label/, under the same names, and run this again"
        raise InputError([Fault(shown(folder), what, fix)])
    needed = conversion_needed(folder, begin)
    if needed is not None:
        raise InputError([_convert_first(folder, needed, options, config)])
    what = f"has {' and '.join(f'{name}/' for name in present)} only" if present else "is not split yet"
    target = free_folder(folder, "split")
    split = command_line("data", "split", folder, target, "--val", "0.2")
    again = command_line("init", target, *options)
    raise InputError([Fault(shown(folder), what, f"create train/ and val/ with:  {split} && {again}")])


def _conversion_needed(folder: Path, begin: Begin) -> ConversionNeeded | None:
    """Return the result of `conversion_needed`; None if it fails, because the dataset's own faults matter more."""
    try:
        return conversion_needed(folder, begin)
    except InputError:
        return None


def _convert_first(folder: Path, needed: ConversionNeeded, options: Sequence[str], config: DataConfig | None) -> Fault:
    """Return the fault that labels must be converted, with the commands that convert them and continue."""
    target = free_folder(folder, "ids")
    words = ["--palette", needed.palette] if needed.palette else ["--values", needed.values]
    class_ids = needed.class_ids
    if needed.nearest:
        words = ["--nearest"]
        if config is not None:  # the same ids name the classes of the converted labels
            words, class_ids = ["--nearest", "--values", "keep"], config.label_class_ids
    elif needed.values == "contiguous":
        options = _without_classes(options)
    if class_ids is not None:
        words += ["--ids", ",".join(map(str, class_ids))]
    convert = command_line("data", "convert", folder, target, *words)
    return Fault(
        shown(folder), needed.reason, f"convert them with:  {convert} && {command_line('init', target, *options)}"
    )


def _without_classes(options: Sequence[str]) -> list[str]:
    """Return words of `init` without the options that name classes, whose ids do not hold for converted labels."""
    named = [i for i, word in enumerate(options) if word in ("--ids", "--preset")]
    return [word for i, word in enumerate(options) if i not in named and i - 1 not in named]


def _quick_text(text_of: Callable[[_Effort | None], str], num_val: int) -> tuple[str, str]:
    """Return the text of the largest search that ends in time on this machine, and its duration.

    Raises:
        InputError: no trial can be measured.
    """
    num_scored = _QUICK_SCORED if num_val > _QUICK_SCORED else None
    with TemporaryDirectory() as folder:
        file = Path(folder) / "quick.yaml"

        def spec_of(effort: _Effort) -> SearchSpec:
            file.write_text(text_of(effort), encoding="utf-8")
            return load_space(file)

        measured = check.check_search(spec_of(_Effort(_QUICK_TRIALS[0], 10, num_scored)))
        if not measured.measured:
            reasons = {trial.found.reason for trial in measured.trials if isinstance(trial.found, NotMeasured)}
            what = f"no trial can be measured on this machine ({'; '.join(reasons)})"
            raise InputError(
                [Fault("--quick", what, "leave it out, and set train.max_iters and search.trials yourself")]
            )

        def seconds(effort: _Effort) -> Interval:
            found = measured.with_spec(spec_of(effort)).seconds
            assert found is not None, "it was measured, and the trainable has a budget"
            return found

        chosen = _Effort(_QUICK_TRIALS[-1], _QUICK_REPORT_ITERS[0], num_scored)
        for num_trials in _QUICK_TRIALS:
            efforts = [_Effort(num_trials, report_iters, num_scored) for report_iters in _QUICK_REPORT_ITERS]
            fitting = list(itertools.takewhile(lambda effort: seconds(effort).high <= _QUICK_S, efforts))
            if fitting:
                chosen = fitting[-1]
                break
        takes = seconds(chosen)
    told = f"{counted(chosen.num_trials, 'trial')} of {counted(chosen.max_iters, 'iteration')} take about "
    told += f"{takes.low / 60:.1f} to {takes.high / 60:.1f} minutes here"
    if takes.high > _QUICK_S:
        told += ", which is the shortest possible; a smaller crop, batch or network, or a GPU, would help"
    return text_of(chosen), told


def _text(
    folder: Path, title: str, found: Inspection, config: DataConfig, machine: Machine
) -> Callable[[_Effort | None], str]:
    """Return a function that creates the file's text for an amount of training; None stands for the usual amount."""
    train, val = (found.splits[name].summary(config) for name in ("train", "val"))
    budget = _ON_GPU if machine.gpus else _ON_CPU
    height, width = (int(median(sides)) for sides in zip(*found.splits["train"].sizes, strict=True))
    scale = _image_scale(min(height, width), budget.shorter_side)
    crop = [_crop_side(side * scale, budget.largest_crop) for side in (height, width)]
    batch = min(budget.batch_size, train.num_images)
    concurrent = machine.gpus or max(1, int(machine.cpus))
    usual = _Effort(budget.num_trials, _report_iters(budget, train.num_images, batch, crop, concurrent))
    cpu = max(1, int(machine.cpus) // machine.gpus) if machine.gpus else 1
    data = {
        "dir": str(folder),
        "label_class_ids": list(config.label_class_ids),
        **({"reduce_zero_label": True} if config.reduce_zero_label else {}),
        "class_names": list(class_names(config)),
        **({"bit_depth": config.bit_depth} if config.bit_depth < 16 else {}),
    }
    named = "\n".join(f"    {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in data.items())
    name = re.sub(r"[^\w-]+", "-", title).strip("-_") or "dataset"

    def text(effort: _Effort | None) -> str:
        effort = effort or usual
        epochs = effort.max_iters * batch / train.num_images
        scored = ""
        if effort.num_scored is not None:
            scored = "  # Number of validation images for scores, a stratified selection; without it, all of them.\n"
            scored += f"  evaluation: {{num_images: {effort.num_scored}}}\n"
        return f"""\
# A first search on {name}, written by `raysearch init`. Change whatever you know better.
#   python -m raysearch check THIS_FILE    finds mistakes, and estimates time and memory
#   python -m raysearch run THIS_FILE      searches; add --set search.trials=4 for a short first try
name: {json.dumps(name, ensure_ascii=False)}

# The config of the default trial, with which all other trials are compared. Values not given here keep their defaults.
config:
  data:
    # {train.num_images} training and {val.num_images} validation images; their median size is {height} x {width}.
    # label_class_ids lists the raw label value of each class, in order. Other values, and 255, are ignored in loss and
    # score, so leave out values that are no class. class_names gives each class a name for tables and the report.
{named}
    # The values in the labels, and the class weights of max_over_count at power {WEIGHT_POWER}:
{_class_comments(train, val, config)}
    # Images are scaled down by this factor when they are read; scores are still taken at the labels' own size.
    image_scale: {scale:g}
    # Height and width of the crop of a training step; divisible by {_STRIDE}, as many networks require.
    augmentation: {{crop_size: {crop}}}
  # Any timm backbone, with the head fcn, ocr or deeplab_v3. `weights: timm` starts from its published weights, which
  # are downloaded once and help most on small datasets.
  model: {{backbone: hrnet_w18_small}}
  # Power of the class weights: 0 means no weights, 1 the full ratio of the most frequent class to each class.
  loss: {{ce_weights: max_over_count, ce_weight_power: {WEIGHT_POWER if _is_imbalanced(train) else 0.0}}}
  optim: {{lr: 0.02}}
  train:
    # Full budget of a trial: {epochs:.0f} passes over the training images. The trial is scored every report_iters.
    max_iters: {effort.max_iters}
    report_iters: {effort.report_iters}
    batch_size: {batch}
    # Scores are taken with a moving average of the weights, whose early scores predict final ones better.
    ema_decay: {0.98 if effort.max_iters < 2000 else 0.995}
{scored}
# Searched values, by dotted path into the config, in Optuna's terms: type, low, high, log, step, choices.
# A value may have a condition:  contrast.memory_size: {{…, when: {{contrast.memory: true}}}}
space:
  optim.lr:              {{type: float, low: 5e-3, high: 0.2, log: true}}
  optim.poly_power:      {{type: float, low: 0.5, high: 1.0}}
  loss.ce_weight_power:  {{type: float, low: 0.0, high: 1.0}}
  contrast.loss_weight:  {{type: float, low: 0.01, high: 1.0, log: true}}
  contrast.temperature:  {{type: float, low: 0.05, high: 0.5, log: true}}
  contrast.max_samples:  {{type: int, low: 256, high: 4096, log: true}}
  contrast.max_views:    {{type: int, low: 4, high: 256, log: true}}

# No trial starts that breaks a constraint between its values. A constraint on reports, such as iou.2 >= 0.15, limits
# which trial can win.
constraints:
  - contrast.max_views <= contrast.max_samples

objective: {{metric: miou, mode: max}}

# `confirm: {{top: 3, seeds: 3}}` here retrains the best configs with new seeds at the end, to tell merit from luck.
search: {{algorithm: auto, trials: {effort.num_trials}, seed: 0}}

# asha: a few trials train to the end and show from which iteration on early scores predict final ones. Of the others,
# one in three passes each rung. none: every trial trains to the end.
scheduler: {{name: asha, reduction_factor: 3}}

# Resources of one trial. This machine has {machine.words}.
resources: {{cpu: {cpu}, gpu: {1 if machine.gpus else 0}, concurrent: auto}}
"""

    return text


def _is_imbalanced(train: SplitSummary) -> bool:
    return train.imbalance >= IMBALANCE_WORTH_WEIGHTS


def _class_comments(train: SplitSummary, val: SplitSummary, config: DataConfig) -> str:
    """Return one line per class: its share of the training pixels, its images, its suggested weight."""
    weights = class_weights("max_over_count", WEIGHT_POWER, train.class_pixels)
    ids = config.label_class_ids[1:] if config.reduce_zero_label else config.label_class_ids
    total = sum(train.class_pixels)
    rows = [("value", "share", "images", "of val", f"weight at power {WEIGHT_POWER}", "")]
    for k, name in enumerate(class_names(config)):
        images = str(train.class_images[k]), str(val.class_images[k])
        rows.append((str(ids[k]), percent(train.class_pixels[k], total), *images, f"{weights[k]:.3g}", name))
    left_out = len(rows) - 1 - _CLASSES_LISTED
    if left_out > 0:
        rows = [*rows[: _CLASSES_LISTED + 1], ("…", "", "", "", "", f"and {counted(left_out, 'more class')}")]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    cells = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=False)) for row in rows)
    return "\n".join(f"    #   {line}  {row[5]}".rstrip() for line, row in zip(cells, rows, strict=True))


def _image_scale(side: int, wanted: int) -> float:
    """Return 1, or the scale of 1/2, 1/4, 1/8 at which the shorter side is close to the wanted length."""
    halvings = max(0, min(3, round(math.log2(side / wanted)))) if side > wanted else 0
    return float(0.5**halvings)


def _crop_side(side: float, largest: int) -> int:
    return max(_STRIDE, min(largest, int(side) // _STRIDE * _STRIDE))


def _report_iters(budget: _Budget, num_images: int, batch: int, crop: Sequence[int], concurrent: int) -> int:
    """Return the iterations between reports: an eighth of what the time allows, but at most 100 epochs in total."""
    per_second = budget.pixel_iterations_per_second / (batch * crop[0] * crop[1])
    affordable = budget.seconds * per_second * concurrent / (budget.num_trials * _KEPT_BY_STOPPING)
    epochs = 100 * num_images / batch
    return max(10, int(min(affordable, epochs, 40_000) / 80) * 10)
