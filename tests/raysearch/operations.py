"""Counts what a function does, in a unit that no busy machine changes."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def num_operations(work: Callable[[], object]) -> int:
    """Return the number of bytecode instructions that this thread executes in `work`.

    Compare the counts of two sizes of a problem: twice the size needs twice the instructions where the growth is linear
    and four times as many where it is quadratic. Loops within C code, such as those of NumPy, count as one instruction.
    """
    executed = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal executed
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        executed += event == "opcode"
        return trace

    before = sys.gettrace()  # that of the coverage, if it is measured
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return executed
