"""The wrapper around any trainable, which runs it on a worker and sends events to the search.

It creates the user's trainable anew for every trial. A reused actor therefore keeps the process with its imports and
caches, but nothing of the trial before. It writes checkpoints before it reports. It turns every possible end of a trial
into an event, so that the actor survives.
"""

import gc
import json
import math
import os
import shutil
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from ray import tune
from ray.tune.execution.placement_groups import PlacementGroupFactory
from ray.tune.result import RESULT_DUPLICATE

from raysearch.errors import InputError
from raysearch.execution import memory
from raysearch.execution.built_trainable import build, finish, load, metrics_of, save, seed_process
from raysearch.execution.threads import cap_threads
from raysearch.history.events import Ended, Halted, Mode, Report
from raysearch.history.metric_names import Entry, with_entries
from raysearch.history.run_dir import STATE_FILE
from raysearch.search import environment
from raysearch.search.work import Assignment
from raysearch.space.spec import SearchSpec
from trainables.atomic_files import put_folder
from trainables.checksums import damage, write_checksums
from trainables.plurals import counted
from trainables.protocol import CONFIG_USED, ITERATION, SharesBeginning

EVENT = "raysearch"
"""Key of a Tune result that holds the wrapper's event: a `Report`, an `Ended` or a `Halted`."""


@dataclass(frozen=True)
class TrialContext:
    """The facts that all trials of a search share."""

    trainable: Any
    """The user's class or function."""
    metric: str
    mode: Mode
    seed: int
    """Seed that is set in the process before the trainable is created, for trainables that do not set their own."""
    cpu: float
    """CPUs of one trial."""
    gpu: float
    """GPUs of one trial; with a fraction, trials share one."""
    share: float = 1.0
    """Fraction of the machine's memory that a CPU-only trial may use."""
    memory_bytes: int | None = None
    """Memory limit of a trial from the space file; None without a limit."""
    entries: Mapping[str, Entry] = field(default_factory=dict)
    """Entries of reported lists that are objectives, by the objective's name."""
    spec: SearchSpec | None = None
    """The search, whose preflight is repeated if a trial fails; None for a trial outside a search."""

    @classmethod
    def of(cls, spec: SearchSpec, *, share: float = 1.0) -> "TrialContext":
        """Return the facts that the trials of a space file share."""
        objective, resources = spec.objectives[0], spec.resources
        return cls(
            trainable=spec.trainable.target,
            metric=objective.metric,
            mode=objective.mode,
            seed=spec.search.seed,
            cpu=resources.cpu,
            gpu=resources.gpu,
            share=share,
            memory_bytes=resources.memory_bytes,
            entries=spec.objective_entries,
            spec=spec,
        )


