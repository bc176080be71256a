"""Reads a file of the dialect and the values given beside it as a nested config."""

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from trainables.dotted_paths import assign, lookup
from trainables.errors import Fault
from trainables.openseg.dialect import (
    ALIGN_METHODS,
    BLOCK,
    CROPPING,
    HRNETS,
    IMAGENET,
    LOSSES,
    METHOD,
    MODES,
    NETWORKS,
    PAD_MODES,
    POLICY,
    RMI,
    TRANSFORMS,
    Loss,
    Network,
)
from trainables.plurals import counted
from trainables.protocol import DialectReading, Given
from trainables.spelling import closest


def read_openseg(document: Mapping[str, Any], source: str, given: Sequence[Given] = ()) -> DialectReading:
    """Return the nested config that a file and the values given beside it describe.

    Messages name the file as `source`. Faults are part of the reading, so that the values that could be read can be
    validated too.
    """
    file = _File(document, source, given)
    if file.get("method") != METHOD:
        file.fault("method", f"must be {METHOD}", f"only files with method {METHOD} describe such a training")
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
        file.notices.append(f"{source}: ignored, because nothing uses them here: {', '.join(unread)}")
    values: dict[str, Any] = {}
    for path, value in file.config.items():
        assign(values, path, value)
    return DialectReading(values, file.origins, tuple(file.notices), tuple(file.faults))


def has_place(document: Mapping[str, Any], path: str) -> bool:
    """Return True if a dotted path belongs to the dialect, or has a value in the file."""
    found = lookup(document, path, None)
    return path in _places() or (found is not None and not isinstance(found, Mapping))


_PLACEHOLDERS = ("asp_ocnet", "base_ocnet")
"""Names in the published files whose scripts give another network by a flag."""
_DROPOUT = {"fcn": 0.1, "ocr": 0.05, "deeplab_v3": 0.0}
_RESNET = re.compile(r"(deepbase_)?resnet(18|34|50|101|152)(?:_dilated(8|16))?")
_DEEP_STEMS = ("50", "101", "152")
"""Depths that timm offers with the deep stem, as `resnet101s`."""


@dataclass
class _File:
    """A file that is being read: the places asked for, the values of the config so far, and the notices and faults."""

    document: Mapping[str, Any]
    source: str
    given: Sequence[Given]
    config: dict[str, Any] = field(default_factory=dict)
    """Values of the config by dotted path."""
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
        """Return the value at a place, or None if there is none."""
        self.asked.add(path)
        section = path.rpartition(".")[0]
        while section:  # a section that is a value gives a single fault
            found = lookup(self.values, section, None)
            if found is not None and not isinstance(found, Mapping):
                self.fault(section, f"{_show(found)} must be a mapping", "write it as in the original's files")
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
        """Return the two lengths at a place, in the order of the file."""
        value = self.get(path)
        if value is None or (isinstance(value, list) and len(value) == 2 and all(type(side) is int for side in value)):
            return value
        self.fault(path, f"{_show(value)} must be a list of two whole numbers", "give both sides in pixels")
        return None

    def set(self, path: str, value: Any, *places: str) -> None:
        """Set a value of the config that comes from `places` of the file; a place that a flag gave is its origin."""
        self.config[path] = value
        if places:
            spoken = [place for place in places if place in self.texts]
            self.origins[path] = self.place((spoken or list(places))[-1])

    def take(self, path: str, place: str) -> None:
        """Set a value of the config that the file holds in the same form, if the file holds it."""
        value = self.get(place)
        if value is not None:
            self.set(path, value, place)

    def only(self, path: str, supported: Any, consequence: str) -> None:
        """Add a notice if a value differs from the only one that is supported."""
        value = self.get(path)
        if value is not None and value != supported:
            self.notices.append(f"{self.place(path)}: {_show(value)} is not supported here; {consequence}")

    def fault(self, path: str, what: str, fix: str) -> None:
        found = Fault(self.place(path), what, fix)
        if found not in self.faults:
            self.faults.append(found)

    def unread(self) -> list[str]:
        """Return the places of the file that were never read; a section without a place that was read counts as one."""
        return _unread({key: value for key, value in self.values.items() if key != BLOCK}, "", self.asked)


@cache
def _places() -> frozenset[str]:
    """Return every place of the dialect that has a meaning here."""
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
        file.fault("data.data_dir", "is missing", "give --data_dir, or set it in the file")
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
    given = {name: file.get(f"normalize.{name}") for name in IMAGENET}
    if any(value not in (None, IMAGENET[name]) for name, value in given.items()):
        file.notices.append(
            f"{file.place('normalize')}: images are normalised by ImageNet's mean and deviation of 0..1 all the same, "
            "as the weights of timm and of hrnetv2 expect"
        )


