"""Checkpoint files as initial weights of a backbone."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from trainables.errors import Fault, InputError
from trainables.models.weights_file import NoWeightsError, read_weights_file, state_dicts
from trainables.plurals import counted

_MAX_LISTED_KEYS = 5
_AVERAGES = ("state_dict_ema ", "model_ema ")
"""Keys under which timm stores the moving average of the weights, beside the weights themselves."""

# Names of the three convolutions of the stem: those in the original trainer's files, and those of timm.
_ORIGINAL_STEM = re.compile(r"(?:resinit\.|prefix\.)?((?:conv|bn)[123])\.(\w+)")
_DEEP_STEM = {
    "conv1": "conv1.0",
    "bn1": "conv1.1",
    "conv2": "conv1.3",
    "bn2": "conv1.4",
    "conv3": "conv1.6",
    "bn3": "bn1",
}


def file_version(weights: str | Path | None) -> tuple[int, int] | None:
    """Return size and modification time of a file of weights, by which caches know a replaced file; None without one.

    Args:
        weights: `model.weights`, which may also be a word such as `timm`.
    """
    if weights is None or not Path(weights).is_file():
        return None
    status = Path(weights).stat()
    return status.st_size, status.st_mtime_ns


def load_weights(network: nn.Module, name: str, path: Path, *, whole_model: Collection[str]) -> None:
    """Load a file that holds the weights of this feature network, alone or as part of a larger network.

    The state dict may lie under any key of the file (`state_dict`, `model`, ...); a moving average is preferred. The
    network's own keys may have any prefix (`module.`, `backbone.`, `encoder.`, ...). Keys without this prefix belong to
    other parts and are ignored; keys with it must belong to the network or to the whole timm model. Deep-stemmed
    ResNets may have the original trainer's names. Batch counters may be missing.

    Args:
        network: The feature network.
        name: The name of the network in messages.
        path: A file written by `torch.save`, or a safetensors file. No code in it is run.
        whole_model: Keys of the whole model; those that are not part of the network are ignored.

    Raises:
        InputError: the file holds no weights, weights that do not fit, or several sets that fit; keys that do not fit
            are listed.
    """
    try:
        found = state_dicts(read_weights_file(path))
    except NoWeightsError as error:
        what = f"{path} cannot be read as weights: {error.what}"
        raise InputError([Fault("model.weights", what, error.fix)]) from error
    if not found:
        what = f"{path} cannot be read as weights: no tensor in it has a name"
        raise InputError([Fault("model.weights", what, "give a state dict written by torch.save")])
    wanted = {_canonical(key): (key, tensor) for key, tensor in network.state_dict().items()}
    known = wanted.keys() | {_canonical(key) for key in whole_model}
    has_deep_stem = "conv1.6.weight" in network.state_dict()
    candidates = [
        _Candidate.of(f"{place} {prefix}".strip(), state, prefix, wanted, known, has_deep_stem)
        for place, state in found.items()
        for prefix in _prefixes(state)
    ]
    fitting = _preferred([candidate for candidate in candidates if candidate.fits])
    if not fitting:
        nearest = min(candidates, key=lambda candidate: (len(candidate.missing), len(candidate.place)))
        raise InputError(nearest.faults(path, name))
    if len(fitting) > 1:
        places = ", ".join(candidate.place or "at the top" for candidate in fitting)
        what = f"{path} holds {len(fitting)} different sets of weights that fit {name}: {places}"
        raise InputError([Fault("model.weights", what, "save the wanted set alone with torch.save")])
    given = fitting[0].given
    network.load_state_dict({key: given.get(place, tensor) for place, (key, tensor) in wanted.items()})


@dataclass(frozen=True)
class _Candidate:
    """The tensors at one place in a file, compared with a network."""

    place: str
    """Keys of the file under which the state dict lies, followed by the prefix of its own keys."""
    given: dict[str, Tensor]
    """Tensors by canonical key."""
    missing: list[str]
    unexpected: list[str]
    mismatched: list[str]

    @classmethod
    def of(
        cls,
        place: str,
        state: Mapping[str, Tensor],
        prefix: str,
        wanted: Mapping[str, tuple[str, Tensor]],
        known: Collection[str],
        has_deep_stem: bool,
    ) -> "_Candidate":
        """Compare the keys of `state` that begin with `prefix`."""
        keys = [key.removeprefix(prefix) for key in state if key.startswith(prefix)]
        canonical = _canonical_keys(keys, has_deep_stem)
        given = {canonical[key]: state[prefix + key] for key in keys}
        return cls(
            place,
            given,
            missing=[
                key
                for place, (key, _) in wanted.items()
                if place not in given and not key.endswith("num_batches_tracked")
            ],
            unexpected=[prefix + key for key in keys if canonical[key] not in known],
            mismatched=[
                f"{key} {tuple(given[place].shape)} instead of {tuple(tensor.shape)}"
                for place, (key, tensor) in wanted.items()
                if place in given and given[place].shape != tensor.shape
            ],
        )

    @property
    def fits(self) -> bool:
        return not (self.missing or self.unexpected or self.mismatched)

    def faults(self, path: Path, name: str) -> list[Fault]:
        where = f"{path} under {self.place}" if self.place else str(path)
        return [
            Fault(
                "model.weights", f"{where} does not fit {name}: {_listed(keys)} {rule}", "give weights of this backbone"
            )
            for keys, rule in (
                (self.missing, "missing"),
                (self.unexpected, "unexpected"),
                (self.mismatched, "of another shape"),
            )
            if keys
        ]


def _prefixes(keys: Iterable[str]) -> list[str]:
    """Return every possible prefix of the network's own keys, the empty one first."""
    found = {key[: dot.end()] for key in keys for dot in re.finditer(r"\.", key)}
    return ["", *sorted(found)]


def _preferred(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Return the candidates to choose from: only moving averages if there are any, and equal tensors only once."""
    averages = [candidate for candidate in candidates if f"{candidate.place} ".startswith(_AVERAGES)]
    distinct: list[_Candidate] = []
    for candidate in averages or candidates:
        if not any(_equal(candidate.given, other.given) for other in distinct):
            distinct.append(candidate)
    return distinct


def _equal(given: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(tensor is other[key] or torch.equal(tensor, other[key]) for key, tensor in given.items() if key in other)


def _canonical_keys(keys: Sequence[str], has_deep_stem: bool) -> dict[str, str]:
    """Return the canonical name of each key of a file; a stem may have three convolutions."""
    stem = {key: match for key in keys if (match := _ORIGINAL_STEM.fullmatch(key))}
    is_deep = has_deep_stem and any(match[1] == "conv3" for match in stem.values())
    names = _DEEP_STEM if is_deep else {name: name for name in _DEEP_STEM}
    return {key: _canonical(f"{names[stem[key][1]]}.{stem[key][2]}" if key in stem else key) for key in keys}


def _canonical(key: str) -> str:
    # timm's feature networks rename modules (`stages.0` to `stages_0`) or nest them in `model`.
    return key.removeprefix("model.").replace(".", "_")


def _listed(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:_MAX_LISTED_KEYS])
    more = len(keys) - _MAX_LISTED_KEYS
    return f"{counted(len(keys), 'key')} ({shown}{f' and {more} more' if more > 0 else ''})"
