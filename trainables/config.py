"""The config of one trial: typed, frozen and validated as a whole before anything is loaded.

Each section belongs to one part of the trial, and each part is built from its own section alone. `Config()` is complete
without any value given: it trains on images that the package draws itself.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from trainables.dotted_paths import lookup, with_values
from trainables.openseg import Openseg
from trainables.plurals import counted
from trainables.protocol import Dialect

IGNORE_INDEX = 255
"""Class index of pixels that count in neither the loss nor the score."""

_FLOATS_PER_PIXEL = 500
"""Rough number of activations per image pixel that a network of common size keeps for the backward pass. Examples: 110
(`test_efficientnet`), 190 (`hrnet_w18_small`), 1200 (`hrnet_w48`), 2000 (`resnet101s` at stride 8).
"""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Size = tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
Scalar = bool | int | float | str | None


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, validate_by_name=True
    )


class DrawnConfig(_Section):
    """The dataset that is drawn when `data.dir` is absent: textured shapes in four classes, two of them rare."""

    num_train: Annotated[int, Field(ge=1)] = 96
    """Number of training images."""
    num_val: Annotated[int, Field(ge=1)] = 32
    """Number of validation images."""
    size: Size = (96, 128)
    """Height and width of every image, in pixels."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the drawing. The images depend on this section alone."""


class AugmentationConfig(_Section):
    """Random changes to a training image. Scale and aspect ratio are drawn as in the original trainer."""

    fit: Literal["crop", "scale", "scale_and_pad"] = "crop"
    """Method that brings an image to `crop_size`. `crop` scales the image at random, crops it at random and pads it
    where it is smaller than the crop. `scale` resizes the whole image and ignores its aspect ratio. `scale_and_pad`
    resizes the whole image to the largest size of its own aspect ratio that fits, and pads the rest.
    """
    padding: Literal["random", "center", "right_down", "left_up", "border"] = "random"
    """Side on which padding is added: `random` splits it at random between both sides, `center` splits it evenly,
    `right_down` pads only right and below, `left_up` pads only left and above, and `border` chooses one of the last two
    at random.
    """
    scale: tuple[Positive, Positive] = (0.5, 2.0)
    """Range of the random scale, which is drawn uniformly."""
    aspect: tuple[Positive, Positive] = (0.9, 1.1)
    """Range of the random factor that stretches the width relative to the height, drawn uniformly."""
    crop_size: Size = (96, 96)
    """Height and width of the images that the network is trained on, in pixels."""
    flip: Fraction = 0.5
    """Probability of a horizontal flip."""
    brightness: Annotated[float, Field(ge=0.0, le=255.0)] = 10.0
    """Largest brightness shift, in grey levels of 0..255."""

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        for name in ("scale", "aspect"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} = ({low:g}, {high:g}) must be in ascending order: write ({high:g}, {low:g})")
        return self