def _process_name() -> str:
    """Return the host name and the number of this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def wrap(context: TrialContext) -> type["TrialActor"]:
    """Return the class that Ray runs for a trainable."""
    name = getattr(context.trainable, "__name__", "trainable")
    return type(name, (TrialActor,), {"context": context, "__module__": TrialActor.__module__})


def checkpoint_name(iteration: int) -> str:
    """Return the name of the checkpoint that is written at an iteration."""
    return f"checkpoint-{iteration:08d}"


def actor_config(assignment: Assignment) -> dict[str, Any]:
    """Return an assignment as the config of the wrapper, in plain values that any worker can read."""
    shared = assignment.shared_folder
    return {
        "number": assignment.number,
        "title": assignment.title,
        "config": dict(assignment.config),
        "folder": str(assignment.folder),
        "shared_folder": None if shared is None else str(shared),
        "reports": [list(report) for report in assignment.reports],
        "seed": assignment.seed,
    }


class TrialActor(tune.Trainable):
    """An actor that runs one trial after another, each in a trainable of its own."""

    context: ClassVar[TrialContext]

    def __repr__(self) -> str:
        """Return the name of the worker in the Ray dashboard, which contains its process, because Ray asks only once.

        The worker's own log names the current trial in its last line that begins with `trial`.
        """
        run = f"{self._folder.parents[1].name}: " if hasattr(self, "_folder") else ""
        return f"{run}worker {_process_name()}"

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """Return the resources that Ray reserves for one trial."""
        amounts = {"CPU": cls.context.cpu, "GPU": cls.context.gpu}
        return PlacementGroupFactory([{name: amount for name, amount in amounts.items() if amount > 0}])

    def setup(self, config: dict[str, Any]) -> None:
        """Start the first trial of this process."""
        gc.freeze()  # keeps imported objects out of the collections after every trial
        self._defaults = _ProcessDefaults()
        self._trainable: tune.Trainable | None = None
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """End the previous trial and start the next one in the same process."""
        self._end()
        self._begin(new_config)
        return True

    def cleanup(self) -> None:
        """End the last trial."""
        self._end()

    def _begin(self, config: dict[str, Any]) -> None:
        self._clock = time.perf_counter()
        self._folder = Path(config["folder"])
        self._shared_folder = None if config["shared_folder"] is None else Path(config["shared_folder"])
        self._given = config["config"]
        print(config["title"], flush=True)
        self._ending: Ended | Halted | None = None
        self._num_reports = 0
        self._has_begun = False
        self._last: str | None = None
        self._best: tuple[float, str] | None = None
        if self.context.gpu > 0:
            memory.cap_gpu(self.context.gpu, self.context.memory_bytes)
        memory.reset_peak()
        seed = config.get("seed")
        self._defaults.restore(self.context.seed if seed is None else seed)
        try:
            self._trainable = build(self.context.trainable, self._given, self._storage)
            self._cap_threads()
            self._restore(config["reports"])
            self._ending = self._beyond_limit()
        except Exception as error:
            self._ending = self._ending_of(error)

    def _end(self) -> None:
        trainable, self._trainable = self._trainable, None
        if trainable is not None:
            try:
                finish(trainable)
            except Exception:
                traceback.print_exc()
        del trainable
        memory.release()

    def step(self) -> dict[str, Any]:
        """Run the trainable to its next report."""
        event = self._ending if self._ending is not None else self._run()
        if isinstance(event, Ended) and event.status == "failed":
            event = self._fault_of_environment(event) or event
        if isinstance(event, Ended):
            self._end()
        return {EVENT: event, "done": not isinstance(event, Report) or event.done}

    def _run(self) -> Report | Ended | Halted:
        assert self._trainable is not None
        self._drop_superseded_checkpoints()
        try:
            self._share_beginning()
            result = self._trainable.train()
            self._cap_threads()
            if RESULT_DUPLICATE in result:
                return Ended("completed")
            return self._take(result)
        except Exception as error:
            return self._ending_of(error)

    def _cap_threads(self) -> None:
        line = cap_threads(max(1, int(self.context.cpu)))
        if line is not None:
            print(line, flush=True)

    def _share_beginning(self) -> None:
        """Share the first iterations, once, in the first step: Ray may repeat the set-up and waits less long for it."""
        is_new, self._has_begun = not self._has_begun and self._last is None, True
        if is_new and self._shared_folder is not None and isinstance(self._trainable, SharesBeginning):
            self._trainable.share_beginning(self._shared_folder, self._folder.name)

    def _take(self, result: dict[str, Any]) -> Report | Ended:
        metric, result = self.context.metric, with_entries(result, self.context.entries)
        if metric not in result:
            reported = ", ".join(sorted(metrics_of(result))) or "nothing"
            return Ended("failed", f"it reported no {metric}, only {reported}")
        difference = _first_difference(self._given, result.get(CONFIG_USED))
        if difference is not None:
            return Ended("failed", f"it trained with another config than the given one: {difference}")
        beyond = self._beyond_limit()
        if beyond is not None:
            return beyond
        self._num_reports += 1
        iteration = int(result.get(ITERATION, self._num_reports))
        value = float(result[metric])
        metrics = {name: number for name, number in metrics_of(result).items() if name not in (metric, ITERATION)}
        if not math.isfinite(value):
            return Ended("infeasible", f"{metric} is {value} at iteration {iteration}")
        checkpoint = self._save(iteration)
        if checkpoint is not None:
            self._last = checkpoint
            loss = value if self.context.mode == "min" else -value
            if self._best is None or loss < self._best[0]:
                self._best = (loss, checkpoint)
        now = time.perf_counter()
        seconds, self._clock = now - self._clock, now
        return Report(
            iteration=iteration,
            value=value,
            metrics=metrics,
            checkpoint=checkpoint,
            seconds=seconds,
            done=bool(result.get("done", False)),
            peak_memory_bytes=memory.peak_bytes(),
            memory_limit_bytes=self._memory_limit(),
            worker=_process_name(),
        )

    def _beyond_limit(self) -> Ended | None:
        """Return the ending of a trial that has used more memory than the space file allows; None within the limit."""
        limit, peak = self.context.memory_bytes, memory.peak_bytes()
        if limit is None or peak is None or peak <= limit:
            return None
        took, allowed = (f"{num_bytes / 2**30:.3f} GB" for num_bytes in (peak, limit))
        return Ended(
            "infeasible",
            f"it used {took} of memory, but resources.memory_gb allows {allowed}",
            peak_memory_bytes=peak,
            needed_memory_bytes=peak,
            excess=peak / limit - 1.0,
        )

    def _memory_limit(self) -> int:
        return self.context.memory_bytes or memory.limit_bytes(self.context.gpu, self.context.share)

    def _ending_of(self, error: Exception) -> Ended | Halted:
        """Return the ending that an exception means; a process that has lost its GPU is not reused."""
        if memory.is_out_of_memory(error):
            peak, short = memory.peak_bytes(), memory.shortage(error, self._memory_limit())
            return Ended(
                "infeasible",
                f"out of memory: {error}",
                peak_memory_bytes=peak,
                needed_memory_bytes=(peak or 0) if short is None else short.needed_bytes,
                excess=None if short is None else short.excess,
            )
        if isinstance(error, FloatingPointError):
            return Ended("infeasible", str(error))
        if "CUDA error" in str(error):
            raise error
        text, details = f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))
        written = (self._folder,) if self._shared_folder is None else (self._folder, self._shared_folder)
        halted = environment.fault_of_error(error, written)
        return Ended("failed", text, details=details) if halted is None else replace(halted, details=details)

    def _fault_of_environment(self, ended: Ended) -> Halted | None:
        """Return a fault that would fail every other trial too; None if none is found.

        The preflight passed before the search and is repeated here. This is not part of the set-up, because Ray does
        not wait as long for that.
        """
        halted = environment.fault_of_folder(self._folder)
        if halted is not None:
            return replace(halted, details=ended.details)
        spec = self.context.spec
        if spec is None or spec.trainable.preflight is None or ended.details is None:
            return None
        from raysearch.execution.preflight import trainable_notices  # late: it imports what other trainables do without

        try:
            trainable_notices(spec)
        except Exception as error:
            faults = error.faults if isinstance(error, InputError) else (f"{type(error).__name__}: {error}",)
            more = f" (and {counted(len(faults) - 1, 'more fault')})" if len(faults) > 1 else ""
            if not memory.is_out_of_memory(error):
                return Halted(f"{faults[0]}{more}", "correct that", ended.details)
        return None

    def _save(self, iteration: int) -> str | None:
        """Write a checkpoint under a temporary name, then rename it."""
        name = checkpoint_name(iteration)
        part = self._folder / f".{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        assert self._trainable is not None
        if not save(self._trainable, part):
            shutil.rmtree(part)
            return None
        state = {"num_reports": self._num_reports, "training_iteration": self._trainable._iteration}
        (part / STATE_FILE).write_text(json.dumps(state))
        write_checksums(part)
        put_folder(part, self._folder / name)
        return name

    def _restore(self, reports: list[tuple[int, float, str]]) -> None:
        """Load the newest reported checkpoint that still exists and is not damaged.

        Nothing is deleted yet: Ray may set up a trial in a second actor, which never takes a step, while the first one
        already writes checkpoints.
        """
        known = [report for report in reports if (self._folder / report[2]).is_dir()]
        for report in list(known):
            what = damage_of_checkpoint(self._folder / report[2])
            if what is not None:
                print(f"{self._folder / report[2]} {what}; the trial continues from an older state", flush=True)
                known.remove(report)
        if not known:
            return
        _, _, self._last = max(known)
        sign = 1.0 if self.context.mode == "min" else -1.0
        loss, _, best = min((sign * value, iteration, name) for iteration, value, name in known)
        self._best = (loss, best)
        folder = self._folder / self._last
        state = _read_state(folder)
        self._num_reports = state["num_reports"]
        assert self._trainable is not None
        load(self._trainable, folder, state["training_iteration"])

    def _drop_superseded_checkpoints(self) -> None:
        """Keep only the last and the best checkpoint; called when the search has recorded the last report."""
        if not self._folder.is_dir():
            return
        kept = {self._last, None if self._best is None else self._best[1]}
        for path in self._folder.iterdir():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)


def damage_of_checkpoint(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint of a trial; None if the trial can continue from it."""
    what = damage(folder)
    return f"has no {STATE_FILE}" if what is None and not (folder / STATE_FILE).is_file() else what


