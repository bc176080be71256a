"""Predictions of the winner and of the default config for validation images: the folder `predictions/` of a run.

It shows the images with the winner's worst scores and some with median scores. Each is stored as image, label and both
predictions, in colour. `index.json` lists them, and `scores.parquet` holds the score of every image. The folder is
written once, when a search has ended.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from raysearch.errors import InputError
from raysearch.history.history import History, TrialHistory
from raysearch.history.run_dir import RunDir
from raysearch.history.tables import write_table
from raysearch.results.confirmation import Confirmation, winning_trial
from raysearch.space.spec import SearchSpec
from trainables.atomic_files import replaced_folder
from trainables.config import IGNORE_INDEX, Config

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

MAX_SCORED = 64
"""Largest number of validation images to predict, chosen so that every class has its share."""
NUM_WORST = 4
NUM_TYPICAL = 2
SIDE_PX = 400
"""Length of the longer side of a picture."""
IGNORED_COLOR = (150, 150, 150)

Kind = Literal["worst", "typical"]
Role = Literal["winner", "default"]


@dataclass(frozen=True)
class PredictedImage:
    """One validation image."""

    name: str
    kind: Kind
    winner_miou: float | None
    """Winner's mIoU on this image; None if all of its pixels are ignored."""
    default_miou: float | None
    """Default config's mIoU on this image; None also without a default."""
    image: Path
    truth: Path
    winner: Path
    default: Path | None


@dataclass(frozen=True)
class Predictions:
    """The chosen images, the worst first."""

    winner: int
    """Number of the winning trial."""
    default: int | None
    """Number of the default trial; None if it is the winner or has no checkpoint."""
    num_images: int
    """Number of images in the validation split."""
    num_scored: int
    classes: tuple[tuple[str, str], ...]
    """Name and colour (#rrggbb) of every class."""
    images: tuple[PredictedImage, ...]
    problem: str | None = None
    """Reason why there are no images."""


def write_predictions(
    history: History, spec: SearchSpec, run_dir: RunDir, confirmation: Confirmation | None = None
) -> None:
    """Write predictions of the best checkpoint and of the default config's for validation images.

    Nothing is written for another trainable, while trials are running, without a checkpoint, or if the predictions of
    these checkpoints exist already. If the dataset cannot be read any more, `index.json` says so.
    """
    winner = winning_trial(history, confirmation)
    is_over = all(trial.status != "running" for trial in history.trials)
    if spec.trainable.config_model is not Config or winner is None or not is_over:
        return
    checkpoints = _checkpoints(winner, history, run_dir)
    if "winner" not in checkpoints:
        return
    made_of = {role: [trial.number, _iteration(trial, history)] for role, (trial, _) in checkpoints.items()}
    if _read_index(run_dir).get("made_of") == made_of:
        return
    with replaced_folder(run_dir.predictions) as part:
        try:
            index = _predict(checkpoints, spec, part)
        except (InputError, OSError, RuntimeError) as error:  # missing pictures must not cost the results of a search
            index = {"problem": str(error).splitlines()[0]}
        (part / "index.json").write_text(json.dumps({"made_of": made_of, **index}, indent=2) + "\n", encoding="utf-8")


def read_predictions(run_dir: RunDir, winner: TrialHistory | None) -> Predictions | None:
    """Return the predictions of the winner; None if there are none or they belong to another winner."""
    index = _read_index(run_dir)
    made_of, folder = index.get("made_of", {}), run_dir.predictions
    if winner is None or made_of.get("winner", [None])[0] != winner.number:
        return None
    default = made_of["default"][0] if "default" in made_of else None
    if "problem" in index:
        return Predictions(winner.number, default, 0, 0, (), (), index["problem"])
    return Predictions(
        winner=winner.number,
        default=default,
        num_images=index["num_images"],
        num_scored=index["num_scored"],
        classes=tuple((name, color) for name, color in index["classes"]),
        images=tuple(
            PredictedImage(
                **row,
                image=folder / f"{number:02d}-image.jpg",
                truth=folder / f"{number:02d}-truth.png",
                winner=folder / f"{number:02d}-winner.png",
                default=None if default is None else folder / f"{number:02d}-default.png",
            )
            for number, row in enumerate(index["images"])
        ),
    )


def _read_index(run_dir: RunDir) -> dict[str, Any]:
    path = run_dir.predictions / "index.json"
    if not path.is_file():
        return {}
    index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return index