class DataConfig(_Section):
    """Source of images and labels, and the mapping from label pixels to class indices."""

    dir: str | None = Field(default=None, json_schema_extra={"path": True})
    """Folder with `{train,val[,test]}/{image,label}`. When absent, the drawn dataset is used."""
    drawn: DrawnConfig = DrawnConfig()
    """Settings of the drawn dataset. They are unused when `dir` is given."""
    label_class_ids: tuple[Annotated[int, Field(ge=0, le=255)], ...] = Field(
        default=(0, 74, 128, 145), validation_alias=AliasChoices("label_class_ids", "label_list"), min_length=1
    )
    """Raw label value of each class, in class order. All other values, and always 255, are ignored."""
    reduce_zero_label: bool = False
    """If true, the first value of `label_class_ids` is ignored too, and all other class indices move down by one."""
    class_names: tuple[str, ...] | None = None
    """Name of each class, for tables and pictures."""
    input_mode: Literal["RGB", "BGR"] = "RGB"
    """Channel order that the network receives. In either order, ImageNet's mean and standard deviation of red are
    applied to the first channel and those of blue to the third, as in the original trainer.
    """
    bit_depth: Annotated[int, Field(ge=8, le=16)] = 16
    """Number of significant bits in image files with 16 bits per channel, for example 12 if their values are 0..4095.
    The eight most significant bits of these are kept. Other images, and TIFFs that state their bit depth, are read as
    the file says.
    """
    image_scale: Annotated[float, Field(gt=0.0, le=4.0)] = 1.0
    """Factor by which images are resized when they are read. Scores are still computed at the size of the label."""
    augmentation: AugmentationConfig = AugmentationConfig()
    num_images: Annotated[int, Field(ge=1)] | None = None
    """Number of training images to train on. The choice keeps the share of every class and is the same in all trials; a
    smaller number chooses a subset of what a larger number chooses. Null, or a number above that of the images: all
    images.
    """
    workers: Annotated[int, Field(ge=0)] = 0
    """Number of processes that prepare batches beside the trainer. The batches do not depend on it."""

    @property
    def num_classes(self) -> int:
        """Number of classes that the network distinguishes."""
        return len(self.label_class_ids) - int(self.reduce_zero_label)

    @model_validator(mode="after")
    def _ids_are_consistent(self) -> Self:
        ids = self.label_class_ids
        repeated = sorted({i for i in ids if ids.count(i) > 1})
        if repeated:
            raise ValueError(f"label_class_ids lists {repeated} more than once; each raw value is one class")
        if IGNORE_INDEX in ids:
            raise ValueError("label_class_ids contains 255, which always means ignore; remove it")
        if self.num_classes < 2:
            raise ValueError(
                f"label_class_ids = {list(ids)} leaves {counted(self.num_classes, 'class')}; at least 2 are needed"
            )
        if self.class_names is not None and len(self.class_names) != self.num_classes:
            names = counted(len(self.class_names), "entry", "entries")
            raise ValueError(f"class_names has {names} for {counted(self.num_classes, 'class')}")
        for place, name in enumerate(self.class_names or ()):
            first = (self.class_names or ()).index(name)
            if first < place:
                what = f"class_names calls both class {first} and class {place} {name!r}"
                raise ValueError(f"{what}; give each class a different name")
        return self


