"""Commands on a single config outside a search: train, evaluate, predict, score."""

import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from raysearch.commands import console
from raysearch.commands.arguments import TAKES_FLAGS, Pairs, examples
from raysearch.commands.console import note, say
from raysearch.commands.data_commands import a_dataset
from raysearch.commands.suggestions import SuggestingCommand
from raysearch.errors import Fault, InputError, WorkError

if TYPE_CHECKING:
    from trainables.config import DataConfig
    from trainables.metrics import ConfusionMatrix
    from trainables.openseg.flags import Flags

app = typer.Typer()

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.json", help="A trial config.", show_default=False)]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write.", show_default=False)]
Checkpoint = Annotated[Path, typer.Option(help="Folder of a checkpoint.", show_default=False)]
Mode = Annotated[
    Literal["ss", "ms", "sscrop", "mscrop"] | None,
    typer.Option(help="Whole image, scales, windows, or both; the config's own otherwise.", show_default=False),
]
Ids = Annotated[
    Literal["raw", "contiguous"],
    typer.Option(help="Pixels of predicted labels: the values of label_class_ids, or class indices from 0."),
]


@app.command(
    cls=SuggestingCommand,
    context_settings=TAKES_FLAGS,
    epilog=examples("raysearch train best.json --out final", "raysearch train best.json train.seed 1"),
)
def train(config: ConfigFile, pairs: Pairs = None, out: Out = None) -> None:
    """Train one config to its full budget. The original trainer's --phase test --resume DIR scores a checkpoint."""
    from raysearch.config.config_files import load_config
    from raysearch.execution import standalone
    from trainables.config import Config
    from trainables.openseg.flags import read_flags

    flags = read_flags(pairs or (), Path.cwd())
    if flags.asks_for_evaluation:
        _evaluate_as_flags_say(config, pairs or (), flags)
        return
    loaded = load_config(config, Config, pairs or (), say=note)
    metric = standalone.metric_of(config)
    folder = out or Path("runs") / f"train-{time.strftime('%Y%m%d-%H%M%S')}"
    with _failing_in_one_message("training", folder), console.bar("train") as progress:
        value = standalone.train(loaded, folder, metric=metric, say=say, progress=progress)
    say(f"{metric} {value:.4f}; everything is in {folder}")


@app.command(
    cls=SuggestingCommand,
    context_settings=TAKES_FLAGS,
    epilog=examples(
        "raysearch evaluate best.json --checkpoint runs/potatoes-…/best_checkpoint",
        "raysearch evaluate best.json --checkpoint runs/potatoes-…/best_checkpoint --mode ms",
    ),
)
def evaluate(
    config: ConfigFile,
    checkpoint: Checkpoint,
    pairs: Pairs = None,
    split: Annotated[Literal["val", "test"], typer.Option(help="Images to score on.")] = "val",
    data: Annotated[
        Path | None, typer.Option(help="Another dataset folder.", show_default=False, callback=a_dataset)
    ] = None,
    mode: Mode = None,
) -> None:
    """Score a checkpoint: IoU of every class and their mean."""
    from raysearch.config.config_files import load_config
    from raysearch.execution import standalone
    from trainables.config import Config

    loaded = load_config(config, Config, [*(pairs or ()), *_mode_pair(mode)], say=note, tasks=("--phase",))
    with _failing_in_one_message("evaluation"), console.bar("evaluate") as progress:
        scores = standalone.score(loaded, checkpoint, split=split, folder=data, say=say, progress=progress)
    _say_scores(scores, loaded.data)


@app.command(
    cls=SuggestingCommand,
    context_settings=TAKES_FLAGS,
    epilog=examples(
        "raysearch predict best.json --checkpoint runs/potatoes-…/best_checkpoint --images new --out labels --overlay"
    ),
)
def predict(
    config: ConfigFile,
    checkpoint: Checkpoint,
    images: Annotated[Path, typer.Option(help="Folder of images.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write; absent or empty.", show_default=False)],
    pairs: Pairs = None,
    ids: Ids = "raw",
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also write the classes in colour over each image, to OUT/overlay.")
    ] = False,
    mode: Mode = None,
) -> None:
    """Write the predicted label of every image, as a PNG of the image's name and own size."""
    from raysearch.config.config_files import load_config
    from raysearch.execution import standalone
    from trainables.config import Config

    loaded = load_config(config, Config, [*(pairs or ()), *_mode_pair(mode)], tasks=("--phase",))
    with _failing_in_one_message("prediction"), console.bar("predict") as progress:
        num_images = standalone.predict(
            loaded, checkpoint, images, out, ids=ids, with_overlay=overlay, progress=progress
        )
    say(f"{num_images} labels ({ids} ids) in {out}")


