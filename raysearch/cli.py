"""The command line: parse, call, print."""

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from raysearch import data_commands
from raysearch.errors import EXIT_FAILED, EXIT_WRONG_INPUT, InputError, WorkError

if TYPE_CHECKING:
    from raysearch.outcome import SearchResult
    from trainables.config import DataConfig
    from trainables.metrics import ConfusionMatrix

app = typer.Typer(
    name="raysearch",
    help="Finds the best settings of a contrastive semantic-segmentation trainer on your own images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(data_commands.app, name="data")
_out = Console(soft_wrap=True, highlight=False)
_err = Console(stderr=True, soft_wrap=True, highlight=False)

SpaceFile = Annotated[Path, typer.Argument(metavar="SPACE.yaml", help="The space file.", show_default=False)]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The folder of a run.", show_default=False)]
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.json", help="A trial config.", show_default=False)]
Pairs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PATH VALUE]...",
        help="Config values by dotted path, as pairs; flags of the original trainer, beside a JSON file of its own.",
        show_default=False,
    ),
]
SetValues = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Replace a value of the space file.", show_default=False),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write.", show_default=False)]
Address = Annotated[
    str | None, typer.Option("--address", help="Of a Ray cluster; a local one otherwise.", show_default=False)
]
_MAX_PARETO_ROWS = 12

_TAKES_FLAGS = {"ignore_unknown_options": True}
"""Options that a command does not know go to its pairs: they may be flags of the original trainer."""
Checkpoint = Annotated[Path, typer.Option(help="Folder of a checkpoint.", show_default=False)]
Mode = Annotated[
    Literal["ss", "ms", "sscrop", "mscrop"] | None,
    typer.Option(help="Whole image, scales, windows, or both; the config's own otherwise.", show_default=False),
]
Ids = Annotated[
    Literal["raw", "contiguous"],
    typer.Option(help="Pixels of predicted labels: the values of label_class_ids, or class indices from 0."),
]


def main() -> None:
    """Run the command line; the exit code is 0, 1 (the work failed), 2 (the input is wrong) or 128 + signal."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        app()
    except _Interrupted as interrupted:
        _err.print("interrupted")
        sys.exit(128 + interrupted.number)
    except InputError as error:
        for fault in error.faults:
            _err.print(f"[red]error:[/red] {escape(str(fault))}")
        sys.exit(EXIT_WRONG_INPUT)
    except (WorkError, OSError) as error:
        _err.print(f"[red]failed:[/red] {escape(str(error))}")
        sys.exit(EXIT_FAILED)


class _Interrupted(BaseException):
    """A signal that ends a command; a search handles its own."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _interrupt(number: int, frame: object) -> None:
    raise _Interrupted(number)


@app.command(context_settings=_TAKES_FLAGS)
def run(
    space: SpaceFile, pairs: Pairs = None, set_values: SetValues = None, out: Out = None, address: Address = None
) -> None:
    """Search for the best config; prints where everything is."""
    from raysearch import driver
    from raysearch.space import load_space

    spec = load_space(space, set_values or (), pairs or ())
    for notice in spec.notices:
        _note(notice)
    _finish(driver.run(spec, out, address=address, say=_say))


@app.command()
def resume(
    run_dir: RunFolder,
    add_trials: Annotated[int, typer.Option(min=0, help="Extend the search by this many trials.")] = 0,
    address: Address = None,
) -> None:
    """Go on with a search after a stop or a kill, or extend one that has finished."""
    from raysearch import driver

    _finish(driver.resume(run_dir, add_trials=add_trials, address=address, say=_say))


@app.command(context_settings=_TAKES_FLAGS)
def check(space: SpaceFile, pairs: Pairs = None, set_values: SetValues = None) -> None:
    """Find everything that can fail before any GPU hour is spent."""
    from raysearch.preflight import preflight
    from raysearch.space import load_space

    spec = load_space(space, set_values or (), pairs or ())
    for notice in spec.notices:
        _note(notice)
    for notice in preflight(spec):
        _say(f"note: {notice}")
    _say(f"{space}: {len(spec.parameters)} parameters, {spec.search.trials} trials; nothing wrong was found")