class ModelConfig(_Section):
    """The network: a backbone and a segmentation head."""

    head: Literal["fcn", "ocr", "deeplab_v3"] = "fcn"
    """Segmentation head, which turns the feature maps into class scores. `fcn`: one 3x3 convolution over all maps,
    concatenated as in HRNetV2. `ocr`: object-contextual representations (arXiv 1909.11065) over the same maps.
    `deeplab_v3`: atrous spatial pyramid pooling (arXiv 1706.05587) over the last map of a dilated backbone. `ocr` and
    `deeplab_v3` also have an auxiliary head.
    """
    backbone: str = "test_efficientnet"
    """Name of the backbone: `resnet101s`, `t2t_vit_14`, `t2t_vit_19`, `t2t_vit_24`, or any timm model that returns
    feature maps, for example an HRNet of any width. The default is a tiny network.
    """
    weights: str | None = Field(default=None, json_schema_extra={"path": True, "words": ["timm"]})
    """Initial weights of the backbone: `timm` (the weights that timm publishes for this model), the path of a local
    checkpoint file, or null (random weights).
    """
    hrnet_fuse: Literal["nearest", "bilinear"] = "nearest"
    """Upsampling method where the branches of an HRNet are fused. Use `bilinear` (with aligned corners) with files of
    the original trainer, such as hrnetv2_w48_imagenet_pretrained.pth, and `nearest` with timm's weights.
    """
    output_stride: Literal[2, 4, 8, 16, 32] | None = None
    """Stride of the finest feature map that the head reads; coarser maps are upsampled to it. For `deeplab_v3` it is
    the stride that the backbone is dilated to. Default: 8 for `deeplab_v3`, otherwise 4.
    """
    head_channels: Annotated[int, Field(ge=1)] | None = 64
    """Number of channels between the features and the classifier; in `ocr` and `deeplab_v3`, of the context. Null: the
    published number, which is 512 for `ocr` and `deeplab_v3` and the total number of feature channels for `fcn`.
    """
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Probability with which a channel is dropped before the classifier."""

    @property
    def has_aux_head(self) -> bool:
        """True if the network has an auxiliary head."""
        return self.head != "fcn"

    @model_validator(mode="after")
    def _stride_suits_head(self) -> Self:
        if self.head == "deeplab_v3" and self.output_stride is not None and self.output_stride < 8:
            raise ValueError(
                f"output_stride = {self.output_stride} is too fine for deeplab_v3, whose backbone can be dilated to 8 "
                "or 16; write 8"
            )
        return self


class LossConfig(_Section):
    """The segmentation loss, and how it is combined with the contrast loss."""

    segmentation: Literal["ce", "ohem_ce", "lovasz", "ce_lovasz", "rmi"] = "ce"
    """Segmentation loss: cross entropy (`ce`), cross entropy over hard pixels only (`ohem_ce`), Lovasz-softmax
    (`lovasz`, arXiv 1705.08790), the sum of cross entropy and Lovasz-softmax (`ce_lovasz`), or region mutual
    information (`rmi`, arXiv 1910.12037).
    """
    ce_coef: Annotated[float, Field(ge=0.0)] = 1.0
    """Coefficient of the whole segmentation loss. With 0 only the contrast loss is trained, and the classifier stays
    untrained.
    """
    combination: Literal["sum", "product"] = "sum"
    """Way in which the two losses are combined, each multiplied by its coefficient. With `product`, the segmentation
    loss is used alone until the contrast warm-up ends, and in every batch without anchors.
    """
    lovasz_coef: Annotated[float, Field(ge=0.0)] = 1.0
    """Coefficient of the Lovasz-softmax loss in `ce_lovasz`."""
    aux_coef: Annotated[float, Field(ge=0.0)] = 0.4
    """Coefficient of the auxiliary head's cross entropy, if the network has such a head."""
    ohem_threshold: Fraction = 0.7
    """Probability below which `ohem_ce` counts a pixel as hard: it keeps all pixels whose true class is predicted with
    less than this.
    """
    ohem_min_kept: Annotated[int, Field(ge=1)] = 100_000
    """Minimum number of pixels per batch that `ohem_ce` keeps. The hardest are kept, even if they are predicted with
    more than `ohem_threshold`.
    """
    rmi_weight: Fraction = 0.5
    """Share of the mutual information in `rmi`; the rest is binary cross entropy."""
    ce_weights: (
        Literal["max_over_count", "inverse", "one_minus_frequency", "inverse_log"]
        | tuple[Annotated[float, Field(ge=0.0)], ...]
    ) = "max_over_count"
    """Class weights of the cross entropy, before `ce_weight_power` is applied: a scheme that computes them from the
    number of training pixels of each class, or one number per class.
    """
    ce_weight_power: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    """Exponent applied to the class weights. With 0 all classes weigh the same; with 1 the weights are used as they
    are. The default is 1 if `ce_weights` is given, otherwise 0.
    """

    @model_validator(mode="before")
    @classmethod
    def _given_weights_count(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "ce_weights" in values and "ce_weight_power" not in values:
            return {**values, "ce_weight_power": 1.0}
        return values

    @model_validator(mode="after")
    def _some_class_counts(self) -> Self:
        weights = self.ce_weights
        if not isinstance(weights, str) and not any(weights):
            raise ValueError(
                f"ce_weights = {list(weights)} gives every class weight 0, so the loss would be 0 throughout; "
                "give at least one class a positive weight"
            )
        return self


class ContrastConfig(_Section):
    """Pixel contrast (Wang et al., ICCV 2021, arXiv 2101.11939), a loss on pairs of pixels.

    It pulls the embeddings of pixels of one class together and pushes those of different classes apart. An anchor is a
    pixel whose embedding is compared with those of other pixels, its keys. Keys of the anchor's own class are its
    positives, all others its negatives.
    """

    loss_weight: Annotated[float, Field(ge=0.0)] = 0.1
    """Coefficient of the contrast loss. With 0 the network has no projection head."""
    temperature: Positive = 0.1
    """Temperature T, by which similarities are divided. The smaller it is, the more the hardest negatives dominate."""
    base_temperature: Positive | None = None
    """Temperature that the loss is scaled against: it is multiplied by temperature / base_temperature. Absent: a factor
    of 1, so that `temperature` changes only the sharpness of the comparison, not the scale of the loss.
    """
    strategy: Literal["semi_hard", "hard_fill", "one_sided", "all_cases"] = "semi_hard"
    """Strategy that decides how many anchors of a group are hard pixels, which the classifier predicts wrongly, and how
    many are easy ones. A group is all pixels of one class in one image.
    """
    replacement: bool = False
    """If true, groups with too few pixels repeat some of them until they have as many anchors as the others."""
    max_samples: Annotated[int, Field(ge=1)] = 1024
    """Maximum number of anchors per batch."""
    max_views: Annotated[int, Field(ge=1)] = 100
    """Largest number of anchors in a group."""
    min_pixels: Annotated[int, Field(ge=1)] = 1
    """Minimum number of pixels, at the resolution of the embeddings, that a group needs to provide anchors."""
    max_keys: Annotated[int, Field(ge=0)] = 0
    """Number of keys per batch that anchors are compared with: the anchors themselves, filled up to this number with
    other random pixels of the batch. It has no effect in a batch that has this many anchors already.
    """
    max_positives: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of positives per anchor, drawn at random for each anchor from all keys of its class, those of the
    memory bank included. Null: all positives.
    """
    negative_ratio: Positive | None = None
    """Number of negatives per positive that an anchor is compared with. They are drawn at random for each anchor, and
    at least one is used. Null, or a number above what is there: all negatives.
    """
    proj_dim: Annotated[int, Field(ge=1)] = 64
    """Number of dimensions of an embedding."""
    warmup_iters: Annotated[int, Field(ge=0)] = 0
    """Number of iterations at the start in which the contrast loss is not computed."""
    memory: bool = False
    """If true, anchors are also compared with a memory bank: stored embeddings of earlier images."""
    memory_size: Annotated[int, Field(ge=1)] = 2000
    """Number of rows per class in each of the memory bank's two queues, one of mean embeddings of segments (all pixels
    of a class in an image) and one of single pixels.
    """
    pixel_update_freq: Annotated[int, Field(ge=1)] = 10
    """Maximum number of pixels per class and image that enter the pixel queue in each iteration."""

    @property
    def head_dim(self) -> int | None:
        """Number of dimensions of the projection head's output; None if the network has no projection head."""
        return self.proj_dim if self.loss_weight > 0.0 else None


