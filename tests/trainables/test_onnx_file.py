import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainables.tiny import tiny
from trainables import onnx_file
from trainables.errors import InputError
from trainables.models import network_of
from trainables.onnx_file import UnequalScoresError, write_onnx

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(
    ("backbone", "head", "input_mode"),
    [
        ("test_resnet", "fcn", "BGR"),
        pytest.param("test_efficientnet", "ocr", "RGB", marks=pytest.mark.slow),
        pytest.param("test_resnet", "deeplab_v3", "BGR", marks=pytest.mark.slow),
        pytest.param("test_vit", "fcn", "RGB", marks=pytest.mark.slow),
    ],
)
def test_a_file_takes_images_of_any_size_and_says_what_the_network_says(
    backbone: str, head: str, input_mode: str, tmp_path: Path
) -> None:
    config = tiny(
        {
            "model.backbone": backbone,
            "model.head": head,
            "data.input_mode": input_mode,
            "data.class_names": ["sky", "road", "car", "tree"],
            "data.label_class_ids": [7, 3, 0, 9],
        }
    )
    network = network_of(config).eval()
    written = write_onnx(network, config, tmp_path / "a.onnx", {"trial": 3})
    assert written.difference <= 1e-3
    assert written.fixed == {}
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    assert session.get_outputs()[0].shape == ["batch", 4, "height", "width"]
    metadata = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
    assert metadata["class_names"] == ["sky", "road", "car", "tree"]
    assert metadata["label_class_ids"] == [7, 3, 0, 9]
    assert metadata["origin"] == {"trial": 3}

    multiple = network.padding_multiple
    images = np.random.default_rng(1).integers(0, 256, (3, 3, 2 * multiple, multiple), np.uint8)
    mean, std = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)[..., None, None]
    ordered = images[:, ::-1] if input_mode == "BGR" else images
    with torch.no_grad():
        logits = network(torch.from_numpy((ordered / np.float32(255) - mean) / std)).logits
    whole = torch.nn.functional.interpolate(logits, size=images.shape[-2:], mode="bilinear")
    (scores,) = session.run(None, {"images": images})
    np.testing.assert_allclose(scores, whole.numpy(), atol=1e-3)


def test_a_file_that_computes_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny({"model.backbone": "test_vit"})
    scores = onnx_file._scores
    monkeypatch.setattr(onnx_file, "_scores", lambda *args: scores(*args) + 0.01)
    with pytest.raises(UnequalScoresError, match=r"differs from PyTorch by 0\.01 on images of .* more than 0\.001"):
        write_onnx(network_of(config), config, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_missing_libraries_are_told_with_the_command_that_brings_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError) as caught:
        onnx_file.check_libraries()
    what = "an ONNX file: needs onnx, onnxruntime, which are not installed; pip install 'raysearch[onnx]'"
    assert [str(fault) for fault in caught.value.faults] == [what]
