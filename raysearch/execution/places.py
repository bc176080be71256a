"""The place where a run trains: a Ray cluster, a local Ray, or this process."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from raysearch.errors import Fault, InputError
from raysearch.execution.cluster import Cluster
from raysearch.execution.local_executor import LocalExecutor
from raysearch.execution.machine import concurrency_notice, room, this_machine
from raysearch.execution.trial_actor import TrialContext
from raysearch.execution.tune_executor import TuneExecutor
from raysearch.search.work import Executor
from raysearch.space.settings import ResourceSettings

ExecutorName = Literal["ray", "local"]


class Place(ABC):
    """A place to train, as a context manager."""

    where: str
    """Description of the place in one line, for the user."""
    notice: str | None = None
    """Line that is printed if fewer trials run side by side than the space file asks for."""
    share: float = 1.0
    """Fraction of a machine's memory that one trial may use."""

    @abstractmethod
    def executor(
        self, context: TrialContext, folder: Path, training: Callable[[], AbstractContextManager[None]]
    ) -> Executor:
        """Return an executor at this place.

        Args:
            context: The facts that all trials share.
            folder: Folder of the executor's own files.
            training: Context manager that is entered while a trainable runs in this process, in which a signal may
                interrupt it.
        """

    @abstractmethod
    def close(self) -> None:
        """Leave the place; closing twice has no further effect."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Where:
    """The place that the user has chosen."""

    executor: ExecutorName = "ray"
    address: str | None = None
    """Address of a Ray cluster; None: a local Ray."""

    def open(self, resources: ResourceSettings) -> Place:
        """Open the place; see `open_place`."""
        return open_place(self.executor, self.address, resources)


def open_place(executor: ExecutorName, address: str | None, resources: ResourceSettings) -> Place:
    """Open the place with an executor's name.

    Raises:
        InputError: the place cannot be reached, or lacks the resources of a trial.
        WorkError: Ray cannot start on this machine.
    """
    if executor == "ray":
        return _OnRay(address, resources)
    if address is not None:
        what = "a local executor trains in this process and does not join a cluster"
        raise InputError([Fault(f"--address {address}", what, "leave out --address or --executor local")])
    return _InThisProcess(resources)


class _OnRay(Place):
    def __init__(self, address: str | None, resources: ResourceSettings) -> None:
        self._cluster = Cluster(address, resources)
        self.where = f"dashboard:  {self._cluster.dashboard}"
        self.notice = concurrency_notice(resources, self._cluster.concurrent)
        self.share = self._cluster.share

    def executor(
        self, context: TrialContext, folder: Path, training: Callable[[], AbstractContextManager[None]]
    ) -> Executor:
        return TuneExecutor(context, folder, self._cluster.concurrent)

    def close(self) -> None:
        self._cluster.close()


class _InThisProcess(Place):
    where = "executor:   this process, one trial at a time"

    def __init__(self, resources: ResourceSettings) -> None:
        machine = this_machine()
        room(resources, [(machine.cpus, machine.gpus)])

    def executor(
        self, context: TrialContext, folder: Path, training: Callable[[], AbstractContextManager[None]]
    ) -> Executor:
        return LocalExecutor(context, training)

    def close(self) -> None:
        """Do nothing: nothing was started."""
