"""Checkpoint files as the start of a backbone."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import timm
from torch import Tensor, nn

from trainables.errors import Fault, InputError

_MAX_LISTED_KEYS = 5

# The stem of three convolutions, as the original trainer's files name it and as timm does.
_ORIGINAL_STEM = re.compile(r"(?:resinit\.|prefix\.)?((?:conv|bn)[123])\.(\w+)")
_DEEP_STEM = {
    "conv1": "conv1.0",
    "bn1": "conv1.1",
    "conv2": "conv1.3",
    "bn2": "conv1.4",
    "conv3": "conv1.6",
    "bn3": "bn1",
}


def load_weights(network: nn.Module, name: str, path: Path, *, whole_model: Collection[str]) -> None:
    """Load a file that holds this feature network, or the whole model that it is a part of.

    The state dict is the file itself or under `state_dict` or `state_dict_ema`; `module.` before its keys is passed
    over. Deep-stemmed ResNets may have the original trainer's names. Counters of batches may be missing.

    Args:
        network: The feature network.
        name: How messages call it.
        path: A file written by `torch.save`, or a safetensors file. No code in it is run.
        whole_model: Keys of the whole model; those that are not part of the network are passed over.

    Raises:
        InputError: the file holds no weights, or other ones; the keys that do not fit are listed.
    """
    try:
        state = timm.models.load_state_dict(str(path), weights_only=True)
        tensors = {key: tensor for key, tensor in state.items() if isinstance(tensor, Tensor)}
    except Exception as error:  # unpicklers raise nearly anything on a file that is something else
        what = f"{path} cannot be read as weights ({type(error).__name__}: {error})"
        raise InputError([Fault("model.weights", what, "give a state dict written by torch.save")]) from error

    canonical = _canonical_keys(list(state), network)
    given = {canonical[key]: tensor for key, tensor in tensors.items()}
    wanted = {_canonical(key): (key, tensor) for key, tensor in network.state_dict().items()}
    known = wanted.keys() | {_canonical(key) for key in whole_model}
    missing = [
        key for place, (key, _) in wanted.items() if place not in given and not key.endswith("num_batches_tracked")
    ]
    unexpected = [key for key in state if canonical[key] not in known]
    mismatched = [
        f"{key} {tuple(given[place].shape)} instead of {tuple(tensor.shape)}"
        for place, (key, tensor) in wanted.items()
        if place in given and given[place].shape != tensor.shape
    ]
    faults = [
        Fault("model.weights", f"{path} does not fit {name}: {_listed(keys)} {rule}", "give weights of this backbone")
        for keys, rule in ((missing, "missing"), (unexpected, "unexpected"), (mismatched, "of another shape"))
        if keys
    ]
    if faults:
        raise InputError(faults)
    network.load_state_dict({key: given.get(place, tensor) for place, (key, tensor) in wanted.items()})


def _canonical_keys(keys: Sequence[str], network: nn.Module) -> dict[str, str]:
    """What every key of a file is called here."""
    stem = {key: match for key in keys if (match := _ORIGINAL_STEM.fullmatch(key))}
    is_deep = "conv1.6.weight" in network.state_dict() and any(match[1] == "conv3" for match in stem.values())
    names = _DEEP_STEM if is_deep else {name: name for name in _DEEP_STEM}
    return {key: _canonical(f"{names[stem[key][1]]}.{stem[key][2]}" if key in stem else key) for key in keys}


def _canonical(key: str) -> str:
    # timm's feature networks rename modules (`stages.0` to `stages_0`) or nest them in `model`.
    return key.removeprefix("model.").replace(".", "_")


def _listed(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:_MAX_LISTED_KEYS])
    more = len(keys) - _MAX_LISTED_KEYS
    return f"{len(keys)} keys ({shown}{f' and {more} more' if more > 0 else ''})"
