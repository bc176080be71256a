"""Whether bad input ends in a message: files and words of ten kinds, each damaged in a way that a number decides.

    python -m benchmarks.bad_input                              20,000 inputs, as many of each kind
    python -m benchmarks.bad_input --kind space --only 4711     one of them again, with its traceback

An input is accepted, refused with an `InputError`, or a failure: another exception, or more than ten seconds. Documents
are damaged in their bytes (bits, cuts, repeats, foreign pieces) or in their values (another type, a number without
bounds, a name with an error, a value inside itself); journals, checkpoints, tables and pictures likewise.
"""

import argparse
import copy
import io
import json
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks import journal_damage, record
from benchmarks.record import Figure
from raysearch.config.config_files import load_config
from raysearch.config.shipped import shipped_spaces
from raysearch.config.strict_yaml import read_mapping
from raysearch.errors import InputError
from raysearch.history.history import read_history
from raysearch.history.journal import MemoryRecord, read_facts
from raysearch.history.run_dir import RunDir
from raysearch.history.tables import write_tables
from raysearch.search.search import Search
from raysearch.search.warm_start import read_prior
from raysearch.space.parsing import load_space, parse_space
from raysearch.space.spec import SearchSpec
from trainables.config import Config
from trainables.data.image_files import pair_size, read_image, read_label
from trainables.data.palette import read_palette
from trainables.openseg.writer import openseg_file
from trainables.scoring import load_network
from trainables.trainer import Trainer

Outcome = Literal["accepted", "refused", "traceback", "hang"]

TIME_LIMIT_S = 10.0

_TRAINABLE = """
from pydantic import BaseModel

class Inner(BaseModel):
    model_config = {"extra": "forbid"}
    lr: float = 0.1
    sizes: tuple[int, int] = (32, 32)

class Mine:
    class Config(BaseModel):
        model_config = {"extra": "forbid"}
        x: float = 0.9
        n: int = 3
        kind: str = "a"
        inner: Inner = Inner()

    METRICS = frozenset({"score", "loss"})
"""
_SPACE: dict[str, Any] = {
    "name": "mine",
    "trainable": "mine.py:Mine",
    "config": {"n": 5, "inner": {"sizes": [16, 16]}},
    "space": {
        "x": {"type": "float", "low": 0.0, "high": 1.0},
        "n": {"type": "int", "low": 1, "high": 100, "log": True},
        "kind": {"type": "categorical", "choices": ["a", "b"]},
        "inner.lr": {"type": "float", "low": 1e-5, "high": 0.1, "log": True, "when": {"kind": "b"}},
        "inner.sizes": {"type": "categorical", "choices": [[16, 16], [32, 32]]},
    },
    "constraints": ["inner.lr <= x", "loss <= 3"],
    "objective": [{"metric": "score", "mode": "max"}, {"metric": "loss", "mode": "min"}],
    "search": {"algorithm": "tpe", "trials": 8, "seed": 3},
    "scheduler": {"name": "asha", "grace_iters": 2, "reduction_factor": 2, "max_iters": 8},
    "resources": {"cpu": 1, "gpu": 0, "concurrent": 2, "memory_gb": 4},
}
_TINY: dict[str, Any] = {
    "data": {"drawn": {"num_train": 4, "num_val": 2, "size": [32, 32]}, "augmentation": {"crop_size": [32, 32]}},
    "model": {"backbone": "test_efficientnet"},
    "train": {"max_iters": 4, "report_iters": 2, "batch_size": 2},
}

_RAW = {
    "@many digits@": "9" * 5000,
    "@hex@": "0x" + "f" * 5000,
    "@nul@": '"a\\u0000b"',
    "@surrogate@": '"\\ud800"',
    "@deep list@": "[" * 2000 + "]" * 2000,
    "@deep mapping@": '{"a":' * 2000 + "1" + "}" * 2000,
    "@not a number@": "NaN",
    "@infinite@": "-Infinity",
    "@huge@": "1e400",
    "@alias@": "*a",
    "@inside itself@": "&a [*a]",
    "@bomb@": "[&a [x,x,x,x,x,x,x,x,x],&b [*a,*a,*a,*a,*a,*a,*a,*a,*a],&c [*b,*b,*b,*b,*b,*b,*b,*b,*b],"
    "&d [*c,*c,*c,*c],&e [*d,*d,*d,*d,*d,*d,*d,*d],&f [*e,*e,*e,*e,*e,*e,*e,*e],[*f,*f,*f,*f,*f,*f,*f]]",
    "@tag@": "!!python/object/apply:os.system [true]",
    "@binary@": "!!binary gICA",
    "@date@": "2020-01-01",
}
"""Pieces that no writer of JSON or YAML writes."""

