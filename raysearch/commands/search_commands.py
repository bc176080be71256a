"""Commands of a search: check it, run it, resume it, and use its results."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from raysearch.command_line import command_line
from raysearch.commands import completion, console
from raysearch.commands.arguments import TAKES_FLAGS, Pairs, examples
from raysearch.commands.console import note, say
from raysearch.commands.suggestions import SuggestingCommand
from raysearch.errors import Fault, InputError, WorkError
from trainables.plurals import counted
from trainables.spelling import closest

if TYPE_CHECKING:
    from raysearch.runs.outcome import SearchResult

app = typer.Typer()

SpaceFile = Annotated[
    Path,
    typer.Argument(
        metavar="SPACE.yaml",
        help="A space file, or the name of a shipped one.",
        show_default=False,
        autocompletion=completion.space_files,
    ),
]
RunFolder = Annotated[
    Path,
    typer.Argument(
        metavar="RUN_DIR", help="The folder of a run.", show_default=False, autocompletion=completion.run_folders
    ),
]
SetValues = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Replace a value of the space file.",
        show_default=False,
        autocompletion=completion.space_values,
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder of the run; runs/NAME-TIMESTAMP by default.", show_default=False)
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", help="Address of a Ray cluster; by default, Ray starts on this machine.", show_default=False
    ),
]
Executor = Annotated[
    Literal["ray", "local"],
    typer.Option("--executor", help="Where trials run: on Ray, or in this process, one at a time, for debugging."),
]
_MAX_PARETO_ROWS = 12


@app.command(
    cls=SuggestingCommand,
    context_settings=TAKES_FLAGS,
    epilog=examples(
        "raysearch run demo",
        "raysearch run potatoes.yaml",
        "raysearch run potatoes.yaml --set search.trials=8",
    ),
)
def run(
    space: SpaceFile,
    pairs: Pairs = None,
    set_values: SetValues = None,
    out: Out = None,
    address: Address = None,
    executor: Executor = "ray",
) -> None:
    """Search for the best config, and print where the results are."""
    from raysearch.execution.preflight import faults_of_config
    from raysearch.observers.live_view import Screen
    from raysearch.runs import driver
    from raysearch.space.parsing import load_space

    spec = load_space(space, set_values or (), pairs or (), look=faults_of_config)
    for notice in spec.notices:
        note(notice)
    screen = Screen()
    _finish(driver.run(spec, out, address=address, executor=executor, say=screen.say, show=screen))


@app.command(
    cls=SuggestingCommand,
    epilog=examples(
        "raysearch resume runs/potatoes-…",
        "raysearch resume runs/potatoes-… --add-trials 16",
        "raysearch resume runs/potatoes-… --retry-failed",
    ),
)
def resume(
    run_dir: RunFolder,
    add_trials: Annotated[int, typer.Option(min=0, help="Extend the search by this many trials.")] = 0,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run failed trials again, each as a new trial with the same values.")
    ] = False,
    address: Address = None,
    executor: Executor = "ray",
) -> None:
    """Continue a stopped or killed search, extend a finished one, or run its failed trials again."""
    from raysearch.observers.live_view import Screen
    from raysearch.runs import driver

    screen = Screen()
    result = driver.resume(
        run_dir,
        add_trials=add_trials,
        retry_failed=retry_failed,
        address=address,
        executor=executor,
        say=screen.say,
        show=screen,
    )
    _finish(result)


@app.command(cls=SuggestingCommand, epilog=examples("raysearch repair runs/potatoes-…"))
def repair(run_dir: RunFolder) -> None:
    """Keep the part of a damaged journal that comes before the damage, so that its search can be resumed."""
    from raysearch.history import repair as repairing
    from raysearch.history.run_dir import RunDir

    opened = RunDir.open(run_dir)
    done = repairing.repair(opened)
    if done is None:
        say(f"{opened.journal}: is not damaged")
        return
    say(f"damage:  {done.damage}")
    say(f"kept:    {counted(done.num_kept, 'line')} before it, in {opened.journal}")
    for lost in done.lost or ("what these lines recorded is not known",):
        say(f"lost:    {lost}")
    say(f"damaged: {done.kept_beside}")
    say(f"resume with: {command_line('resume', opened.root)}")


@app.command(cls=SuggestingCommand, epilog=examples("raysearch trust runs/potatoes-…"))
def trust(
    given: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_DIR|CONFIG.json",
            help="The folder of a run or of a training, or an exported config.",
            show_default=False,
            autocompletion=completion.run_folders,
        ),
    ],
) -> None:
    """Allow the code that a run folder or a config from elsewhere names to be run, because you trust its author."""
    from raysearch.config import trust as trusted_code
    from raysearch.config.config_files import code_of_file

    file = given.expanduser()
    if file.is_dir():
        file /= "config.json" if (file / "config.json").is_file() else "space.yaml"
    places = trusted_code.trust(code_of_file(file), file.absolute().parent)
    for place in places:
        say(f"trusted: {place}")
    if not places:
        say(f"{given}: names nothing but what ships with raysearch, which needs no word of yours")


@app.command(cls=SuggestingCommand, context_settings=TAKES_FLAGS, epilog=examples("raysearch check potatoes.yaml"))
def check(space: SpaceFile, pairs: Pairs = None, set_values: SetValues = None) -> None:
    """Find everything that can fail before any GPU hour is spent, and estimate time and memory.

    The exit code is 1 if the default config diverges or runs out of memory in its first iterations.
    """
    from raysearch.algorithms import num_startable
    from raysearch.checks import check_tables
    from raysearch.checks.check import check_search
    from raysearch.execution.preflight import faults_of_config
    from raysearch.space.parsing import load_space

    spec = load_space(space, set_values or (), pairs or (), look=faults_of_config)
    for notice in spec.notices:
        note(notice)
    with console.err.status("checking the data, and measuring the first iterations of a few trials"):
        checked = check_search(spec)
    for table in check_tables.tables(checked):
        console.show(table)
    for notice in checked.notices:
        note(notice)
    for line in check_tables.lines(checked):
        say(line)
    warnings = check_tables.warnings(checked)
    for warning in warnings:
        console.err.print(f"[yellow]warning:[/yellow] {escape(warning)}")
    searched = (
        f"{counted(len(spec.parameters), 'parameter')}, {counted(num_startable(spec, spec.search.trials), 'trial')}"
    )
    num_problems = len(warnings) + (checked.default_lost is not None)
    result = counted(num_problems, "problem was", "problems were") if num_problems else "nothing wrong was"
    say(f"{space}: {searched}; {result} found")
    if checked.default_lost is not None:
        whose = "the default config" if spec.trainable.config_model is not None else "the first config"
        raise WorkError(f"{whose} ends without a score: {checked.default_lost}; change its values")


@app.command(cls=SuggestingCommand, epilog=examples("raysearch dashboard runs/potatoes-…"))
def dashboard(
    run_dir: RunFolder,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the web page; by default 8080, or a free one.")
    ] = None,
) -> None:
    """Show a run in optuna-dashboard, also while the search runs."""
    from raysearch.history.run_dir import RunDir
    from raysearch.observers.dashboard import dashboard_server

    with dashboard_server(RunDir.open(run_dir), port) as server:
        say(f"dashboard: {server.url}  (read-only; Ctrl-C ends it)")
        server.serve_forever()


@app.command(cls=SuggestingCommand, epilog=examples("raysearch grafana"))
def grafana() -> None:
    """Print a Grafana dashboard for a search, based on the metrics that Ray exports to Prometheus."""
    from importlib.resources import files

    print(files("raysearch.observers").joinpath("grafana_dashboard.json").read_text(encoding="utf-8"), end="")


@app.command(
    cls=SuggestingCommand,
    epilog=examples("raysearch report runs/potatoes-…", "raysearch report runs/potatoes-… runs/demo-…"),
)
def report(
    run_dirs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_DIR...",
            help="The folder of a run, or of several runs to compare.",
            show_default=False,
            autocompletion=completion.run_folders,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File of the comparison; comparison.html by default.", show_default=False),
    ] = None,
) -> None:
    """Write the report, the tables and the best config of a run again, or compare several runs."""
    from raysearch.runs.outcome import write_outcome
    from raysearch.search.run import Run

    if len(run_dirs) > 1:
        from raysearch.report.comparison import write_comparison

        say(f"comparison: {write_comparison(run_dirs, out or Path('comparison.html'))}")
        return
    if out is not None:
        what = "applies to a comparison of several runs; the report of a single run is written to its folder"
        raise InputError([Fault("--out", what, "leave it out, or give another run")])
    run = Run.open(run_dirs[0])
    write_outcome(run)
    say(f"report: {run.dir.report}")


@app.command(cls=SuggestingCommand, epilog=examples("raysearch confirm runs/potatoes-… --top 3 --seeds 5"))
def confirm(
    run_dir: RunFolder,
    top: Annotated[int, typer.Option(help="Number of trials to retrain, the best ones.")] = 3,
    seeds: Annotated[
        int, typer.Option(help="Number of new seeds for each; a confidence interval needs two or more.")
    ] = 3,
    split: Annotated[
        Literal["val", "test"],
        typer.Option(help="Images for the confirmed scores; the best config is always chosen on val."),
    ] = "val",
    jobs: Annotated[
        int | None,
        typer.Option(help="Largest number of trainings at a time; by default as many as the run's resources allow."),
    ] = None,
    address: Address = None,
    executor: Executor = "ray",
) -> None:
    """Retrain the best configs and the default with new seeds; the best config is then the one with the best mean."""
    from raysearch.history.run_dir import RunDir
    from raysearch.observers.live_view import Screen
    from raysearch.runs import confirm as confirming

    screen = Screen()
    confirming.confirm(
        run_dir,
        top=top,
        seeds=seeds,
        split=split,
        jobs=jobs,
        address=address,
        executor=executor,
        say=screen.say,
        show=screen,
    )
    opened = RunDir.open(run_dir)
    say(f"best config: {opened.best_config}")
    say(f"table:       {opened.confirmed_table}")
    say(f"report:      {opened.report}")


@app.command(
    cls=SuggestingCommand,
    epilog=examples(
        "raysearch export runs/potatoes-… --out best.json",
        "raysearch export runs/potatoes-… --format openseg --out H_48_D_4_best.json",
        "raysearch export runs/potatoes-… --onnx best.onnx",
    ),
)
def export(
    run_dir: RunFolder,
    format: Annotated[
        str,
        typer.Option(
            help="Format of the config: that of raysearch, that of openseg and ContrastiveSeg (openseg), or another "
            "one that the run's trainable writes.",
            autocompletion=completion.formats,
        ),
    ] = "raysearch",
    out: Annotated[Path | None, typer.Option("--out", help="File to write; by default, the config is printed.")] = None,
    onnx: Annotated[
        Path | None,
        typer.Option(
            "--onnx",
            metavar="FILE",
            help="Write the best network as ONNX instead; RUN_DIR may also be a folder of `train`.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write the best config as JSON, or the best network as ONNX."""
    from raysearch.history.run_dir import RunDir
    from raysearch.results.export import best_config_text, best_in_dialect

    if onnx is not None:
        _export_onnx(run_dir, onnx)
        return
    if format not in completion.FORMATS and (close := closest(format, completion.FORMATS, cutoff=0.75)):
        raise InputError([Fault(f"--format {format}", "is not known", f"did you mean {close}?")])
    if format != "raysearch":
        exported = best_in_dialect(RunDir.open(run_dir), format)
        text = exported.text
        console.err.print(escape(f"note: the original trainer also needs these flags: {exported.flags}"))
        if exported.unsaid:
            console.err.print(escape(f"note: the original trainer does not support: {', '.join(exported.unsaid)}"))
    else:
        text = best_config_text(RunDir.open(run_dir))
    if out is None:
        print(text, end="")
    else:
        out.write_text(text, encoding="utf-8")
        say(f"best config: {out}")


