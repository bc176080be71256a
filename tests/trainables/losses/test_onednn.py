from typing import Any

import torch

from trainables.losses import onednn
from trainables.losses.onednn import exact_onednn_products


def _setting() -> str:
    backend: Any = torch.backends.mkldnn
    return str(backend.matmul.fp32_precision)


def test_products_are_exact_and_the_setting_ends_with_the_block() -> None:
    factor = torch.rand(512, 512, generator=torch.Generator().manual_seed(1))
    before = _setting()
    with exact_onednn_products():
        product = factor @ factor
    assert _setting() == before
    torch.testing.assert_close(product.double(), factor.double() @ factor.double(), rtol=1e-5, atol=0.0)


def test_a_processor_that_would_compute_in_bf16_keeps_its_products(monkeypatch: Any) -> None:
    monkeypatch.setattr(onednn, "_is_exact", lambda: False)
    before = _setting()
    with exact_onednn_products():
        assert _setting() == before
