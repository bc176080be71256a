"""Recognises the kind of a file or folder, so that one of the wrong kind gets a single clear message.

A user may give a space file to `train`, a trial config to `run`, or a folder in place of a file. The message then says
what was given and which command takes it.
"""

import json
import shlex
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from raysearch.config.shipped import shipped_spaces
from raysearch.config.strict_yaml import read_mapping
from raysearch.config.trainable_loading import DEFAULT_TRAINABLE, load_trainable
from raysearch.errors import Fault, InputError
from trainables.protocol import HasDialect

JOURNAL_FILE = "study.journal"
"""Name of the journal in the folder of a run."""

SPACE_KEYS = ("trainable", "config", "space", "constraints", "objective", "search", "scheduler", "resources", "track")
"""Sections of a space file except `name`, which other documents have too."""
SWEEP_KEYS = ("method", "metric", "parameters", "early_terminate", "run_cap")
"""Sections of a W&B sweep that define what is searched and how."""


class Kind(StrEnum):
    """The kinds of files and folders, in the words of a message."""

    SPACE = "a space file"
    CONFIG = "a trial config"
    DIALECT = "a config of another program"
    SWEEP = "a W&B sweep"
    COCO = "a file of COCO annotations"
    PALETTE = "a palette"
    YOLO = "the description of a YOLO dataset"
    SCHEMA = "a JSON Schema"
    JOURNAL = "the journal of a search"
    RUN = "the folder of a run"
    TRAINING = "the folder of a training"
    CHECKPOINT = "the folder of a checkpoint"
    DATASET = "a dataset folder"
    TABLE = "a table"
    WEIGHTS = "a file of network weights"
    ONNX = "a network as ONNX"
    IMAGE = "an image"
    PAGE = "a web page"
    PYTHON = "a Python file"


_BY_ENDING = {
    **dict.fromkeys((".parquet", ".csv"), Kind.TABLE),
    **dict.fromkeys((".pt", ".pth", ".safetensors"), Kind.WEIGHTS),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif"), Kind.IMAGE),
    ".onnx": Kind.ONNX,
    ".html": Kind.PAGE,
    ".py": Kind.PYTHON,
}


ModelOf = Callable[[], type[BaseModel] | None]
"""Function that returns the model of trial configs, or None if any config goes."""


def _default_model() -> type[BaseModel] | None:
    """Return the config model of the trainable that a space file without `trainable:` names."""
    return load_trainable(DEFAULT_TRAINABLE, Path()).config_model


def read_document(
    path: Path,
    source: str,
    wanted: Kind,
    own_keys: Collection[str] | None,
    model_of: ModelOf = _default_model,
) -> tuple[dict[Any, Any], list[Fault]]:
    """Return the mapping in a YAML or JSON file, and faults for keys that occur twice.

    Args:
        path: The file.
        source: Name of the file in messages.
        wanted: The required kind.
        own_keys: Top-level keys of that kind. A document with at least half of its keys among them is accepted,
            whatever else it holds. None: documents of that kind may have any keys.
        model_of: Function that returns the model of trial configs. Where a trial config is wanted, a file of the
            model's dialect is accepted too.

    Raises:
        InputError: the file cannot be read, has a syntax error, is not a mapping, or is of another kind.
    """
    found = kind_at(path, source)
    if found is not None and found is not wanted:
        raise InputError([_wrong_kind(path, source, wanted, found)])
    document, faults = read_mapping(path, source)
    found = kind_of_document(document, model_of)
    if found is None and wanted is Kind.SPACE and document.keys().isdisjoint(SPACE_KEYS):
        what = f"is not a space file: it has none of the sections {', '.join(SPACE_KEYS)}"
        raise InputError([Fault(source, what, "`raysearch spaces demo` prints an example")])
    num_own = len(document.keys() & set(own_keys or ()))
    is_translated = wanted is Kind.CONFIG and found is Kind.DIALECT
    if found in (None, wanted) or is_translated or 2 * num_own >= len(document):
        return document, faults
    if own_keys is None and not (found is Kind.SPACE and {"space", "objective"} <= document.keys()):
        return document, faults  # the config of a trainable without a model may have any of these keys
    raise InputError([_wrong_kind(path, source, wanted, found, model_of)])


def kind_at(path: Path, source: str = "") -> Kind | None:
    """Return the kind of a file or folder if it can be recognised without parsing, else None."""
    if _is_shipped(path, source):
        return Kind.SPACE
    if path.is_dir():
        return _kind_of_folder(path)
    if not path.is_file():
        return None
    return _BY_ENDING.get(path.suffix.lower()) or (Kind.JOURNAL if _is_journal(path) else None)


def kind_of_document(document: Mapping[Any, Any], model_of: ModelOf = _default_model) -> Kind | None:
    """Return the kind of a YAML or JSON mapping by its keys, None if it is not recognised.

    The model of trial configs is asked for only if the mapping is of no other kind: importing a trainable takes time.
    """
    keys = document.keys()
    if _is_space(document):
        return Kind.SPACE
    if "parameters" in keys and len(keys & set(SWEEP_KEYS)) > 1:
        return Kind.SWEEP
    if "names" in keys and not keys.isdisjoint(("train", "val", "nc")):
        return Kind.YOLO
    if isinstance(document.get("annotations"), list) and isinstance(document.get("images"), list):
        return Kind.COCO
    if "$schema" in keys or "$defs" in keys:
        return Kind.SCHEMA
    model: Any = model_of()
    if isinstance(model, HasDialect) and model.DIALECT.recognises(document):
        return Kind.DIALECT
    names = ("raysearch", *(model.model_fields if model is not None else ()))
    return Kind.CONFIG if any(isinstance(document.get(name), Mapping) for name in names) else None


