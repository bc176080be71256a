"""Commands on a dataset before training: inspect it, convert its labels, weigh its classes, split it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from raysearch.commands import console
from raysearch.commands.arguments import examples
from raysearch.commands.console import note, say
from raysearch.commands.suggestions import SuggestingCommand
from raysearch.errors import Fault, InputError
from trainables.plurals import counted

if TYPE_CHECKING:
    from trainables.config import DataConfig
    from trainables.data.annotations import ConvertedExport
    from trainables.data.census import Census

app = typer.Typer(help="Inspect a dataset, convert its labels, compute class weights, split it.", no_args_is_help=True)

VALUES_LISTED = 64
"""Number of raw label values that a table lists."""
SCHEMES = ("max_over_count", "inverse", "one_minus_frequency", "inverse_log")
"""All named schemes of `loss.ce_weights`."""


def a_dataset(folder: Path | None) -> Path | None:
    """Return the folder that was given to a command, unless it is not a folder of images and labels.

    Raises:
        InputError: it is something else, such as a space file or the folder of a run.
    """
    from raysearch.config.documents import Kind, check_kind

    if folder is not None:
        check_kind(folder.expanduser(), str(folder), Kind.DATASET)
    return folder


Folder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="Dataset folder with {train,val[,test]}/{image,label}.",
        show_default=False,
        callback=a_dataset,
    ),
]
Source = Annotated[
    Path,
    typer.Argument(metavar="SRC", help="Folder to read; it is never changed.", show_default=False, callback=a_dataset),
]
Destination = Annotated[Path, typer.Argument(metavar="DST", help="Output folder; new or empty.", show_default=False)]
Ids = Annotated[
    str | None,
    typer.Option("--ids", metavar="0,1,5-9", help="Raw label value of each class, in order.", show_default=False),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="Known classes instead of --ids: ade20k, camvid, cityscapes, coco_stuff or pascal_context.",
        show_default=False,
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="CONFIG.json", help="Trial config with the class ids.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
FromFormat = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="FORMAT",
        help="Format of the export: coco, cvat, label_studio, supervisely, voc or yolo.",
        show_default=False,
    ),
]
Link = Annotated[bool, typer.Option("--link", help="Make hard links instead of copies.")]


@app.command(cls=SuggestingCommand, epilog=examples("raysearch data inspect potatoes"))
def inspect(
    folder: Folder, ids: Ids = None, preset: Preset = None, config: ConfigOption = None, as_json: Json = False
) -> None:
    """Show what a dataset contains and what is wrong with it: pairs, sizes, values, classes, shared images."""
    from raysearch.checks.text_tables import table_of
    from trainables.data.census import class_names, inspect_dataset
    from trainables.data_tables import classes_table, sizes_table

    with progress() as begin:
        found = inspect_dataset(folder, data_config(ids, preset, config), begin)
    if as_json:
        _print_json(
            {
                "class_names": list(class_names(found.config)) if found.config else [],
                "splits": {split: _split_json(census, found.config) for split, census in found.splits.items()},
                "notices": found.notices,
                "shared_images": [[str(first), str(second)] for first, second in found.shared],
                "faults": [str(fault) for fault in found.faults],
            }
        )
    else:
        num_faults = {name: len(census.faults) for name, census in found.splits.items()}
        sizes = {name: census.sizes_found() for name, census in found.splits.items()}
        console.show(table_of(sizes_table(sizes, num_faults)))
        if found.config is not None:
            summaries = {name: census.summary(found.config) for name, census in found.splits.items()}
            console.show(table_of(classes_table(summaries, found.config)))
        for line in found.notices:
            note(line)
        if found.config is not None:
            reduced = ", reduce_zero_label: true" if found.config.reduce_zero_label else ""
            depth = f", bit_depth: {found.config.bit_depth}" if found.config.bit_depth < 16 else ""
            say(f"in the config:  label_class_ids: {list(found.config.label_class_ids)}{reduced}{depth}")
    if found.faults:
        raise InputError(found.faults)


@app.command(
    cls=SuggestingCommand,
    epilog=examples(
        "raysearch data convert masks potatoes --palette colours.csv",
        "raysearch data convert grey potatoes --values spaced --background 0",
        "raysearch data convert soft potatoes --nearest --ids 0,100,200",
        "raysearch data convert coco_export potatoes-from-coco --from coco",
    ),
)
def convert(
    source: Source,
    destination: Destination,
    palette: Annotated[
        str | None,
        typer.Option(
            "--palette",
            metavar="PRESET|FILE|auto",
            help="Colour of each id: camvid, cityscapes, or a CSV or JSON file with rows r,g,b,id[,name]; auto: "
            "every colour in the masks is a class.",
            show_default=False,
        ),
    ] = None,
    values: Annotated[
        Literal["keep", "contiguous", "spaced"] | None,
        typer.Option(
            help="New ids: unchanged (keep), 0, 1, 2, ... (contiguous), or evenly spaced over 0..254 for viewing "
            "(spaced). Default: keep with --palette, otherwise contiguous.",
            show_default=False,
        ),
    ] = None,
    ids: Ids = None,
    background: Annotated[
        str | None,
        typer.Option("--background", metavar="V[,V]", help="Values that become 255 (ignored).", show_default=False),
    ] = None,
    nearest: Annotated[
        bool,
        typer.Option(
            "--nearest",
            help="For soft edges and JPEG: replace a value or colour that is no class by the nearest one that is. "
            "Without --ids and --palette, the classes are the values that have areas of their own.",
        ),
    ] = False,
    from_format: FromFormat = None,
    link: Link = False,
    as_json: Json = False,
) -> None:
    """Convert colour masks, grey labels or the export of an annotation tool to single-channel label PNGs.

    SRC is a dataset, one {image,label} folder, or a folder of labels. A file with its own palette is read by its
    colours if --palette is given, otherwise by its indices. 255 stays 255. With --from, SRC is the export of an
    annotation tool.
    """
    if from_format is not None:
        given: dict[str, str | None] = {
            "--palette": palette,
            "--values": values,
            "--ids": ids,
            "--background": background,
        }
        given["--nearest"] = "given" if nearest else None
        _convert_export(source, destination, from_format, link, [name for name, value in given.items() if value])
        return
    from raysearch.config.documents import Kind, check_kind
    from trainables.data.conversion import colours_found
    from trainables.data.conversion import convert as convert_labels
    from trainables.data.palette import read_palette
    from trainables.data.presets import PRESETS
    from trainables.data.soft_edges import convert_command

    class_ids = None if ids is None else _numbers("--ids", ids)
    unclassed = [] if background is None else _numbers("--background", background)
    colours = None
    if palette is not None and palette in PRESETS:
        colours = PRESETS[palette].palette
        if colours is None:
            what = "has no palette with a distinct colour for each class, because its labels are published as ids"
            raise InputError([Fault(f"--palette {palette}", what, "leave --palette out, or give a file")])
    elif palette == "auto":
        with progress() as begin:
            colours = colours_found(source, begin)
    elif palette is not None:
        check_kind(Path(palette).expanduser(), palette, Kind.PALETTE)
        colours = read_palette(Path(palette).expanduser())
    how = values or ("contiguous" if colours is None else "keep")
    with progress() as begin:
        done = convert_labels(
            source,
            destination,
            palette=colours,
            values=how,
            class_ids=class_ids,
            background=unclassed,
            nearest=nearest,
            link=link,
            begin=begin,
        )
    listed = [row for row in done.values if row.value not in done.moved]
    names = [] if colours is None else [colours.names.get(row.value, "") for row in listed]
    if as_json:
        rows = [row._asdict() for row in done.values]
        _print_json({"label_class_ids": done.class_ids, "values": rows, "palette_images": done.palette_images})
        return
    table = Table("value" if colours is None else "id", "becomes", "pixels", "files", *(["name"] if any(names) else []))
    for position, row in enumerate(listed[:VALUES_LISTED]):
        table.add_row(*map(str, row), *([escape(names[position])] if any(names) else []))
    console.show(table)
    if len(listed) > VALUES_LISTED:
        say(f"and {counted(len(listed) - VALUES_LISTED, 'more value')}")
    if done.moved:
        num_pixels = sum(row.num_pixels for row in done.values if row.value in done.moved)
        moved = f"{counted(len(done.moved), 'more value')} of {counted(num_pixels, 'pixel')}"
        say(f"and {moved}, replaced by the nearest value in this table")
    if done.palette_images is not None:
        note(f"files with their own palette were read by its {done.palette_images}")
    if done.soft_edges is not None and not nearest:
        likely = ", ".join(map(str, done.soft_edges.likely_classes))
        others = counted(done.soft_edges.num_edge_values, "value has no area of its", "values have no area of their")
        note(
            f"the labels look blended along edges: {others} own, and the classes are probably {likely}. To write a "
            f"copy in which every pixel has the nearest of them:  {convert_command(source.expanduser().absolute())}"
        )
    if colours is None and any(row.value == row.becomes == 255 for row in done.values):
        note("255 is ignored; if it is a class, include it in --ids")
    say(f"{counted(done.num_labels, 'label')} and {counted(done.num_images, 'image')} are in {destination}")
    say(f"in the config:  label_class_ids: {list(done.class_ids)}")


def say_converted(converted: "ConvertedExport", folder: Path) -> None:
    """Print the result of converting an export, and the notices about it."""
    counts = ", ".join(f"{count} {split}" for split, count in converted.num_images.items())
    say(f"{converted.title}: images with labels in {folder}: {counts}")
    for line in converted.notices:
        note(line)


def _convert_export(source: Path, destination: Path, name: str, link: bool, unused: list[str]) -> None:
    from trainables.data.annotations import FORMATS, convert_export

    if unused:
        what = f"cannot be combined with {', '.join(unused)}, which only apply to label images"
        raise InputError([Fault("--from", what, "leave one or the other out")])
    if name not in FORMATS:
        raise InputError([Fault(f"--from {name}", "is not a known format", f"give one of {', '.join(FORMATS)}")])
    with progress() as begin:
        converted = convert_export(source, destination, name, link=link, begin=begin)
    say_converted(converted, destination)
    if converted.class_names:
        ids, names = list(converted.class_names), list(converted.class_names.values())
        say(f"in the config:  label_class_ids: {ids}, class_names: {json.dumps(names, ensure_ascii=False)}")


@app.command(cls=SuggestingCommand, epilog=examples("raysearch data weights potatoes --ids 0,50,100"))
def weights(
    folder: Folder, ids: Ids = None, preset: Preset = None, config: ConfigOption = None, as_json: Json = False
) -> None:
    """Compute class weights from the training pixels with each scheme of loss.ce_weights."""
    from trainables.data.census import class_names, take_census
    from trainables.data_tables import WEIGHT_POWER, share
    from trainables.losses.class_weights import class_weights

    data = data_config(ids, preset, config)
    if data is None:
        raise InputError([Fault("data weights", "needs to know the classes", "give --ids, --preset or --config")])
    with progress() as begin:
        census = take_census(folder / "train", hash_images=False, begin=begin)
    if census.faults:
        raise InputError(census.faults)
    counts = census.class_histograms(data).sum(axis=0)
    if not counts.any():
        found = ", ".join(map(str, census.value_pixels()))
        raise InputError(
            [
                Fault(
                    str(folder / "train"),
                    "holds no pixel of any class",
                    f"name classes among the values that its labels hold: {found}",
                )
            ]
        )
    columns = {scheme: class_weights(scheme, 1.0, counts) for scheme in SCHEMES}
    columns[f"max_over_count^{WEIGHT_POWER}"] = class_weights("max_over_count", WEIGHT_POWER, counts)
    names = class_names(data)
    absent = [name for name, count in zip(names, counts, strict=True) if not count]
    if as_json:
        _print_json(
            {
                "class_names": list(names),
                "class_pixels": counts.tolist(),
                "weights": {scheme: weights.tolist() for scheme, weights in columns.items()},
                "without_pixels": absent,
            }
        )
        return
    table = Table("class")
    for column in ("pixels", "share", *columns):
        table.add_column(column, justify="right")
    for k, name in enumerate(names):
        of_all = share(counts[k], counts.sum())
        table.add_row(escape(name), str(counts[k]), of_all, *(f"{weights[k]:.4g}" for weights in columns.values()))
    console.show(table)
    for name in absent:
        note(f"{name} has no training pixel; its weight is 0, and it cannot be learned")
    say(f"in the config:  loss: {{ce_weights: max_over_count, ce_weight_power: {WEIGHT_POWER}}}")


@app.command(
    cls=SuggestingCommand, epilog=examples(r"raysearch data split all potatoes --val 0.2 --group '^(clip\d+)'")
)
def split(
    source: Source,
    destination: Destination,
    val: Annotated[
        float | None,
        typer.Option(
            help="Share of the images in val (below 1), or their number (1 or more); 0.2 unless --train is given.",
            show_default=False,
        ),
    ] = None,
    test: Annotated[float, typer.Option(help="Share or number of the images in test.")] = 0.0,
    train: Annotated[
        float | None,
        typer.Option(help="Share or number of the images in train, instead of --val.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random split.")] = 0,
    ids: Ids = None,
    preset: Preset = None,
    config: ConfigOption = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Keep images together whose names give the same first group (or match), such as frames of a clip.",
            show_default=False,
        ),
    ] = None,
    group_csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The same from a CSV file with rows name,group.", show_default=False),
    ] = None,
    subcategory: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Let every split have images of each first group (or match) in the names, such as a site or a season.",
            show_default=False,
        ),
    ] = None,
    link: Link = False,
) -> None:
    """Split pairs of image and label so that each class is in every split, if it has enough images.

    SRC is one {image,label} folder, or a dataset to split again. Without ids, every label value except 255 is a class.
    """
    from raysearch.config.documents import Kind, check_kind
    from trainables.data.splitting import split_dataset
    from trainables.data_tables import share

    if train is not None and val is not None:
        fix = "give one of them; the other split gets the rest"
        raise InputError([Fault("data split", "both --train and --val are given", fix)])
    sized, rest = ("val", "train") if train is None else ("train", "val")
    size = train if train is not None else 0.2 if val is None else val
    shares = [part for part in (size, test) if part < 1.0]
    are_whole = all(part < 1.0 or part % 1.0 == 0.0 for part in (size, test))
    if not (size > 0.0 and test >= 0.0 and sum(shares) < 1.0 and are_whole):
        what = f"--{sized} {size:g} --test {test:g} is not a split that leaves a rest for {rest}"
        fix = "give shares above 0 with a sum below 1, or whole numbers of images"
        raise InputError([Fault("data split", what, fix)])
    if group is not None and group_csv is not None:
        raise InputError([Fault("data split", "both --group and --group-csv are given", "give one of them")])
    if group_csv is not None:
        check_kind(group_csv.expanduser(), str(group_csv), Kind.TABLE)
    with progress() as begin:
        done = split_dataset(
            source,
            destination,
            {"train": train, "val": None if train is not None else size} | ({"test": test} if test else {}),
            seed=seed,
            config=data_config(ids, preset, config),
            group=group if group_csv is None else group_csv.expanduser(),
            subcategory=subcategory,
            link=link,
            begin=begin,
        )
    table = Table("images with")
    for part in done.num_images:
        table.add_column(part, justify="right")
        table.add_column("of its pixels", justify="right")
    for k, name in enumerate(done.class_names):
        row = [escape(name)]
        for part, pixels in done.class_pixels.items():
            row += [str(done.class_images[part][k]), share(pixels[k], sum(pixels))]
        table.add_row(*row)
    for name, images in done.subcategory_images.items():
        table.add_row(
            escape(f"sub-category {name}"),
            *(cell for count in images.values() for cell in (str(count), "")),
        )
    table.add_row("total", *(cell for count in done.num_images.values() for cell in (str(count), "")))
    console.show(table)
    for name, part, num_images in done.missing():
        note(f"{part} has no image with {name}, which is in {counted(num_images, 'image')} in all")
    for part, wanted in ((sized, size), ("test", test)):
        if wanted >= 1.0 and done.num_images[part] != wanted:
            in_part = counted(done.num_images[part], "image")
            note(f"{part} has {in_part} instead of {wanted:g}, because groups stay together")
    say(f"{counted(sum(done.num_images.values()), 'pair is', 'pairs are')} in {destination}")


def data_config(ids: str | None, preset: str | None, config: Path | None) -> "DataConfig | None":
    """Return the meaning of the label values; None if it is not given.

    Raises:
        InputError: it is given more than once or is invalid.
    """
    from trainables.config import Config, DataConfig
    from trainables.data.presets import PRESETS
    from trainables.spelling import nearest

    if sum(option is not None for option in (ids, preset, config)) > 1:
        what = "more than one of --ids, --preset and --config is given"
        raise InputError([Fault("the classes", what, "give one of them")])
    if preset is not None:
        if preset not in PRESETS:
            raise InputError([Fault(f"--preset {preset}", "is not a known preset", nearest(preset, sorted(PRESETS)))])
        known = PRESETS[preset]
        return DataConfig(
            label_class_ids=known.label_class_ids,
            reduce_zero_label=known.reduce_zero_label,
            class_names=known.class_names,
        )
    if config is not None:
        from raysearch.config.config_files import load_config

        return load_config(config, Config).data
    if ids is not None:
        try:
            return DataConfig(label_class_ids=tuple(_numbers("--ids", ids)))
        except ValidationError as error:
            problems = [problem["msg"].removeprefix("Value error, ") for problem in error.errors()]
            fix = "run `init` without --ids, which prints the command that converts such labels" if "255" in ids else ""
            raise InputError([Fault(f"--ids {ids}", problem, fix) for problem in problems]) from None
    return None


def _numbers(option: str, text: str) -> list[int]:
    """Return the numbers of a list such as `0,1,5-9`.

    Raises:
        InputError: it contains something else.
    """
    numbers: list[int] = []
    for part in text.strip(" []").split(","):
        first, dash, last = part.strip().partition("-")
        try:
            low, high = int(first), int(last if dash else first)
        except ValueError:
            low, high = 1, 0
        if not 0 <= low <= high <= 65535:
            what = f"{part.strip()!r} is neither a label value nor a range of values"
            raise InputError([Fault(f"{option} {text}", what, "write for example 0,74,128 or 0-10")])
        numbers.extend(range(low, high + 1))
    return numbers


def _split_json(census: "Census", data: "DataConfig | None") -> dict[str, Any]:
    from trainables.data_tables import by_frequency

    document: dict[str, Any] = {
        "pairs": len(census.pairs),
        "sizes": [[*size, count] for size, count in by_frequency(census.sizes_found())],
        "value_pixels": {str(value): count for value, count in census.value_pixels().items()},
    }
    if data is not None:
        counts = census.class_histograms(data)
        document["class_pixels"] = counts.sum(axis=0).tolist()
        document["class_images"] = (counts > 0).sum(axis=0).tolist()
    return document


@contextmanager
def progress() -> Iterator[Callable[[str, int], Callable[[], None]]]:
    """Yield `begin(what, total)`, which starts a progress bar and returns the function to call after each file."""
    with console.bars() as progress:

        def begin(what: str, total: int) -> Callable[[], None]:
            task = progress.add_task(what, total=total)
            return lambda: progress.advance(task)

        yield begin


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=2))
