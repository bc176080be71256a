"""Trains and scores one config outside a search, for example an exported one."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
from pydantic import BaseModel
from ray.tune.result import RESULT_DUPLICATE

from raysearch.config.config_files import ORIGIN
from raysearch.config.documents import Kind, check_kind
from raysearch.config.trainable_loading import DEFAULT_TRAINABLE, LoadedTrainable
from raysearch.config.values import dumped
from raysearch.errors import Fault, InputError, WorkError
from raysearch.execution.built_trainable import build, finish, load, metrics_of, save, seed_process
from raysearch.execution.local_executor import LocalStorage
from raysearch.execution.machine_values import config_on_this_machine
from raysearch.history.metric_names import entry_of, with_entries
from raysearch.history.run_dir import STATE_FILE
from raysearch.history.tables import write_reports
from trainables.atomic_files import recover_folder, replaced_folder, write_text
from trainables.checksums import damage, write_checksums
from trainables.protocol import (
    ITERATION,
    ITERATIONS_SHARED,
    ChecksSplit,
    Evaluates,
    HasBudget,
    HasMetricEntries,
    Progress,
    TellsIterations,
)

Say = Callable[[str], None]


def _unseen(done: int, total: int) -> None:
    """Do nothing, for work whose progress nobody watches."""


def train(
    trainable: LoadedTrainable,
    config: Any,
    out: Path,
    *,
    metric: str,
    seed: int = 0,
    max_iters: int | None = None,
    say: Say = print,
    progress: Progress = _unseen,
) -> float:
    """Train a config to its full budget; an interrupted training in `out` continues from its last report.

    At every report, `config.json`, `results.parquet` and `checkpoint/` are written to `out`.

    Args:
        trainable: The trainable.
        config: The config in the form that the trainable's methods accept.
        out: Folder to write.
        metric: Name of the metric that becomes `value` in the table.
        seed: Seed of the process, for trainables that do not set their own.
        max_iters: Full budget, if the config does not contain it. Without one, the trainable ends the training.
        say: Function that receives notices and a line for each report.
        progress: Function that receives the trained iterations and the full budget.

    Returns:
        The value of the metric at the last report.

    Raises:
        InputError: `out` holds another training, the trainable does not report the metric, or its preflight found a
            fault.
        WorkError: the trainable ended without a report.
    """
    config, chosen = config_on_this_machine(trainable, config)
    for notice in (*chosen, *(() if trainable.preflight is None else trainable.preflight(config))):
        say(f"note: {notice}")
    results, checkpoint = out / "results.parquet", out / "checkpoint"
    values = dumped(config) if isinstance(config, BaseModel) else dict(config)
    _claim(out, config_text(trainable, values))
    lists = config.metric_entries() if isinstance(config, HasMetricEntries) else {}
    entry = entry_of(metric, trainable.metrics, lists)
    budget = max_iters if (own := own_budget(config)) is None else own
    rows: list[dict[str, Any]] = []
    state = {"iteration": 0, "num_reports": 0, "training_iteration": 0, "done": False}
    seed_process(seed)
    with TemporaryDirectory() as scratch:
        built = build(trainable.target, values, LocalStorage(scratch, "train", trial_dir_name="train"))
        try:
            recover_folder(checkpoint)
            damaged = damage(checkpoint) if checkpoint.is_dir() else None
            if damaged is not None:
                say(f"note: {checkpoint} {damaged}; the training begins again")
            elif checkpoint.is_dir() and results.exists():
                rows = pq.read_table(results).to_pylist()
                state = _state_of(checkpoint, rows)
                load(built, checkpoint, state["training_iteration"])
                rows = [row for row in rows if row["iteration"] <= state["iteration"]]
                say(f"continuing at iteration {state['iteration']}")
            if isinstance(built, TellsIterations) and budget is not None:
                built.tell_iterations(lambda iteration: progress(iteration, budget))
            while not (state["done"] or (budget is not None and state["iteration"] >= budget)):
                result = built.train()
                if RESULT_DUPLICATE in result:
                    break
                report = with_entries(metrics_of(result), {} if entry is None else {metric: entry})
                if metric not in report:
                    reported = ", ".join(sorted(report)) or "nothing"
                    raise InputError([Fault(metric, "is not reported", f"the trainable only reports {reported}")])
                value = report.pop(metric)
                report.pop(ITERATIONS_SHARED, None)
                state["num_reports"] += 1
                state |= {
                    "iteration": int(report.pop(ITERATION, state["num_reports"])),
                    "training_iteration": built._iteration,
                    "done": bool(result.get("done", False)),
                }
                rows.append({"trial": 0, "iteration": state["iteration"], "value": value, **report})
                write_reports(rows, results)
                _write_checkpoint(built, checkpoint, state)
                if budget is not None:
                    progress(state["iteration"], budget)
                of = "" if budget is None else f"/{budget}"
                say(f"iteration {state['iteration']}{of}  {metric} {value:.4f}")
        finally:
            finish(built)
    if not rows:
        raise WorkError(f"{trainable.name} ended without a report")
    return float(rows[-1]["value"])


def own_budget(config: Any) -> int | None:
    """Return the full budget that a config declares by `max_iters()`; a field of that name does not count."""
    return config.max_iters() if isinstance(config, HasBudget) and callable(config.max_iters) else None


def config_text(trainable: LoadedTrainable, values: Mapping[str, Any]) -> str:
    """Return the content of the `config.json` of a training, which names its trainable unless it is the default one."""
    origin = {} if trainable.name == DEFAULT_TRAINABLE else {ORIGIN: {"trainable": trainable.name}}
    return json.dumps({**values, **origin}, indent=2) + "\n"


def _claim(out: Path, text: str) -> None:
    """Write the config into the folder of a training, unless it is already there.

    Raises:
        InputError: the folder holds something else.
    """
    config_file = out / "config.json"
    if not config_file.exists():
        if (out / "results.parquet").exists() or (out / "checkpoint").exists():
            raise InputError([Fault(str(out), "holds other results", "give another --out")])
        out.mkdir(parents=True, exist_ok=True)
        write_text(config_file, text)
    elif config_file.read_text(encoding="utf-8") != text:
        raise InputError([Fault(str(out), "holds the training of another config", "give another --out")])


def _write_checkpoint(built: Any, checkpoint: Path, state: Mapping[str, Any]) -> None:
    """Replace the checkpoint; do nothing if the trainable writes none."""
    with replaced_folder(checkpoint) as part:
        is_written = save(built, part)
        if is_written:
            (part / STATE_FILE).write_text(json.dumps(state), encoding="utf-8")
            write_checksums(part)
    if not is_written:
        shutil.rmtree(checkpoint)


def _state_of(checkpoint: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the state of a training at its checkpoint; before version 0.2, this was the last row of the table."""
    file = checkpoint / STATE_FILE
    if file.is_file():
        state: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return state
    return {
        "iteration": rows[-1]["iteration"],
        "num_reports": len(rows),
        "training_iteration": len(rows),
        "done": False,
    }


def evaluate(
    trainable: LoadedTrainable,
    config: Any,
    checkpoint: Path,
    *,
    split: str = "val",
    say: Say = print,
    progress: Progress = _unseen,
) -> Mapping[str, Any]:
    """Return the scores of a checkpoint on a split; `progress` receives the number of examples.

    Raises:
        InputError: the trainable cannot score a checkpoint, there is none, it does not fit the config, or the examples
            cannot be read.
    """
    target: Any = trainable.target
    if not isinstance(target, Evaluates):
        fix = "declare evaluate (see the guide on your own trainer)"
        raise InputError([Fault(trainable.name, "has no evaluate, so it cannot score a checkpoint", fix)])
    check_kind(checkpoint, str(checkpoint), Kind.CHECKPOINT)
    if isinstance(target, ChecksSplit):
        for notice in target.check_split(config, split):
            say(f"note: {notice}")
    return target.evaluate(config, checkpoint, split, progress)