@app.command()
def report(run_dir: RunFolder) -> None:
    """Draw the report of a run, finished or not, and write its tables and best config anew."""
    from raysearch.journal import read_history
    from raysearch.outcome import write_outcome
    from raysearch.run_dir import RunDir
    from raysearch.space import load_space

    opened = RunDir.open(run_dir)
    write_outcome(read_history(opened.journal), load_space(opened.space), opened)
    _say(f"report: {opened.report}")


@app.command()
def confirm(
    run_dir: RunFolder,
    top: Annotated[int, typer.Option(help="How many of the best trials.")] = 3,
    seeds: Annotated[int, typer.Option(help="How many new seeds each; an interval takes two or more.")] = 3,
    split: Annotated[
        Literal["val", "test"], typer.Option(help="Images of the confirmed figure; those of val choose either way.")
    ] = "val",
    jobs: Annotated[
        int | None,
        typer.Option(help="Trainings that run at a time; as many as the run's resources allow here otherwise."),
    ] = None,
) -> None:
    """Train the best configs and the default one with new seeds; the best mean becomes the best config."""
    from raysearch import confirm as confirming
    from raysearch.run_dir import RunDir

    confirming.confirm(run_dir, top=top, seeds=seeds, split=split, jobs=jobs, say=_say)
    opened = RunDir.open(run_dir)
    _say(f"best config: {opened.best_config}")
    _say(f"table:       {opened.confirmed_table}")
    _say(f"report:      {opened.report}")


@app.command()
def export(
    run_dir: RunFolder,
    format: Annotated[
        Literal["raysearch", "openseg"],
        typer.Option(help="A config of our own, or a file for the trainer of openseg and ContrastiveSeg."),
    ] = "raysearch",
    out: Annotated[Path | None, typer.Option("--out", help="File to write; printed otherwise.")] = None,
) -> None:
    """Write the best config as JSON."""
    from raysearch.export import best_config_text, best_openseg
    from raysearch.run_dir import RunDir

    if format == "openseg":
        exported = best_openseg(RunDir.open(run_dir))
        text = exported.text
        _err.print(escape(f"note: the original trainer needs beside it: {exported.flags}"))
        if exported.unsaid:
            _err.print(escape(f"note: the original trainer does not know: {', '.join(exported.unsaid)}"))
    else:
        text = best_config_text(RunDir.open(run_dir))
    if out is None:
        print(text, end="")
    else:
        out.write_text(text, encoding="utf-8")
        _say(f"best config: {out}")


@app.command(context_settings=_TAKES_FLAGS)
def train(config: ConfigFile, pairs: Pairs = None, out: Out = None) -> None:
    """Train one config to its full budget."""
    from raysearch import standalone
    from raysearch.trial_config import load_config
    from trainables.config import Config

    loaded = load_config(config, Config, pairs or (), say=_note)
    metric = standalone.metric_of(config)
    folder = out or Path("runs") / f"train-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        value = standalone.train(loaded, folder, metric=metric, say=_say)
    except FloatingPointError as error:
        raise WorkError(f"{error}; a smaller optim.lr may help") from None
    _say(f"{metric} {value:.4f}; everything is in {folder}")


@app.command(context_settings=_TAKES_FLAGS)
def evaluate(
    config: ConfigFile,
    checkpoint: Checkpoint,
    pairs: Pairs = None,
    split: Annotated[Literal["val", "test"], typer.Option(help="Images to score on.")] = "val",
    data: Annotated[Path | None, typer.Option(help="Another dataset folder.", show_default=False)] = None,
    mode: Mode = None,
) -> None:
    """Score a checkpoint: IoU of every class and their mean."""
    from raysearch import standalone
    from raysearch.trial_config import load_config
    from trainables.config import Config

    loaded = load_config(config, Config, [*(pairs or ()), *_mode_pair(mode)], say=_note)
    _say_scores(standalone.score(loaded, checkpoint, split=split, folder=data, say=_say), loaded.data)


