"""One trial's config: typed, frozen, validated whole before anything is loaded.

Every section belongs to one part of the trial; a part is built from its own section and nothing else.
`Config()` trains on images that the product draws itself, so it is complete without a single value given.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from trainables.dotted_paths import lookup, with_values

IGNORE_INDEX = 255
"""The class index of pixels that enter neither loss nor score."""

_FLOATS_PER_PIXEL = 500
"""Activations per pixel of an image, of the order of what networks of common sizes keep for the backward pass: 110
(`test_efficientnet`), 190 (`hrnet_w18_small`), 1200 (`hrnet_w48`), 2000 (`resnet101s` at stride 8)."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Size = tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
Scalar = bool | int | float | str | None


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, validate_by_name=True
    )


class DrawnConfig(_Section):
    """The dataset that is drawn when `data.dir` is absent: shapes on textures, four classes, few pixels in two."""

    num_train: Annotated[int, Field(ge=1)] = 96
    """Number of training images."""
    num_val: Annotated[int, Field(ge=1)] = 32
    """Number of validation images."""
    size: Size = (96, 128)
    """Height and width of every image, in pixels."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the drawing; the images depend on nothing else."""


class AugmentationConfig(_Section):
    """Random changes of a training image. Sizes and ratios are those of the original trainer."""

    fit: Literal["crop", "scale", "scale_and_pad"] = "crop"
    """How an image is brought to `crop_size`. `crop`: a random crop of the randomly scaled image, padded where that is
    smaller; `scale`: the whole image, resized whatever its aspect ratio; `scale_and_pad`: the whole image, resized by
    one factor to the largest size that fits, and padded."""
    padding: Literal["random", "center", "right_down", "left_up", "border"] = "random"
    """Where padding goes: randomly to both sides, evenly to both sides, only right and down, only left and up, or one
    of the last two at random."""
    scale: tuple[Positive, Positive] = (0.5, 2.0)
    """Range of the uniform random scale."""
    aspect: tuple[Positive, Positive] = (0.9, 1.1)
    """Range of the uniform random ratio by which the width is scaled against the height."""
    crop_size: Size = (96, 96)
    """Height and width of what the network is trained on, in pixels."""
    flip: Fraction = 0.5
    """Probability of a horizontal flip."""
    brightness: Annotated[float, Field(ge=0.0, le=255.0)] = 10.0
    """Largest brightness shift, in grey levels of 0..255."""

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        for name in ("scale", "aspect"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} = ({low:g}, {high:g}) must ascend: write ({high:g}, {low:g})")
        return self


