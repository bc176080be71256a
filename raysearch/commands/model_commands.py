"""Commands on a single config outside a search: train, evaluate, predict, score."""

import json
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from raysearch.commands import console
from raysearch.commands.arguments import TAKES_FLAGS, Pairs, examples
from raysearch.commands.console import note, say
from raysearch.commands.data_commands import a_dataset
from raysearch.commands.suggestions import SuggestingCommand
from raysearch.errors import Fault, InputError, WorkError
from trainables.plurals import counted
from trainables.protocol import HasMetricEntries

if TYPE_CHECKING:
    from raysearch.config.config_files import TrainedConfig
    from trainables.openseg.flags import Flags

app = typer.Typer()

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.json", help="A trial config.", show_default=False)]
Out = Annotated[
    Path | None, typer.Option("--out", help="Output folder; runs/train-TIMESTAMP by default.", show_default=False)
]
Checkpoint = Annotated[Path, typer.Option(help="Folder of a checkpoint.", show_default=False)]
Mode = Annotated[
    Literal["ss", "ms", "sscrop", "mscrop"] | None,
    typer.Option(
        help="Whole images (ss), several scales (ms), windows (sscrop), or both (mscrop); by default as in the config.",
        show_default=False,
    ),
]
Ids = Annotated[
    Literal["raw", "contiguous"],
    typer.Option(help="Values of predicted labels: those of label_class_ids, or class indices from 0."),
]


@app.command(
    cls=SuggestingCommand,
    context_settings=TAKES_FLAGS,
    epilog=examples("raysearch train best.json --out final", "raysearch train best.json train.seed 1"),
)
def train(config: ConfigFile, pairs: Pairs = None, out: Out = None) -> None:
    """Train one config to its full budget; with the original's flags --phase test --resume DIR, score a checkpoint."""
    from raysearch.config.config_files import load_trained_config
    from raysearch.execution import standalone
    from trainables.openseg.flags import read_flags

    flags = read_flags(pairs or (), Path.cwd())
    if flags.asks_for_evaluation:
        _evaluate_as_flags_say(config, pairs or (), flags)
        return
    trained = load_trained_config(config, pairs or (), say=note)
    metric = _metric(config, trained)
    folder = out or Path("runs") / f"train-{time.strftime('%Y%m%d-%H%M%S')}"
    with _failing_in_one_message("training", folder), console.bar("train") as progress:
        value = standalone.train(
            trained.trainable,
            trained.config,
            folder,
            metric=metric,
            seed=trained.origin.get("seed") or 0,
            max_iters=trained.origin.get("max_iters"),
            say=say,
            progress=progress,
        )
    say(f"{metric} {value:.4f}; the results are in {folder}")


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
    split: Annotated[Literal["val", "test"], typer.Option(help="Images to score.")] = "val",
    data: Annotated[
        Path | None,
        typer.Option(help="Dataset folder to use instead of the config's.", show_default=False, callback=a_dataset),
    ] = None,
    mode: Mode = None,
) -> None:
    """Score a checkpoint: IoU of each class, and their mean."""
    _evaluate(config, checkpoint, [*(pairs or ()), *_data_pair(data), *_mode_pair(mode)], ("--phase",), split)


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
    out: Annotated[Path, typer.Option(help="Output folder; new or empty.", show_default=False)],
    pairs: Pairs = None,
    ids: Ids = "raw",
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also write each image with its classes in colour on top, to OUT/overlay.")
    ] = False,
    mode: Mode = None,
) -> None:
    """Write the predicted label of each image as a PNG with the image's name and size."""
    from raysearch.config.config_files import load_config
    from raysearch.config.documents import Kind, check_kind
    from trainables.config import Config
    from trainables.prediction import predict_folder

    loaded = load_config(config, Config, [*(pairs or ()), *_mode_pair(mode)], tasks=("--phase",))
    check_kind(checkpoint, str(checkpoint), Kind.CHECKPOINT)
    with _failing_in_one_message("prediction"), console.bar("predict") as progress:
        num_images = predict_folder(loaded, checkpoint, images, out, ids=ids, with_overlay=overlay, progress=progress)
    say(f"{counted(num_images, 'label')} ({ids} ids) in {out}")


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
    """Score label PNGs from any source against true label PNGs of the same names."""
    from raysearch.config.config_files import load_config
    from trainables.config import Config
    from trainables.data.preflight import unlisted_notices
    from trainables.prediction import score_label_images
    from trainables.scoring import scores_of

    loaded = load_config(config, Config)
    data = loaded.data
    scored = score_label_images(predictions, labels, data, ids)
    for notice in unlisted_notices(scored.unlisted):
        note(notice)
    _say_scores(scores_of(scored.confusion), loaded)


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
        raise WorkError(f"the {what} failed: {told}; {fix}the traceback is in {file.name}") from None


