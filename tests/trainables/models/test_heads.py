"""Tests of single heads against the same computation written by hand."""

import math

import pytest
import torch
from torch import nn

from trainables.models.heads.concat import concat_maps
from trainables.models.heads.deeplab import AtrousPyramid, DeepLabV3Head
from trainables.models.heads.fcn import FCNHead
from trainables.models.heads.ocr import OCRHead, RegionAttention, attend, region_means


def convolutions(module: nn.Module) -> list[tuple[int, int, int, int]]:
    """Return (in, out, kernel, dilation) of every convolution, in order."""
    return [
        (m.in_channels, m.out_channels, m.kernel_size[0], m.dilation[0])
        for m in module.modules()
        if isinstance(m, nn.Conv2d)
    ]


def test_maps_are_upsampled_to_the_finest() -> None:
    fine, coarse = torch.randn(2, 3, 4, 6), torch.arange(2.0).view(1, 1, 1, 2).expand(2, 1, 2, 2)
    joined = concat_maps([fine, coarse])
    assert torch.equal(joined[:, :3], fine)
    # Bilinear without aligned corners: 6 sample centres over 2 pixels.
    torch.testing.assert_close(joined[0, 3, 0], torch.tensor([0.0, 0.0, 1 / 3, 2 / 3, 1.0, 1.0]))


@pytest.mark.parametrize(
    ("head", "num_dropouts"),
    [
        (FCNHead([8, 8], 64, num_classes=3, dropout=0.5), 1),
        (OCRHead([8, 8], 64, num_classes=3, dropout=0.5), 1),
        (DeepLabV3Head([8, 8], 64, num_classes=3, dropout=0.5, output_stride=8), 2),
    ],
    ids=["fcn", "ocr", "deeplab_v3"],
)
def test_dropout_takes_whole_channels_in_training_alone(head: nn.Module, num_dropouts: int) -> None:
    shares: list[float] = []

    def record(_module: nn.Module, args: tuple[torch.Tensor], out: torch.Tensor) -> None:
        alive = (args[0] != 0).flatten(2).any(dim=2)
        gone = (out == 0).flatten(2).all(dim=2)
        shares.append((alive & gone).float().mean().item())

    for module in head.modules():
        if isinstance(module, nn.Dropout2d):
            module.register_forward_hook(record)
    maps = [torch.randn(2, 8, 6, 6), torch.randn(2, 8, 6, 6)]
    torch.manual_seed(0)
    head.train()(maps)
    assert len(shares) == num_dropouts
    assert all(0.3 < share < 0.7 for share in shares)
    shares.clear()
    head.eval()(maps)
    assert shares == [0.0] * num_dropouts


