"""The file of finished searches: one JSON line each, appended as soon as the search has finished."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple


class Key(NamedTuple):
    """What distinguishes two searches."""

    table: str
    tool: str
    workers: int
    seed: int


@dataclass(frozen=True)
class Result:
    """A finished search."""

    table: str
    tool: str
    workers: int
    seed: int
    trainings: int
    """Compute up to which the search ran, in full trainings."""
    regrets: dict[str, list[float]]
    """Regret at every grid point up to `trainings`, by the rule of naming; see `task.regret`."""
    spread: float
    """Regret of 1 in the unit of the score: the difference between the best and the median random config."""
    num_trials: int
    cpu_seconds: float
    settings: dict[str, Any]
    """Settings of a space file by section, for raysearch."""
    commit: str | None

    @property
    def key(self) -> Key:
        """What distinguishes it from other searches."""
        return Key(self.table, self.tool, self.workers, self.seed)


def read(paths: Iterable[Path]) -> dict[Key, Result]:
    """Read some files; a search that ran further replaces another of the same key, and else the later one counts.

    An incomplete last line, which a kill leaves behind, is passed over; so is a file that does not exist yet.

    Raises:
        ValueError: a line is not a result of this benchmark.
    """
    found: dict[Key, Result] = {}
    for path in paths:
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        for number, line in enumerate(lines, start=1):
            try:
                result = Result(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: is not a result of this benchmark ({error})") from error
            known = found.get(result.key)
            if known is None or result.trainings >= known.trainings:
                found[result.key] = result
    return found


def append(path: Path, result: Result) -> None:
    """Append a result; an incomplete last line of an earlier process is cut off first."""
    with path.open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json.dumps(asdict(result), separators=(",", ":")).encode() + b"\n")
