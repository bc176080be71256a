"""The thread pools of a worker: none may be larger than the CPUs of its trial, or it would starve the other trials."""

import sys


def cap_threads(num_threads: int) -> str | None:
    """Cap the pools of PyTorch and OpenCV; return a line that says so if one was larger, else None."""
    capped = []
    torch, cv2 = sys.modules.get("torch"), sys.modules.get("cv2")
    if torch is not None and torch.get_num_threads() > num_threads:
        capped.append(f"{torch.get_num_threads()} threads of PyTorch")
        torch.set_num_threads(num_threads)
    if cv2 is not None and cv2.getNumThreads() > num_threads:
        capped.append(f"{cv2.getNumThreads()} threads of OpenCV")
        cv2.setNumThreads(num_threads)
    return f"{' and '.join(capped)} capped to {num_threads}, the CPUs of a trial" if capped else None