class DataConfig(_Section):
    """Where images and labels come from and how label pixels become class indices."""

    dir: str | None = Field(default=None, json_schema_extra={"path": True})
    """Folder with `{train,val[,test]}/{image,label}`; absent: the drawn dataset."""
    drawn: DrawnConfig = DrawnConfig()
    """The drawn dataset; unused when `dir` is given."""
    label_class_ids: tuple[Annotated[int, Field(ge=0, le=255)], ...] = Field(
        default=(0, 74, 128, 145), validation_alias=AliasChoices("label_class_ids", "label_list"), min_length=1
    )
    """Raw label value of every class, by position; any other value, and 255, is ignored."""
    reduce_zero_label: bool = False
    """Ids map to positions first; then position 0 becomes ignore and the rest move down by one."""
    class_names: tuple[str, ...] | None = None
    """One name a class, for tables and pictures."""
    input_mode: Literal["RGB", "BGR"] = "RGB"
    """Channel order that the network sees; the normalisation is that of ImageNet in RGB order either way."""
    bit_depth: Annotated[int, Field(ge=8, le=16)] = 16
    """Significant bits of image files with 16 bits a channel: 12 where the values are 0..4095. The upper eight of them
    are kept. Other images, and TIFFs that state such a depth themselves, are read by what the file says."""
    image_scale: Annotated[float, Field(gt=0.0, le=4.0)] = 1.0
    """Images are resized by this factor when they are read; scores are still taken at the label's own size."""
    augmentation: AugmentationConfig = AugmentationConfig()
    num_images: Annotated[int, Field(ge=1)] | None = None
    """Training images that are trained on, chosen so that every class has its share, the same in all trials; a smaller
    number takes a part of a larger one's images. Null, or more than there are: all."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that prepare batches beside the trainer; the batches do not depend on their number."""

    @property
    def num_classes(self) -> int:
        """Number of classes the network tells apart."""
        return len(self.label_class_ids) - int(self.reduce_zero_label)

    @model_validator(mode="after")
    def _ids_are_consistent(self) -> Self:
        ids = self.label_class_ids
        repeated = sorted({i for i in ids if ids.count(i) > 1})
        if repeated:
            raise ValueError(f"label_class_ids names {repeated} more than once; every raw value is one class")
        if IGNORE_INDEX in ids:
            raise ValueError("label_class_ids contains 255, which always means ignore; remove it")
        if self.num_classes < 2:
            raise ValueError(f"label_class_ids = {list(ids)} leaves {self.num_classes} class; at least 2 are needed")
        if self.class_names is not None and len(self.class_names) != self.num_classes:
            raise ValueError(f"class_names has {len(self.class_names)} entries for {self.num_classes} classes")
        for place, name in enumerate(self.class_names or ()):
            first = (self.class_names or ()).index(name)
            if first < place:
                what = f"class_names calls both class {first} and class {place} {name!r}"
                raise ValueError(f"{what}; give every class a name of its own")
        return self


class ModelConfig(_Section):
    """The network: a backbone and a segmentation head."""

    head: Literal["fcn", "ocr", "deeplab_v3"] = "fcn"
    """What reads the feature maps. `fcn`: one 3x3 convolution over all maps side by side, as HRNetV2 does; `ocr`:
    object-contextual representations (arXiv 1909.11065) over the same; `deeplab_v3`: atrous pyramid pooling (arXiv
    1706.05587) over the last map of a dilated backbone. The latter two have an auxiliary head."""
    backbone: str = "test_efficientnet"
    """`resnet101s`, `t2t_vit_14`, `t2t_vit_19`, `t2t_vit_24`, or any timm backbone that gives feature maps, HRNets of
    every width among them; the default is a tiny one."""
    weights: str | None = Field(default=None, json_schema_extra={"path": True, "words": ["timm"]})
    """`timm` (the published weights of that name), a local checkpoint file, or nothing (random)."""
    hrnet_fuse: Literal["nearest", "bilinear"] = "nearest"
    """How an HRNet upsamples where its branches meet. `bilinear` (aligned corners) is what the files of the original
    trainer were made for, such as hrnetv2_w48_imagenet_pretrained.pth; timm's weights want `nearest`."""
    output_stride: Literal[2, 4, 8, 16, 32] | None = None
    """Stride of the finest feature map that is used, coarser ones being upsampled to it; for `deeplab_v3` the stride
    that the backbone is dilated to. Absent: 8 for `deeplab_v3`, else 4."""
    head_channels: Annotated[int, Field(ge=1)] | None = 64
    """Channels between the features and the classifier (of the context, in `ocr` and `deeplab_v3`); null: as published,
    which is as many as the feature maps have together for `fcn`, 512 for the others."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Channel dropout before the classifier."""

    @property
    def has_aux_head(self) -> bool:
        """The network gives auxiliary logits."""
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
    """The segmentation term of the loss, and how it is joined with the contrast term."""

    segmentation: Literal["ce", "ohem_ce", "lovasz", "ce_lovasz", "rmi"] = "ce"
    """Cross entropy, cross entropy over hard pixels alone, Lovasz-softmax (arXiv 1705.08790), the sum of cross entropy
    and Lovasz-softmax, or region mutual information (arXiv 1910.12037)."""
    ce_coef: Annotated[float, Field(ge=0.0)] = 1.0
    """Coefficient of the whole segmentation term; 0 leaves the contrast alone, and the classifier untrained."""
    combination: Literal["sum", "product"] = "sum"
    """How the two terms, each with its coefficient, are joined; before the contrast's warm-up ends, and where a batch
    has no anchor, the product is the segmentation term alone."""
    lovasz_coef: Annotated[float, Field(ge=0.0)] = 1.0
    """Coefficient of the Lovasz-softmax in `ce_lovasz`."""
    aux_coef: Annotated[float, Field(ge=0.0)] = 0.4
    """Coefficient of the cross entropy of the auxiliary head, where the network has one."""
    ohem_threshold: Fraction = 0.7
    """`ohem_ce` keeps pixels whose true class is predicted with less than this probability ..."""
    ohem_min_kept: Annotated[int, Field(ge=1)] = 100_000
    """... and at least this many pixels of the batch, the hardest."""
    rmi_weight: Fraction = 0.5
    """Share of the mutual information in `rmi`; the rest is binary cross entropy."""
    ce_weights: (
        Literal["max_over_count", "inverse", "one_minus_frequency", "inverse_log"]
        | tuple[Annotated[float, Field(ge=0.0)], ...]
    ) = "max_over_count"
    """Class weights of the cross entropy before the power: a scheme over the training pixels, or one number a class."""
    ce_weight_power: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    """Exponent on the class weights: 0 leaves classes unweighted, 1 takes the weights as they are, which is the default
    where `ce_weights` is given."""

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
    """Pixel contrast (Wang et al., ICCV 2021, arXiv 2101.11939): which pixels, how sharp, how heavy, since when."""

    loss_weight: Annotated[float, Field(ge=0.0)] = 0.1
    """Coefficient of the contrast term; 0 switches the projection head off."""
    temperature: Positive = 0.1
    """T, by which similarities are divided: the smaller it is, the more the hardest negatives decide."""
    base_temperature: Positive | None = None
    """The term is scaled by temperature / base_temperature; absent: by 1, so that temperature is only sharpness."""
    strategy: Literal["semi_hard", "hard_fill", "one_sided", "all_cases"] = "semi_hard"
    """How anchors are drawn from a group of pixels of one class in one image, by its hard pixels (predicted otherwise)
    and its easy ones."""
    replacement: bool = False
    """Groups with fewer pixels than views repeat some of them until the views are full."""
    max_samples: Annotated[int, Field(ge=1)] = 1024
    """Largest number of anchors in a batch."""
    max_views: Annotated[int, Field(ge=1)] = 100
    """Largest number of anchors in a group."""
    min_pixels: Annotated[int, Field(ge=1)] = 1
    """Groups with fewer pixels at the embedding's resolution give no anchors."""
    max_keys: Annotated[int, Field(ge=0)] = 0
    """Anchors are contrasted against the anchors and as many further random pixels of the batch as make this number;
    up to `max_samples` it changes nothing."""
    max_positives: Annotated[int, Field(ge=1)] | None = None
    """Largest number of positives that an anchor is compared with, drawn at random for every anchor from all keys of
    its class, memory included; null: all of them."""
    negative_ratio: Positive | None = None
    """Negatives that an anchor is compared with for each of its positives, drawn at random likewise, and at least one;
    null, or more than there are: all of them."""
    proj_dim: Annotated[int, Field(ge=1)] = 64
    """Dimensions of an embedding."""
    warmup_iters: Annotated[int, Field(ge=0)] = 0
    """Iterations before which the contrast term is not computed at all."""
    memory: bool = False
    """Contrast against a memory bank of earlier images too."""
    memory_size: Annotated[int, Field(ge=1)] = 2000
    """Rows a class in each of the two queues (mean embeddings of segments, single pixels)."""
    pixel_update_freq: Annotated[int, Field(ge=1)] = 10
    """Pixels a class and image that enter the pixel queue each iteration."""

    @property
    def head_dim(self) -> int | None:
        """Dimensions of the projection head; None where the network has none."""
        return self.proj_dim if self.loss_weight > 0.0 else None


