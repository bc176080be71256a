"""Pictures of the predictions of the winner and of the default config for the same validation images.

They show the images with the winner's worst scores and some with median scores, each as image, label and predictions.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.config import IGNORE_INDEX, Config
from trainables.data import evaluation_samples, label_table, open_split, stratified_images
from trainables.evaluation import predictions
from trainables.metrics import ConfusionMatrix
from trainables.overlay import class_colors
from trainables.plurals import counted
from trainables.protocol import PredictedPicture, PredictedRow, PredictionPanel, Trained
from trainables.scoring import load_network

MAX_SCORED = 64
"""Maximum number of validation images that are predicted. The choice keeps the share of every class."""
NUM_WORST = 4
NUM_TYPICAL = 2
SIDE_PX = 400
"""Length of the longer side of a picture."""
IGNORED_COLOR = (150, 150, 150)

Kind = Literal["worst", "typical"]


def predict_pictures(winner: Trained, default: Trained | None, folder: Path) -> PredictionPanel:
    """Write the pictures of the chosen images, and return the panel with the mIoU of every scored image.

    Raises:
        InputError: there is no checkpoint, it does not fit the config, or the dataset is wrong.
    """
    data = winner.config.data
    split = open_split(data, "val")
    places = stratified_images(split, data, MAX_SCORED)
    trials = {"winner": winner} | ({} if default is None else {"default": default})
    scores: dict[str, list[float | None]] = {}
    predicted: dict[str, list[NDArray[np.uint8]]] = {}
    for role, trial in trials.items():
        predicted[role], scores[role] = _predicted(trial.config, trial.checkpoint, places)
    colors, table = class_colors(data.num_classes), label_table(data)
    chosen, rows = choose(scores["winner"]), []
    for number, (kind, i) in enumerate(chosen):
        image, truth = f"{number:02d}-image.jpg", f"{number:02d}-truth.png"
        _smaller(Image.fromarray(split.image(places[i])), Image.Resampling.LANCZOS).save(folder / image, quality=85)
        label = _smaller(Image.fromarray(table[split.label(places[i])]), Image.Resampling.NEAREST)
        _colored(label, colors).save(folder / truth, optimize=True)
        pictures = [PredictedPicture(image, "image"), PredictedPicture(truth, "label", is_sharp=True)]
        for role, of_trial in predicted.items():
            file, score = f"{number:02d}-{role}.png", scores[role][i]
            _colored(Image.fromarray(of_trial[i]), colors).save(folder / file, optimize=True)
            caption = f"{role} {'—' if score is None else f'{score:.3f}'}"
            pictures.append(PredictedPicture(file, caption, is_sharp=True))
        rows.append(PredictedRow(f"{kind}: {split.names[places[i]]}", tuple(pictures)))
    names = winner.config.metric_entries()["iou"]
    legend = [(name, "#" + bytes(color).hex()) for name, color in zip(names, colors, strict=True)]
    of_chosen = [(scores["winner"][i], scores["default"][i]) for _, i in chosen] if default is not None else []
    return PredictionPanel(
        text=_text(winner, default, of_chosen, len(places), len(split)),
        rows=tuple(rows),
        legend=(*legend, ("ignored", "#" + bytes(IGNORED_COLOR).hex())),
        scores={
            "image": [split.names[place] for place in places],
            **{f"{role}_miou": of_trial for role, of_trial in scores.items()},
        },
    )


def choose(scores: Sequence[float | None]) -> list[tuple[Kind, int]]:
    """Return the indices of the worst scores, the worst first, then of some around the median of the others."""
    ranked = sorted((i for i, score in enumerate(scores) if score is not None), key=lambda i: (scores[i], i))
    worst, others = ranked[:NUM_WORST], ranked[NUM_WORST:]
    start = max(0, (len(others) - NUM_TYPICAL) // 2)
    kinds: dict[Kind, list[int]] = {"worst": worst, "typical": others[start : start + NUM_TYPICAL]}
    return [(kind, i) for kind, places in kinds.items() for i in places]


def _text(
    winner: Trained,
    default: Trained | None,
    of_chosen: Sequence[tuple[float | None, float | None]],
    num_scored: int,
    num_images: int,
) -> str:
    scored = "" if num_scored == num_images else f" (of {num_scored} that were predicted)"
    text = (
        f"The validation images with the lowest mIoU of trial {winner.trial}, the winner{scored}, and some with an "
        "mIoU around its median."
    )
    if default is not None:
        gained = sum(ours > theirs for ours, theirs in of_chosen if ours is not None and theirs is not None)
        images = counted(len(of_chosen), "image")
        text += f" The winner beats trial {default.trial}, the default, on {gained} of these {images}."
    return text


def _predicted(
    config: Config, checkpoint: Path, places: Sequence[int]
) -> tuple[list[NDArray[np.uint8]], list[float | None]]:
    """Return the predicted classes of validation images at the size of the pictures, and each image's mIoU."""
    network, device = load_network(config, checkpoint)
    pictures, scores = [], []
    for batch, classes in predictions(
        network,
        evaluation_samples(open_split(config.data, "val"), config.data, places),
        config.evaluation,
        padding_multiple=network.padding_multiple,
        crop_size=config.data.augmentation.crop_size,
        device=device,
        precision=config.train.precision,
    ):
        for sample, of_image in zip(batch, classes.cpu(), strict=True):
            confusion = ConfusionMatrix(config.data.num_classes)
            confusion.update(of_image, sample.label)
            miou = float(confusion.miou())
            scores.append(None if miou != miou else round(miou, 6))
            picture = _smaller(Image.fromarray(of_image.numpy().astype(np.uint8)), Image.Resampling.NEAREST)
            pictures.append(np.asarray(picture))
    return pictures, scores


def _smaller(image: Image.Image, how: Image.Resampling) -> Image.Image:
    scale = min(1.0, SIDE_PX / max(image.size))
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), how)


def _colored(classes: Image.Image, colors: NDArray[np.uint8]) -> Image.Image:
    """Return an image with the colours of its classes; the input has one byte per pixel."""
    palette = [0] * 768
    palette[: colors.size] = colors.ravel().tolist()
    palette[3 * IGNORE_INDEX :] = IGNORED_COLOR
    classes.putpalette(palette)  # turns the grey image into a palette image
    return classes
