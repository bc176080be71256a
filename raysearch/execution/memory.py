"""Memory of a trial in bytes: its limit, its peak, and the amount missing if it runs out of memory.

This is GPU memory if the process uses a GPU, else memory of the process.
"""

import contextlib
import ctypes
import gc
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from ray._common.utils import get_system_memory

_UNITS = {"bytes": 0, "KiB": 1, "MiB": 2, "GiB": 3, "TiB": 4, "PiB": 5, "EiB": 6}
_SIZE = rf"([\d.]+) ?({'|'.join(_UNITS)})"
_TRIED = re.compile(rf"allocate {_SIZE}")
_FREE = re.compile(rf"of which {_SIZE} is free")
_ALLOWED = re.compile(rf"{_SIZE} allowed")

_CONTEXT_BYTES = 2**29
"""GPU memory that the CUDA context and the libraries of a process take, which torch's own limit does not count."""


class Shortage(NamedTuple):
    """The size of a failed allocation relative to the available memory."""

    needed_bytes: int
    """Memory held by the process plus the failed request: the training needs at least this much."""
    excess: float
    """Missing memory as a fraction of the memory that the process could use; greater than 0."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if the exception means that the host or the GPU ran out of memory."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    # torch has no exception of its own for host memory.
    return isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def shortage(error: BaseException, limit_bytes: int | None) -> Shortage | None:
    """Return the numbers in an out-of-memory error; None if it has none or they do not explain the failure.

    torch reports the size of the request, and on a GPU also the free memory and the limit set by `cap_gpu`. NumPy
    reports the size of the request. For host memory, `limit_bytes` is what was available.
    """
    tried = _size(_TRIED, error)
    if tried is None:
        return None
    held, free = _held_bytes(), _size(_FREE, error)
    there_was = limit_bytes if free is None else held + free
    allowed = _size(_ALLOWED, error)
    if there_was is not None and allowed is not None:
        there_was = min(there_was, allowed)
    if there_was is None or held + tried <= there_was:
        return None
    return Shortage(held + tried, (held + tried) / there_was - 1.0)


def limit_bytes(gpus: float, share: float) -> int:
    """Return the memory limit of one trial: its share of a GPU if it uses one, else of the machine or the container.

    Args:
        gpus: GPUs of one trial; below 1 it shares one.
        share: Fraction of the machine's memory that a CPU-only trial may use.
    """
    cuda = _cuda_in_use()
    if cuda is not None:
        total: int = cuda.get_device_properties(cuda.current_device()).total_memory
        return int(total * (gpus if 0.0 < gpus < 1.0 else 1.0))
    return int(get_system_memory() * share)


def cap_gpu(gpus: float, limit_bytes: int | None) -> None:
    """Make torch reject allocations of this process beyond its share of a GPU, as if the GPU were that small.

    Without the cap, a trial that needs more than its share takes the memory of the trial beside it, and whichever of
    the two allocates next fails.

    Args:
        gpus: GPUs of one trial; below 1 it shares one, and its share leaves room for its own CUDA context.
        limit_bytes: Memory limit from the space file; None without a limit.
    """
    is_shared = 0.0 < gpus < 1.0
    if (not is_shared and limit_bytes is None) or importlib.util.find_spec("torch") is None:
        return
    import torch  # late: a trial of another framework on a GPU of its own does without

    if not torch.cuda.is_available():
        return
    for device in range(torch.cuda.device_count()):
        total = torch.cuda.get_device_properties(device).total_memory
        allowed = min(limit_bytes or total, gpus * total - _CONTEXT_BYTES if is_shared else total)
        torch.cuda.set_per_process_memory_fraction(max(0.0, min(1.0, allowed / total)), device)


def release() -> None:
    """Return unused memory to the system, so that it does not count for a later trial."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    with contextlib.suppress(AttributeError):  # other C libraries than glibc hold nothing back or lack this call
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak() -> None:
    """Start a new measurement of peak memory."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> int | None:
    """Return the peak memory since `reset_peak`; None if the system does not report it."""
    cuda = _cuda_in_use()
    return int(cuda.max_memory_reserved()) if cuda is not None else _of_process("VmHWM")


def on_gpu() -> bool:
    """Return True if this process's memory is measured on a GPU."""
    return _cuda_in_use() is not None


def _held_bytes() -> int:
    cuda = _cuda_in_use()
    return int(cuda.memory_reserved()) if cuda is not None else _of_process("VmRSS") or 0


def _cuda_in_use() -> Any:
    torch = sys.modules.get("torch")
    in_use = torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_reserved() > 0
    return torch.cuda if torch is not None and in_use else None


def _of_process(name: str) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def _size(pattern: re.Pattern[str], error: BaseException) -> int | None:
    found = pattern.search(str(error))
    return None if found is None else int(float(found[1]) * 1024 ** _UNITS[found[2]])
