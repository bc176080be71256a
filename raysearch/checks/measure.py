"""Measures the cost of trials on this machine: their first iterations and peak memory, each in a process of its own."""

import math
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from raysearch.execution import memory
from raysearch.execution.local_executor import LocalStorage
from raysearch.execution.trial_actor import EVENT, TrialContext, wrap
from raysearch.history.events import Ended, Halted, Report
from raysearch.space.spec import SearchSpec
from trainables.protocol import MeasuresCost, TrialCost

_REPORTS_TIMED = 3
_LONGEST_S = 5.0
"""Number of reports, and time limit in seconds, for a trainable that cannot measure its own cost."""


@dataclass(frozen=True)
class Measurement:
    """The cost of a trial of one config."""

    cost: TrialCost
    peak_bytes: int | None
    """Peak memory of the GPU if the trial uses one, else of its process."""
    on_gpu: bool

    @property
    def seconds_per_iteration(self) -> float:
        """Seconds per iteration, including its share of a report."""
        return self.cost.seconds_per_iteration + self.cost.seconds_per_report / self.cost.iterations_per_report


@dataclass(frozen=True)
class NotMeasured:
    """The reason why a config could not be measured."""

    reason: str
    is_fault: bool
    """True if the search would fail for the same reason."""
    loses_trial: bool = False
    """True if a trial with the config would end without a score: its loss diverges, or it runs out of memory."""


def measure(
    spec: SearchSpec, configs: Sequence[Mapping[str, Any]], *, side_by_side: int, timeout_s: float
) -> list[Measurement | NotMeasured]:
    """Measure trial configs, as many at a time as in the search, so that they slow each other down as much.

    Args:
        spec: The search.
        configs: Nested configs of trials.
        side_by_side: Number of configs to measure at a time.
        timeout_s: Time after which unfinished measurements are abandoned.
    """
    from ray import cloudpickle  # as Ray does it: the module of a user's file need not be found by the process

    context = replace(TrialContext.of(spec), memory_bytes=None)  # the memory of a trial is to be measured, not limited
    deadline = time.monotonic() + timeout_s
    found: dict[int, Measurement | NotMeasured] = {}
    waiting = deque(range(len(configs)))
    running: dict[Connection, tuple[int, SpawnProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < max(1, side_by_side):
                index = waiting.popleft()
                receiver, process = _start(cloudpickle.dumps((context, configs[index])))
                running[receiver] = index, process
            ready = wait(list(running), timeout=max(0.0, deadline - time.monotonic()))
            if not ready:
                break
            for receiver in [known for known in running if known in ready]:
                index, process = running[receiver]
                try:
                    found[index] = receiver.recv()
                except EOFError:
                    process.join()
                    found[index] = _died(process.exitcode)
                del running[receiver]
                process.join()
    finally:
        for _, process in running.values():
            process.kill()
            process.join()
    late = NotMeasured(f"not measured within {timeout_s:.0f} s", is_fault=False)
    return [found.get(index, late) for index in range(len(configs))]


def _died(exitcode: int | None) -> NotMeasured:
    if exitcode == -signal.SIGKILL:
        return NotMeasured(
            "the system killed its process, probably because memory ran out", is_fault=False, loses_trial=True
        )
    return NotMeasured(f"its process ended with code {exitcode}", is_fault=True)


def _start(payload: bytes) -> tuple[Connection, SpawnProcess]:
    spawning = multiprocessing.get_context("spawn")
    receiver, sender = spawning.Pipe(duplex=False)
    process = spawning.Process(target=_measure, args=(payload, sender))
    process.start()
    sender.close()
    return receiver, process


def _measure(payload: bytes, messages: Connection) -> None:
    """Measure a config in a new process, which then ends at once, whatever threads the trainable has left running."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # output of a trainable does not belong to the check
        os.dup2(nowhere, stream)
    context, config = pickle.loads(payload)
    os.environ["OMP_NUM_THREADS"] = str(max(1, int(context.cpu)))  # as Ray sets it
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"  # as the driver sets it
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = _measured(context, config, Path(folder))
        except Exception as error:
            found = _reason(error)
    messages.send(found)
    os._exit(0)


def _reason(error: Exception) -> NotMeasured:
    if memory.is_out_of_memory(error):
        return NotMeasured(f"out of memory: {error}", is_fault=False, loses_trial=True)
    if isinstance(error, FloatingPointError):
        return NotMeasured(str(error), is_fault=False, loses_trial=True)
    return NotMeasured(" ".join(f"{type(error).__name__}: {error}".split()), is_fault=True)


def _measured(context: TrialContext, config: dict[str, Any], folder: Path) -> Measurement | NotMeasured:
    """Measure the cost by the trainable's own method if it has one, else by its first reports."""
    target = context.trainable
    if isinstance(target, MeasuresCost):
        memory.reset_peak()
        model = getattr(target, "Config", None)
        cost = target.measure_cost(config if model is None else model.model_validate(config))
        return Measurement(cost, memory.peak_bytes(), memory.on_gpu())
    return _by_reports(context, config, folder)


def _by_reports(context: TrialContext, config: dict[str, Any], folder: Path) -> Measurement | NotMeasured:
    """Measure the cost by the first reports of a trial, run as in the search.

    The very first report includes the set-up and only counts if there is no other.
    """
    given = {"config": config, "title": "check", "reports": []}
    given |= {"folder": str(folder / "trial"), "shared_folder": str(folder / "shared")}
    actor = wrap(context)(config=given, storage=LocalStorage(folder, "tune", trial_dir_name="trial"))
    reports: list[Report] = []
    first_came = math.inf
    while len(reports) <= _REPORTS_TIMED and time.monotonic() - first_came < _LONGEST_S:
        event = actor.step()[EVENT]
        if isinstance(event, Halted):
            return NotMeasured(event.what, is_fault=True)
        if isinstance(event, Ended):
            if event.status != "failed" and reports:
                break
            reason, is_fault = event.error or "it ended without a report", event.status == "failed"
            return NotMeasured(reason, is_fault, loses_trial=not is_fault)
        first_came = min(first_came, time.monotonic())
        reports.append(event)
        if event.done:
            break
    counted = reports[1:] or reports
    ends = [0, *(report.iteration for report in reports)]
    num_iters = ends[-1] - ends[-1 - len(counted)]
    seconds = sum(report.seconds for report in counted)
    cost = TrialCost(seconds / num_iters, 0.0, max(1, num_iters // len(counted)))
    return Measurement(cost, reports[-1].peak_memory_bytes, memory.on_gpu())


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "only ever run in a process that was started here"
    parent.join()
    os._exit(1)
