"""A timm network as the source of feature maps."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from trainables.config import ModelConfig
from trainables.errors import Fault, InputError

_MAX_LISTED_KEYS = 5


class Backbone(nn.Module):
    """Feature maps of a timm network, finest first.

    Sides of the images must be multiples of `padding_multiple`, the stride of the coarsest map.
    """

    def __init__(self, network: nn.Module, kept: Sequence[int]) -> None:
        """`network` returns a list of maps and describes them in `feature_info`; `kept` are the indices to return."""
        super().__init__()
        self.network = network
        self.kept = tuple(kept)
        info: Any = network.feature_info
        self.channels: list[int] = [info.channels()[i] for i in self.kept]
        self.strides: list[int] = [info.reduction()[i] for i in self.kept]
        self.padding_multiple = max(self.strides)
        # Swin and its like put the channels last.
        self._channels_last = getattr(network, "output_fmt", None) == "NHWC"

    def forward(self, images: Tensor) -> list[Tensor]:
        """One (B, channels[i], H / strides[i], W / strides[i]) map for every i, of images (B, 3, H, W)."""
        maps = self.network(images)
        maps = [maps[i] for i in self.kept]
        return [m.permute(0, 3, 1, 2) for m in maps] if self._channels_last else maps


def build_backbone(config: ModelConfig) -> Backbone:
    """The backbone that a config names, with the weights it names.

    Maps finer than `config.output_stride`, by default 4, are left out; a network whose maps are all finer gives
    its coarsest ones. HRNets give the four branches of their last stage and never the stem.

    Raises:
        InputError: unknown name, a network that cannot take images of any size, weights that are missing or do not fit.
    """
    faults = _faults(config)
    if faults:
        raise InputError(faults)
    network = _create(config)
    if config.weights not in (None, "timm"):
        _load_weights(network, config.backbone, Path(config.weights).expanduser())
    strides: list[int] = network.feature_info.reduction()
    first = 1 if _is_hrnet(config.backbone) else 0
    output_stride = config.output_stride or 4
    kept = [i for i, stride in enumerate(strides) if i >= first and stride >= output_stride]
    return Backbone(network, kept or [i for i, stride in enumerate(strides) if stride == max(strides)])


def _faults(config: ModelConfig) -> list[Fault]:
    faults = []
    if not timm.is_model(config.backbone):
        near = difflib.get_close_matches(config.backbone.split(".")[0], timm.list_models(), n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else "timm.list_models() lists all names"
        faults.append(Fault("model.backbone", f"{config.backbone} is not a timm model", hint))
    if config.weights not in (None, "timm") and not Path(config.weights).expanduser().is_file():
        faults.append(
            Fault("model.weights", f"{config.weights} is not a file", "give a checkpoint file, timm, or nothing")
        )
    return faults


def _is_hrnet(name: str) -> bool:
    return name.startswith("hrnet")


def _create(config: ModelConfig) -> Any:
    options: dict[str, Any] = {"features_only": True, "pretrained": config.weights == "timm"}
    if _is_hrnet(config.backbone):
        options["feature_location"] = ""  # the branches themselves, not widened for classification
    try:
        if not timm.models.get_pretrained_cfg(config.backbone).fixed_input_size:
            return timm.create_model(config.backbone, **options)
        try:
            return timm.create_model(config.backbone, dynamic_img_size=True, **options)
        except TypeError:  # the network does not know the option; some of these take any size all the same
            network = timm.create_model(config.backbone, **options)
    except (RuntimeError, OSError) as error:  # OSError: the download
        fix = "give a local file or none" if options["pretrained"] else "choose another backbone"
        raise InputError([Fault("model.backbone", f"timm cannot build {config.backbone}: {error}", fix)]) from error
    _check_takes_any_size(network, config.backbone)
    return network


def _check_takes_any_size(network: Any, name: str) -> None:
    multiple = max(network.feature_info.reduction())
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, 2 * multiple, 3 * multiple))
    except Exception as error:  # whatever the network's own code raises on a size it was not made for
        side = timm.models.get_pretrained_cfg(name).input_size[-1]
        what = f"{name} takes images of {side}x{side} pixels only; a backbone must take any size"
        raise InputError(
            [Fault("model.backbone", what, "choose another, for example swin_tiny_patch4_window7_224")]
        ) from error
    network.train(training)


def _load_weights(network: nn.Module, name: str, path: Path) -> None:
    """Load a file that holds this feature network, or the whole timm model that it is a part of."""
    try:
        state = timm.models.load_state_dict(str(path), weights_only=True)
        given = {_canonical(key): tensor for key, tensor in state.items() if isinstance(tensor, Tensor)}
    except Exception as error:  # unpicklers raise nearly anything on a file that is something else
        what = f"{path} cannot be read as weights ({type(error).__name__}: {error})"
        raise InputError([Fault("model.weights", what, "give a state dict written by torch.save")]) from error

    wanted = {_canonical(key): (key, tensor) for key, tensor in network.state_dict().items()}
    with torch.device("meta"):
        whole_model = {_canonical(key) for key in timm.create_model(name).state_dict()}
    missing = [key for canonical, (key, _) in wanted.items() if canonical not in given]
    unexpected = [key for key in state if _canonical(key) not in wanted.keys() | whole_model]
    mismatched = [
        f"{key} {tuple(given[canonical].shape)} instead of {tuple(tensor.shape)}"
        for canonical, (key, tensor) in wanted.items()
        if canonical in given and given[canonical].shape != tensor.shape
    ]
    faults = [
        Fault("model.weights", f"{path} does not fit {name}: {_listed(keys)} {rule}", "give weights of this backbone")
        for keys, rule in ((missing, "missing"), (unexpected, "unexpected"), (mismatched, "of another shape"))
        if keys
    ]
    if faults:
        raise InputError(faults)
    network.load_state_dict({key: given[canonical] for canonical, (key, _) in wanted.items()})


def _canonical(key: str) -> str:
    # timm's feature networks rename modules (`stages.0` to `stages_0`) or nest them in `model`.
    return key.removeprefix("model.").replace(".", "_")


def _listed(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:_MAX_LISTED_KEYS])
    more = len(keys) - _MAX_LISTED_KEYS
    return f"{len(keys)} keys ({shown}{f' and {more} more' if more > 0 else ''})"
