"""Reads and writes the JSON files of openseg.pytorch and ContrastiveSeg, the code this trainer's ideas come from.

Such a file is never complete: the original's scripts give the network, the loss and the data as flags beside it.
`read_flags` takes those, `read_openseg` makes a nested config of a file and its flags, and `write_openseg` makes a file
of a config. What the dialect has no word for goes into a block that the original ignores, so that a config that is
written and read again is the same config.
"""

import copy
import difflib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from trainables.config import Config
from trainables.dotted_paths import assign, leaves, lookup
from trainables.errors import Fault

BLOCK = "raysearch"
"""Key of the extra block; its keys that have dots in them are dotted paths of the config."""


class Given(NamedTuple):
    """One value given beside a file, by its place in the dialect."""

    text: str
    """As the user wrote it."""
    path: str
    value: Any


@dataclass(frozen=True)
class Flags:
    """The original's flags among the words of a command line."""

    given: tuple[Given, ...] = ()
    phase: str | None = None
    """The value of `--phase`."""
    resume: str | None = None
    """The value of `--resume`, a checkpoint."""
    resume_continue: bool = False
    """The value of `--resume_continue`."""
    passed_over: tuple[str, ...] = ()
    """Flags of the original that mean nothing here."""
    rest: tuple[str, ...] = ()
    """All other words, in order."""
    faults: tuple[Fault, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every flag, as it was written."""
        return tuple(given.text.split()[0] for given in self.given) + self.passed_over

    @property
    def tasks(self) -> tuple[str, ...]:
        """Flags that ask for something else than a training from its beginning."""
        asked = {
            "--phase": (self.phase or "train") != "train",
            "--resume": self.resume is not None,
            "--resume_continue": self.resume_continue,
        }
        return tuple(name for name, is_asked in asked.items() if is_asked)

    @property
    def asks_for_evaluation(self) -> bool:
        """True if the original would score a checkpoint and train nothing."""
        return (self.phase or "train") != "train" or (self.resume is not None and not self.resume_continue)


@dataclass(frozen=True)
class Reading:
    """What a file says, in the words of the config."""

    values: dict[str, Any]
    """The nested config, not yet validated; without what the file does not say."""
    origins: dict[str, str]
    """Dotted path of the config -> file or flag and the place in it that the value comes from."""
    notices: tuple[str, ...]
    faults: tuple[Fault, ...]


def is_openseg(document: Mapping[str, Any]) -> bool:
    """Whether a document is of the dialect, by what it holds."""
    network = document.get("network")
    named = isinstance(network, Mapping) and not network.keys().isdisjoint(("model_name", "backbone"))
    return named or document.get("method") == _METHOD


def read_flags(words: Sequence[str], folder: Path) -> Flags:
    """The original's flags among `words`; paths that they give are relative to `folder`."""
    given: list[Given] = []
    passed_over: list[str] = []
    rest: list[str] = []
    faults: list[Fault] = []
    asked: dict[str, Any] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("--"):
            rest.append(word)
            continue
        name, equals, joined = word.partition("=")
        if name not in FLAGS:
            close = difflib.get_close_matches(name, FLAGS, n=1, cutoff=0.75)
            fix = f"did you mean {close[0]}?" if close else "--help lists the options; config values are pairs"
            faults.append(Fault(name, "is neither an option here nor a flag of the original trainer", fix))
            while left and not joined and not left[0].startswith("--"):
                left.pop(0)  # what follows belongs to it, and is no pair
            continue
        flag = FLAGS[name]
        values = [joined] if equals else _values_of(flag, left)
        if not values and flag.kind not in ("switch", "none"):
            faults.append(Fault(name, "has no value after it", f"write {name} and a value"))
        elif flag.path is None:
            passed_over.append(name)
        else:
            text = " ".join((name, *values))
            try:
                value = _flag_value(flag, values)
            except ValueError as error:
                faults.append(Fault(text, *str(error).split("; ")))
                continue
            if name in _ASKED:
                asked[name.removeprefix("--")] = value
            else:
                given.append(given_at(text, flag.path, value, folder))
    return Flags(
        given=tuple(given),
        **asked,
        passed_over=tuple(dict.fromkeys(passed_over)),
        rest=tuple(rest),
        faults=tuple(faults),
    )


def has_place(document: Mapping[str, Any], path: str) -> bool:
    """Whether a dotted path is one that the dialect has, or that a file holds."""
    found = lookup(document, path, None)
    return path in _places() or (found is not None and not isinstance(found, Mapping))


def given_at(text: str, path: str, value: Any, folder: Path) -> Given:
    """A value for a place of the dialect; one that names a file or folder is relative to `folder`."""
    if path in _PATHS and isinstance(value, str):
        value = os.path.abspath(folder / Path(value).expanduser())
    return Given(text, path, value)


def read_openseg(document: Mapping[str, Any], source: str, given: Sequence[Given] = ()) -> Reading:
    """The nested config that a file and the values given beside it describe; `source` names the file in messages.

    Faults come with the reading, so that what can be read can be validated too.
    """
    file = _File(document, source, given)
    if file.get("method") != _METHOD:
        file.fault("method", f"must be {_METHOD}", f"only files with method {_METHOD} describe such a training")
    file.get("dataset")
    _read_data(file)
    _read_augmentation(file)
    for place, (supported, consequence) in _OTHER_TRAININGS.items():
        file.only(place, supported, consequence)
    network = _read_network(file)
    _read_loss(file, network)
    _read_optim(file)
    _read_evaluation(file)
    _read_budget(file)
    _read_block(file)
    unread = file.unread()
    if unread:
        file.notices.append(f"{source}: nothing here reads {', '.join(unread)}")
    values: dict[str, Any] = {}
    for path, value in file.config.items():
        assign(values, path, value)
    return Reading(values, file.origins, tuple(file.notices), tuple(file.faults))


def write_openseg(config: Config, class_weights: Sequence[float] | None = None) -> dict[str, Any]:
    """Return a file of the dialect that says what can be said of a config, and the rest in the extra block.

    It holds every key that the original reads without a default; `command_line` has what it takes from flags alone.

    Args:
        config: The config.
        class_weights: Weight of every class in the cross entropy where a scheme computes it from the training pixels:
            the dialect has numbers alone.
    """
    document = _document(config)
    loss = config.loss
    if isinstance(loss.ce_weights, tuple):
        class_weights = [weight**loss.ce_weight_power for weight in loss.ce_weights]
    if class_weights is not None and "loss.ce_weights" not in config.unused():
        document["loss"]["params"]["ce_weight"] = list(class_weights)
    said = Config.model_validate(read_openseg(document, BLOCK).values).model_dump(mode="json")
    whole = config.model_dump(mode="json", round_trip=True)
    unsaid = {path: value for path, value in leaves(whole) if lookup(said, path, None) != value}
    if "loss.ce_weights" in unsaid:  # without the power beside them, weights that are given count as they are
        unsaid["loss.ce_weight_power"] = loss.ce_weight_power
    return {**document, BLOCK: unsaid} if unsaid else document


def command_line(config: Config) -> str:
    """The flags that the original needs beside the file, since their defaults replace what the file says."""
    words = ["--drop_last y", "--seed", str(config.train.seed)]
    if config.optim.nbb_mult != 1.0:
        words += ["--nbb_mult", f"{config.optim.nbb_mult:g}"]
    if config.optim.warmup_iters:
        words += ["--is_warm y"]
    if config.contrast.loss_weight > 0.0:
        words += ["--distributed"]  # a single process never passes on that the contrast's warm-up has ended
    return " ".join(words)


_METHOD = "fcn_segmentor"


class _Flag(NamedTuple):
    path: str | None
    """Its place in the dialect; None: nothing here has a use for it."""
    kind: Literal["text", "int", "float", "switch", "ints", "none"]


FLAGS = {
    "--model_name": _Flag("network.model_name", "text"),
    "--backbone": _Flag("network.backbone", "text"),
    "--pretrained": _Flag("network.pretrained", "text"),
    "--loss_type": _Flag("loss.loss_type", "text"),
    "--base_lr": _Flag("lr.base_lr", "float"),
    "--nbb_mult": _Flag("lr.nbb_mult", "float"),
    "--lr_policy": _Flag("lr.lr_policy", "text"),
    "--is_warm": _Flag("lr.is_warm", "switch"),
    "--optim_method": _Flag("optim.optim_method", "text"),
    "--group_method": _Flag("optim.group_method", "text"),
    "--max_iters": _Flag("solver.max_iters", "int"),
    "--test_interval": _Flag("solver.test_interval", "int"),
    "--train_batch_size": _Flag("train.batch_size", "int"),
    "--val_batch_size": _Flag("val.batch_size", "int"),
    "--data_dir": _Flag("data.data_dir", "text"),
    "--workers": _Flag("data.workers", "int"),
    "--seed": _Flag("seed", "int"),
    "--phase": _Flag("phase", "text"),
    "--resume": _Flag("network.resume", "text"),
    "--resume_continue": _Flag("network.resume_continue", "switch"),
    **{
        f"--{name}": _Flag(f"data.{name}", "switch")
        for name in ("include_val", "include_coarse", "only_coarse", "only_mapillary", "include_atr", "include_cihp")
    },
    **{name: _Flag(None, "ints") for name in ("--gpu", "--multi_grid")},
    **{name: _Flag(None, "none") for name in ("--distributed", "--use_ground_truth")},
    **{
        f"--{name}": _Flag(None, "switch")
        for name in (
            *("drop_last", "gathered", "loss_balance", "only_small", "resume_strict", "finetune"),
            *("resume_eval_train", "resume_eval_val", "rewrite", "log_to_file", "save_prob", "cudnn"),
        )
    },
    **{
        f"--{name}": _Flag(None, "text")
        for name in (
            *("configs", "checkpoints_root", "checkpoints_name", "save_iters", "save_epoch", "bn_type"),
            *("max_epoch", "display_iter", "logfile_level", "stdout_level", "log_file", "test_img"),
            *("test_dir", "out_dir", "local_rank"),
        )
    },
}
_ASKED = ("--phase", "--resume", "--resume_continue")
"""Flags that say what is to be done, not with which values."""
_PATHS = ("data.data_dir", "network.pretrained")
_YES, _NO = ("yes", "true", "t", "y", "1"), ("no", "false", "f", "n", "0")


def _values_of(flag: _Flag, left: list[str]) -> list[str]:
    """Take the values of a flag off the words that follow it."""
    values: list[str] = []
    match flag.kind:
        case "none":
            pass
        case "switch":
            if left and left[0].lower() in _YES + _NO:
                values.append(left.pop(0))
        case "ints":
            while left and left[0].isdecimal():
                values.append(left.pop(0))
        case _:
            if left and not left[0].startswith("--"):
                values.append(left.pop(0))
    return values


def _flag_value(flag: _Flag, values: Sequence[str]) -> Any:
    value = values[0] if values else ""
    match flag.kind:
        case "int" | "float":
            try:
                return int(value) if flag.kind == "int" else float(value)
            except ValueError:
                raise ValueError(f"{value} is no {'whole ' if flag.kind == 'int' else ''}number; give one") from None
        case "switch":
            if value.lower() not in ("", *_YES, *_NO):
                raise ValueError(f"{value} is neither yes nor no; give y or n")
            return value.lower() in ("", *_YES)
        case _:
            return value


class _Network(NamedTuple):
    head: Literal["fcn", "ocr", "deeplab_v3"]
    has_embedding: bool
    has_memory: bool

    @property
    def outputs(self) -> int:
        return 1 if self.head == "fcn" else 2


_NETWORKS = {
    "hrnet_w48": _Network("fcn", False, False),
    "hrnet_w48_contrast": _Network("fcn", True, False),
    "hrnet_w48_mem": _Network("fcn", True, True),
    "hrnet_w48_ocr": _Network("ocr", False, False),
    "hrnet_w48_ocr_contrast": _Network("ocr", True, False),
    "deeplab_v3": _Network("deeplab_v3", False, False),
    "deeplab_v3_contrast": _Network("deeplab_v3", True, False),
    "deeplab_v3_mem": _Network("deeplab_v3", True, True),  # the original has none; named after its hrnet_w48_mem
}
_PLACEHOLDERS = ("asp_ocnet", "base_ocnet")
"""What the published files name where their scripts give another network."""
_DROPOUT = {"fcn": 0.1, "ocr": 0.05, "deeplab_v3": 0.0}
_HRNETS = {f"hrnet{width}": f"hrnet_w{width}" for width in (18, 32, 48, 64)}
_RESNET = re.compile(r"(deepbase_)?resnet(18|34|50|101|152)(?:_dilated(8|16))?")
_DEEP_STEMS = ("50", "101", "152")
"""Depths that timm has with the deep stem, as `resnet101s`."""


class _Loss(NamedTuple):
    segmentation: Literal["ce", "ohem_ce", "ce_lovasz", "rmi"]
    outputs: tuple[int, ...]
    """Numbers of outputs of a network that it can take."""
    weighs_aux: bool = False
    """`network.loss_weights` are the coefficients of the outputs."""
    contrast: bool = False
    """Takes embeddings; its segmentation term is then what `contrast.use_rmi` and `contrast.use_lovasz` say."""


_LOSSES = {
    "fs_ce_loss": _Loss("ce", (1, 2)),
    "fs_ohemce_loss": _Loss("ohem_ce", (1,)),
    "fs_ce_lovasz_loss": _Loss("ce_lovasz", (1,)),
    "fs_rmi_loss": _Loss("rmi", (1,)),
    "fs_auxce_loss": _Loss("ce", (2,), weighs_aux=True),
    "fs_auxohemce_loss": _Loss("ohem_ce", (2,), weighs_aux=True),
    "fs_aux_rmi_loss": _Loss("rmi", (2,), weighs_aux=True),
    "contrast_ce_loss": _Loss("ce", (1, 2), contrast=True),
    "contrast_auxce_loss": _Loss("ce", (2,), weighs_aux=True, contrast=True),
    "mem_contrast_ce_loss": _Loss("ce", (1, 2), contrast=True),
}
_POLICY = "lambda_poly"
_MODES = {"ss_test": "ss", "ms_test": "ms", "sscrop_test": "sscrop", "mscrop_test": "mscrop"}
_TRANSFORMS = ("random_resize", "random_crop", "random_hflip", "random_brightness")
_CROPPING = ("random_resize", "random_crop")
_ALIGN_METHODS = {"only_pad": "crop", "only_scale": "scale", "scale_and_pad": "scale_and_pad"}
_PAD_MODES = {
    "random": "random",
    "pad_center": "center",
    "pad_right_down": "right_down",
    "pad_left_up": "left_up",
    "pad_border": "border",
}
_IMAGENET = {"div_value": 255.0, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
_RMI = {
    "rmi_radius": 3,
    "rmi_pool_way": 0,
    "rmi_pool_size": 3,
    "rmi_pool_stride": 3,
    "loss_weight": 1.0,
    "lambda_way": 1,
    "use_sigmoid": False,
}


@dataclass
class _File:
    """A file while it is read: which places were asked for, what the config holds by now, what was found on the way."""

    document: Mapping[str, Any]
    source: str
    given: Sequence[Given]
    config: dict[str, Any] = field(default_factory=dict)
    """By dotted path."""
    origins: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.values: dict[str, Any] = copy.deepcopy(dict(self.document))
        self.texts = {given.path: given.text for given in self.given}
        for given in self.given:
            assign(self.values, given.path, given.value)

    def place(self, path: str) -> str:
        return self.texts.get(path) or f"{self.source}: {path}"

    def get(self, path: str) -> Any:
        """The value at a place; None where there is none."""
        self.asked.add(path)
        section = path.rpartition(".")[0]
        while section:  # one fault for a section that is a value, whatever is asked of it
            found = lookup(self.values, section, None)
            if found is not None and not isinstance(found, Mapping):
                self.fault(section, f"{_show(found)} must be a mapping", "write it as the original's files do")
                return None
            section = section.rpartition(".")[0]
        return lookup(self.values, path, None)

    def needed(self, path: str, fix: str) -> Any:
        value = self.get(path)
        if value is None:
            self.fault(path, "is missing", fix)
        return value

    def number(self, path: str) -> float | None:
        value = self.get(path)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        self.fault(path, f"{_show(value)} must be a number", "give a number")
        return None

    def size(self, path: str) -> list[int] | None:
        """Two lengths in the order of the file."""
        value = self.get(path)
        if value is None or (isinstance(value, list) and len(value) == 2 and all(type(side) is int for side in value)):
            return value
        self.fault(path, f"{_show(value)} must be a list of two whole numbers", "give both sides in pixels")
        return None

    def set(self, path: str, value: Any, *places: str) -> None:
        """Set a value of the config that comes from places of the file; the last one given beside it is named."""
        self.config[path] = value
        if places:
            spoken = [place for place in places if place in self.texts]
            self.origins[path] = self.place((spoken or list(places))[-1])

    def take(self, path: str, place: str) -> None:
        """Set a value of the config that the file has in the same form, if it has it."""
        value = self.get(place)
        if value is not None:
            self.set(path, value, place)

    def only(self, path: str, supported: Any, consequence: str) -> None:
        """Say where a value is another than the only one that can be had."""
        value = self.get(path)
        if value is not None and value != supported:
            self.notices.append(f"{self.place(path)}: {_show(value)} cannot be had here; {consequence}")

    def fault(self, path: str, what: str, fix: str) -> None:
        found = Fault(self.place(path), what, fix)
        if found not in self.faults:
            self.faults.append(found)

    def unread(self) -> list[str]:
        """Places that were never asked for, and sections of which nothing was."""
        return _unread({key: value for key, value in self.values.items() if key != BLOCK}, "", self.asked)


@cache
def _places() -> frozenset[str]:
    """Every place of the dialect that has a meaning here."""
    file = _File({}, "", ())
    _read_data(file)
    _read_augmentation(file)
    _read_loss(file, _read_network(file))
    _read_optim(file)
    _read_evaluation(file)
    _read_budget(file)
    return frozenset(file.asked)


def _read_data(file: _File) -> None:
    folder = file.get("data.data_dir")
    if isinstance(folder, list) and len(folder) == 1:
        folder = folder[0]
    if folder is None:
        file.fault("data.data_dir", "is missing", "give --data_dir, or it in the file")
    elif isinstance(folder, str):
        file.set("data.dir", folder, "data.data_dir")
    else:
        file.fault("data.data_dir", f"{_show(folder)} must be one folder", "merge the datasets into one")
    _read_classes(file)
    file.take("data.workers", "data.workers")
    file.take("data.input_mode", "data.input_mode")
    if file.get("data.input_mode") == "BGR":
        file.notices.append(
            f"{file.place('data.input_mode')}: BGR is kept: channels are turned round and then normalised by the "
            "statistics of RGB, as the original does"
        )
    given = {name: file.get(f"normalize.{name}") for name in _IMAGENET}
    if any(value not in (None, _IMAGENET[name]) for name, value in given.items()):
        file.notices.append(
            f"{file.place('normalize')}: images are normalised by ImageNet's mean and deviation of 0..1 all the same, "
            "as the weights of timm and of hrnetv2 expect"
        )


def _read_classes(file: _File) -> None:
    ids, other = file.get("data.label_class_ids"), file.get("data.label_list")
    place = "data.label_list" if ids is None else "data.label_class_ids"
    if ids is not None and other is not None and ids != other:
        file.fault("data.label_list", "is data.label_class_ids by its older name, and differs from it", "keep one")
    ids = other if ids is None else ids
    count = file.number("data.num_classes")
    reduced = file.get("data.reduce_zero_label")
    file.take("data.reduce_zero_label", "data.reduce_zero_label")
    if isinstance(ids, list):
        file.set("data.label_class_ids", ids, place)
        classes = len(ids) - (reduced is True)
        if count is not None and count != classes:
            file.notices.append(
                f"{file.place('data.num_classes')}: {count} classes, but {place} makes {classes}"
                f"{', as reduce_zero_label takes one away' if reduced is True else ''}: {classes} are trained"
            )
    elif ids is not None:
        file.fault(place, f"{_show(ids)} must be a list", "list the raw label value of every class")
    elif count is not None:  # without a list the original takes label pixels as they are
        file.set("data.label_class_ids", list(range(int(count) + (reduced is True))), "data.num_classes")
    elif file.get("data.num_classes") is None:
        fix = "list the raw label value of every class"
        file.fault("data.label_list", "is missing, and so is data.num_classes", fix)


def _read_augmentation(file: _File) -> None:
    sequence = _read_sequence(file)
    section = "data.augmentation"
    place = "train_trans.random_resize"
    for name, theirs in (("scale", "scale_range"), ("aspect", "aspect_range")):
        file.take(f"{section}.{name}", f"{place}.{theirs}")
    file.only(f"{place}.ratio", 1.0, "every image is scaled")
    file.only(f"{place}.method", "random", "scales are uniform")
    file.only(f"{place}.max_side_bound", None, "long sides are not bounded")
    crop, whole = file.size("train_trans.random_crop.crop_size"), file.size("train.data_transformer.input_size")
    place = "train_trans.random_crop.crop_size"
    if crop is None or "random_crop" not in sequence:
        crop, place = whole, "train.data_transformer.input_size"
    is_other = whole is not None and whole != crop
    if crop is None:
        file.fault(place, "is missing", "give the width and height of the training crop")
    else:
        file.set(f"{section}.crop_size", crop[::-1], place)  # width before height there, height before width here
    _read_fit(file, sequence, is_other_size=is_other)
    is_cropped = f"{section}.fit" not in file.config  # it is set for whole images alone
    if is_cropped and "random_resize" not in sequence:
        file.set(f"{section}.scale", [1.0, 1.0], "train_trans.trans_seq")
        file.set(f"{section}.aspect", [1.0, 1.0], "train_trans.trans_seq")
    if is_other and is_cropped:
        file.notices.append(
            f"{file.place('train.data_transformer.input_size')}: {_show(whole)} is another size than that of the "
            f"crop; crops of {_show(crop)} are neither padded nor scaled to it"
        )
    file.only("train_trans.random_crop.ratio", 1.0, "every image is cropped")
    file.only("train_trans.random_crop.method", "random", "crops lie at random")
    file.take(f"{section}.flip", "train_trans.random_hflip.ratio")
    if "random_hflip" not in sequence:
        file.set(f"{section}.flip", 0.0, "train_trans.trans_seq")
    file.only("train_trans.random_hflip.swap_pair", [], "a mirrored image keeps its labels, left and right too")
    file.take(f"{section}.brightness", "train_trans.random_brightness.shift_value")
    if "random_brightness" not in sequence:
        file.set(f"{section}.brightness", 0.0, "train_trans.trans_seq")
    file.only("train_trans.random_brightness.ratio", 1.0, "every image is shifted")


def _read_sequence(file: _File) -> list[Any]:
    """Return the names of the transforms, those that are shuffled first."""
    sequences: dict[str, list[Any]] = {}
    for path, default in (("train_trans.shuffle_trans_seq", []), ("train_trans.trans_seq", list(_TRANSFORMS))):
        given = file.get(path)
        if given is not None and not isinstance(given, list):
            file.fault(path, f"{_show(given)} must be a list", f"list some of {_listed(_TRANSFORMS)}")
        sequences[path] = given if isinstance(given, list) else default
    shuffled = sequences["train_trans.shuffle_trans_seq"]
    if any(isinstance(entry, list) for entry in shuffled):
        file.notices.append(
            f"{file.place('train_trans.shuffle_trans_seq')}: the original draws one of these lists for an image; here "
            "all of them are applied"
        )
        shuffled = [name for entry in shuffled for name in (entry if isinstance(entry, list) else [entry])]
    for path, names in (
        ("train_trans.shuffle_trans_seq", shuffled),
        ("train_trans.trans_seq", sequences["train_trans.trans_seq"]),
    ):
        others = [str(name) for name in names if name not in _TRANSFORMS]
        if others:
            file.notices.append(
                f"{file.place(path)}: {_listed(others)} cannot be had here; images are not changed by it"
            )
    sequence = [*shuffled, *sequences["train_trans.trans_seq"]]
    if set(_CROPPING) <= set(map(str, sequence)) and sequence.index("random_crop") < sequence.index("random_resize"):
        what = "random_crop comes before random_resize"
        file.notices.append(f"{file.place('train_trans.trans_seq')}: {what}; here images are scaled and then cropped")
    return sequence


def _read_fit(file: _File, sequence: Sequence[Any], *, is_other_size: bool) -> None:
    """Read how an image is brought to the size of the network's input, in training and in evaluation."""
    transformer = "train.data_transformer"
    align, mode = file.get(f"{transformer}.align_method"), file.get(f"{transformer}.pad_mode")
    if align is not None and (not isinstance(align, str) or align not in _ALIGN_METHODS):
        file.fault(
            f"{transformer}.align_method", f"{_show(align)} is not known", f"give one of {_listed(_ALIGN_METHODS)}"
        )
    elif align in ("only_scale", "scale_and_pad") and "random_crop" not in sequence:
        file.set("data.augmentation.fit", _ALIGN_METHODS[align], f"{transformer}.align_method")
    elif align in ("only_scale", "scale_and_pad") and not is_other_size:
        file.notices.append(
            f"{file.place(f'{transformer}.align_method')}: {align} acts on crops, since random_crop is in "
            "train_trans.trans_seq; images smaller than the crop are padded here, where the original enlarges them"
        )
    if mode is not None and (not isinstance(mode, str) or mode not in _PAD_MODES):
        file.fault(f"{transformer}.pad_mode", f"{_show(mode)} is not known", f"give one of {_listed(_PAD_MODES)}")
    elif mode is not None:
        file.set("data.augmentation.padding", _PAD_MODES[mode], f"{transformer}.pad_mode")
    file.only(f"{transformer}.size_mode", "fix_size", "all batches have the size of the crop")
    file.only(f"{transformer}.ms_input_size", None, "all batches have the size of the crop")
    stride, size = file.number(f"{transformer}.fit_stride"), file.config.get("data.augmentation.crop_size", ())
    if stride and any(side % stride for side in size):
        file.notices.append(
            f"{file.place(f'{transformer}.fit_stride')}: crops are padded right and down to the network's stride"
        )
    for split in ("val", "test"):
        transformer = f"{split}.data_transformer"
        align, kind = file.get(f"{transformer}.align_method"), file.get(f"{transformer}.size_mode")
        size = file.get(f"{transformer}.input_size")
        for key in ("pad_mode", "fit_stride"):
            file.get(f"{transformer}.{key}")  # padding is removed before the scores are taken
        if align in ("only_scale", "scale_and_pad") and kind != "diverse_size":
            file.notices.append(
                f"{file.place(f'{transformer}.align_method')}: the original scales every image to {_show(size)} for "
                "the network and its scores back to the label's size; here the network takes images at their own "
                "size, or resized by data.image_scale"
            )


_OTHER_TRAININGS: dict[str, tuple[Any, str]] = {
    **{f"data.{name}": (False, "only the folder train is trained on") for name in ("include_val", "include_coarse")},
    **{f"data.{name}": (False, "only the folder train is trained on") for name in ("include_atr", "include_cihp")},
    **{f"data.{name}": (False, "the folder train is trained on") for name in ("only_coarse", "only_mapillary")},
    **{f"data.{name}": (None, "labels are used as they are") for name in ("label_edge2void", "label_non_edge2void")},
    **{f"data.{name}": (None, "classes alone are learned") for name in ("use_edge", "use_dt_offset", "pred_dt_offset")},
    "network.resume": (None, "the training begins anew; the same train --out goes on where it was cut off"),
    "val_trans.trans_seq": ([], "images to be scored are not changed"),
}
"""Places by which the original trains or scores otherwise: the only value that can be had here, and the consequence."""


def _read_network(file: _File) -> _Network | None:
    name = file.get("network.model_name")
    backbone = file.get("network.backbone")
    file.take("model.weights", "network.pretrained")
    file.only("network.multi_grid", [1, 1, 1], "the blocks of the last stage are dilated alike")
    network = _NETWORKS.get(name) if isinstance(name, str) else None
    if network is None:
        valid = f"give --model_name, one of {_listed(_NETWORKS)}, with its --backbone and --loss_type"
        if name is None:
            file.fault("network.model_name", "is missing", valid)
        elif name in _PLACEHOLDERS:
            what = f"{name} stands for the network that the original's scripts give by --model_name, which is missing"
            file.fault("network.model_name", what, valid)
        else:
            close = difflib.get_close_matches(str(name), _NETWORKS, n=1)
            hint = f"did you mean {close[0]}? Valid are" if close else "give one of"
            file.fault("network.model_name", f"{_show(name)} is not known", f"{hint} {_listed(_NETWORKS)}")
        return None
    file.set("model.head", network.head, "network.model_name")
    file.set("model.head_channels", None, "network.model_name")
    file.set("model.dropout", _DROPOUT[network.head], "network.model_name")
    if network.head == "deeplab_v3":
        _read_resnet(file, name, backbone)
    elif backbone in _HRNETS:
        file.set("model.backbone", _HRNETS[backbone], "network.backbone")
        file.set("model.hrnet_fuse", "bilinear", "network.backbone")
    else:
        what = f"{_show(backbone)} is no HRNet, which {name} wants" if backbone is not None else "is missing"
        file.fault("network.backbone", what, f"give --backbone, one of {_listed(_HRNETS)}")
    return network


def _read_resnet(file: _File, model: str, backbone: Any) -> None:
    match = _RESNET.fullmatch(backbone) if isinstance(backbone, str) else None
    if match is None:
        what = f"{_show(backbone)} is no ResNet, which {model} wants" if backbone is not None else "is missing"
        names = "resnet18, 34, 50, 101 or 152, with deepbase_ before it and _dilated8 or _dilated16 after it"
        file.fault("network.backbone", what, f"give --backbone, such as deepbase_resnet101_dilated8: {names}")
        return
    deep_stem, depth, dilated = match.groups()
    name = f"resnet{depth}s" if deep_stem and depth in _DEEP_STEMS else f"resnet{depth}"
    file.set("model.backbone", name, "network.backbone")
    file.set("model.output_stride", int(dilated or 32), "network.backbone")
    if deep_stem and depth not in _DEEP_STEMS:
        file.notices.append(f"{file.place('network.backbone')}: there is no {backbone} here; {name} is trained")


def _read_loss(file: _File, network: _Network | None) -> None:
    name = file.needed("loss.loss_type", f"give --loss_type, one of {_listed(_LOSSES)}")
    loss = _LOSSES.get(name) if isinstance(name, str) else None
    if name is not None and loss is None:
        close = difflib.get_close_matches(str(name), _LOSSES, n=1)
        hint = f"did you mean {close[0]}? Valid are" if close else "give --loss_type, one of"
        file.fault("loss.loss_type", f"{_show(name)} is not known", f"{hint} {_listed(_LOSSES)}")
    if loss is not None and network is not None and not _fits(loss, network):
        model = file.get("network.model_name")
        outputs = "an auxiliary output" if loss.outputs == (2,) else "no auxiliary output"
        wanted = outputs if network.outputs not in loss.outputs else "embeddings"
        losses = [other for other, known in _LOSSES.items() if _fits(known, network)]
        networks = [other for other, known in _NETWORKS.items() if _fits(loss, known)]
        what = f"{name} wants a network with {wanted}, which {model} is not"
        fix = f"give --loss_type, one of {_listed(losses)}, or --model_name, one of {_listed(networks)}"
        file.fault("loss.loss_type", what, fix)
    _read_segmentation_loss(file, loss, network)
    _read_contrast(file, loss, network)


def _fits(loss: _Loss, network: _Network) -> bool:
    return network.outputs in loss.outputs and (network.has_embedding or not loss.contrast)


def _read_segmentation_loss(file: _File, loss: _Loss | None, network: _Network | None) -> None:
    use_rmi, use_lovasz = file.get("contrast.use_rmi"), file.get("contrast.use_lovasz")
    seg, aux = file.number("network.loss_weights.seg_loss"), file.number("network.loss_weights.aux_loss")
    if loss is not None:
        segmentation: str = loss.segmentation
        if loss.contrast and (use_rmi is True or use_lovasz is True):
            segmentation = "rmi" if use_rmi is True else "ce_lovasz"
        file.set("loss.segmentation", segmentation, "loss.loss_type")
        _read_coefficients(file, loss, network, seg, aux)
    file.take("loss.ohem_threshold", "loss.params.ohem_thresh")
    file.take("loss.ohem_min_kept", "loss.params.ohem_minkeep")
    share = file.number("loss.params.loss_weight_lambda")
    if share is not None:  # there the share of the binary cross entropy
        file.set("loss.rmi_weight", 1.0 - share, "loss.params.loss_weight_lambda")
    for key, value in _RMI.items():
        file.only(f"loss.params.{key}", value, f"it is {_show(value)}")
    file.get("loss.params.num_classes")  # those of the data, once more
    file.only("loss.params.ce_ignore_index", -1, "pixels of no class are ignored either way")
    reduction = file.get("loss.params.ce_reduction")
    if reduction not in (None, "mean", "elementwise_mean"):
        fix = "write elementwise_mean"
        file.fault("loss.params.ce_reduction", f"{_show(reduction)}: only means are taken over pixels", fix)
    weights, others = file.get("loss.params.ce_weight"), file.get("data.ce_weight")
    if weights is not None and others is not None and weights != others:
        file.fault("data.ce_weight", "differs from loss.params.ce_weight", "keep one")
    place = "loss.params.ce_weight" if weights is not None else "data.ce_weight"
    weights = others if weights is None else weights
    if isinstance(weights, list):
        if "data.label_class_ids" in file.config:  # their number is a fault only beside a number of classes
            file.set("loss.ce_weights", weights, place)
            file.set("loss.ce_weight_power", 1.0, place)
    elif weights is not None:
        file.fault(place, f"{_show(weights)} must be a list", "give one number a class")


def _read_coefficients(
    file: _File, loss: _Loss, network: _Network | None, seg: float | None, aux: float | None
) -> None:
    if network is None or network.head == "fcn":
        return
    if not loss.weighs_aux:  # a contrastive loss leaves the auxiliary output out, the plain one adds both up
        file.set("loss.aux_coef", 0.0 if loss.contrast else 1.0, "loss.loss_type")
        return
    seg = 1.0 if seg is None else seg
    file.set("loss.ce_coef", seg, "network.loss_weights.seg_loss")
    if aux is not None and seg > 0.0:
        file.set("loss.aux_coef", aux / seg, "network.loss_weights.aux_loss")
    elif aux:
        what = f"{_show(aux)} with a seg_loss of {_show(seg)}: the auxiliary loss is a part of the segmentation loss"
        file.fault("network.loss_weights.aux_loss", what, "give seg_loss a positive number, or both 0")


def _read_contrast(file: _File, loss: _Loss | None, network: _Network | None) -> None:
    section = file.values.get("contrast")
    active = loss is not None and loss.contrast
    weight = file.get("contrast.loss_weight")
    if active:
        file.take("contrast.loss_weight", "contrast.loss_weight")
    elif loss is not None:
        file.set("contrast.loss_weight", 0.0, "loss.loss_type")
        if weight or (network is not None and network.has_embedding):
            name = file.get("loss.loss_type")
            file.notices.append(f"{file.place('loss.loss_type')}: {name} has no contrast: it is switched off")
    for name in ("proj_dim", "temperature", "base_temperature", "max_samples", "max_views", "warmup_iters"):
        file.take(f"contrast.{name}", f"contrast.{name}")
    needed = ("loss_weight", "proj_dim", "temperature", "max_samples", "max_views")
    if active and section is None:
        file.fault("contrast", "is missing", f"add the section with {_listed(needed)} and base_temperature")
    elif active:
        for name in needed:
            file.needed(f"contrast.{name}", "give it a value")
    views = file.number("contrast.max_views")
    if views is not None:
        file.set("contrast.min_pixels", views + 1, "contrast.max_views")
    for name in ("memory_size", "pixel_update_freq"):
        file.take(f"contrast.{name}", f"contrast.{name}")
    file.take("contrast.memory", "contrast.with_memory")
    has_memory = network is not None and network.has_memory
    stated = file.get("contrast.with_memory")
    if active and stated is None:
        file.set("contrast.memory", has_memory, "network.model_name")
    elif active and isinstance(stated, bool) and stated != has_memory:
        model = file.get("network.model_name")
        file.notices.append(
            f"{file.place('contrast.with_memory')}: {_show(stated)} counts, though {model} has "
            f"{'a' if has_memory else 'no'} memory"
        )


def _read_optim(file: _File) -> None:
    method = file.get("optim.optim_method")
    if method not in (None, "sgd", "adamw"):
        file.fault("optim.optim_method", f"{_show(method)} is not known here", "give --optim_method sgd or adamw")
    else:
        file.take("optim.name", "optim.optim_method")
    file.take("optim.momentum", "optim.sgd.momentum")
    nesterov = file.get("optim.sgd.nesterov")
    if method == "adamw":
        file.take("optim.weight_decay", "optim.adamw.weight_decay")
        file.only("optim.adamw.betas", [0.9, 0.999], "it is [0.9, 0.999]")
        file.only("optim.adamw.eps", 1e-8, "it is 1e-08")
    else:
        file.take("optim.weight_decay", "optim.sgd.weight_decay")
        if nesterov:
            file.fault("optim.sgd.nesterov", "true cannot be had here", "write false")
    file.needed("lr.base_lr", "give --base_lr")
    file.take("optim.lr", "lr.base_lr")
    file.take("optim.nbb_mult", "lr.nbb_mult")
    group = file.get("optim.group_method")
    if group == "decay":  # its groups are not told apart by the backbone
        file.set("optim.decay_norm_and_bias", False, "optim.group_method")
        file.set("optim.nbb_mult", 1.0, "optim.group_method")
    elif group is not None:
        file.fault("optim.group_method", f"{_show(group)} is not known", "write decay, or leave it out")
    policy, metric = file.get("lr.lr_policy"), file.get("lr.metric")
    if policy not in (None, _POLICY):
        file.fault("lr.lr_policy", f"{_show(policy)} cannot be had here", f"give --lr_policy {_POLICY}")
    if metric not in (None, "iters"):
        file.fault("lr.metric", f"{_show(metric)}: the schedule goes by iterations", "write iters")
    file.take("optim.poly_power", "lr.lambda_poly.power")
    is_warm, warm_iters, frozen = (
        file.get(f"lr.{key}") for key in ("is_warm", "warm.warm_iters", "warm.freeze_backbone")
    )
    if is_warm is True and warm_iters is None:
        file.fault("lr.warm.warm_iters", "is missing", "give the iterations of the warm-up")
    elif is_warm is True:
        file.set("optim.warmup_iters", warm_iters, "lr.warm.warm_iters")
        begin = "keeps the backbone still" if frozen else "raises the backbone's learning rate alone, by its 4th power"
        file.notices.append(
            f"{file.place('lr.warm.warm_iters')}: the original {begin}; here every learning rate rises linearly"
        )


def _read_evaluation(file: _File) -> None:
    mode = file.get("test.mode")
    if mode in _MODES:
        file.set("evaluation.mode", _MODES[mode], "test.mode")
        file.set("evaluation.flip", mode in ("ms_test", "mscrop_test"), "test.mode")
        if mode != "ss_test":
            file.notices.append(
                f"{file.place('test.mode')}: every report of the training is scored by {mode} too, where the original "
                "takes whole images; evaluation.mode ss does as it does"
            )
    elif mode is not None:
        file.fault("test.mode", f"{_show(mode)} is not known", f"write one of {_listed(_MODES)}")
    file.take("evaluation.scales", "test.scale_search")
    file.take("evaluation.crop_size", "test.crop_size")  # height before width, unlike the training crop
    file.take("evaluation.batch_size", "val.batch_size")


def _read_budget(file: _File) -> None:
    for ours, place, flag in (
        ("train.batch_size", "train.batch_size", "--train_batch_size"),
        ("train.max_iters", "solver.max_iters", "--max_iters"),
    ):
        file.needed(place, f"give {flag}")
        file.take(ours, place)
    file.needed("solver.test_interval", "give --test_interval")
    interval, max_iters = file.number("solver.test_interval"), file.number("solver.max_iters")
    if interval is not None and max_iters is not None:  # the original, too, scores the last iteration
        file.set("train.report_iters", min(interval, max_iters), "solver.test_interval")
    file.take("train.seed", "seed")


def _read_block(file: _File) -> None:
    block = file.values.get(BLOCK)
    for path, value in block.items() if isinstance(block, Mapping) else ():
        if "." in path:
            file.set(path, value)
            file.origins[path] = f"{file.source}: {BLOCK}: {path}"


def _document(config: Config) -> dict[str, Any]:
    """What the dialect can say of a config."""
    data, augmentation, contrast, optim = config.data, config.data.augmentation, config.contrast, config.optim
    model_name, backbone, stride = _written_network(config)
    ids, crop = list(data.label_class_ids), list(augmentation.crop_size[::-1])
    any_size = {"size_mode": "diverse_size", "align_method": "only_pad", "pad_mode": "pad_right_down", "fit_stride": 32}
    evaluation = config.evaluation
    document: dict[str, Any] = {
        "dataset": "raysearch",
        "method": _METHOD,
        "data": {
            "image_tool": "cv2",
            "input_mode": data.input_mode,
            "num_classes": data.num_classes,
            "label_list": ids,
            "label_class_ids": ids,
            "reduce_zero_label": data.reduce_zero_label,
            "data_dir": data.dir or "",
            "workers": data.workers,
        },
        "train": {
            "batch_size": config.train.batch_size,
            "data_transformer": {
                "size_mode": "fix_size",
                "input_size": crop,
                "align_method": next(name for name, fit in _ALIGN_METHODS.items() if fit == augmentation.fit),
                "pad_mode": next(name for name, padding in _PAD_MODES.items() if padding == augmentation.padding),
            },
        },
        "val": {"batch_size": evaluation.batch_size, "data_transformer": any_size},
        "test": {
            "batch_size": evaluation.batch_size,
            "mode": next(name for name, mode in _MODES.items() if mode == evaluation.mode),
            "scale_search": list(evaluation.scales),
            "data_transformer": any_size,
        },
        "train_trans": {
            "trans_seq": [name for name in _TRANSFORMS if augmentation.fit == "crop" or name not in _CROPPING],
            "random_resize": {
                "ratio": 1.0,
                "method": "random",
                "scale_range": list(augmentation.scale),
                "aspect_range": list(augmentation.aspect),
            },
            "random_crop": {"ratio": 1.0, "crop_size": crop, "method": "random", "allow_outside_center": False},
            "random_hflip": {"ratio": augmentation.flip, "swap_pair": []},
            "random_brightness": {"ratio": 1.0, "shift_value": augmentation.brightness},
        },
        "val_trans": {"trans_seq": []},
        "normalize": {**_IMAGENET, "mean_value": _IMAGENET["mean"]},
        "checkpoints": {
            "checkpoints_name": "raysearch",
            "checkpoints_dir": "./checkpoints/raysearch",
            "save_iters": config.train.report_iters,
        },
        "network": {
            "backbone": backbone,
            "model_name": model_name,
            "bn_type": "torchsyncbn",
            "multi_grid": [1, 1, 1],
            "stride": stride,
            "pretrained": config.model.weights if config.model.weights != "timm" else None,
            "loss_weights": {
                "seg_loss": config.loss.ce_coef,
                "aux_loss": config.loss.ce_coef * config.loss.aux_coef,
            },
        },
        "logging": {
            "logfile_level": "info",
            "stdout_level": "info",
            "log_file": "./log/raysearch.log",
            "log_format": "%(asctime)s %(levelname)-7s %(message)s",
            "rewrite": True,
        },
        "lr": {
            "base_lr": optim.lr,
            "nbb_mult": optim.nbb_mult,
            "metric": "iters",
            "lr_policy": _POLICY,
            "lambda_poly": {"power": optim.poly_power},
            "is_warm": optim.warmup_iters > 0,
            "warm": {"warm_iters": optim.warmup_iters, "freeze_backbone": False},
        },
        "solver": {
            "display_iter": 10,
            "test_interval": config.train.report_iters,
            "max_iters": config.train.max_iters,
        },
        "optim": {
            "optim_method": optim.name,
            "group_method": None if optim.decay_norm_and_bias else "decay",
            "sgd": {"weight_decay": optim.weight_decay, "momentum": optim.momentum, "nesterov": False},
            "adamw": {"weight_decay": optim.weight_decay, "betas": [0.9, 0.999], "eps": 1e-8},
        },
        "loss": {"loss_type": _written_loss(config), "params": _loss_params(config)},
        "seed": config.train.seed,
    }
    if evaluation.crop_size is not None or evaluation.mode.endswith("crop"):
        document["test"]["crop_size"] = list(evaluation.crop_size or augmentation.crop_size)
    if contrast.loss_weight > 0.0:  # the original switches it on where the section is there
        document["contrast"] = {
            "proj_dim": contrast.proj_dim,
            "temperature": contrast.temperature,
            "base_temperature": contrast.base_temperature or contrast.temperature,
            "max_samples": contrast.max_samples,
            "max_views": contrast.max_views,
            "warmup_iters": contrast.warmup_iters,
            "loss_weight": contrast.loss_weight,
            "use_rmi": config.loss.segmentation == "rmi",
            "use_lovasz": config.loss.segmentation == "ce_lovasz",
            "memory_size": contrast.memory_size,
            "pixel_update_freq": contrast.pixel_update_freq,
        }
        if _NETWORKS[model_name].has_memory:  # and the memory where this key is there, whatever its value
            document["contrast"]["with_memory"] = True
    return document


def _written_network(config: Config) -> tuple[str, str, int]:
    """The nearest network's name, its backbone, and the stride of its embeddings."""
    model = config.model
    has_embedding = config.contrast.loss_weight > 0.0
    wanted = _Network(model.head, has_embedding, has_embedding and config.contrast.memory)
    fallback = wanted._replace(has_memory=False)
    name = next(name for network in (wanted, fallback) for name, known in _NETWORKS.items() if known == network)
    if model.head != "deeplab_v3":
        named = [theirs for theirs, ours in _HRNETS.items() if ours == model.backbone]
        return name, named[0] if named else "hrnet48", 4
    stride = model.output_stride or 8
    match = re.fullmatch(r"resnet(18|34|50|101|152)(s?)", model.backbone)
    stem = f"{'deepbase_' if match[2] else ''}resnet{match[1]}" if match else "deepbase_resnet101"
    return name, stem if stride == 32 else f"{stem}_dilated{stride}", stride


def _written_loss(config: Config) -> str:
    """The nearest loss's name."""
    if config.contrast.loss_weight > 0.0:
        if config.model.has_aux_head:
            return "contrast_auxce_loss"
        return "mem_contrast_ce_loss" if config.contrast.memory else "contrast_ce_loss"
    match config.model.has_aux_head, config.loss.segmentation:
        case True, "ohem_ce":
            return "fs_auxohemce_loss"
        case True, "rmi":
            return "fs_aux_rmi_loss"
        case True, _:
            return "fs_auxce_loss"
        case False, "ohem_ce":
            return "fs_ohemce_loss"
        case False, "rmi":
            return "fs_rmi_loss"
        case False, "ce_lovasz" | "lovasz":
            return "fs_ce_lovasz_loss"
        case _:
            return "fs_ce_loss"


def _loss_params(config: Config) -> dict[str, Any]:
    loss = config.loss
    params: dict[str, Any] = {
        "ce_reduction": "elementwise_mean",
        "ce_ignore_index": -1,
        "ohem_thresh": loss.ohem_threshold,
        "ohem_minkeep": loss.ohem_min_kept,
    }
    if loss.segmentation == "rmi":
        params |= {"num_classes": config.data.num_classes, "loss_weight_lambda": 1.0 - loss.rmi_weight, **_RMI}
    return params


def _unread(values: Mapping[str, Any], prefix: str, asked: set[str]) -> list[str]:
    found: list[str] = []
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and any(place.startswith(f"{path}.") for place in asked):
            found += _unread(value, f"{path}.", asked)
        elif path not in asked:
            found.append(path)
    return found


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(names)


def _show(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
