"""The resources of this machine, and the number of trials that fit on it."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ray._common.utils import get_system_memory
from ray._private.utils import get_num_cpus

from raysearch.errors import Fault, InputError
from raysearch.space.settings import ResourceSettings
from trainables.plurals import counted

_GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))
"""Device files of the drivers of NVIDIA, of AMD and of the Windows Subsystem for Linux."""


@dataclass(frozen=True)
class Machine:
    """CPUs, GPUs and memory as a local Ray sees them."""

    cpus: float
    gpus: int
    memory_bytes: int
    """Memory of the machine or of the container."""
    free_bytes: int
    """Part of the memory that is currently free."""
    gpu_memory_bytes: int | None
    """Memory of the smallest GPU; None without a GPU."""

    @property
    def words(self) -> str:
        """Description of the machine."""
        gpus = ""
        if self.gpus and self.gpu_memory_bytes is not None:
            gpus = f", {counted(self.gpus, 'GPU')} of {gigabytes(self.gpu_memory_bytes)}"
        cpus = counted(self.cpus, "CPU", form="g")
        return f"{cpus}{gpus}, {gigabytes(self.memory_bytes)} of memory, {gigabytes(self.free_bytes)} of it free"


def this_machine() -> Machine:
    """Return the resources of this machine; its GPUs are those in CUDA_VISIBLE_DEVICES."""
    sizes = _gpu_sizes()
    memory_bytes = int(get_system_memory())
    return Machine(
        cpus=float(get_num_cpus()),
        gpus=len(sizes),
        memory_bytes=memory_bytes,
        free_bytes=min(memory_bytes, _free_bytes() or memory_bytes),
        gpu_memory_bytes=min(sizes, default=None),
    )


def _gpu_sizes() -> list[int]:
    """Return the memory of every GPU in bytes; without a driver, PyTorch need not be imported for that."""
    if not any(path.exists() for path in _GPU_DEVICES):
        return []
    import torch

    return [torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]


def room(resources: ResourceSettings, machines: Sequence[tuple[float, float]]) -> tuple[int, float]:
    """Return the number of trials that run side by side on some machines, and one trial's share of its machine.

    Args:
        resources: The resources of one trial.
        machines: Number of CPUs and GPUs of every machine.

    Raises:
        InputError: no machine has the resources of one trial.
    """
    fits = [num_fitting(resources, cpus=cpus, gpus=gpus) for cpus, gpus in machines]
    if max(fits, default=0) < 1:
        has = "; ".join(f"{cpus:g} CPU, {gpus:g} GPU" for cpus, gpus in machines)
        asked = f"a trial asks for {resources.cpu:g} CPU and {resources.gpu:g} GPU"
        fix = "ask for less in resources.cpu and resources.gpu"
        raise InputError([Fault("resources", f"{asked}, but no node has that ({has})", fix)])
    wish = resources.concurrent
    concurrent = sum(fits) if wish == "auto" else min(int(wish), sum(fits))
    return concurrent, 1.0 / min(concurrent, max(fits))


def num_fitting(resources: ResourceSettings, *, cpus: float, gpus: float) -> int:
    """Return the number of trials for which these CPUs and GPUs suffice."""
    wanted = ((resources.cpu, cpus), (resources.gpu, gpus))
    return min(int((there + 1e-9) // each) for each, there in wanted if each > 0)


def concurrency_notice(resources: ResourceSettings, concurrent: int) -> str | None:
    """Return a line if fewer trials run side by side than `resources.concurrent` asks for; None otherwise.

    Args:
        resources: The resources that the space file asks for.
        concurrent: Number of trials that run side by side.
    """
    wish = resources.concurrent
    if wish == "auto" or int(wish) <= concurrent:
        return None
    trials = counted(concurrent, "trial fits", "trials fit")
    return f"resources.concurrent is {wish}, but only {trials} at a time by resources.cpu and resources.gpu"


def gigabytes(num_bytes: float) -> str:
    """Return bytes as text in GB of 2^30 bytes, the unit of `resources.memory_gb`."""
    return f"{num_bytes / 2**30:.{1 if num_bytes < 100 * 2**30 else 0}f} GB"


def _free_bytes() -> int | None:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None