_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 10**18, 10**25, -(10**25), 0.0, -0.0, 0.5, 1e-300, 5e-324, 1e308, 1e19, "", " ",
    "a", "auto", "1", "1e-4", "~", "~nobody/x", "../..", "/dev/zero", "/dev/null",
    "/", ".", "a.b", "a" * 100_000, "é\u200b\x7f", "\n",
    "[", "{a: 1}", "x ** 9 ** 9 ** 9", "score <= x", "optuna.samplers.TPESampler", "mine.py:Mine", "mine.py:Missing",
    [], [[]], [1], [1, 2, 3], ["a"], [None], [{}], {}, {"": 1}, {"a": {"b": 1}}, {"type": "float"}, [0.5] * 50,
    {"type": "float", "low": 0, "high": 1, "step": 1e-300}, {"type": "int", "low": 0, "high": 10**18},
    {"type": "int", "low": -(10**18), "high": 10**18, "step": 1}, {"type": "float", "low": -1e308, "high": 1e308},
    {"type": "categorical", "choices": list(range(300))}, *_RAW,
)  # fmt: skip


def main() -> None:
    """Try inputs and print the number of each outcome."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="number of inputs of all kinds (20,000)")
    parser.add_argument("--kind", choices=sorted(KINDS), action="append", help="only this kind")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="only the input of this number")
    parser.add_argument("--first", type=int, default=0, metavar="NUMBER", help="number of the first input (0)")
    record.add_option(parser)
    arguments = parser.parse_args()
    kinds = arguments.kind or sorted(KINDS)
    figures: dict[str, Figure] = {}
    for kind in kinds:
        count = arguments.count // len(kinds)
        numbers = range(arguments.first, arguments.first + count) if arguments.only is None else [arguments.only]
        begun, counts = time.monotonic(), Counter[Outcome]()
        for number in numbers:
            outcome, text = try_input(kind, number)
            counts[outcome] += 1
            if outcome in ("traceback", "hang") or arguments.only is not None:
                last = text if arguments.only is not None else text.strip().splitlines()[-1][:160]
                print(f"{outcome}: --kind {kind} --only {number}: {last}", flush=True)
        seconds = time.monotonic() - begun
        print(
            f"{kind:12} {counts.total():6}: " + ", ".join(f"{n} {o}" for o, n in sorted(counts.items())),
            f"{seconds:.0f} s",
        )
        sys.stdout.flush()
        figures[f"{kind}: failures"] = Figure(counts["traceback"] + counts["hang"], "inputs", "lower")
    record.write("bad_input", arguments, figures)


def try_input(kind: str, number: int) -> tuple[Outcome, str]:
    """Write the input of a number and read it; return the outcome, and the message or the traceback."""
    rng = random.Random(f"{kind} {number}")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _time_limit():
                KINDS[kind](rng, Path(folder))
        except InputError as error:
            return "refused", str(error)
        except _TooLong:
            return "hang", traceback.format_exc()
        except Exception:
            return "traceback", traceback.format_exc()
    return "accepted", ""


class _TooLong(BaseException):
    pass


@contextmanager
def _time_limit() -> Iterator[None]:
    def end(number: int, frame: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# Kinds of input.


def _space(rng: random.Random, folder: Path) -> None:
    (folder / "mine.py").write_text(_TRAINABLE, encoding="utf-8")
    document = _SPACE if rng.random() < 0.6 else rng.choice(_shipped())
    path = folder / "space.yaml"
    path.write_bytes(_damaged_document(document, rng, is_json=False))
    spec = load_space(path)
    again = parse_space(spec.document, folder, "again")
    assert again.to_yaml() == spec.to_yaml(), "the space file as run is another search"


def _override(rng: random.Random, folder: Path) -> None:
    (folder / "mine.py").write_text(_TRAINABLE, encoding="utf-8")
    (folder / "space.yaml").write_text(json.dumps(_SPACE), encoding="utf-8")
    paths = [".".join(place) for place, _ in _places(_SPACE) if place]
    place, parent = rng.choice([(place, parent) for place, parent in _places(_SPACE) if isinstance(parent, dict)])
    words = [f"{'.'.join(place)}={json.dumps(parent[place[-1]])}"]
    for _ in range(rng.choice([0, 0, 1, 2])):
        path, value = _misspelt(rng.choice(paths), rng), _text(rng.choice(_VALUES))
        words.append(rng.choice([f"{path}={value}", path, f"{path}={value}{chr(0xDC80)}", f"={value}", value]))
    trailing = [word for word in words if rng.random() < 0.3]
    load_space(folder / "space.yaml", [word for word in words if word not in trailing], trailing, cwd=folder)


def _config(rng: random.Random, folder: Path) -> None:
    path = folder / rng.choice(["config.json", "config.yaml"])
    document = rng.choice([_TINY, _whole_config()])
    path.write_bytes(_damaged_document(document, rng, is_json=path.suffix == ".json"))
    load_config(path, Config)


def _openseg(rng: random.Random, folder: Path) -> None:
    path = folder / "H_48_D_4.json"
    path.write_bytes(_damaged_document(_openseg_document(), rng, is_json=True))
    load_config(path, Config)


def _table(rng: random.Random, folder: Path) -> None:
    (folder / "mine.py").write_text(_TRAINABLE, encoding="utf-8")
    names = ["x", "n", "kind", "score"]
    rows: list[list[Any]] = [[0.1, 5, "a", 0.9], [0.2, 6, "b", 0.8], [0.3, 7, "a", 0.7]]
    for _ in range(rng.randint(0, 3)):
        row, column = rng.randrange(len(rows)), rng.randrange(4)
        rows[row][column] = rng.choice(_VALUES)
    if rng.random() < 0.3:
        names[rng.randrange(4)] = _misspelt(rng.choice(names), rng)
    path = folder / rng.choice(["notes.csv", "notes.parquet"])
    if path.suffix == ".csv":
        content = "\n".join(",".join(map(_text, row)) for row in [names, *rows]).encode("utf-8", "replace")
    else:
        try:
            columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
            pq.write_table(pa.table(columns), buffer := io.BytesIO())
        except (pa.ArrowException, OverflowError, UnicodeEncodeError):
            pq.write_table(
                pa.table({name: [_text(row[i]) for row in rows] for i, name in enumerate(names)}),
                buffer := io.BytesIO(),
            )
        content = buffer.getvalue()
    path.write_bytes(_damaged_bytes(content, rng) if rng.random() < 0.5 else content)
    read_prior(parse_space({**_SPACE, "search": {"trials": 8, "warm_start": [str(path)]}}, folder))


def _palette(rng: random.Random, folder: Path) -> None:
    rows = [[128, 64, 128, 0, "road"], [0, 0, 142, 1, "car"], [70, 70, 70, 255, "void"]]
    path = folder / f"palette.{rng.choice(['csv', 'json', 'txt'])}"
    if path.suffix == ".json":
        document: Any = rng.choice(
            [rows, {"road": [128, 64, 128], "car": "#00008e"}, [{"rgb": row[:3], "id": row[3]} for row in rows]]
        )
        content = _damaged_document(document, rng, is_json=True)
    else:
        for _ in range(rng.randint(0, 3)):
            rows[rng.randrange(3)][rng.randrange(5)] = rng.choice(_VALUES)
        separator = rng.choice([",", ";", "\t", " "])
        content = "\n".join(separator.join(map(_text, row)) for row in rows).encode("utf-8", "replace")
        content = _damaged_bytes(content, rng) if rng.random() < 0.5 else content
    path.write_bytes(content)
    read_palette(path)


def _journal(rng: random.Random, folder: Path) -> None:
    content, spec = _journal_and_spec(rng.random() < 0.3)
    lines = content.splitlines(keepends=True)
    index = rng.randrange(len(lines))
    if rng.random() < 0.7:
        lines[index] = _damaged_document(json.loads(lines[index]), rng, is_json=True).replace(b"\n", b"") + b"\n"
        content = b"".join(lines)
    else:
        content = _damaged_bytes(content, rng)
    path = folder / "study.journal"
    path.write_bytes(content)
    write_tables(read_history(path), RunDir(folder))
    Search(spec, MemoryRecord(read_facts(path)))


def _checkpoint(rng: random.Random, folder: Path) -> None:
    config, source = _trained()
    shutil.copytree(source, folder, dirs_exist_ok=True)
    file = folder / "model.pt"
    file.write_bytes(_damaged_bytes(file.read_bytes(), rng))
    load_network(config, folder)


def _picture(rng: random.Random, folder: Path, ending: str) -> None:
    pixels = np.random.default_rng(rng.randrange(2**32)).integers(0, 255, (8, 9, 3), np.uint8)
    image = rng.choice([pixels, pixels[..., 0], pixels.astype(np.uint16)[..., 0] * 200])
    path, label = folder / f"image.{ending}", folder / "label.png"
    Image.fromarray(image).save(path)
    Image.fromarray(pixels[..., 0]).save(label)
    for file in (path, label):
        if rng.random() < 0.7:
            file.write_bytes(_damaged_bytes(file.read_bytes(), rng))
    pair_size(path, label)
    read_image(path, rng.choice([8, 12, 16]))
    read_label(label)


KINDS: Mapping[str, Callable[[random.Random, Path], None]] = {
    "space": _space,
    "override": _override,
    "config": _config,
    "openseg": _openseg,
    "table": _table,
    "palette": _palette,
    "journal": _journal,
    "checkpoint": _checkpoint,
    "png": lambda rng, folder: _picture(rng, folder, "png"),
    "tiff": lambda rng, folder: _picture(rng, folder, "tif"),
}
"""Function for every kind that writes the input of a random state into a folder and reads it."""


@cache
def _shipped() -> list[dict[str, Any]]:
    paths = [path for path in shipped_spaces().values() if path.stem in ("demo", "camvid")]
    return [read_mapping(path, path.name)[0] for path in paths]


@cache
def _whole_config() -> dict[str, Any]:
    return Config.model_validate(_TINY).model_dump(mode="json")


@cache
def _openseg_document() -> dict[str, Any]:
    config = Config.model_validate(
        {"data": {"dir": "streets", "label_class_ids": [7, 8, 11]}, "model": {"backbone": "hrnet_w48"}}
    )
    document: dict[str, Any] = json.loads(json.dumps(openseg_file(config).document))
    return document


@cache
def _journal_and_spec(has_checksums: bool) -> tuple[bytes, SearchSpec]:
    with tempfile.TemporaryDirectory() as folder:
        spec, paths = journal_damage.spec_in(Path(folder)), journal_damage.journals(Path(folder))
        return paths["with checksums" if has_checksums else "without checksums"].read_bytes(), spec


_folders: list[tempfile.TemporaryDirectory[str]] = []


@cache
def _trained() -> tuple[Config, Path]:
    _folders.append(tempfile.TemporaryDirectory())
    config = Config.model_validate(_TINY)
    Trainer(config).save(Path(_folders[-1].name))
    return config, Path(_folders[-1].name)


# Damage.


def _damaged_document(document: Any, rng: random.Random, *, is_json: bool) -> bytes:
    """Return the text of a document, damaged in its values or in its bytes."""
    if rng.random() < 0.8:
        document = json.loads(json.dumps(document))
        for _ in range(rng.randint(1, 3)):
            _damage_value(document, rng)
        return _raw(json.dumps(document)).encode("utf-8", "replace")
    content = json.dumps(document, indent=rng.choice([None, 1])).encode()
    return _damaged_bytes(content, rng)


def _damage_value(document: Any, rng: random.Random) -> None:
    place, parent = rng.choice(
        [(place, parent) for place, parent in _places(document) if parent is not None] or [((), None)]
    )
    if parent is None:
        return
    key: Any = place[-1] if isinstance(parent, dict) else int(place[-1])
    match rng.randrange(5):
        case 0 if isinstance(parent, dict):
            parent[_misspelt(str(key), rng)] = parent.pop(key)
        case 1 if isinstance(parent, dict):
            parent[rng.choice(["extra", "x" * 300, "", "a.b", "on", *_RAW])] = copy.deepcopy(rng.choice(_VALUES))
        case 2:
            del parent[key]
        case _:
            parent[key] = copy.deepcopy(rng.choice(_VALUES))


def _places(value: Any, place: tuple[str, ...] = (), parent: Any = None) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the place of every value in a document, with the mapping or list that holds it."""
    yield place, parent
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield from _places(below, (*place, str(key)), value)


