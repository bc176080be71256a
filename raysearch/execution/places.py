"""The place where a run trains: a Ray, of its own or a cluster's, or this process."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from raysearch.errors import Fault, InputError
from raysearch.execution.cluster import Cluster
from raysearch.execution.local_executor import LocalExecutor
from raysearch.execution.machine import room, this_machine
from raysearch.execution.trial_actor import TrialContext
from raysearch.execution.tune_executor import TuneExecutor
from raysearch.search.work import Executor
from raysearch.space.settings import ResourceSettings

ExecutorName = Literal["ray", "local"]


class Place(Protocol):
    """Somewhere to train, as long as its `with` statement lasts."""

    where: str
    """The place in one line, for the user."""
    share: float
    """Fraction of a machine's memory that one trial may use."""

    def executor(
        self, context: TrialContext, folder: Path, training: Callable[[], AbstractContextManager[None]]
    ) -> Executor:
        """Return an executor there.

        Args:
            context: What all trials have in common.
            folder: Folder of the executor's own files.
            training: Entered while a trainable runs in this process, so that a signal can interrupt it.
        """
        ...

    def close(self) -> None:
        """Leave the place; closing twice changes nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True)
class Where:
    """The choice of a place, as a user makes it."""

    executor: ExecutorName = "ray"
    address: str | None = None
    """Address of a Ray cluster; None: a local Ray."""

    def open(self, resources: ResourceSettings) -> Place:
        """Open the place; see `open_place`."""
        return open_place(self.executor, self.address, resources)


def open_place(executor: ExecutorName, address: str | None, resources: ResourceSettings) -> Place:
    """Open the place that an executor's name stands for.

    Raises:
        InputError: the place cannot be reached, or lacks what a trial asks for.
        WorkError: Ray cannot start on this machine.
    """
    if executor == "ray":
        return _OnRay(address, resources)
    if address is not None:
        what = "a local executor trains in this process and joins no cluster"
        raise InputError([Fault(f"--address {address}", what, "leave out --address or --executor local")])
    return _InThisProcess(resources)


class _OnRay:
    def __init__(self, address: str | None, resources: ResourceSettings) -> None:
        self._cluster = Cluster(address, resources)
        self.where = f"dashboard:  {self._cluster.dashboard}"
        self.share = self._cluster.share

    def executor(
        self, context: TrialContext, folder: Path, training: Callable[[], AbstractContextManager[None]]
    ) -> Executor:
        return TuneExecutor(context, folder, self._cluster.concurrent)

    def close(self) -> None:
        self._cluster.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _InThisProcess:
    where = "executor:   this process, one trial at a time"
    share = 1.0

    def __init__(self, resources: ResourceSettings) -> None:
        machine = this_machine()
        room(resources, [(machine.cpus, machine.gpus)])

    def executor(
        self, context: TrialContext, folder: Path, training: Callable[[], AbstractContextManager[None]]
    ) -> Executor:
        return LocalExecutor(context, training)

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass
