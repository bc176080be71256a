"""The names of the dialect: its networks, losses, transforms and modes, and their counterparts in the config."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

BLOCK = "raysearch"
"""Key of the extra block; its keys that have dots in them are dotted paths of the config."""
METHOD = "fcn_segmentor"
"""The only `method` whose files describe a segmentation training."""


def is_openseg(document: Mapping[str, Any]) -> bool:
    """Return True if a document is in the dialect, judged by its keys."""
    network = document.get("network")
    named = isinstance(network, Mapping) and not network.keys().isdisjoint(("model_name", "backbone"))
    return named or document.get("method") == METHOD


class Network(NamedTuple):
    """A network of the original, in the terms of the config."""

    head: Literal["fcn", "ocr", "deeplab_v3"]
    has_embedding: bool
    has_memory: bool

    @property
    def outputs(self) -> int:
        """Number of outputs that a loss is computed on."""
        return 1 if self.head == "fcn" else 2


NETWORKS = {
    "hrnet_w48": Network("fcn", False, False),
    "hrnet_w48_contrast": Network("fcn", True, False),
    "hrnet_w48_mem": Network("fcn", True, True),
    "hrnet_w48_ocr": Network("ocr", False, False),
    "hrnet_w48_ocr_contrast": Network("ocr", True, False),
    "deeplab_v3": Network("deeplab_v3", False, False),
    "deeplab_v3_contrast": Network("deeplab_v3", True, False),
    "deeplab_v3_mem": Network("deeplab_v3", True, True),  # the original has none; named after its hrnet_w48_mem
}
HRNETS = {f"hrnet{width}": f"hrnet_w{width}" for width in (18, 32, 48, 64)}


class Loss(NamedTuple):
    """A loss of the original, in the terms of the config."""

    segmentation: Literal["ce", "ohem_ce", "ce_lovasz", "rmi"]
    outputs: tuple[int, ...]
    """The numbers of network outputs that the loss accepts."""
    weighs_aux: bool = False
    """True if `network.loss_weights` are the coefficients of the outputs."""
    contrast: bool = False
    """True for a loss of embeddings; `contrast.use_rmi` and `contrast.use_lovasz` then set its segmentation term."""


LOSSES = {
    "fs_ce_loss": Loss("ce", (1, 2)),
    "fs_ohemce_loss": Loss("ohem_ce", (1,)),
    "fs_ce_lovasz_loss": Loss("ce_lovasz", (1,)),
    "fs_rmi_loss": Loss("rmi", (1,)),
    "fs_auxce_loss": Loss("ce", (2,), weighs_aux=True),
    "fs_auxohemce_loss": Loss("ohem_ce", (2,), weighs_aux=True),
    "fs_aux_rmi_loss": Loss("rmi", (2,), weighs_aux=True),
    "contrast_ce_loss": Loss("ce", (1, 2), contrast=True),
    "contrast_auxce_loss": Loss("ce", (2,), weighs_aux=True, contrast=True),
    "mem_contrast_ce_loss": Loss("ce", (1, 2), contrast=True),
}
POLICY = "lambda_poly"
MODES = {"ss_test": "ss", "ms_test": "ms", "sscrop_test": "sscrop", "mscrop_test": "mscrop"}
TRANSFORMS = ("random_resize", "random_crop", "random_hflip", "random_brightness")
CROPPING = ("random_resize", "random_crop")
ALIGN_METHODS = {"only_pad": "crop", "only_scale": "scale", "scale_and_pad": "scale_and_pad"}
PAD_MODES = {
    "random": "random",
    "pad_center": "center",
    "pad_right_down": "right_down",
    "pad_left_up": "left_up",
    "pad_border": "border",
}
IMAGENET = {"div_value": 255.0, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
RMI = {
    "rmi_radius": 3,
    "rmi_pool_way": 0,
    "rmi_pool_size": 3,
    "rmi_pool_stride": 3,
    "loss_weight": 1.0,
    "lambda_way": 1,
    "use_sigmoid": False,
}