def _export_onnx(folder: Path, out: Path) -> None:
    from raysearch.results.onnx_export import export_onnx

    written = export_onnx(folder, out)
    for dimension, size in written.fixed.items():
        note(f"this backbone can only be exported with a fixed {dimension}, which is {size}")
    say(f"network: {out}  (differs from PyTorch by at most {written.difference:.1g})")


def _say_pareto_set(result: "SearchResult") -> None:
    table = Table("trial", *map(escape, result.objectives), "config", title="Pareto set", title_justify="left")
    for point in result.pareto_set[:_MAX_PARETO_ROWS]:
        numbers = (f"{value:.4g}" for value in point.values)
        table.add_row(str(point.trial), *numbers, escape(str(point.config.relative_to(result.run_dir))))
    console.show(table)
    left = len(result.pareto_set) - _MAX_PARETO_ROWS
    if left > 0:
        say(f"{left} more in {result.run_dir / 'pareto.parquet'}")


def _finish(result: "SearchResult") -> None:
    """Print the results of a search and their paths, and exit with its exit code."""
    from raysearch.results.confirmation import lead_lines

    if result.best_value is not None:
        say("")
        say(f"best {result.metric}:    {result.best_value:.4f}  (trial {result.best_trial} of {result.num_trials})")
        if result.broken:
            broken = "; ".join(result.broken)
            say(f"no trial meets every constraint; the best one comes closest and breaks {broken}")
        if result.default_lost is not None:
            note(f"the default config (trial 0) is {result.default_lost}")
        elif result.default_value is not None:
            say(f"default {result.metric}: {result.default_value:.4f}  (the config of the space file as it stands)")
        if result.confirmed is not None:
            best = result.confirmed.best
            images = f" on the {result.confirmed.split} images" if result.confirmed.split != "val" else ""
            whose = f"best config: trial {best.number}, mean over {counted(len(best.values), 'seed')}"
            say(f"confirmed:   {best.mean:.4f}{images}  ({whose})")
            for line in lead_lines(result.confirmed):
                say(f"             {line}")
        if result.misleading is not None:
            note(result.misleading)
        saved, whole = result.iterations_shared
        if saved:
            say(f"shared:      {saved} of {counted(whole, 'iteration')} reused from other trials")
        if result.pareto_set:
            _say_pareto_set(result)
        say(f"best config: {result.best_config}")
        why_none = result.lost_weights or "the trainable writes no checkpoints"
        say(f"checkpoint:  {result.best_checkpoint or f'none ({why_none})'}")
        if result.lost_weights is not None and result.best_checkpoint is not None:
            note(f"{result.best_checkpoint} is that of an earlier moment: {result.lost_weights}")
        say(f"tables:      {result.run_dir / 'trials.parquet'}, {result.run_dir / 'results.parquet'}")
        say(f"report:      {result.run_dir / 'report.html'}")
    if result.interrupted_by is not None:
        say(f"resume with: {command_line('resume', result.run_dir)}")
        sys.exit(128 + result.interrupted_by)
    if result.mostly_failed is not None:
        raise WorkError(result.mostly_failed)
    if result.best_value is None:
        raise WorkError(f"no trial reported {result.metric}; {result.run_dir / 'trials.parquet'} gives the reasons")