class OptimConfig(_Section):
    """Optimiser and learning-rate schedule."""

    name: Literal["sgd", "adamw"] = "sgd"
    """Optimiser: SGD with momentum, or AdamW (arXiv 1711.05101)."""
    lr: Positive = 0.01
    """Base learning rate; the backbone is trained with it."""
    nbb_mult: Positive = 1.0
    """Factor on the learning rate of everything except the backbone."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Momentum of SGD."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 5e-4
    """Weight decay. With AdamW it is decoupled from the gradient."""
    decay_norm_and_bias: bool = True
    """If true, weight decay is also applied to normalisation parameters and biases, as in the original trainer."""
    poly_power: Annotated[float, Field(ge=0.0)] = 0.9
    """Exponent of the poly schedule (1 - iteration / max_iters) ** power."""
    warmup_iters: Annotated[int, Field(ge=0)] = 0
    """Number of iterations over which the learning rate rises linearly to the schedule."""


class EvaluationConfig(_Section):
    """Settings for scoring a trained network."""

    mode: Literal["ss", "ms", "sscrop", "mscrop"] = "ss"
    """Evaluation mode: the whole image (`ss`), the whole image at several scales (`ms`), overlapping windows
    (`sscrop`), or windows at several scales (`mscrop`).
    """
    scales: tuple[Positive, ...] = Field(default=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0), min_length=1)
    """Scales of the modes `ms` and `mscrop`."""
    flip: bool = False
    """If true, the prediction of the mirrored image is added."""
    crop_size: Size | None = None
    """Height and width of the windows in the crop modes, in pixels. Absent: those of the training crop."""
    batch_size: Annotated[int, Field(ge=1)] = 8
    """Maximum number of images of equal size that pass through the network together."""
    num_images: Annotated[int, Field(ge=1)] | None = None
    """Number of validation images that reports are scored on. The choice keeps the share of every class and is the same
    in all trials. Null: all images. The command `evaluate` always scores all of them.
    """


class TrainConfig(_Section):
    """Length and conditions of the training."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of weights, batches, augmentation, dropout and anchors. It is the same in all trials of a search."""
    max_iters: Annotated[int, Field(ge=1)] = 200
    """Full budget in iterations, and the length of the poly schedule."""
    report_iters: Annotated[int, Field(ge=1)] = 40
    """Number of iterations between two reports, each of which scores the network and writes a checkpoint."""
    batch_size: Annotated[int, Field(ge=1)] = 8
    """Number of images per iteration. The contrast loss compares pixels of all of them."""
    micro_batch_size: Annotated[int, Field(ge=1)] | None = None
    """Number of images that pass through the network at once, to save memory at the cost of a second forward pass. The
    gradient is still that of the whole batch, contrast included (GradCache, arXiv 2101.06983), except for batch-norm
    statistics and dropout. Absent: the whole batch at once.
    """
    freeze_norm: bool = False
    """If true, batch-norm layers use their running statistics and do not update them, which suits small batches."""
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Decay per iteration of a moving average of the weights. If it is above 0, the averaged weights are the ones that
    are scored and kept, and early scores predict the final score better. With 0 the weights are used as they are.
    """
    shared_iters: Annotated[int, Field(ge=0)] = 0
    """Number of iterations at the start in which `shared_values` replace the config's own values. All trials of a
    search then begin in the same way, and this beginning is trained only once.
    """
    shared_values: tuple[tuple[str, Scalar | tuple[Scalar, ...]], ...] = ()
    """Pairs of a dotted path and the value that it has in the shared iterations. A search fills them in: for each path
    that it searches, the value in its base config.
    """
    num_threads: Annotated[int, Field(ge=1)] | None = None
    """Number of CPU threads. It is part of the result, because floating-point sums depend on it. Absent:
    `resources.cpu` in a search, otherwise PyTorch's default.
    """
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device that the network is trained on. `auto` is the GPU if the trial has one, otherwise the CPU."""
    precision: Literal["float32", "bf16", "auto"] = "float32"
    """Precision of the network's forward pass. The losses are always computed in float32. With `auto`, a few steps of
    the network are measured where a search or a training starts, and the faster precision is written into its config,
    because it affects the result.
    """

    @model_validator(mode="after")
    def _reports_happen(self) -> Self:
        if self.report_iters > self.max_iters:
            raise ValueError(
                f"report_iters = {self.report_iters} is larger than max_iters = {self.max_iters}; write a smaller one"
            )
        return self

    @model_validator(mode="after")
    def _shared_iterations_end(self) -> Self:
        if self.shared_iters >= self.max_iters:
            raise ValueError(
                f"shared_iters = {self.shared_iters} is not below max_iters = {self.max_iters}, so the config's own "
                f"values would never be used; write at most {self.max_iters - 1}"
            )
        return self