def _evaluate_as_flags_say(config: Path, pairs: Sequence[str], flags: "Flags") -> None:
    """Score the checkpoint of --resume on the validation images, as the original trainer does instead of training."""
    from trainables.trainer import MODEL_FILE

    if flags.resume is None:
        fix = "give --resume and the folder of a checkpoint, or --phase train"
        raise InputError([Fault(f"--phase {flags.phase}", "needs a checkpoint to score", fix)])
    checkpoint = Path(flags.resume).expanduser()
    if checkpoint.name == MODEL_FILE:
        checkpoint = checkpoint.parent
    told = f"no training: scoring {checkpoint} on the validation images (`raysearch predict` writes label images)"
    _evaluate(config, checkpoint, pairs, ("--phase", "--resume"), "val", told)


def _evaluate(
    config: Path, checkpoint: Path, pairs: Sequence[str], tasks: Sequence[str], split: str, told: str | None = None
) -> None:
    """Score a checkpoint, and print the scores.

    Args:
        config: File of the config.
        checkpoint: Folder of the checkpoint.
        pairs: Overrides and flags.
        tasks: Flags for tasks that are performed here.
        split: Name of the split.
        told: Note that is printed once the config has been read.
    """
    from raysearch.config.config_files import load_trained_config
    from raysearch.execution import standalone

    trained = load_trained_config(config, pairs, say=note, tasks=tasks)
    if told is not None:
        note(told)
    with _failing_in_one_message("evaluation"), console.bar("evaluate") as progress:
        scores = standalone.evaluate(
            trained.trainable, trained.config, checkpoint, split=split, say=say, progress=progress
        )
    _say_scores(scores, trained.config)


def _metric(path: Path, trained: "TrainedConfig") -> str:
    """Return the metric by which the search selected a config; for a config written by hand, the trainable's usual one.

    Raises:
        InputError: the trainable does not declare its metrics.
    """
    if "metric" in trained.origin:
        return str(trained.origin["metric"])
    lists = trained.config.metric_entries() if isinstance(trained.config, HasMetricEntries) else {}
    declared = sorted((trained.trainable.metrics or frozenset()) - {*lists})
    if not declared:
        fix = f'write it into {path}, as in "raysearch": {{"metric": "loss"}}'
        raise InputError([Fault(trained.trainable.name, "does not say which metric it is scored by", fix)])
    return "miou" if "miou" in declared else declared[0]


def _mode_pair(mode: str | None) -> list[str]:
    return ["evaluation.mode", mode] if mode else []


def _data_pair(folder: Path | None) -> list[str]:
    return [] if folder is None else ["data.dir", json.dumps(str(folder.expanduser().absolute()), ensure_ascii=False)]


_TITLES = {"iou": "IoU", "miou": "mIoU", "pixel_accuracy": "pixel accuracy"}
"""Usual names of metrics."""


def _say_scores(scores: Mapping[str, Any], config: Any) -> None:
    entries = config.metric_entries() if isinstance(config, HasMetricEntries) else {}
    numbers = []
    for metric, value in scores.items():
        title = _TITLES.get(metric, metric)
        if not isinstance(value, Sequence):
            numbers.append(f"{title} {value:.6f}")
            continue
        table = Table("class", title)
        for name, number in zip(entries.get(metric, map(str, range(len(value)))), value, strict=True):
            table.add_row(escape(name), "absent" if number != number else f"{number:.4f}")
        console.show(table)
    say("  ".join(numbers))