def _checkpoints(winner: TrialHistory, history: History, run_dir: RunDir) -> dict[Role, tuple[TrialHistory, Path]]:
    """Return the trials and the folders of the existing checkpoints."""
    found: dict[Role, tuple[TrialHistory, Path]] = {}
    if (run_dir.best_checkpoint / "model.pt").is_file():
        found["winner"] = (winner, run_dir.best_checkpoint)
    default = next((trial for trial in history.trials if trial.is_default), None)
    best = default.best(history.mode) if default else None
    if default and default is not winner and best and best.checkpoint:
        folder = run_dir.trial(default.number) / best.checkpoint
        if (folder / "model.pt").is_file():
            found["default"] = (default, folder)
    return found


def _iteration(trial: TrialHistory, history: History) -> int:
    best = trial.best(history.mode)
    assert best is not None, "it has a checkpoint"
    return best.iteration


def _predict(checkpoints: dict[Role, tuple[TrialHistory, Path]], spec: SearchSpec, folder: Path) -> dict[str, Any]:
    """Write the pictures of the chosen images and the scores of all images; return the content of `index.json`."""
    from PIL import Image as Images

    from trainables.data import label_table, open_split, stratified_images
    from trainables.overlay import class_colors

    configs = {
        role: Config.model_validate(spec.trial_config({} if trial.is_default else trial.values))
        for role, (trial, _) in checkpoints.items()
    }
    data = configs["winner"].data
    split = open_split(data, "val")
    places = stratified_images(split, data, MAX_SCORED)
    scores: dict[Role, list[float | None]] = {}
    predicted: dict[Role, list[NDArray[np.uint8]]] = {}
    for role, (_, checkpoint) in checkpoints.items():
        predicted[role], scores[role] = _predicted(configs[role], checkpoint, places)
    chosen = choose(scores["winner"])
    colors, table = class_colors(data.num_classes), label_table(data)
    rows = []
    for number, (kind, i) in enumerate(chosen):
        _smaller(Images.fromarray(split.image(places[i])), Images.Resampling.LANCZOS).save(
            folder / f"{number:02d}-image.jpg", quality=85
        )
        truth = _smaller(Images.fromarray(table[split.label(places[i])]), Images.Resampling.NEAREST)
        _colored(truth, colors).save(folder / f"{number:02d}-truth.png", optimize=True)
        for role, pictures in predicted.items():
            _colored(Images.fromarray(pictures[i]), colors).save(folder / f"{number:02d}-{role}.png", optimize=True)
        of_default = scores["default"][i] if "default" in scores else None
        rows.append(
            {
                "name": split.names[places[i]],
                "kind": kind,
                "winner_miou": scores["winner"][i],
                "default_miou": of_default,
            }
        )
    columns = {f"{role}_miou": pa.array(values, pa.float64()) for role, values in scores.items()}
    names = pa.array([split.names[place] for place in places], pa.string())
    write_table(pa.table({"image": names, **columns}), folder / "scores.parquet")
    known = configs["winner"].metric_entries()["iou"]
    return {
        "num_images": len(split),
        "num_scored": len(places),
        "classes": [[name, "#" + bytes(color).hex()] for name, color in zip(known, colors, strict=True)],
        "images": rows,
    }


def _predicted(
    config: Config, checkpoint: Path, places: Sequence[int]
) -> tuple[list["NDArray[np.uint8]"], list[float | None]]:
    """Return the predicted classes of validation images at the size of the pictures, and each image's mIoU."""
    import numpy as np
    from PIL import Image as Images

    from raysearch.execution.standalone import load_network
    from trainables.data import evaluation_samples, open_split
    from trainables.evaluation import predictions
    from trainables.metrics import ConfusionMatrix

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
            picture = _smaller(Images.fromarray(of_image.numpy().astype(np.uint8)), Images.Resampling.NEAREST)
            pictures.append(np.asarray(picture))
    return pictures, scores


def choose(scores: Sequence[float | None]) -> list[tuple[Kind, int]]:
    """Return the indices of the worst scores, the worst first, then of some around the median of the others."""
    ranked = sorted((i for i, score in enumerate(scores) if score is not None), key=lambda i: (scores[i], i))
    worst, others = ranked[:NUM_WORST], ranked[NUM_WORST:]
    start = max(0, (len(others) - NUM_TYPICAL) // 2)
    kinds: dict[Kind, list[int]] = {"worst": worst, "typical": others[start : start + NUM_TYPICAL]}
    return [(kind, i) for kind, places in kinds.items() for i in places]


def _smaller(image: "Image", how: int) -> "Image":
    scale = min(1.0, SIDE_PX / max(image.size))
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), how)


def _colored(classes: "Image", colors: "NDArray[np.uint8]") -> "Image":
    """Return an image with the colours of its classes; the input has one byte per pixel."""
    palette = [0] * 768
    palette[: colors.size] = colors.ravel().tolist()
    palette[3 * IGNORE_INDEX :] = IGNORED_COLOR
    classes.putpalette(palette)  # turns the grey image into a palette image
    return classes