class Config(_Section):
    """The whole config of one trial."""

    DIALECT: ClassVar[Dialect] = Openseg()

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    contrast: ContrastConfig = ContrastConfig()
    optim: OptimConfig = OptimConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        weights = self.loss.ce_weights
        if not isinstance(weights, str) and len(weights) != self.data.num_classes:
            raise ValueError(
                f"loss.ce_weights has {counted(len(weights), 'number')} for the "
                f"{counted(self.data.num_classes, 'class')} of data.label_class_ids; give one number per class"
            )
        if self.loss.ce_coef == 0.0 and self.contrast.loss_weight == 0.0:
            raise ValueError("loss.ce_coef and contrast.loss_weight are both 0; nothing would be trained")
        if self.loss.ce_coef == 0.0 and self.loss.combination == "product":
            raise ValueError("loss.ce_coef is 0 and loss.combination is product; their product trains nothing")
        if self.loss.ce_coef == 0.0 and self._contrast_never_starts:
            raise ValueError(
                "loss.ce_coef is 0 and contrast.warmup_iters is not below train.max_iters; nothing would be trained"
            )
        return self

    @model_validator(mode="after")
    def _shared_values_can_change(self) -> Self:
        fixed = [path for path, _ in self.train.shared_values if not _may_change(path)]
        if fixed:
            raise ValueError(f"train.shared_values sets {fixed[0]}, which cannot change during a training; remove it")
        try:
            beginning = self.beginning()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            path = ".".join(map(str, first["loc"]))
            raise ValueError(f"train.shared_values: {path}: {first['msg']}; correct or remove it") from None
        if (beginning.contrast.loss_weight > 0.0) != (self.contrast.loss_weight > 0.0):
            raise ValueError(
                "train.shared_values sets contrast.loss_weight to 0 or from 0, but the projection head must exist "
                "during the whole training or not at all; remove it"
            )
        return self

    def beginning(self) -> "Config":
        """Return the config that holds in the first `train.shared_iters` iterations."""
        if self.train.shared_iters == 0 or not self.train.shared_values:
            return self
        own = {"train.shared_iters": 0, "train.shared_values": []}
        return Config.model_validate(
            with_values(self.model_dump(mode="json"), {**dict(self.train.shared_values), **own})
        )

    def _begins_as_it_goes_on(self) -> bool:
        """Return True if the shared iterations use the same values as the rest of the training."""
        own = self.model_dump(mode="json")
        return all(lookup(own, path) == value for path, value in own["train"]["shared_values"])

    def with_shared_values(self, values: Mapping[str, Any]) -> "Config":
        """Return this config with values by dotted path added to its `shared_values`, except for paths that it already
        names.

        Values that cannot change during a training are left out: for them, the config's own values hold from the start.
        """
        if self.train.shared_iters == 0:
            return self
        shared = {path: value for path, value in values.items() if _may_change(path)}
        weight = shared.get("contrast.loss_weight")
        if weight is not None and (weight > 0.0) != (self.contrast.loss_weight > 0.0):
            del shared["contrast.loss_weight"]
        pairs = tuple(
            (path, tuple(value) if isinstance(value, list) else value)
            for path, value in (shared | dict(self.train.shared_values)).items()
        )
        return self.model_copy(update={"train": self.train.model_copy(update={"shared_values": pairs})})

    @property
    def _contrast_never_starts(self) -> bool:
        return self.contrast.warmup_iters >= self.train.max_iters

    def unused(self) -> dict[str, str]:
        """Return the dotted path of every value (or section) that this config does not use, with the reason."""
        reasons: dict[str, str] = {}
        if self.data.dir is not None:
            reasons["data.drawn"] = "data.dir is given"
        else:
            reasons["data.bit_depth"] = "data.dir is not given"
        fit = self.data.augmentation.fit
        if fit != "crop":
            whole = f"data.augmentation.fit is {fit}: images are not cropped"
            reasons |= dict.fromkeys(("data.augmentation.scale", "data.augmentation.aspect"), whole)
        if fit == "scale":
            reasons["data.augmentation.padding"] = "data.augmentation.fit is scale: nothing is padded"
        if self.train.micro_batch_size is not None and self.train.micro_batch_size >= self.train.batch_size:
            reasons["train.micro_batch_size"] = "train.batch_size is not larger"
        if self.train.shared_iters == 0:
            reasons["train.shared_values"] = "train.shared_iters is 0"
        if not self.train.shared_values:
            reasons["train.shared_iters"] = "train.shared_values is empty"
        elif self.train.shared_iters > 0 and self._begins_as_it_goes_on():
            same = "train.shared_values are the config's own values"
            reasons |= {"train.shared_iters": same, "train.shared_values": same}
        others = [f"contrast.{name}" for name in ContrastConfig.model_fields if name != "loss_weight"]
        if self.contrast.loss_weight == 0.0:
            reasons |= dict.fromkeys(others, "contrast.loss_weight is 0")
        elif self._contrast_never_starts:
            never = "contrast.warmup_iters is not below train.max_iters: contrast never starts"
            reasons |= dict.fromkeys(others, never) | {"contrast.loss_weight": never}
        elif not self.contrast.memory:
            for name in ("memory_size", "pixel_update_freq"):
                reasons[f"contrast.{name}"] = "contrast.memory is false"
        reasons |= self._unused_in_loss()
        if not self.model.backbone.startswith("hrnet"):
            reasons["model.hrnet_fuse"] = "model.backbone is not an HRNet"
        if self.optim.weight_decay == 0.0:
            reasons["optim.decay_norm_and_bias"] = "optim.weight_decay is 0"
        if self.optim.name != "sgd":
            reasons["optim.momentum"] = f"optim.name is {self.optim.name}"
        if self.evaluation.mode in ("ss", "sscrop"):
            reasons["evaluation.scales"] = f"evaluation.mode is {self.evaluation.mode}"
        if self.evaluation.mode in ("ss", "ms"):
            reasons["evaluation.crop_size"] = f"evaluation.mode is {self.evaluation.mode}"
        return reasons

    def _unused_in_loss(self) -> dict[str, str]:
        loss, reasons = self.loss, dict[str, str]()
        if self.contrast.loss_weight == 0.0:
            reasons["loss.combination"] = "contrast.loss_weight is 0"
        elif self._contrast_never_starts:
            reasons["loss.combination"] = "contrast.warmup_iters is not below train.max_iters: contrast never starts"
        terms = {
            "lovasz_coef": "ce_lovasz",
            "ohem_threshold": "ohem_ce",
            "ohem_min_kept": "ohem_ce",
            "rmi_weight": "rmi",
        }
        for name, segmentation in terms.items():
            if loss.segmentation != segmentation:
                reasons[f"loss.{name}"] = f"loss.segmentation is {loss.segmentation}"
        if loss.segmentation == "ohem_ce" and loss.ohem_threshold == 1.0:
            reasons["loss.ohem_min_kept"] = "loss.ohem_threshold is 1, which keeps all pixels"
        if not self.model.has_aux_head:
            reasons["loss.aux_coef"] = f"model.head is {self.model.head}"
        weighted = loss.segmentation in ("ce", "ohem_ce", "ce_lovasz") or (
            self.model.has_aux_head and loss.aux_coef > 0.0
        )
        if not weighted:
            unweighted = f"loss.segmentation is {loss.segmentation}, which has no class weights"
            reasons["loss.ce_weights"] = reasons["loss.ce_weight_power"] = unweighted
        elif loss.ce_weight_power == 0.0:
            reasons["loss.ce_weights"] = "loss.ce_weight_power is 0 (1 takes weights as they are)"
        if loss.ce_coef == 0.0:
            joined = ("ce_coef", "combination")
            reasons |= {f"loss.{name}": "loss.ce_coef is 0" for name in LossConfig.model_fields if name not in joined}
        return reasons

    def max_iters(self) -> int:
        """Return the full budget in iterations."""
        return self.train.max_iters

    def report_iters(self) -> int:
        """Return the number of iterations between two reports."""
        return self.train.report_iters

    def warmup_end(self) -> int:
        """Return the iteration from which the whole config is in force, or 0 if it is from the start.

        By then the contrast loss has begun, if it ever does, and the shared iterations are over.
        """
        contrast_starts = self.contrast.warmup_iters if self.contrast.loss_weight > 0.0 else 0
        return max(contrast_starts, self.train.shared_iters)

    def memory_estimate(self) -> tuple[str, float]:
        """Return the network's name with its precision, and roughly the bytes of a training step that depend on the
        batch.

        These are the activations of the images that pass through the network at once, the outputs of the whole batch,
        and the anchors, keys and memory bank of the contrast loss. Weights, optimiser and scoring take the same in all
        trials of a network and are not counted.
        """
        model, train, contrast = self.model, self.train, self.contrast
        height, width = self.data.augmentation.crop_size
        pixels, stride = height * width, model.output_stride or (8 if model.head == "deeplab_v3" else 4)
        floats = min(train.micro_batch_size or train.batch_size, train.batch_size) * pixels * _FLOATS_PER_PIXEL
        channels = self.data.num_classes
        if contrast.loss_weight > 0.0:
            channels += contrast.proj_dim
            rows = max(contrast.max_samples, contrast.max_keys)
            if contrast.memory:
                rows += 2 * self.data.num_classes * contrast.memory_size
            floats += 2 * rows * contrast.proj_dim
        floats += 2 * train.batch_size * (pixels // stride**2) * channels
        name = f"{model.backbone} {model.head} {model.output_stride} {model.head_channels} {train.precision}"
        return name, 4.0 * floats

    def metric_entries(self) -> dict[str, tuple[str, ...]]:
        """Return the name, or else the number, of each class: the `iou` of a report has one number per class."""
        return {"iou": self.data.class_names or tuple(str(index) for index in range(self.data.num_classes))}

    def with_threads(self, num_threads: int) -> "Config":
        """Return this config with the number of CPU threads filled in, unless it gives one."""
        if self.train.num_threads is not None:
            return self
        return self.model_copy(update={"train": self.train.model_copy(update={"num_threads": num_threads})})

    def with_seed(self, seed: int) -> "Config":
        """Return this config with another seed."""
        return self.model_copy(update={"train": self.train.model_copy(update={"seed": seed})})


def _may_change(path: str) -> bool:
    """Return True if a training can continue with another value at this path, which affects neither data, network
    nor seed.
    """
    match path.split("."):
        case ["loss", _] | ["data", "augmentation", _]:
            return True
        case ["contrast", name]:
            return name != "proj_dim"
        case ["optim", name]:
            return name != "name"
        case ["train", name]:
            return name in ("batch_size", "micro_batch_size", "freeze_norm")
        case _:
            return False
