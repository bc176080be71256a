"""Tests of files of weights whose content is damaged; `test_weights.py` has those of every kind of file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from trainables.models.weights_file import NoWeightsError, read_weights_file


def test_a_flipped_bit_of_a_tensor_is_found(tmp_path: Path) -> None:
    """Torch itself compares no checksums, and would load the tensor."""
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.arange(1000.0)}, path)
    content = bytearray(path.read_bytes())
    at = content.index(np.float32(500.0).tobytes() + np.float32(501.0).tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(NoWeightsError, match=r"it is damaged: .*/data/0 does not match its checksum"):
        read_weights_file(path)
