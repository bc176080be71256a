"""A timm network, or one with the same interface, used as a source of feature maps."""

import difflib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from trainables.config import ModelConfig
from trainables.errors import Fault, InputError
from trainables.models.t2t_vit import VARIANTS, T2TViT
from trainables.models.weights import load_weights


class Backbone(nn.Module):
    """Feature maps of a timm network, the finest first.

    The sides of the images must be multiples of `padding_multiple`.
    """

    def __init__(self, network: nn.Module, kept: Sequence[int], padding_factor: int = 1) -> None:
        """Keep the maps at the indices `kept` of a network that describes all its maps in `feature_info`.

        The sides of every image must be divisible by `padding_factor` times the stride of the coarsest kept map.
        """
        super().__init__()
        self.network = network
        self.kept = tuple(kept)
        info: Any = network.feature_info
        self.channels: list[int] = [info.channels()[i] for i in self.kept]
        self.strides: list[int] = [info.reduction()[i] for i in self.kept]
        self.padding_multiple = padding_factor * max(self.strides)
        # Swin and similar networks put the channels last.
        self._channels_last = getattr(network, "output_fmt", None) == "NHWC"

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return one (B, channels[i], H / strides[i], W / strides[i]) map for each i, given images (B, 3, H, W)."""
        maps = self.network(images)
        maps = [maps[i] for i in self.kept]
        return [m.permute(0, 3, 1, 2) for m in maps] if self._channels_last else maps


def build_backbone(config: ModelConfig) -> Backbone:
    """Build the backbone that a config names, with the weights that it names.

    For `deeplab_v3`, the network is dilated to `config.output_stride` (by default 8) and its last two maps are kept.
    For the other heads, all maps are kept except those finer than `config.output_stride` (by default 4); if all maps
    are finer, the coarsest are kept. HRNets give the four branches of their last stage and never the stem.

    Raises:
        InputError: the name is unknown, the network cannot take images of any size or cannot be dilated, or the weights
            are missing or do not fit.
    """
    faults = _faults(config)
    if faults:
        raise InputError(faults)
    network = T2TViT(VARIANTS[config.backbone]) if config.backbone in VARIANTS else _create(config)
    if _is_hrnet(config.backbone) and config.hrnet_fuse == "bilinear":
        _fuse_bilinearly(network)
    if config.weights not in (None, "timm"):
        path = Path(config.weights).expanduser()
        load_weights(network, config.backbone, path, whole_model=_whole_model_keys(config.backbone))
    kept = _kept_maps(config, network.feature_info.reduction())
    return Backbone(network, kept, _padding_factor(config.backbone, _dilation(config)))


def _faults(config: ModelConfig) -> list[Fault]:
    faults = []
    is_t2t = config.backbone in VARIANTS
    if not is_t2t and not timm.is_model(config.backbone):
        names = [*VARIANTS, *timm.list_models()]
        near = difflib.get_close_matches(config.backbone.split(".")[0], names, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else "timm.list_models() lists all names"
        faults.append(Fault("model.backbone", f"{config.backbone} is not a timm model", hint))
    if config.head == "deeplab_v3" and (is_t2t or _is_hrnet(config.backbone)):
        faults.append(_cannot_be_dilated(config))
    if is_t2t and config.weights == "timm":
        what = f"timm has no weights for {config.backbone}"
        faults.append(Fault("model.weights", what, "give a checkpoint file, or nothing"))
    if config.weights not in (None, "timm") and not Path(config.weights).expanduser().is_file():
        faults.append(
            Fault("model.weights", f"{config.weights} is not a file", "give a checkpoint file, timm, or nothing")
        )
    return faults


@lru_cache
def _padding_factor(name: str, output_stride: int | None) -> int:
    """Return the factor on the coarsest stride whose multiples a network takes as sides; above 1 if it has windows.

    It is the smallest such factor. Sizes are tried on the meta device, which computes only shapes. Networks made for
    one image size are checked elsewhere.

    Raises:
        InputError: there is no such factor.
    """
    if name in VARIANTS or timm.models.get_pretrained_cfg(name).fixed_input_size:
        return 1
    options: dict[str, Any] = {} if output_stride is None else {"output_stride": output_stride}
    try:
        with torch.device("meta"):
            network: Any = timm.create_model(name, features_only=True, **options).eval()
    except Exception:  # it was built before, so this is a failure of the meta device
        return 1
    stride, first_error = max(network.feature_info.reduction()), ""
    for factor in range(1, _LARGEST_FACTOR + 1):
        side = factor * stride
        try:
            with torch.no_grad():
                network(torch.empty(1, 3, 2 * side, 3 * side, device="meta"))  # 2 and 3 have no common factor
        except NotImplementedError:  # an operation that the meta device lacks
            return 1
        except Exception as error:  # any exception of the network's own code, for a size that it cannot take
            first_error = first_error or " ".join(f"{type(error).__name__} {error}".split())
        else:
            return factor
    what = f"{name} accepts no images whose sides are multiples of {stride} ({first_error})"
    raise InputError([Fault("model.backbone", what, "choose a backbone that accepts any size, for example hrnet_w18")])


_LARGEST_FACTOR = 16


def _dilation(config: ModelConfig) -> int | None:
    return _output_stride(config) if config.head == "deeplab_v3" else None


def _cannot_be_dilated(config: ModelConfig) -> Fault:
    what = f"{config.backbone} cannot be dilated to output stride {_output_stride(config)}, as head: deeplab_v3 needs"
    return Fault("model.backbone", what, "choose a plain convolutional one, for example resnet101s, or another head")


def _output_stride(config: ModelConfig) -> int:
    return config.output_stride or (8 if config.head == "deeplab_v3" else 4)


def _is_hrnet(name: str) -> bool:
    return name.startswith("hrnet")


def _kept_maps(config: ModelConfig, strides: Sequence[int]) -> list[int]:
    """Return the indices of the maps that the head reads."""
    if config.head == "deeplab_v3":
        return [len(strides) - 2, len(strides) - 1]
    first = 1 if _is_hrnet(config.backbone) else 0
    kept = [i for i, stride in enumerate(strides) if i >= first and stride >= _output_stride(config)]
    return kept or [i for i, stride in enumerate(strides) if stride == max(strides)]


def _whole_model_keys(name: str) -> set[str]:
    """Return the state-dict keys of the network with its classifier."""
    if name in VARIANTS:
        return {"head.weight", "head.bias"}
    with torch.device("meta"):
        return set(timm.create_model(name).state_dict())


def _fuse_bilinearly(hrnet: nn.Module) -> None:
    for module in hrnet.modules():
        if isinstance(module, nn.Upsample):
            module.mode, module.align_corners = "bilinear", True


def _create(config: ModelConfig) -> Any:
    options: dict[str, Any] = {"features_only": True, "pretrained": config.weights == "timm"}
    if _is_hrnet(config.backbone):
        options["feature_location"] = ""  # the branches themselves, not widened for classification
    if config.head == "deeplab_v3":
        return _create_dilated(config, options)
    try:
        if not timm.models.get_pretrained_cfg(config.backbone).fixed_input_size:
            return timm.create_model(config.backbone, **options)
        try:
            return timm.create_model(config.backbone, dynamic_img_size=True, **options)
        except TypeError:  # the network does not know the option; some of these take any size anyway
            network = timm.create_model(config.backbone, **options)
    except (RuntimeError, OSError) as error:  # OSError: the download failed
        raise _cannot_be_built(config, error) from error
    _check_takes_any_size(network, config.backbone)
    return network


def _create_dilated(config: ModelConfig, options: dict[str, Any]) -> Any:
    try:
        network = timm.create_model(config.backbone, output_stride=_output_stride(config), **options)
    except (TypeError, AssertionError, NotImplementedError) as error:  # networks with only one stride raise these
        raise InputError([_cannot_be_dilated(config)]) from error
    except (RuntimeError, OSError) as error:  # OSError: the download failed
        raise _cannot_be_built(config, error) from error
    if network.feature_info.reduction()[-1] != _output_stride(config):
        raise InputError([_cannot_be_dilated(config)])
    return network


def _cannot_be_built(config: ModelConfig, error: Exception) -> InputError:
    fix = "give a local file or none" if config.weights == "timm" else "choose another backbone"
    return InputError([Fault("model.backbone", f"timm cannot build {config.backbone}: {error}", fix)])


def _check_takes_any_size(network: Any, name: str) -> None:
    multiple = max(network.feature_info.reduction())
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, 2 * multiple, 3 * multiple))
    except Exception as error:  # any exception of the network's own code, for a size that it was not made for
        side = timm.models.get_pretrained_cfg(name).input_size[-1]
        what = f"{name} only accepts images of {side}x{side} pixels; a backbone must accept any size"
        raise InputError(
            [Fault("model.backbone", what, "choose another, for example swin_tiny_patch4_window7_224")]
        ) from error
    network.train(training)