@app.command(
    cls=SuggestingCommand,
    epilog=examples("raysearch score --predictions labels --labels true_labels --config best.json"),
)
def score(
    predictions: Annotated[Path, typer.Option(help="Folder of predicted label PNGs.", show_default=False)],
    labels: Annotated[Path, typer.Option(help="Folder of true label PNGs, with raw ids.", show_default=False)],
    config: Annotated[Path, typer.Option(metavar="CONFIG.json", help="A trial config.", show_default=False)],
    ids: Ids = "raw",
) -> None:
    """Score label PNGs, whoever made them, against true ones of the same names."""
    from raysearch.config.config_files import load_config
    from trainables.config import Config
    from trainables.data.preflight import unlisted_notices
    from trainables.prediction import score_label_images

    data = load_config(config, Config).data
    scored = score_label_images(predictions, labels, data, ids)
    for notice in unlisted_notices(scored.unlisted):
        note(notice)
    _say_scores(scored.confusion, data)


@contextmanager
def _failing_in_one_message(what: str, folder: Path | None = None) -> Iterator[None]:
    """Convert an exception of the trainer to one message, with the traceback in a file, in `folder` if it exists."""
    try:
        yield
    except (InputError, OSError):
        raise
    except FloatingPointError as error:
        raise WorkError(f"{error}; a smaller optim.lr may help") from None
    except Exception as error:  # the trainer runs the code of many libraries, each of which may raise anything
        from raysearch.execution.memory import is_out_of_memory

        place = folder if folder is not None and folder.is_dir() else None
        with tempfile.NamedTemporaryFile(
            "w", prefix="traceback-", suffix=".log", dir=place, delete=False, encoding="utf-8"
        ) as file:
            traceback.print_exc(file=file)
        told = " ".join(f"{type(error).__name__}: {error}".split())
        fix = "smaller batches, crops or networks may help; " if is_out_of_memory(error) else ""
        raise WorkError(f"the {what} ended in {told}; {fix}the traceback is in {file.name}") from None


def _evaluate_as_flags_say(config: Path, pairs: Sequence[str], flags: "Flags") -> None:
    """Score the checkpoint of --resume on the validation images, as the original trainer does instead of training."""
    from raysearch.config.config_files import load_config
    from raysearch.execution import standalone
    from trainables.config import Config
    from trainables.trainer import MODEL_FILE

    loaded = load_config(config, Config, pairs, say=note, tasks=("--phase", "--resume"))
    if flags.resume is None:
        fix = "give --resume and the folder of a checkpoint, or --phase train"
        raise InputError([Fault(f"--phase {flags.phase}", "needs a checkpoint to score", fix)])
    checkpoint = Path(flags.resume).expanduser()
    if checkpoint.name == MODEL_FILE:
        checkpoint = checkpoint.parent
    note(f"nothing is trained: {checkpoint} is scored on the validation images; predict writes label images")
    with _failing_in_one_message("evaluation"), console.bar("evaluate") as progress:
        scores = standalone.score(loaded, checkpoint, say=say, progress=progress)
    _say_scores(scores, loaded.data)


def _mode_pair(mode: str | None) -> list[str]:
    return ["evaluation.mode", mode] if mode else []


def _say_scores(confusion: "ConfusionMatrix", data: "DataConfig") -> None:
    names = data.class_names or [str(i) for i in range(data.num_classes)]
    table = Table("class", "IoU")
    for name, iou in zip(names, confusion.iou(), strict=True):
        table.add_row(escape(name), "absent" if iou != iou else f"{iou:.4f}")
    console.show(table)
    say(f"mIoU {float(confusion.miou()):.6f}  pixel accuracy {float(confusion.pixel_accuracy()):.6f}")
