import subprocess
import sys

import pytest

_WHERE_A_TENSOR_LIES = """
import sys
import torch
from trainables.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
address = torch.ones(2**24).data_ptr()
heap = next(line.split()[0] for line in open("/proc/self/maps") if line.endswith("[heap]\\n"))
first, end = (int(bound, 16) for bound in heap.split("-"))
print("heap" if first <= address < end else "mapping")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is one of glibc's")
@pytest.mark.parametrize(("how", "where"), [("returned", "mapping"), ("kept", "heap")])
def test_large_tensors_come_from_the_heap_which_is_kept(how: str, where: str) -> None:
    """A mapping is returned to the operating system as soon as its tensor is freed; the heap is not."""
    command = [sys.executable, "-c", _WHERE_A_TENSOR_LIES, how]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == where
