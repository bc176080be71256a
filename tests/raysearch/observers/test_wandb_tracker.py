"""Tests of the delivery to real files of W&B."""

import json
import struct
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from raysearch.history.run_dir import RunDir
from raysearch.observers.wandb_tracker import WandbTracker
from tests.raysearch.observers.deliveries import search_on
from tests.raysearch.toy import toy_spec


def records(file: Path) -> Iterator[Any]:
    """Yield the records of a W&B file: LevelDB's log format, 32-KiB blocks of (crc, length, type, data) from byte 7."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, pieces = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        pieces += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or its last piece
            yield Record.FromString(pieces)
            pieces = b""


def whole(file: Path) -> list[Any]:
    """Return the records including the last one, which W&B writes a moment after a run has finished."""
    end = time.monotonic() + 600
    while not (read := list(records(file))) or not read[-1].HasField("exit"):
        assert time.monotonic() < end, f"{file} does not end"
        time.sleep(0.1)
    return read


@pytest.mark.skipif(find_spec("wandb") is None, reason="needs wandb")
def test_wandb_offline_has_a_run_for_every_trial(tmp_path: Path, run_dir: RunDir) -> None:
    """After an interruption, the run of the unfinished trial starts again under its id, without its first half."""
    spec = toy_spec(tmp_path, search={"algorithm": "random", "trials": 3, "seed": 3}, track={"wandb": "offline"})
    for num_reports in (11, 1000):
        history = search_on(run_dir, spec, WandbTracker("offline", spec, run_dir), print, num_reports)
    found: dict[str, list[Any]] = {}
    for file in (run_dir.root / "wandb").glob("offline-run-*/*.wandb"):
        read = whole(file)
        (run,) = [record.run for record in read if record.HasField("run")]
        assert run.run_id.rpartition("-")[2] not in found, "no id twice"
        assert (run.project, run.run_group) == ("toy", "run")
        found[run.run_id.rpartition("-")[2]] = read
    assert sorted(found) == ["00000", "00001", "00002", "search"]
    for trial in history.trials:
        read = found[f"{trial.number:05d}"]
        rows = [
            {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for record in read
            if record.HasField("history")
        ]
        assert [(row["_step"], row["score"], row["loss"]) for row in rows] == [
            (i, r.value, r.metrics["loss"]) for i, r in sorted(trial.reports.items())
        ]
        (run,) = [record.run for record in read if record.HasField("run")]
        config = {item.key: json.loads(item.value_json) for item in run.config.update}
        assert {path: config[path] for path in trial.values} == trial.values
        assert [record.exit.exit_code for record in read if record.HasField("exit")] == [
            1 if trial.status == "infeasible" else 0
        ]
