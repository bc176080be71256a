"""Memory where a trial runs, in bytes: what it may take, what it took, and how far beyond it asked.

Of the GPU where the process uses one, else of the process itself.
"""

import contextlib
import ctypes
import gc
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


class Shortage(NamedTuple):
    """How far an allocation that failed went beyond what there was."""

    needed_bytes: int
    """All that the process held, and what it asked for on top: the training needs at least as much."""
    excess: float
    """What was lacking, relative to what the process could have had; greater than 0."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, of the machine or of a GPU."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    # torch has no exception of its own for the memory of the machine.
    return isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def shortage(error: BaseException, limit_bytes: int | None) -> Shortage | None:
    """What an out-of-memory error tells in numbers; None where it tells none, or none that explain it.

    torch names what it tried to allocate, on a GPU also what was free there and what `cap_gpu` allowed; NumPy names
    what it tried. On the machine `limit_bytes` is what there was.
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
    """What one trial may take: its share of a GPU where it uses one, else of the machine (or the container).

    Args:
        gpus: GPUs of one trial; below 1 it shares one.
        share: Of the machine, for a trial without a GPU.
    """
    cuda = _cuda_in_use()
    if cuda is not None:
        total: int = cuda.get_device_properties(cuda.current_device()).total_memory
        return int(total * (gpus if 0.0 < gpus < 1.0 else 1.0))
    return int(get_system_memory() * share)


def cap_gpu(limit_bytes: int) -> None:
    """Make torch refuse what this process asks of a GPU beyond a limit, as if the GPU were no larger."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return
    for device in range(torch.cuda.device_count()):
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total), device)


def release() -> None:
    """Give memory that nothing uses any more back to the system, so that it does not count as a later trial's."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    with contextlib.suppress(AttributeError):  # a C library other than glibc keeps nothing back, or has no such call
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak() -> None:
    """Begin to measure anew."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> int | None:
    """The most that was held since `reset_peak`; None where nothing tells."""
    cuda = _cuda_in_use()
    return int(cuda.max_memory_reserved()) if cuda is not None else _of_process("VmHWM")


def on_gpu() -> bool:
    """Whether the memory of this process is counted on a GPU."""
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