def _read_classes(file: _File) -> None:
    ids, other = file.get("data.label_class_ids"), file.get("data.label_list")
    place = "data.label_list" if ids is None else "data.label_class_ids"
    if ids is not None and other is not None and ids != other:
        file.fault("data.label_list", "is the older name of data.label_class_ids, but has another value", "keep one")
    ids = other if ids is None else ids
    count = file.number("data.num_classes")
    reduced = file.get("data.reduce_zero_label")
    file.take("data.reduce_zero_label", "data.reduce_zero_label")
    if isinstance(ids, list):
        file.set("data.label_class_ids", ids, place)
        classes = len(ids) - (reduced is True)
        if count is not None and count != classes:
            file.notices.append(
                f"{file.place('data.num_classes')}: {counted(count, 'class')}, but {place} makes {classes}"
                f"{', as reduce_zero_label takes one away' if reduced is True else ''}: training uses {classes}"
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
    is_cropped = f"{section}.fit" not in file.config  # only whole images have it
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
    for path, default in (("train_trans.shuffle_trans_seq", []), ("train_trans.trans_seq", list(TRANSFORMS))):
        given = file.get(path)
        if given is not None and not isinstance(given, list):
            file.fault(path, f"{_show(given)} must be a list", f"list some of {_listed(TRANSFORMS)}")
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
        others = [str(name) for name in names if name not in TRANSFORMS]
        if others:
            file.notices.append(
                f"{file.place(path)}: {_listed(others)} is not supported here; images are not changed by it"
            )
    sequence = [*shuffled, *sequences["train_trans.trans_seq"]]
    if set(CROPPING) <= set(map(str, sequence)) and sequence.index("random_crop") < sequence.index("random_resize"):
        what = "random_crop comes before random_resize"
        file.notices.append(f"{file.place('train_trans.trans_seq')}: {what}; here images are scaled and then cropped")
    return sequence


def _read_fit(file: _File, sequence: Sequence[Any], *, is_other_size: bool) -> None:
    """Read how an image is brought to the size of the network's input, in training and in evaluation."""
    transformer = "train.data_transformer"
    align, mode = file.get(f"{transformer}.align_method"), file.get(f"{transformer}.pad_mode")
    if align is not None and (not isinstance(align, str) or align not in ALIGN_METHODS):
        file.fault(
            f"{transformer}.align_method", f"{_show(align)} is not known", f"give one of {_listed(ALIGN_METHODS)}"
        )
    elif align in ("only_scale", "scale_and_pad") and "random_crop" not in sequence:
        file.set("data.augmentation.fit", ALIGN_METHODS[align], f"{transformer}.align_method")
    elif align in ("only_scale", "scale_and_pad") and not is_other_size:
        file.notices.append(
            f"{file.place(f'{transformer}.align_method')}: {align} acts on crops, since random_crop is in "
            "train_trans.trans_seq; images smaller than the crop are padded here, where the original enlarges them"
        )
    if mode is not None and (not isinstance(mode, str) or mode not in PAD_MODES):
        file.fault(f"{transformer}.pad_mode", f"{_show(mode)} is not known", f"give one of {_listed(PAD_MODES)}")
    elif mode is not None:
        file.set("data.augmentation.padding", PAD_MODES[mode], f"{transformer}.pad_mode")
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
    "network.resume": (
        None,
        "training starts from the beginning; the same train --out continues where it was interrupted",
    ),
    "val_trans.trans_seq": ([], "images to be scored are not changed"),
}
"""Places by which the original trains or scores differently: the only value supported here, and the consequence."""