class OptimConfig(_Section):
    """Optimiser and learning-rate schedule."""

    name: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum, or AdamW (arXiv 1711.05101)."""
    lr: Positive = 0.01
    """Base learning rate, of the backbone."""
    nbb_mult: Positive = 1.0
    """Factor on the learning rate of everything that is not the backbone."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Momentum of SGD."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 5e-4
    """Weight decay; of AdamW the decoupled one."""
    decay_norm_and_bias: bool = True
    """Apply the weight decay to normalisation parameters and biases too, as the original does."""
    poly_power: Annotated[float, Field(ge=0.0)] = 0.9
    """Exponent of the poly schedule (1 - iteration / max_iters) ** power."""
    warmup_iters: Annotated[int, Field(ge=0)] = 0
    """Iterations over which the learning rate rises linearly to the schedule."""


class EvaluationConfig(_Section):
    """How a trained network is scored."""

    mode: Literal["ss", "ms", "sscrop", "mscrop"] = "ss"
    """Whole image, sum over scales, overlapping windows, or windows at several scales."""
    scales: tuple[Positive, ...] = Field(default=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0), min_length=1)
    """Scales of the modes `ms` and `mscrop`."""
    flip: bool = False
    """Add the prediction of the mirrored image."""
    crop_size: Size | None = None
    """Window of the crop modes, in pixels; absent: the training crop."""
    batch_size: Annotated[int, Field(ge=1)] = 8
    """Images of equal size that pass the network together."""
    num_images: Annotated[int, Field(ge=1)] | None = None
    """Validation images that reports score, chosen so that every class has its share, the same in all trials; null:
    all. The command `evaluate` scores all in any case."""


class TrainConfig(_Section):
    """The length and the circumstances of the training."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of weights, batches, augmentation and anchors; the same in all trials of a search."""
    max_iters: Annotated[int, Field(ge=1)] = 200
    """The full budget in iterations; also the horizon of the poly schedule."""
    report_iters: Annotated[int, Field(ge=1)] = 40
    """Iterations between two reports (score, checkpoint)."""
    batch_size: Annotated[int, Field(ge=1)] = 8
    """Images of an iteration; the contrast compares pixels of all of them."""
    micro_batch_size: Annotated[int, Field(ge=1)] | None = None
    """Images that pass the network at once; the gradient is still that of the whole batch, contrast included (after
    GradCache, arXiv 2101.06983), but for batch-norm statistics. Saves memory, costs a second forward pass. Absent:
    the whole batch at once."""
    freeze_norm: bool = False
    """Batch-norm layers use their running statistics and leave them as they are, as suits small batches."""
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Decay an iteration of a moving average of the weights, which is then what is scored and kept; 0: the weights
    as they are. Early scores of the average tell more of the last one."""
    shared_iters: Annotated[int, Field(ge=0)] = 0
    """Iterations at the beginning in which `shared_values` hold in place of the config's own: all trials of a search
    then have them in common, and they are trained once."""
    shared_values: tuple[tuple[str, Scalar], ...] = ()
    """Pairs of a dotted path and its value in the shared iterations. A search fills in what its base config holds
    where it searches."""
    num_threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads; part of the result, since sums differ with it. Absent: what the machine offers."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network is trained; `auto`: on the GPU where the trial has one, else on the CPU."""
    precision: Literal["float32", "bf16"] = "float32"
    """Precision of the network's forward pass; the contrast loss is float32 either way."""

    @model_validator(mode="after")
    def _reports_happen(self) -> Self:
        if self.report_iters > self.max_iters:
            raise ValueError(
                f"report_iters = {self.report_iters} is beyond max_iters = {self.max_iters}; nothing would be reported"
            )
        return self

    @model_validator(mode="after")
    def _shared_iterations_end(self) -> Self:
        if self.shared_iters >= self.max_iters:
            raise ValueError(
                f"shared_iters = {self.shared_iters} is not below max_iters = {self.max_iters}, so the config's own "
                f"values would never hold; write at most {self.max_iters - 1}"
            )
        return self


