import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.config import EvaluationConfig, ModelConfig
from trainables.evaluation import evaluate, predict_scores, predictions
from trainables.metrics import ConfusionMatrix
from trainables.models import SegmentationOutput, build_model

CODES = torch.tensor([1.0, -1.03, 2.21, -3.37])
"""Pixel value of every class; uneven, so that no interpolated pixel is half-way between two."""

NUM_CLASSES = len(CODES)


@dataclass
class Sample:
    image: Tensor
    label: Tensor

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.label.shape
        return height, width


class Oracle(nn.Module):
    """A network that reads the class of every pixel from its value and returns one-hot logits at full resolution."""

    def __init__(self, padding_multiple: int) -> None:
        super().__init__()
        self.padding_multiple = padding_multiple
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> SegmentationOutput:
        assert images.shape[-2] % self.padding_multiple == 0
        assert images.shape[-1] % self.padding_multiple == 0
        self.seen.append(images)
        classes = (images[:, 0, ..., None].float() - CODES).abs().argmin(dim=-1)
        return SegmentationOutput(F.one_hot(classes, NUM_CLASSES).movedim(-1, 1).to(images.dtype), None, None)


def drawn(height: int, width: int, seed: int = 0) -> Sample:
    """Return a sample with patches of all classes, detail of single pixels, and some ignored pixels."""
    generator = torch.Generator().manual_seed(seed)
    blobs = torch.randint(0, NUM_CLASSES, (height // 7 + 1, width // 7 + 1), generator=generator)
    label = blobs.repeat_interleave(7, 0).repeat_interleave(7, 1)[:height, :width].clone()
    speckled = torch.rand(height, width, generator=generator) < 0.1
    label[speckled] = torch.randint(0, NUM_CLASSES, (int(speckled.sum()),), generator=generator)
    image = CODES[label].expand(3, height, width).contiguous()
    label[torch.rand(height, width, generator=generator) < 0.05] = 255
    return Sample(image, label)


def resampled(values: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """Resample (..., h, w) bilinearly by hand: pixel centres at half-integers, borders extended."""
    for axis, length in ((-2, size[0]), (-1, size[1])):
        old = values.shape[axis]
        position = np.clip((np.arange(length) + 0.5) * old / length - 0.5, 0, old - 1)
        below = np.floor(position).astype(int)
        above = np.minimum(below + 1, old - 1)
        shape = [1] * values.ndim
        shape[axis] = length
        share = (position - below).reshape(shape)
        values = (1 - share) * np.take(values, below, axis) + share * np.take(values, above, axis)
    return values


def one_hot(encoded: NDArray[np.float64]) -> NDArray[np.float64]:
    classes = np.abs(encoded[..., None] - CODES.double().numpy()).argmin(-1)
    return np.moveaxis(np.eye(NUM_CLASSES)[classes], -1, 0)


def scored(network: nn.Module, samples: list[Sample], config: EvaluationConfig, multiple: int = 8) -> ConfusionMatrix:
    return evaluate(
        network,
        samples,
        NUM_CLASSES,
        config,
        padding_multiple=multiple,
        crop_size=(65, 96),
        device=torch.device("cpu"),
        precision="float32",
    )


@pytest.mark.parametrize("mode", ["ss", "ms", "sscrop", "mscrop"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("multiple", [4, 8, 16])
def test_oracle_scores_exactly_one(mode: str, flip: bool, multiple: int) -> None:
    # Odd sizes; larger than the window, smaller, smaller on one side only; down to a single pixel.
    sizes = ((201, 333), (37, 51), (40, 133), (150, 96), (256, 256), (1, 1), (1, 97), (131, 1))
    samples = [drawn(*size) for size in sizes]
    config = EvaluationConfig(mode=mode, flip=flip, scales=(1.0,))
    confusion = scored(Oracle(multiple), samples, config, multiple)
    np.testing.assert_array_equal(confusion.iou(), np.ones(NUM_CLASSES))
    assert confusion.miou() == 1.0
    assert confusion.counts.sum() == sum(int((sample.label != 255).sum()) for sample in samples)


@pytest.mark.parametrize("mode", ["ms", "mscrop"])
@pytest.mark.parametrize("scale", [0.5, 0.75, 1.5, 2.0])
def test_oracle_at_another_scale_is_the_label_resampled_by_hand(mode: str, scale: float) -> None:
    sample = drawn(61, 83)
    encoded = sample.image[0].double().numpy()
    expected = resampled(one_hot(resampled(encoded, (round(61 * scale), round(83 * scale)))), (61, 83))
    config = EvaluationConfig(mode=mode, scales=(scale,))
    scores = predict_scores(
        Oracle(16), sample.image[None], config, padding_multiple=16, crop_size=(48, 40), size=(61, 83)
    )
    np.testing.assert_allclose(scores[0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("mode", ["ms", "mscrop"])
@pytest.mark.parametrize("flip", [False, True])
def test_oracle_at_several_scales_is_the_sum_of_what_each_gives_by_hand(mode: str, flip: bool) -> None:
    sample, scales = drawn(61, 83), (0.5, 1.0, 1.25)
    encoded = sample.image[0].double().numpy()
    expected = np.zeros((NUM_CLASSES, 61, 83))
    for scale in scales:
        view = resampled(encoded, (round(61 * scale), round(83 * scale)))
        for mirrored in (False, True) if flip else (False,):
            logits = one_hot(view[:, ::-1])[..., ::-1] if mirrored else one_hot(view)
            exponents = np.exp(resampled(logits, (61, 83)))
            expected += exponents / exponents.sum(axis=0)
    config = EvaluationConfig(mode=mode, scales=scales, flip=flip)
    scores = predict_scores(
        Oracle(16), sample.image[None], config, padding_multiple=16, crop_size=(48, 40), size=(61, 83)
    )
    np.testing.assert_allclose(scores[0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("mode", ["ss", "ms", "sscrop", "mscrop"])
def test_predictions_have_the_sizes_of_their_samples_and_leave_no_inference_mode_behind(mode: str) -> None:
    samples = [drawn(16, 24, seed) for seed in range(3)] + [drawn(37, 51)]
    config = EvaluationConfig(mode=mode, scales=(1.0,), batch_size=2)
    batches = predictions(
        Oracle(8),
        samples,
        config,
        padding_multiple=8,
        crop_size=(20, 20),
        device=torch.device("cpu"),
        precision="float32",
    )
    found: list[Sample] = []
    for batch, predicted in batches:
        assert not torch.is_inference_mode_enabled()
        for sample, classes in zip(batch, predicted, strict=True):
            assert torch.equal(classes[sample.label != 255], sample.label[sample.label != 255])
        found += batch
    assert [id(sample) for sample in found] == [id(sample) for sample in samples]


def test_scores_are_taken_at_the_label_s_own_size() -> None:
    sample = drawn(30, 45)
    scores = predict_scores(
        Oracle(8), sample.image[None], EvaluationConfig(), padding_multiple=8, crop_size=(8, 8), size=(61, 90)
    )
    expected = resampled(one_hot(sample.image[0].double().numpy()), (61, 90))
    np.testing.assert_allclose(scores[0].numpy(), expected, atol=1e-5)

    label = torch.from_numpy(expected.argmax(axis=0))
    assert scored(Oracle(8), [Sample(sample.image, label)], EvaluationConfig()).miou() == 1.0


def test_coarse_logits_are_upsampled_to_the_padded_input_before_the_padding_goes() -> None:
    images = torch.randn(1, 3, 21, 37)

    def network(padded: Tensor) -> SegmentationOutput:
        return SegmentationOutput(F.avg_pool2d(padded, 4), None, None)

    scores = predict_scores(network, images, EvaluationConfig(), padding_multiple=16, crop_size=(8, 8), size=(21, 37))
    padded = np.zeros((3, 32, 48))
    padded[:, :21, :37] = images[0].numpy()
    coarse = padded.reshape(3, 8, 4, 12, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(scores[0].numpy(), resampled(coarse, (32, 48))[:, :21, :37], atol=1e-5)


def test_several_views_add_their_probabilities() -> None:
    images = torch.randn(1, 2, 8, 8)
    ramp = torch.linspace(0.0, 3.0, 8)

    def network(view: Tensor) -> SegmentationOutput:  # not symmetric, so the mirrored view differs
        return SegmentationOutput(view * ramp, None, None)

    config = EvaluationConfig(mode="ms", scales=(1.0, 1.0), flip=True)
    scores = predict_scores(network, images, config, padding_multiple=8, crop_size=(8, 8), size=(8, 8))
    plain, mirrored = (images * ramp).softmax(1), (images * ramp.flip(0)).softmax(1)
    torch.testing.assert_close(scores, 2 * plain + 2 * mirrored)
    assert not torch.allclose(plain, mirrored)


def test_overlapping_windows_are_averaged() -> None:
    calls: list[int] = []

    def network(window: Tensor) -> SegmentationOutput:
        calls.append(len(calls) + 1)
        return SegmentationOutput(torch.full((1, 2, *window.shape[-2:]), float(calls[-1])), None, None)

    images = torch.zeros(1, 3, 6, 10)
    scores = predict_scores(
        network, images, EvaluationConfig(mode="sscrop"), padding_multiple=4, crop_size=(6, 6), size=(6, 10)
    )
    expected = torch.tensor([1.0] * 4 + [1.5] * 2 + [2.0] * 4)  # columns 0..5 and 4..9
    torch.testing.assert_close(scores, expected.expand(1, 2, 6, 10))


@pytest.mark.parametrize("window", [1, 2, 5, 6, 32])
def test_windows_cover_images_of_every_size(window: int) -> None:
    for width in range(1, 70):
        network = Oracle(1)
        image = CODES[torch.arange(width) % NUM_CLASSES].expand(1, 3, 1, width)
        scores = predict_scores(
            network,
            image,
            EvaluationConfig(mode="sscrop"),
            padding_multiple=1,
            crop_size=(1, window),
            size=(1, width),
        )
        assert scores.isfinite().all()
        assert torch.equal(scores.argmax(1)[0, 0], torch.arange(width) % NUM_CLASSES)
        assert {seen.shape[-1] for seen in network.seen} == {window}


def test_the_config_s_window_goes_before_the_training_crop() -> None:
    network = Oracle(1)
    config = EvaluationConfig(mode="sscrop", crop_size=(20, 24))
    predict_scores(network, drawn(30, 40).image[None], config, padding_multiple=1, crop_size=(8, 8), size=(30, 40))
    assert {tuple(seen.shape[-2:]) for seen in network.seen} == {(20, 24)}


def test_neighbours_of_equal_size_pass_together() -> None:
    samples = [drawn(16, 24, seed) for seed in range(5)] + [drawn(24, 16), drawn(16, 24, 5)]
    different_label = drawn(16, 24, 6)
    different_label.label = torch.zeros(32, 48, dtype=torch.long)
    network = Oracle(8)
    config = EvaluationConfig(batch_size=3)
    together = scored(network, [*samples, different_label], config)
    assert [len(seen) for seen in network.seen] == [3, 2, 1, 1, 1]
    alone = scored(Oracle(8), [*samples, different_label], EvaluationConfig(batch_size=1))
    np.testing.assert_array_equal(together.counts, alone.counts)


def test_samples_are_read_as_they_are_needed() -> None:
    network = Oracle(8)

    def samples() -> object:
        for index in range(4):
            assert len(network.seen) >= index - 1
            yield drawn(8, 8)

    assert scored(network, samples(), EvaluationConfig(batch_size=1)).miou() == 1.0  # type: ignore[arg-type]
    assert len(network.seen) == 4


def test_every_module_keeps_its_mode() -> None:
    network = nn.Sequential(Oracle(8), nn.Dropout(0.9), nn.BatchNorm2d(3))
    network[2].eval()
    seen: list[list[bool]] = []

    class Recording(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = network

        def forward(self, images: Tensor) -> SegmentationOutput:
            seen.append([module.training for module in self.modules()])
            return self.parts[0](images)

    recording = Recording()
    recording.train()
    network[2].eval()
    before = [module.training for module in recording.modules()]
    scored(recording, [drawn(8, 8)], EvaluationConfig())
    assert not any(seen[0])
    assert [module.training for module in recording.modules()] == before == [True, True, True, True, False]

    class Failing(nn.Module):
        def forward(self, images: Tensor) -> SegmentationOutput:
            raise RuntimeError("no memory")

    failing = Failing()
    with pytest.raises(RuntimeError, match="no memory"):
        scored(failing, [drawn(8, 8)], EvaluationConfig())
    assert failing.training


def test_bf16_reaches_the_network_and_scores_stay_float32() -> None:
    types: list[torch.dtype] = []

    class Convolving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, NUM_CLASSES, 1)

        def forward(self, images: Tensor) -> SegmentationOutput:
            assert images.is_contiguous(memory_format=torch.channels_last)
            logits = self.layer(images)
            types.append(logits.dtype)
            return SegmentationOutput(logits, None, None)

    for precision, expected in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        evaluate(
            Convolving(),
            [drawn(9, 13)],
            NUM_CLASSES,
            EvaluationConfig(),
            padding_multiple=8,
            crop_size=(8, 8),
            device=torch.device("cpu"),
            precision=precision,  # type: ignore[arg-type]
        )
        assert types.pop() == expected
    with torch.autocast("cpu", torch.bfloat16):
        scores = predict_scores(
            Convolving(),
            drawn(9, 13).image[None].contiguous(memory_format=torch.channels_last),
            EvaluationConfig(mode="ms", scales=(0.5, 1.0)),
            padding_multiple=8,
            crop_size=(8, 8),
            size=(9, 13),
        )
    assert scores.dtype == torch.float32


@pytest.mark.parametrize("size", [(201, 333), (256, 256)])
@pytest.mark.parametrize("mode", ["ss", "sscrop"])
def test_hrnet_scores_images_of_any_size(size: tuple[int, int], mode: str) -> None:
    network = build_model(
        ModelConfig(backbone="hrnet_w18_small", head_channels=16), num_classes=NUM_CLASSES, proj_dim=None, seed=0
    )
    sample = Sample(torch.randn(3, *size), torch.zeros(size, dtype=torch.uint8))
    confusion = scored(network, [sample], EvaluationConfig(mode=mode), network.padding_multiple)
    assert confusion.counts.sum() == math.prod(size)
