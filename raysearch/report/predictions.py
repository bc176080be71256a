"""Panel: what the winner and the default config predict for the same validation images."""

import base64
from dataclasses import dataclass
from pathlib import Path

from raysearch.report.parts import MISSING, Legend, Part, Picture, Pictures, Text
from raysearch.report.view import SearchView
from raysearch.results.predictions import IGNORED_COLOR, PredictedImage, Predictions

_TYPES = {".jpg": "image/jpeg", ".png": "image/png"}


@dataclass(frozen=True)
class PredictionsInfo:
    """What is shown of `predictions/`."""

    predictions: Predictions
    gained: int
    """Of the images shown, those that the winner scores better on."""


def predictions_info(view: SearchView) -> PredictionsInfo | None:
    """The images that were chosen; None where nothing was predicted."""
    if view.predictions is None:
        return None
    pairs = [(one.winner_miou, one.default_miou) for one in view.predictions.images]
    gained = sum(winner > default for winner, default in pairs if winner is not None and default is not None)
    return PredictionsInfo(view.predictions, gained)


def predictions_parts(info: PredictionsInfo | None) -> list[Part]:
    """A row of pictures an image, and what the colours mean; nothing where nothing was predicted."""
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
    """What the winner and the default config predict for the same validation images."""
    return predictions_parts(predictions_info(view))