def check_kind(path: Path, source: str, wanted: Kind) -> None:
    """Raise an error if a file or folder is recognised as another kind than the wanted one.

    Args:
        path: The file or folder. An unrecognised one passes, because its reader reports what is wrong with it.
        source: Name of the file or folder in messages.
        wanted: The required kind.

    Raises:
        InputError: it is of another kind.
    """
    found = kind_at(path, source) or _kind_of_file(path)
    if found is not None and found is not wanted and (wanted, found) != (Kind.PALETTE, Kind.TABLE):
        raise InputError([_wrong_kind(path, source, wanted, found)])


def _wrong_kind(path: Path, source: str, wanted: Kind, found: Kind, model_of: ModelOf = _default_model) -> Fault:
    fixes = filter(None, (_in_its_place(path, source, wanted, found), _use(source, wanted, found)))
    model: Any = model_of() if found is Kind.DIALECT else None
    name = f"a config of {model.DIALECT.programs}" if isinstance(model, HasDialect) else str(found)
    if _is_shipped(path, source):
        name = "the name of a shipped space file"
    return Fault(source, f"is {name}, but {wanted} is needed here", "; ".join(fixes))


def _is_shipped(path: Path, source: str) -> bool:
    """Return True if the user gave the name of a shipped space file and not of a file or folder."""
    return not path.exists() and source in shipped_spaces()


def _is_space(document: Mapping[Any, Any]) -> bool:
    space, objective = document.get("space"), document.get("objective")
    if isinstance(space, Mapping):
        return True
    first = objective[0] if isinstance(objective, list) and objective else objective
    is_objective = isinstance(first, Mapping) and "metric" in first
    return is_objective and len(document.keys() & set(SPACE_KEYS)) > 1


def _kind_of_file(path: Path) -> Kind | None:
    if path.suffix.lower() not in (".yaml", ".yml", ".json"):
        return None
    try:
        return kind_of_document(read_mapping(path, str(path))[0])
    except InputError:
        return None


def _kind_of_folder(path: Path) -> Kind | None:
    if (path / JOURNAL_FILE).is_file():
        return Kind.RUN
    if (path / "config.json").is_file() and (path / "checkpoint").is_dir():
        return Kind.TRAINING
    if (path / "model.pt").is_file():
        return Kind.CHECKPOINT
    layout = ("train", "image", "images")
    return Kind.DATASET if any((path / name).is_dir() for name in layout) else None


def _is_journal(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            record = json.loads(file.readline(1_000_000))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and "op_code" in record


def _in_its_place(path: Path, source: str, wanted: Kind, found: Kind) -> str:
    """Return a suggestion of what to give instead, if it can be derived from what was given."""
    if found is Kind.JOURNAL or (wanted is Kind.RUN and (path.parent / JOURNAL_FILE).is_file()):
        run = Path(source).parent
        instead = {Kind.SPACE: run / "space.yaml", Kind.CONFIG: run / "best_config.json", Kind.RUN: run}.get(wanted)
        return f"give {shlex.quote(str(instead))}" if instead is not None else ""
    if wanted is Kind.PALETTE:
        return "give a CSV or JSON file with a row r,g,b,id[,name] for each colour"
    if wanted is Kind.CONFIG and found is Kind.SPACE:
        return "a trial config is what its config: section holds, or the best_config.json of a run"
    inside = {
        (Kind.SPACE, Kind.RUN): "space.yaml",
        (Kind.CONFIG, Kind.RUN): "best_config.json",
        (Kind.CONFIG, Kind.TRAINING): "config.json",
        (Kind.CONFIG, Kind.CHECKPOINT): "config.json",
        (Kind.CHECKPOINT, Kind.RUN): "best_checkpoint",
        (Kind.CHECKPOINT, Kind.TRAINING): "checkpoint",
    }.get((wanted, found))
    if inside is not None and (path / inside).exists():
        return f"give {shlex.quote(str(Path(source) / inside))}"
    if (wanted is Kind.CHECKPOINT and path.name == "model.pt") or (
        wanted is Kind.DATASET and found in (Kind.COCO, Kind.YOLO)
    ):
        return f"give the folder that holds it, {shlex.quote(str(Path(source).parent))}"
    return ""


def _use(source: str, wanted: Kind, found: Kind) -> str:
    """Return the command that takes what was given, which the user may have meant."""
    given = shlex.quote(source)
    match found:
        case Kind.SPACE:
            return f"`raysearch run {given}` searches it"
        case Kind.CONFIG | Kind.DIALECT:
            return f"`raysearch train {given}` trains it, and a space file with `config: {source}` searches around it"
        case Kind.SWEEP:
            return f"`raysearch convert {given} --out space.yaml` converts it to a space file"
        case Kind.RUN:
            return f"`raysearch resume {shlex.quote(str(given))}` continues it"
        case Kind.COCO | Kind.YOLO if wanted is not Kind.DATASET:
            folder = shlex.quote(str(Path(source).parent))
            return f"`raysearch init {folder}` writes a first space file for its dataset"
        case Kind.DATASET:
            return f"`raysearch init {given}` writes a first space file for it"
        case Kind.CHECKPOINT:
            return f"`raysearch evaluate CONFIG.json --checkpoint {given}` scores it"
        case Kind.WEIGHTS:
            return "" if wanted is Kind.CHECKPOINT else "it can be given as model.weights of a trial config"
        case Kind.TABLE:
            return "search.warm_start of a space file takes tables of scores"
        case _:
            return ""
