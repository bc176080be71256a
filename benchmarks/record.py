"""The record of a benchmark run as JSON, which `benchmarks.compare` compares with that of another commit."""

import argparse
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch

from raysearch.results.export import versions
from trainables.atomic_files import write_text

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Figure:
    """One result of a benchmark."""

    value: float
    unit: str
    better: Literal["lower", "higher"]
    spread: tuple[float, float] | None = None
    """Range around the value; what it is, such as the lowest and the highest of all seeds, depends on the benchmark."""

    @classmethod
    def of(cls, values: Sequence[float], unit: str, better: Literal["lower", "higher"]) -> "Figure":
        """Return the median of repeated measurements, with the lowest and the highest."""
        return cls(float(median(values)), unit, better, (float(min(values)), float(max(values))))


@dataclass(frozen=True)
class Record:
    """One run of a benchmark: its figures, and all that they depend on."""

    benchmark: str
    commit: str | None
    """Commit of the working tree, with `-dirty` if it has other changes; None without git."""
    date: str
    """Time of the end, in UTC."""
    machine: Mapping[str, Any]
    load_average: float
    """Number of processes that ran at the end, averaged over a minute, this benchmark included."""
    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    figures: Mapping[str, Figure]


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add the option `--json` to a benchmark."""
    parser.add_argument("--json", type=_writable, metavar="FILE", help="also write the figures to this file")


def write(benchmark: str, arguments: argparse.Namespace, figures: Mapping[str, Figure]) -> None:
    """Write the record of this run to the file given with `--json`; do nothing without the option."""
    if arguments.json is None:
        return
    record = Record(
        benchmark=benchmark,
        commit=commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=_machine(),
        load_average=round(os.getloadavg()[0], 2),
        versions=versions(),
        settings={name: _plain(value) for name, value in vars(arguments).items() if name != "json"},
        figures=figures,
    )
    write_text(arguments.json, json.dumps(asdict(record), indent=2) + "\n")
    print(f"\nfigures in {arguments.json}")


def read(path: Path) -> Record:
    """Read a record.

    Raises:
        ValueError: the file does not hold the record of a benchmark.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        figures = {
            name: Figure(**{**figure, "spread": figure["spread"] and tuple(figure["spread"])})
            for name, figure in document["figures"].items()
        }
        return Record(**{**document, "figures": figures})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: is not the record of a benchmark ({type(error).__name__}: {error})") from error


def _writable(text: str) -> Path:
    """Return the path; raise an error now rather than after the measurements if it cannot be written."""
    path = Path(text).expanduser()
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text} must be a file in a folder that exists")
    return path


def commit() -> str | None:
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude", "*"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _machine() -> dict[str, Any]:
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text(encoding="utf-8").splitlines() if cpu_info.exists() else []
    return {
        "cpu": next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"),
        "cores": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