class TestOCR:
    def test_a_region_is_the_mean_of_its_pixels(self) -> None:
        pixels, logits = torch.randn(2, 5, 3, 4, dtype=torch.float64), torch.randn(2, 3, 3, 4, dtype=torch.float64)
        weights = logits.exp() / logits.exp().sum(dim=(2, 3), keepdim=True)
        expected = torch.einsum("bkhw,bchw->bck", weights, pixels)
        torch.testing.assert_close(region_means(pixels, logits), expected)

    def test_a_region_of_one_pixel_is_that_pixel(self) -> None:
        pixels, logits = torch.randn(1, 5, 2, 2), torch.zeros(1, 2, 2, 2)
        logits[0, 1, 0, 1] = 1000.0
        means = region_means(pixels, logits)
        torch.testing.assert_close(means[0, :, 1], pixels[0, :, 0, 1])
        torch.testing.assert_close(means[0, :, 0], pixels[0].mean(dim=(1, 2)))

    def test_attention_is_that_of_the_definition(self) -> None:
        queries, keys, values = (torch.randn(2, 6, n, dtype=torch.float64) for n in (7, 3, 3))
        weights = torch.einsum("bdn,bdk->bnk", queries, keys).div(math.sqrt(6)).softmax(dim=2)
        torch.testing.assert_close(attend(queries, keys, values), torch.einsum("bnk,bdk->bdn", weights, values))

    def test_context_is_attention_over_regions_at_every_pixel(self) -> None:
        attention = RegionAttention(8, key_channels=4).double().eval()
        pixels, regions = torch.randn(2, 8, 3, 5, dtype=torch.float64), torch.randn(2, 8, 3, dtype=torch.float64)
        context = attention(pixels, regions)
        assert context.shape == pixels.shape
        # One pixel at a time.
        expected = attention(pixels[:, :, 2:, 3:4], regions)[:, :, 0, 0]
        torch.testing.assert_close(context[:, :, 2, 3], expected)

    def test_regions_come_from_the_auxiliary_logits(self) -> None:
        head = OCRHead([6], 8, num_classes=3, dropout=0.0).eval()
        features = torch.randn(1, 6, 4, 4)
        before = head([features])
        with torch.no_grad():  # change the split into regions, but nothing on the pixel's own path
            head.get_parameter("aux.1.weight").mul_(-5.0)
        after = head([features])
        assert not torch.allclose(before.logits, after.logits)

    def test_is_as_wide_as_published(self) -> None:
        with torch.device("meta"):
            head = OCRHead([48, 96, 192, 384], None, num_classes=19, dropout=0.05)
        assert convolutions(head.aux) == [(720, 720, 1, 1), (720, 19, 1, 1)]
        assert convolutions(head.pixels) == [(720, 512, 3, 1)]
        assert convolutions(head.context.query) == [(512, 256, 1, 1), (256, 256, 1, 1)]
        assert convolutions(head.context.key) == [(512, 256, 1, 1), (256, 256, 1, 1)]
        assert convolutions(head.context.value) == [(512, 256, 1, 1)]
        assert convolutions(head.context.out) == [(256, 512, 1, 1)]
        assert convolutions(head.fuse) == [(1024, 512, 1, 1)]
        assert convolutions(head.classifier) == [(512, 19, 1, 1)]


class TestDeepLabV3:
    def test_is_as_wide_as_published(self) -> None:
        with torch.device("meta"):
            head = DeepLabV3Head([1024, 2048], None, num_classes=19, dropout=0.1, output_stride=8)
        assert convolutions(head.aux) == [(1024, 256, 3, 1), (256, 19, 1, 1)]
        assert convolutions(head.pyramid.local) == [
            (2048, 512, 1, 1),
            (2048, 512, 3, 12),
            (2048, 512, 3, 24),
            (2048, 512, 3, 36),
        ]
        assert convolutions(head.pyramid.whole_image) == [(2048, 512, 1, 1)]
        assert convolutions(head.pyramid.fuse) == [(2560, 512, 3, 1)]
        assert convolutions(head.classifier) == [(512, 512, 3, 1), (512, 19, 1, 1)]
        assert head.feature_channels == 2048

    @pytest.mark.parametrize(
        ("output_stride", "rates"), [(8, [1, 12, 24, 36]), (16, [1, 6, 12, 18]), (32, [1, 3, 6, 9])]
    )
    def test_rates_halve_as_the_stride_doubles(self, output_stride: int, rates: list[int]) -> None:
        with torch.device("meta"):
            pyramid = AtrousPyramid(4, 4, output_stride)
        assert [rate for *_, rate in convolutions(pyramid.local)] == rates

    def test_the_whole_image_reaches_every_pixel(self) -> None:
        pyramid = AtrousPyramid(2, 3, output_stride=8).double().eval()
        features = torch.randn(2, 2, 3, 50, dtype=torch.float64)  # wider than any window
        views: list[torch.Tensor] = []
        pyramid.fuse.register_forward_hook(lambda _module, args, _out: views.append(args[0]))
        pyramid(features)
        weight, bias = (pyramid.get_parameter(f"whole_image.1.{name}") for name in ("weight", "bias"))
        expected = (features.mean(dim=(2, 3)) @ weight[:, :, 0, 0].T + bias).relu()
        torch.testing.assert_close(views[0][:, -3:], expected[:, :, None, None].expand(-1, -1, 3, 50))

    def test_auxiliary_logits_come_from_the_map_before(self) -> None:
        head = DeepLabV3Head([3, 5], 8, num_classes=4, dropout=0.0, output_stride=8).eval()
        before, last = torch.randn(1, 3, 4, 4), torch.randn(1, 5, 4, 4)
        output, other = head([before, last]), head([2.0 * before, last])
        assert output.features is last
        assert torch.equal(output.logits, other.logits)
        assert not torch.equal(output.aux_logits, other.aux_logits)
