"""Panel: predictions of the winner and of the default config for the same validation images."""

import base64
from dataclasses import dataclass
from pathlib import Path

from raysearch.report.parts import MISSING, Legend, Part, Picture, Pictures, Text
from raysearch.report.view import SearchView
from raysearch.results.predictions import IGNORED_COLOR, PredictedImage, Predictions

_TYPES = {".jpg": "image/jpeg", ".png": "image/png"}


@dataclass(frozen=True)
class PredictionsInfo:
    """The part of `predictions/` that is shown."""

    predictions: Predictions
    gained: int
    """Number of shown images on which the winner scores better than the default."""


def predictions_info(view: SearchView) -> PredictionsInfo | None:
    """Return the chosen images; None if nothing was predicted."""
    if view.predictions is None:
        return None
    pairs = [(one.winner_miou, one.default_miou) for one in view.predictions.images]
    gained = sum(winner > default for winner, default in pairs if winner is not None and default is not None)
    return PredictionsInfo(view.predictions, gained)


def predictions_parts(info: PredictionsInfo | None) -> list[Part]:
    """Return a row of pictures per image, and the meaning of the colours; nothing if nothing was predicted."""
    if info is None:
        return []
    found = info.predictions
    if found.problem is not None:
        return [Text(f"The validation images could not be predicted: {found.problem}.")]
    scored = "all" if found.num_scored == found.num_images else f"{found.num_scored} of the"
    text = (
        f"The images that trial {found.winner}, the winner, is worst at, of {scored} {found.num_images} validation "
        "images, by the mIoU of each image alone; and some around its median."
    )
    if found.default is not None:
        text += f" Trial {found.default}, the default, is beaten on {info.gained} of these {len(found.images)}."
    ignored = ("ignored", "#" + bytes(IGNORED_COLOR).hex())
    return [
        Text(text),
        Legend((*found.classes, ignored)),
        *(Pictures(f"{one.kind}: {one.name}", _pictures(one)) for one in found.images),
    ]


def _pictures(one: PredictedImage) -> tuple[Picture, ...]:
    named = [("image", one.image), ("label", one.truth), (f"winner {_score(one.winner_miou)}", one.winner)]
    if one.default is not None:
        named.append((f"default {_score(one.default_miou)}", one.default))
    return tuple(Picture(_data(path), caption, path.suffix == ".png") for caption, path in named)


def _score(miou: float | None) -> str:
    return MISSING if miou is None else f"{miou:.3f}"


def _data(path: Path) -> str:
    return f"data:{_TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def panel(view: SearchView) -> list[Part]:
    """Return the parts of this panel."""
    return predictions_parts(predictions_info(view))