def _read_network(file: _File) -> Network | None:
    name = file.get("network.model_name")
    backbone = file.get("network.backbone")
    file.take("model.weights", "network.pretrained")
    file.only("network.multi_grid", [1, 1, 1], "the blocks of the last stage are dilated alike")
    network = NETWORKS.get(name) if isinstance(name, str) else None
    if network is None:
        valid = f"give --model_name, one of {_listed(NETWORKS)}, with its --backbone and --loss_type"
        if name is None:
            file.fault("network.model_name", "is missing", valid)
        elif name in _PLACEHOLDERS:
            what = f"{name} is a placeholder for the network that the original's scripts give with --model_name"
            file.fault("network.model_name", what, valid)
        else:
            close = closest(str(name), NETWORKS)
            hint = f"did you mean {close}? Valid are" if close else "give one of"
            file.fault("network.model_name", f"{_show(name)} is not known", f"{hint} {_listed(NETWORKS)}")
        return None
    file.set("model.head", network.head, "network.model_name")
    file.set("model.head_channels", None, "network.model_name")
    file.set("model.dropout", _DROPOUT[network.head], "network.model_name")
    if network.head == "deeplab_v3":
        _read_resnet(file, name, backbone)
    elif backbone in HRNETS:
        file.set("model.backbone", HRNETS[backbone], "network.backbone")
        file.set("model.hrnet_fuse", "bilinear", "network.backbone")
    else:
        what = f"{_show(backbone)} is not an HRNet, which {name} needs" if backbone is not None else "is missing"
        file.fault("network.backbone", what, f"give --backbone, one of {_listed(HRNETS)}")
    return network


def _read_resnet(file: _File, model: str, backbone: Any) -> None:
    match = _RESNET.fullmatch(backbone) if isinstance(backbone, str) else None
    if match is None:
        what = f"{_show(backbone)} is not a ResNet, which {model} needs" if backbone is not None else "is missing"
        names = "resnet18, 34, 50, 101 or 152, with deepbase_ before it and _dilated8 or _dilated16 after it"
        file.fault("network.backbone", what, f"give --backbone, such as deepbase_resnet101_dilated8: {names}")
        return
    deep_stem, depth, dilated = match.groups()
    name = f"resnet{depth}s" if deep_stem and depth in _DEEP_STEMS else f"resnet{depth}"
    file.set("model.backbone", name, "network.backbone")
    file.set("model.output_stride", int(dilated or 32), "network.backbone")
    if deep_stem and depth not in _DEEP_STEMS:
        file.notices.append(
            f"{file.place('network.backbone')}: {backbone} does not exist here; {name} is trained instead"
        )


def _read_loss(file: _File, network: Network | None) -> None:
    name = file.needed("loss.loss_type", f"give --loss_type, one of {_listed(LOSSES)}")
    loss = LOSSES.get(name) if isinstance(name, str) else None
    if name is not None and loss is None:
        close = closest(str(name), LOSSES)
        hint = f"did you mean {close}? Valid are" if close else "give --loss_type, one of"
        file.fault("loss.loss_type", f"{_show(name)} is not known", f"{hint} {_listed(LOSSES)}")
    if loss is not None and network is not None and not _fits(loss, network):
        model = file.get("network.model_name")
        outputs = "an auxiliary output" if loss.outputs == (2,) else "no auxiliary output"
        wanted = outputs if network.outputs not in loss.outputs else "embeddings"
        losses = [other for other, known in LOSSES.items() if _fits(known, network)]
        networks = [other for other, known in NETWORKS.items() if _fits(loss, known)]
        what = f"{name} needs a network with {wanted}, but {model} is another kind"
        fix = f"give --loss_type, one of {_listed(losses)}, or --model_name, one of {_listed(networks)}"
        file.fault("loss.loss_type", what, fix)
    _read_segmentation_loss(file, loss, network)
    _read_contrast(file, loss, network)


def _fits(loss: Loss, network: Network) -> bool:
    return network.outputs in loss.outputs and (network.has_embedding or not loss.contrast)


def _read_segmentation_loss(file: _File, loss: Loss | None, network: Network | None) -> None:
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
    if share is not None:  # the share of the binary cross entropy in this loss
        file.set("loss.rmi_weight", 1.0 - share, "loss.params.loss_weight_lambda")
    for key, value in RMI.items():
        file.only(f"loss.params.{key}", value, f"it is {_show(value)}")
    file.get("loss.params.num_classes")  # the number of the data's classes again
    file.only("loss.params.ce_ignore_index", -1, "pixels of no class are ignored either way")
    reduction = file.get("loss.params.ce_reduction")
    if reduction not in (None, "mean", "elementwise_mean"):
        fix = "write elementwise_mean"
        file.fault("loss.params.ce_reduction", f"{_show(reduction)}: losses are always averaged over pixels", fix)
    weights, others = file.get("loss.params.ce_weight"), file.get("data.ce_weight")
    if weights is not None and others is not None and weights != others:
        file.fault("data.ce_weight", "differs from loss.params.ce_weight", "keep one")
    place = "loss.params.ce_weight" if weights is not None else "data.ce_weight"
    weights = others if weights is None else weights
    if isinstance(weights, list):
        if "data.label_class_ids" in file.config:  # without a number of classes, the number of ids is no fault
            file.set("loss.ce_weights", weights, place)
            file.set("loss.ce_weight_power", 1.0, place)
    elif weights is not None:
        file.fault(place, f"{_show(weights)} must be a list", "give one number per class")