def _read_state(folder: Path) -> dict[str, int]:
    state: dict[str, int] = json.loads((folder / STATE_FILE).read_text())
    return state


def _first_difference(given: Any, used: Any, path: str = "") -> str | None:
    """Return the first difference between the given and the used config; None if they agree or nothing is known."""
    if used is None and not path:
        return None
    if isinstance(given, Mapping) and isinstance(used, Mapping):
        for key in [*given, *(key for key in used if key not in given)]:
            below = f"{path}.{key}" if path else str(key)
            difference = _first_difference(given.get(key, "absent"), used.get(key, "absent"), below)
            if difference is not None:
                return difference
        return None
    if isinstance(given, list | tuple) and isinstance(used, list | tuple):
        return None if list(given) == list(used) else f"{path}: given {list(given)}, used {list(used)}"
    return None if given == used else f"{path}: given {given!r}, used {used!r}"


class _ProcessDefaults:
    """The initial state of what a trial may change in its process without owning it."""

    def __init__(self) -> None:
        self._cwd = os.getcwd()
        self._environ = dict(os.environ)

    def restore(self, seed: int) -> None:
        """Restore the initial state, and set every random state to a function of the seed."""
        os.chdir(self._cwd)
        for name in set(os.environ) - set(self._environ):
            del os.environ[name]
        os.environ.update(self._environ)
        seed_process(seed)
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_default_dtype(torch.float32)
            torch.set_grad_enabled(True)
            torch.use_deterministic_algorithms(False)
            torch.set_num_threads(int(self._environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
