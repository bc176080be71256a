"""Float32 matrix products by oneDNN, where they are exact."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch


@contextmanager
def exact_onednn_products() -> Iterator[None]:
    """Let oneDNN compute float32 matrix products on the CPU, if it computes them in float32 on this processor.

    Its products are often faster than those of the linear algebra library that torch uses by default.
    """
    if not _is_exact():
        yield
        return
    with _onednn_products():
        yield


@contextmanager
def _onednn_products() -> Iterator[None]:
    """Permit bf16, which sends products to oneDNN; it makes use of that only on processors with units for it (AMX)."""
    onednn: Any = torch.backends.mkldnn
    before = onednn.matmul.fp32_precision
    onednn.matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        onednn.matmul.fp32_precision = before


@lru_cache
def _is_exact() -> bool:
    factor = torch.rand(512, 512, generator=torch.Generator().manual_seed(0))
    exact = factor.double() @ factor.double()
    with _onednn_products():
        product = factor @ factor
    return bool(((product - exact).abs() < 1e-5 * exact).all())  # bf16 would be off by 1e-3