def _read_coefficients(file: _File, loss: Loss, network: Network | None, seg: float | None, aux: float | None) -> None:
    if network is None or network.head == "fcn":
        return
    if not loss.weighs_aux:  # a contrastive loss ignores the auxiliary output, the plain one adds both
        file.set("loss.aux_coef", 0.0 if loss.contrast else 1.0, "loss.loss_type")
        return
    seg = 1.0 if seg is None else seg
    file.set("loss.ce_coef", seg, "network.loss_weights.seg_loss")
    if aux is not None and seg > 0.0:
        file.set("loss.aux_coef", aux / seg, "network.loss_weights.aux_loss")
    elif aux:
        what = f"{_show(aux)} with a seg_loss of {_show(seg)}: the auxiliary loss is part of the segmentation loss"
        file.fault("network.loss_weights.aux_loss", what, "give seg_loss a positive number, or both 0")


def _read_contrast(file: _File, loss: Loss | None, network: Network | None) -> None:
    section = file.values.get("contrast")
    active = loss is not None and loss.contrast
    weight = file.get("contrast.loss_weight")
    if active:
        file.take("contrast.loss_weight", "contrast.loss_weight")
    elif loss is not None:
        file.set("contrast.loss_weight", 0.0, "loss.loss_type")
        if weight or (network is not None and network.has_embedding):
            name = file.get("loss.loss_type")
            file.notices.append(f"{file.place('loss.loss_type')}: {name} has no contrast, so contrast is switched off")
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
            file.fault("optim.sgd.nesterov", "true is not supported here", "write false")
    file.needed("lr.base_lr", "give --base_lr")
    file.take("optim.lr", "lr.base_lr")
    file.take("optim.nbb_mult", "lr.nbb_mult")
    group = file.get("optim.group_method")
    if group == "decay":  # these groups do not depend on the backbone
        file.set("optim.decay_norm_and_bias", False, "optim.group_method")
        file.set("optim.nbb_mult", 1.0, "optim.group_method")
    elif group is not None:
        file.fault("optim.group_method", f"{_show(group)} is not known", "write decay, or leave it out")
    policy, metric = file.get("lr.lr_policy"), file.get("lr.metric")
    if policy not in (None, POLICY):
        file.fault("lr.lr_policy", f"{_show(policy)} is not supported here", f"give --lr_policy {POLICY}")
    if metric not in (None, "iters"):
        file.fault("lr.metric", f"{_show(metric)}: the schedule counts iterations", "write iters")
    file.take("optim.poly_power", "lr.lambda_poly.power")
    is_warm, warm_iters, frozen = (
        file.get(f"lr.{key}") for key in ("is_warm", "warm.warm_iters", "warm.freeze_backbone")
    )
    if is_warm is True and warm_iters is None:
        file.fault("lr.warm.warm_iters", "is missing", "give the iterations of the warm-up")
    elif is_warm is True:
        file.set("optim.warmup_iters", warm_iters, "lr.warm.warm_iters")
        begin = "keeps the backbone frozen" if frozen else "raises the backbone's learning rate alone, by its 4th power"
        file.notices.append(
            f"{file.place('lr.warm.warm_iters')}: the original {begin}; here every learning rate rises linearly"
        )


def _read_evaluation(file: _File) -> None:
    mode = file.get("test.mode")
    if mode in MODES:
        file.set("evaluation.mode", MODES[mode], "test.mode")
        file.set("evaluation.flip", mode in ("ms_test", "mscrop_test"), "test.mode")
        if mode != "ss_test":
            file.notices.append(
                f"{file.place('test.mode')}: every report of the training is scored by {mode} too, where the original "
                "takes whole images; evaluation.mode ss does as it does"
            )
    elif mode is not None:
        file.fault("test.mode", f"{_show(mode)} is not known", f"write one of {_listed(MODES)}")
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
    if interval is not None and max_iters is not None:  # the original also scores the last iteration
        file.set("train.report_iters", min(interval, max_iters), "solver.test_interval")
    file.take("train.seed", "seed")


def _read_block(file: _File) -> None:
    block = file.values.get(BLOCK)
    for path, value in block.items() if isinstance(block, Mapping) else ():
        if "." in path:
            file.set(path, value)
            file.origins[path] = f"{file.source}: {BLOCK}: {path}"


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
