from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from raysearch.execution import memory

GIB = 2**30
CUDA = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 5.00 GiB is "
    "free. Including non-PyTorch memory, this process has 35.50 GiB memory in use. Of the allocated memory 34.00 GiB "
    "is allocated by PyTorch, and 1.00 GiB is reserved by PyTorch but unallocated."
)


def raised(allocate: Callable[[], Any]) -> BaseException:
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        allocate()
    return caught.value


@pytest.mark.parametrize(
    ("allocate", "asked"),
    [(lambda: np.empty(2**46), 2**49), (lambda: torch.empty(2**46), 2**48)],
    ids=["numpy", "torch"],
)
def test_what_an_allocation_asked_for_counts_on_top_of_what_is_held(
    allocate: Callable[[], Any], asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = raised(allocate)
    monkeypatch.setattr(memory, "_held_bytes", lambda: 3 * GIB)
    assert memory.is_out_of_memory(error)
    needed = asked + 3 * GIB
    assert memory.shortage(error, 8 * GIB) == (needed, pytest.approx(needed / (8 * GIB) - 1))


def test_a_gpu_says_what_was_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """35 GiB held and 5 free make 40 GiB; 20 more were requested, so 15 of 40 were missing."""
    monkeypatch.setattr(memory, "_held_bytes", lambda: 35 * GIB)
    error = torch.OutOfMemoryError(CUDA)
    assert memory.is_out_of_memory(error)
    assert memory.shortage(error, 80 * GIB) == (55 * GIB, pytest.approx(15 / 40))


def test_what_a_capped_gpu_allows_is_what_there_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """7 GiB held, 20 more requested, 8 allowed although 5 more were free: 19 of 8 were missing."""
    capped = CUDA.replace("Of the allocated memory", "8.00 GiB allowed; Of the allocated memory")
    monkeypatch.setattr(memory, "_held_bytes", lambda: 7 * GIB)
    assert memory.shortage(torch.OutOfMemoryError(capped), 8 * GIB) == (27 * GIB, pytest.approx(19 / 8))


@pytest.mark.parametrize(
    ("gpus", "limit_bytes", "shares"),
    [
        (1.0, 20 * GIB, [(0.5, 0), (1.0, 1)]),
        (0.5, None, [(19.5 / 40, 0), (4.5 / 10, 1)]),
        (0.5, 4 * GIB, [(0.1, 0), (0.4, 1)]),
        (0.01, None, [(0.0, 0), (0.0, 1)]),
        (1.0, None, []),
        (2.0, None, []),
    ],
)
def test_a_trial_is_capped_at_its_share_of_a_gpu_less_its_context_and_at_its_limit(
    gpus: float, limit_bytes: int | None, shares: list[tuple[float, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    capped: list[tuple[float, int]] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=(40, 10)[device] * GIB)
    )
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda share, device: capped.append((share, device))
    )
    memory.cap_gpu(gpus, limit_bytes)
    assert capped == [(pytest.approx(share), device) for share, device in shares]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_greedy_trial_runs_out_of_memory_itself() -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    memory.cap_gpu(0.5, None)
    try:
        with pytest.raises(torch.OutOfMemoryError, match="allowed"):
            torch.empty(int(total * 0.5), dtype=torch.uint8, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)


def test_an_error_without_numbers_that_explain_it_tells_no_excess() -> None:
    assert memory.is_out_of_memory(MemoryError("no room"))
    assert memory.shortage(MemoryError("no room"), 8 * GIB) is None
    assert memory.shortage(MemoryError("Unable to allocate 1.00 KiB"), 10**15) is None, "that much there was"
    assert memory.shortage(raised(lambda: np.empty(10**14)), None) is None
    assert not memory.is_out_of_memory(RuntimeError("a bug"))


def test_a_trial_may_take_its_share_of_the_machine() -> None:
    whole = memory.limit_bytes(0.0, 1.0)
    assert 1e8 < whole < 1e15
    assert memory.limit_bytes(0.0, 0.25) == whole // 4
    held = memory.peak_bytes()
    assert held is not None
    assert 1e7 < held < whole


def test_a_peak_outlives_its_memory_until_the_next_measurement() -> None:
    memory.reset_peak()
    before = memory.peak_bytes()
    assert before is not None
    block = np.ones(2**24)
    del block
    memory.release()
    peak = memory.peak_bytes()
    assert peak is not None
    assert peak > before + 100 * 2**20
    memory.reset_peak()
    after = memory.peak_bytes()
    assert after is not None
    assert after < peak - 50 * 2**20
