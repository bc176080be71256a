"""Commands on space files: list the shipped ones, create one, convert to one, describe the format."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from raysearch.commands import console, data_commands
from raysearch.commands.arguments import examples
from raysearch.commands.suggestions import SuggestingCommand
from raysearch.errors import Fault, InputError

app = typer.Typer()


@app.command(cls=SuggestingCommand, epilog=examples("raysearch spaces", "raysearch spaces notes_small"))
def spaces(
    name: Annotated[str | None, typer.Argument(help="Space file to print.", show_default=False)] = None,
) -> None:
    """List the shipped space files, which `run NAME` accepts by name, or print one."""
    from raysearch.config.shipped import shipped_spaces, summary
    from trainables.spelling import nearest

    shipped = shipped_spaces()
    if name is None:
        table = Table("name", "what it searches")
        for stem, path in shipped.items():
            table.add_row(escape(stem), escape(summary(path)))
        console.show(table)
    elif name in shipped:
        print(shipped[name].read_text(encoding="utf-8"), end="")
    else:
        raise InputError([Fault(f"spaces {name}", "no such space file is shipped", nearest(name, shipped))])


@app.command(
    cls=SuggestingCommand,
    epilog=examples(
        "raysearch init potatoes --ids 0,50,100 --out first.yaml",
        "raysearch init camvid --preset camvid --out camvid.yaml",
        "raysearch init coco_export --out annotated.yaml",
    ),
)
def init(
    folder: data_commands.Folder,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; NAME.yaml by default.", show_default=False)
    ] = None,
    ids: data_commands.Ids = None,
    preset: data_commands.Preset = None,
    from_format: data_commands.FromFormat = None,
    link: data_commands.Link = False,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Measure a trial on this machine, and plan a search that ends within ten minutes."
        ),
    ] = False,
) -> None:
    """Inspect a dataset, and write a commented space file for it and this machine.

    DIR is a dataset, or an export of COCO, CVAT, Label Studio, Supervisely, Pascal VOC or YOLO, which is converted into
    NAME_data beside the space file NAME.yaml. DIR itself is never changed.
    """
    from raysearch.command_line import command_line
    from raysearch.commands.first_space import data_folder, first_space, first_space_of_export, format_of
    from raysearch.execution.machine import this_machine

    file = out or Path(f"{folder.expanduser().absolute().name}.yaml")
    if file.exists():
        raise InputError([Fault(str(file), "already exists", "give another --out")])
    config = data_commands.data_config(ids, preset, None)
    given = (("--out", out), ("--ids", ids), ("--preset", preset))
    options = [word for name, value in given if value is not None for word in (name, str(value))]
    options += ["--quick"] if quick else []
    tool = format_of(folder, from_format)
    machine = this_machine()
    with data_commands.progress() as begin:
        if tool is None:
            first = first_space(folder, machine, config, begin, options, quick=quick)
        else:
            converted, first = first_space_of_export(
                folder, file, tool, machine, config, link=link, quick=quick, begin=begin
            )
            data_commands.say_converted(converted, data_folder(file))
    file.write_text(first.text, encoding="utf-8")
    for line in first.notices:
        console.note(line)
    console.say(f"space file: {file}")
    console.say(f"next:       {command_line('check', file)}")


@app.command(cls=SuggestingCommand, epilog=examples("raysearch schema --out space.schema.json"))
def schema(
    out: Annotated[Path | None, typer.Option("--out", help="File to write; by default, the schema is printed.")] = None,
    trainable: Annotated[
        str | None,
        typer.Option(metavar="FILE.py:NAME", help="Trainable whose config the schema describes.", show_default=False),
    ] = None,
) -> None:
    """Write a JSON Schema of space files, with which an editor completes and checks them."""
    from raysearch.config.trainable_loading import DEFAULT_TRAINABLE, load_trainable
    from raysearch.space.schema import space_schema

    text = json.dumps(space_schema(load_trainable(trainable or DEFAULT_TRAINABLE, Path.cwd())), indent=2) + "\n"
    if out is None:
        print(text, end="")
    else:
        out.write_text(text, encoding="utf-8")
        console.say(f"schema: {out}")
        console.say(f"first line for a space file beside it:  # yaml-language-server: $schema={out.name}")


@app.command(
    cls=SuggestingCommand,
    epilog=examples(
        "raysearch convert sweep.yaml --out converted.yaml",
        "raysearch convert mine.py:TUNE --metric miou --mode max --out from_tune.yaml",
    ),
)
def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SWEEP",
            help="YAML or JSON file of a sweep, or FILE.py:NAME of a dict with ranges.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File to write; by default, the space file is printed.", show_default=False),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH", help="Dotted path in the config for the name of a parameter.", show_default=False
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Objective; needed if the sweep names none.", show_default=False)
    ] = None,
    mode: Annotated[
        Literal["max", "min"] | None,
        typer.Option(help="Whether larger or smaller values of the metric are better.", show_default=False),
    ] = None,
    trainable: Annotated[
        str | None,
        typer.Option(metavar="FILE.py:NAME", help="Trainable, if it is not the default one.", show_default=False),
    ] = None,
) -> None:
    """Convert a W&B sweep, or a Python dict with ranges of Ray Tune or Optuna, to a space file."""
    from raysearch.space.sweeps import Wish
    from raysearch.space.sweeps import convert as convert_sweep

    if out is not None and out.exists():
        raise InputError([Fault(str(out), "already exists", "give another --out")])
    pairs = [text.partition("=") for text in rename or ()]
    if wrong := [
        Fault(f"--rename {name}", "has no =", "write --rename NAME=PATH") for name, equals, _ in pairs if not equals
    ]:
        raise InputError(wrong)
    wish = Wish({name: path for name, _, path in pairs}, trainable, metric, mode)
    made = convert_sweep(source, wish, (out or Path("space.yaml")).expanduser().absolute().parent)
    for line in made.notes:
        console.err.print(escape(f"note: {line}"))
    if out is None:
        print(made.to_yaml(source), end="")
    else:
        out.write_text(made.to_yaml(source), encoding="utf-8")
        console.say(f"space file: {out}")
