"""A trained network as an ONNX file that takes images as they are and returns class scores at their own size."""

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.atomic_files import replaced_file
from trainables.config import Config, EvaluationConfig
from trainables.data import raw_values
from trainables.data.batches import IMAGENET_MEAN, IMAGENET_STD, normalise
from trainables.errors import Fault, InputError
from trainables.evaluation import predict_scores
from trainables.models import Segmenter
from trainables.protocol import OnnxFile

if TYPE_CHECKING:
    import onnx

TOLERANCE = 1e-3
"""Allowed difference between a score of the file and the network's: this much, plus this share of the score."""
INPUT, OUTPUT = "images", "logits"
_DIMENSIONS = ("batch", "height", "width")
_NEEDED = ("onnx", "onnxruntime", "onnxscript")


class UnequalScoresError(RuntimeError):
    """The file does not compute the same scores as the network."""


def check_libraries() -> None:
    """Raise InputError if a library that is needed to write or check a file is missing."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        what = f"needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed"
        raise InputError([Fault("an ONNX file", what, "pip install 'raysearch[onnx]'")])


def write_onnx(network: Segmenter, config: Config, path: Path, origin: Mapping[str, Any] | None = None) -> OnnxFile:
    """Write a network as an ONNX file, after comparing its scores with PyTorch's.

    The input `images` is (batch, 3, height, width) uint8 RGB. The output `logits` is (batch, classes, height, width)
    float32; the highest score is the prediction, as with `evaluation.mode: ss`. Normalisation, padding, channel order
    and upsampling are part of the file. Resizing by `data.image_scale` is not: images must be resized beforehand.

    The metadata, as JSON, are `class_names`, `label_class_ids` (the raw value of each class), `image_scale`, `config`,
    and `origin` if it is given.

    Args:
        network: On the CPU.
        config: The config that the network was trained with.
        path: The file; it appears only once it is complete.
        origin: A description of where the config comes from.

    Raises:
        InputError: a library is missing.
        UnequalScoresError: the scores differ from the network's; the file is not written.
    """
    check_libraries()
    import onnx

    whole = _WholeImages(network, config.data.input_mode).eval()
    multiple = network.padding_multiple
    # With a map of only one row or column, the exporter would fix that size.
    height, width = (max(2, -(-side // multiple)) * multiple for side in config.data.augmentation.crop_size)
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            whole,
            (torch.zeros(2, 3, height, width, dtype=torch.uint8),),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamo=True,
            dynamic_shapes=({axis: torch.export.Dim(name) for axis, name in zip((0, 2, 3), _DIMENSIONS, strict=True)},),
            verbose=False,
        )
    assert program is not None, "the dynamo exporter returns a program"
    model: onnx.ModelProto = program.model_proto
    fixed = _name_dimensions(model)
    names = config.data.class_names or [str(index) for index in range(config.data.num_classes)]
    metadata = {
        "class_names": list(names),
        "label_class_ids": raw_values(config.data).tolist(),
        "image_scale": config.data.image_scale,
        "config": config.model_dump(mode="json"),
        **({"origin": dict(origin)} if origin else {}),
    }
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    with replaced_file(path) as part:
        onnx.save(model, part)
        difference = _compare(network.eval(), config, part, (2, height, width), fixed)
    return OnnxFile(difference, fixed)


class _WholeImages(nn.Module):
    """Class scores of images as they are."""

    def __init__(self, network: Segmenter, input_mode: Literal["RGB", "BGR"]) -> None:
        super().__init__()
        self.network = network
        self.is_bgr = input_mode == "BGR"
        self.mean = nn.Buffer(torch.tensor(IMAGENET_MEAN).mul(255.0).view(3, 1, 1))
        self.std = nn.Buffer(torch.tensor(IMAGENET_STD).mul(255.0).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, K, H, W) float32 for images (B, 3, H, W) uint8 RGB.

        This does the same as `predict_scores` in the mode `ss`. It uses no floats and no comparisons of sizes, so that
        the exporter can follow sides that it does not know.
        """
        height, width = images.shape[-2:]
        ordered = images.flip(1) if self.is_bgr else images
        normalised = (ordered.float() - self.mean) / self.std
        below, right = (-side % self.network.padding_multiple for side in (height, width))
        padded = F.pad(normalised, (0, right, 0, below))
        logits = self.network(padded).logits
        whole = F.interpolate(logits, size=padded.shape[-2:], mode="bilinear", align_corners=False)
        return whole[..., :height, :width]


def _name_dimensions(model: "onnx.ModelProto") -> dict[str, int]:
    """Give the output's dimensions the names of the input's, and return those that have only one size."""
    fixed = {}
    given, scores = (value.type.tensor_type.shape.dim for value in (model.graph.input[0], model.graph.output[0]))
    for axis, name in zip((0, 2, 3), _DIMENSIONS, strict=True):
        if given[axis].HasField("dim_value"):
            fixed[name] = given[axis].dim_value
        else:
            given[axis].dim_param = scores[axis].dim_param = name
    return fixed


def _compare(
    network: Segmenter, config: Config, path: Path, exported: tuple[int, int, int], fixed: Mapping[str, int]
) -> float:
    """Return the largest score difference on random images, of the exported size and, where possible, of another size.

    The network's scores are those of `evaluate`.

    Raises:
        UnequalScoresError: the difference is larger than the tolerance.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    _, height, width = exported
    largest, rng = 0.0, np.random.default_rng(0)
    for wanted in (exported, (1, height + 5, max(1, width - 3))):
        size = [fixed.get(name, wanted[axis]) for axis, name in enumerate(_DIMENSIONS)]
        images = rng.integers(0, 256, (size[0], 3, *size[1:]), np.uint8)
        ours = _scores(network, images, config)
        theirs = session.run([OUTPUT], {INPUT: images})[0]
        difference = np.abs(ours - theirs)
        if ours.shape != theirs.shape or not (difference <= TOLERANCE * (1.0 + np.abs(ours))).all():
            what = f"differs from PyTorch by {difference.max():.2g} on images of {size[1]}x{size[2]} pixels"
            raise UnequalScoresError(f"the ONNX file {what}, more than {TOLERANCE:g}; it was not written")
        largest = max(largest, float(difference.max()))
    return largest


def _scores(network: Segmenter, images: NDArray[np.uint8], config: Config) -> NDArray[np.float32]:
    """Return the network's scores for images (B, 3, H, W) in an evaluation of whole images."""
    normalised = torch.stack([normalise(image.transpose(1, 2, 0), config.data.input_mode) for image in images])
    height, width = images.shape[-2:]
    with torch.no_grad():
        scores = predict_scores(
            network,
            normalised,
            EvaluationConfig(),
            padding_multiple=network.padding_multiple,
            crop_size=(height, width),
            size=(height, width),
        )
    return scores.numpy()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's messages to its own developers."""
    logger = logging.getLogger("torch")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