@app.command(context_settings=_TAKES_FLAGS)
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
    from raysearch import standalone
    from raysearch.trial_config import load_config
    from trainables.config import Config

    loaded = load_config(config, Config, [*(pairs or ()), *_mode_pair(mode)])
    with Progress(console=_err, transient=True, disable=not _err.is_terminal) as bar:
        task = bar.add_task("predict", total=None)
        num_images = standalone.predict(
            loaded,
            checkpoint,
            images,
            out,
            ids=ids,
            with_overlay=overlay,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    _say(f"{num_images} labels ({ids} ids) in {out}")


@app.command()
def score(
    predictions: Annotated[Path, typer.Option(help="Folder of predicted label PNGs.", show_default=False)],
    labels: Annotated[Path, typer.Option(help="Folder of true label PNGs, with raw ids.", show_default=False)],
    config: Annotated[Path, typer.Option(metavar="CONFIG.json", help="A trial config.", show_default=False)],
    ids: Ids = "raw",
) -> None:
    """Score label PNGs, whoever made them, against true ones of the same names."""
    from raysearch.trial_config import load_config
    from trainables.config import Config
    from trainables.data.preflight import unlisted_notices
    from trainables.prediction import score_label_images

    data = load_config(config, Config).data
    scored = score_label_images(predictions, labels, data, ids)
    for notice in unlisted_notices(scored.unlisted):
        _say(f"note: {notice}")
    _say_scores(scored.confusion, data)


def _mode_pair(mode: str | None) -> list[str]:
    return ["evaluation.mode", mode] if mode else []


def _say_scores(confusion: "ConfusionMatrix", data: "DataConfig") -> None:
    names = data.class_names or [str(i) for i in range(data.num_classes)]
    table = Table("class", "IoU")
    for name, iou in zip(names, confusion.iou(), strict=True):
        table.add_row(escape(name), "absent" if iou != iou else f"{iou:.4f}")
    _out.print(table)
    _say(f"mIoU {float(confusion.miou()):.6f}  pixel accuracy {float(confusion.pixel_accuracy()):.6f}")


def _say(line: str) -> None:
    _out.print(escape(line))


def _note(line: str) -> None:
    _say(f"note: {line}")


def _say_pareto_set(result: "SearchResult") -> None:
    table = Table("trial", *map(escape, result.objectives), "config", title="Pareto set", title_justify="left")
    for point in result.pareto_set[:_MAX_PARETO_ROWS]:
        numbers = (f"{value:.4g}" for value in point.values)
        table.add_row(str(point.trial), *numbers, escape(str(point.config.relative_to(result.run_dir))))
    _out.print(table)
    left = len(result.pareto_set) - _MAX_PARETO_ROWS
    if left > 0:
        _say(f"{left} more in {result.run_dir / 'pareto.parquet'}")


def _finish(result: "SearchResult") -> None:
    """Print what a search found and where it lies, and leave with its exit code."""
    from raysearch.confirmation import lead_lines

    if result.best_value is not None:
        _say("")
        _say(f"best {result.metric}:    {result.best_value:.4f}  (trial {result.best_trial} of {result.num_trials})")
        if result.broken:
            _say(f"no trial holds every constraint; the best comes nearest, and breaks {'; '.join(result.broken)}")
        if result.default_value is not None:
            _say(f"default {result.metric}: {result.default_value:.4f}  (the config of the space file as it stands)")
        if result.confirmed is not None:
            best = result.confirmed.best
            images = f" of the {result.confirmed.split} images" if result.confirmed.split != "val" else ""
            whose = f"trial {best.number}, {len(best.values)} seeds: the best config"
            _say(f"confirmed:   {best.mean:.4f}{images}  ({whose})")
            for line in lead_lines(result.confirmed):
                _say(f"             {line}")
        if result.misleading is not None:
            _note(result.misleading)
        saved, whole = result.iterations_shared
        if saved:
            _say(f"shared:      {saved} of {whole} iterations, which were trained once")
        if result.pareto_set:
            _say_pareto_set(result)
        _say(f"best config: {result.best_config}")
        _say(f"checkpoint:  {result.best_checkpoint or 'none (the trainable writes no checkpoints)'}")
        _say(f"tables:      {result.run_dir / 'trials.parquet'}, {result.run_dir / 'results.parquet'}")
        _say(f"report:      {result.run_dir / 'report.html'}")
    if result.interrupted_by is not None:
        _say(f"go on with:  python -m raysearch resume {result.run_dir}")
        sys.exit(128 + result.interrupted_by)
    if result.best_value is None:
        raise WorkError(f"no trial reported {result.metric}; {result.run_dir / 'trials.parquet'} says why for each")