def _damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(damaged) + 1)
        to = min(len(damaged), at + rng.choice([1, 2, 8, 64, 1024]))
        match rng.randrange(5):
            case 0 if at < len(damaged):
                damaged[at] ^= 1 << rng.randrange(8)
            case 1:
                del damaged[at:to]
            case 2:
                damaged[at:at] = damaged[at:to] * rng.choice([1, 5])
            case 3:
                damaged[at:to] = rng.randbytes(to - at)
            case _:
                damaged[at:at] = rng.choice(
                    [b"\x00", b"\xff\xfe", b"\n", b"[" * 2000, b"9" * 5000, b"&a [*a]", b"\t", b": "]
                )
    return bytes(damaged) if rng.random() < 0.95 else bytes(damaged[: rng.randrange(len(damaged) + 1)])


def _misspelt(name: str, rng: random.Random) -> str:
    at = rng.randrange(len(name) + 1)
    return rng.choice([name[:at] + name[at + 1 :], name[:at] + "x" + name[at:], name.upper(), name + ".x", name])


def _raw(text: str) -> str:
    return re.sub(r'"(@[^"@]+@)"', lambda found: _RAW.get(found[1], found[0]), text)


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value not in _RAW else _raw(json.dumps(value))


if __name__ == "__main__":
    main()