class Config(_Section):
    """The whole config of one trial."""

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
                f"loss.ce_weights has {len(weights)} numbers for the {self.data.num_classes} classes of "
                "data.label_class_ids; give one number a class"
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
            raise ValueError(f"train.shared_values names {fixed[0]}, which cannot change during a training; remove it")
        try:
            beginning = self.beginning()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            path = ".".join(map(str, first["loc"]))
            raise ValueError(f"train.shared_values: {path}: {first['msg']}; mend or remove it") from None
        if (beginning.contrast.loss_weight > 0.0) != (self.contrast.loss_weight > 0.0):
            raise ValueError(
                "train.shared_values sets contrast.loss_weight to 0 or from 0, but the projection head is there for "
                "the whole training or not at all; remove it"
            )
        return self

    def beginning(self) -> "Config":
        """The config that holds in the first `train.shared_iters` iterations."""
        if self.train.shared_iters == 0 or not self.train.shared_values:
            return self
        own = {"train.shared_iters": 0, "train.shared_values": []}
        return Config.model_validate(
            with_values(self.model_dump(mode="json"), {**dict(self.train.shared_values), **own})
        )

    def _begins_as_it_goes_on(self) -> bool:
        """Return True if the values of the shared iterations are those of the rest of the training."""
        own = self.model_dump(mode="json")
        return all(lookup(own, path) == value for path, value in self.train.shared_values)

    def with_shared_values(self, values: Mapping[str, Any]) -> "Config":
        """This config with values by dotted path that hold in its shared iterations, where it names none yet.

        Values that a training cannot change on its way are left out: there the config's own hold from the start.
        """
        if self.train.shared_iters == 0:
            return self
        shared = {path: value for path, value in values.items() if _may_change(path)}
        weight = shared.get("contrast.loss_weight")
        if weight is not None and (weight > 0.0) != (self.contrast.loss_weight > 0.0):
            del shared["contrast.loss_weight"]
        pairs = tuple((shared | dict(self.train.shared_values)).items())
        return self.model_copy(update={"train": self.train.model_copy(update={"shared_values": pairs})})

    @property
    def _contrast_never_starts(self) -> bool:
        return self.contrast.warmup_iters >= self.train.max_iters

    def unused(self) -> dict[str, str]:
        """Dotted path of every value (or section) that this config does not use, with the reason."""
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
            reasons["model.hrnet_fuse"] = "model.backbone is no HRNet"
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
        """The full budget in iterations."""
        return self.train.max_iters

    def warmup_end(self) -> int:
        """The iteration from which on all of the config holds; 0 when that is so from the start.

        By then the contrast has joined the loss, if it ever does, and the shared iterations are over.
        """
        contrast_starts = self.contrast.warmup_iters if self.contrast.loss_weight > 0.0 else 0
        return max(contrast_starts, self.train.shared_iters)

    def memory_estimate(self) -> tuple[str, float]:
        """The network with its precision, and roughly the bytes of a step that depend on the batch.

        Activations of the images that pass the network at once, outputs of the whole batch, and what the contrast
        holds: anchors, keys and memory bank. Weights, optimiser and scoring are the same in all trials of a network.
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
        """The classes, by name or number: a report's `iou` has one number each."""
        return {"iou": self.data.class_names or tuple(str(index) for index in range(self.data.num_classes))}

    def with_threads(self, num_threads: int) -> "Config":
        """This config with the number of CPU threads filled in where it was left open."""
        if self.train.num_threads is not None:
            return self
        return self.model_copy(update={"train": self.train.model_copy(update={"num_threads": num_threads})})


def _may_change(path: str) -> bool:
    """Whether a training can go on with another value of a path: it decides neither data, nor network, nor seed."""
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
