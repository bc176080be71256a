from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch.nn import functional as F

from trainables.config import ModelConfig
from trainables.errors import InputError
from trainables.models import backbone as backbone_module
from trainables.models.backbone import build_backbone


def messages(error: pytest.ExceptionInfo[InputError]) -> list[str]:
    return [str(fault) for fault in error.value.faults]


def test_hrnet_w48_trunk_has_the_published_size() -> None:
    with torch.device("meta"):
        backbone = build_backbone(ModelConfig(backbone="hrnet_w48"))
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 65_325_120
    assert len(backbone.state_dict()) == 1830
    assert backbone.channels == [48, 96, 192, 384]
    assert backbone.strides == [4, 8, 16, 32]
    assert backbone.padding_multiple == 32


def test_resnet101s_trunk_has_the_published_size() -> None:
    with torch.device("meta"):
        backbone = build_backbone(ModelConfig(head="deeplab_v3", backbone="resnet101s"))
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 42_623_936
    assert backbone.channels == [1024, 2048]
    assert backbone.strides == [8, 8]
    assert backbone.padding_multiple == 8


@pytest.mark.parametrize("output_stride", [None, 2, 4])
def test_hrnet_gives_its_four_branches(output_stride: int | None) -> None:
    backbone = build_backbone(ModelConfig(backbone="hrnet_w18_small", output_stride=output_stride)).eval()
    with torch.inference_mode():
        maps = backbone(torch.zeros(1, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [(1, 16, 16, 24), (1, 32, 8, 12), (1, 64, 4, 6), (1, 128, 2, 3)]


@pytest.mark.parametrize(
    ("name", "output_stride", "strides"),
    [
        ("test_resnet", 2, [2, 4, 8, 16, 32]),
        ("test_resnet", 8, [8, 16, 32]),
        ("test_resnet", 32, [32]),
        ("hrnet_w18_small", 16, [16, 32]),
        ("test_vit", 4, [16, 16, 16]),
        ("test_vit", 32, [16, 16, 16]),  # all maps are finer, so these are the coarsest
        ("test_mambaout", 4, [4, 8, 16, 32]),  # channels last internally
        ("vit_tiny_patch16_224", 16, [16, 16, 16]),  # built for one size by default
    ],
)
def test_maps_are_as_described(name: str, output_stride: int, strides: list[int]) -> None:
    backbone = build_backbone(ModelConfig(backbone=name, output_stride=output_stride)).eval()
    assert backbone.strides == strides
    height, width = 2 * backbone.padding_multiple, 3 * backbone.padding_multiple
    with torch.inference_mode():
        maps = backbone(torch.zeros(1, 3, height, width))
    assert [tuple(m.shape) for m in maps] == [
        (1, channels, height // stride, width // stride)
        for channels, stride in zip(backbone.channels, backbone.strides, strict=True)
    ]


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "test_byobnet"])
@pytest.mark.parametrize(("output_stride", "strides"), [(8, [8, 8]), (16, [16, 16]), (32, [16, 32])])
def test_deeplab_dilates_the_last_two_maps(name: str, output_stride: int, strides: list[int]) -> None:
    backbone = build_backbone(ModelConfig(head="deeplab_v3", backbone=name, output_stride=output_stride)).eval()
    assert backbone.strides == strides
    assert backbone.padding_multiple == output_stride
    with torch.inference_mode():
        maps = backbone(torch.zeros(1, 3, 5 * output_stride, 7 * output_stride))
    ratios = [output_stride // stride for stride in strides]
    assert [tuple(m.shape[-2:]) for m in maps] == [(5 * ratio, 7 * ratio) for ratio in ratios]
    assert [m.shape[1] for m in maps] == backbone.channels


@pytest.mark.parametrize("name", ["hrnet_w18_small", "test_vit", "t2t_vit_14", "densenet121", "vgg11"])
@pytest.mark.parametrize("output_stride", [None, 16])
def test_what_cannot_be_dilated_is_a_fault(name: str, output_stride: int | None) -> None:
    with pytest.raises(InputError) as error:
        build_backbone(ModelConfig(head="deeplab_v3", backbone=name, output_stride=output_stride))
    (message,) = messages(error)
    assert message.startswith(f"model.backbone: {name} cannot be dilated to output stride {output_stride or 8}")
    assert "resnet101s" in message


@pytest.mark.parametrize(("name", "channels"), [("t2t_vit_14", 384), ("t2t_vit_19", 448), ("t2t_vit_24", 512)])
def test_t2t_vit_gives_one_map_of_stride_16(name: str, channels: int) -> None:
    with torch.device("meta"):
        backbone = build_backbone(ModelConfig(backbone=name))
    assert backbone.channels == [channels]
    assert backbone.strides == [16]
    assert backbone.padding_multiple == 16


def test_timm_has_no_weights_of_t2t_vit() -> None:
    with pytest.raises(InputError, match="timm has no weights for t2t_vit_14; give a checkpoint file"):
        build_backbone(ModelConfig(backbone="t2t_vit_14", weights="timm"))


class TestBilinearFusion:
    def test_changes_what_hrnet_gives_and_none_of_its_weights(self) -> None:
        torch.manual_seed(0)
        nearest = build_backbone(ModelConfig(backbone="hrnet_w18_small")).eval()
        torch.manual_seed(0)
        bilinear = build_backbone(ModelConfig(backbone="hrnet_w18_small", hrnet_fuse="bilinear")).eval()
        for key, tensor in nearest.state_dict().items():
            assert torch.equal(tensor, bilinear.state_dict()[key]), key
        images = torch.randn(1, 3, 64, 96)
        with torch.inference_mode():
            assert not torch.allclose(nearest(images)[0], bilinear(images)[0], rtol=0.1)

    def test_is_the_fusion_written_out(self) -> None:
        torch.manual_seed(0)
        backbone = build_backbone(ModelConfig(backbone="hrnet_w18_small", hrnet_fuse="bilinear")).eval()
        stage: Any = backbone.network.stage4
        module = stage[-1]
        maps = [torch.randn(1, 16 * 2**i, 24 // 2**i, 16 // 2**i) for i in range(4)]
        with torch.inference_mode():
            branches = [branch(m) for branch, m in zip(module.branches, maps, strict=True)]
            expected = []
            for i, size in enumerate(m.shape[-2:] for m in maps):
                total = torch.zeros_like(branches[i])
                for j, branch in enumerate(branches):
                    layers = module.fuse_layers[i][j]
                    if j > i:  # a coarser map: 1x1 convolution and norm, then upsampling
                        coarse = layers[1](layers[0](branch))
                        total = total + F.interpolate(coarse, size=size, mode="bilinear", align_corners=True)
                    else:
                        total = total + layers(branch)
                expected.append(total.relu())
            fused = module(list(maps))
        assert [(a - b).abs().max().item() for a, b in zip(fused, expected, strict=True)] == [0.0] * 4


def test_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(InputError) as error:
        build_backbone(ModelConfig(backbone="hrnet_w48_contrast"))
    assert messages(error)[0].startswith("model.backbone: hrnet_w48_contrast is not a timm model")
    assert "hrnet_w48" in error.value.faults[0].fix
    with pytest.raises(InputError, match="did you mean t2t_vit_14"):
        build_backbone(ModelConfig(backbone="t2t_vit14"))


def test_faults_of_name_and_weights_come_together(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        build_backbone(ModelConfig(backbone="resnet_10", weights=str(tmp_path / "absent.pth")))
    assert [fault.where for fault in error.value.faults] == ["model.backbone", "model.weights"]
    assert "absent.pth is not a file" in messages(error)[1]


def test_unknown_tag_is_a_fault() -> None:
    with pytest.raises(InputError, match=r"resnet18\.nope: Invalid pretrained tag"):
        build_backbone(ModelConfig(backbone="resnet18.nope"))


def test_network_of_one_size_is_a_fault() -> None:
    with pytest.raises(InputError, match="pit_ti_224 only accepts images of 224x224 pixels"):
        build_backbone(ModelConfig(backbone="pit_ti_224"))


def test_timm_weights_are_asked_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, pretrained: bool, **options: object) -> None:
        assert pretrained
        raise OSError("no connection")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(InputError, match=r"timm cannot build resnet10t: no connection; give a local file"):
        build_backbone(ModelConfig(backbone="resnet10t", weights="timm"))


@pytest.mark.parametrize(("name", "multiple"), [("eca_halonext26ts", 8 * 32), ("test_resnet", 32), ("test_vit", 16)])
def test_sides_are_padded_to_what_the_windows_of_a_network_divide(name: str, multiple: int) -> None:
    backbone = build_backbone(ModelConfig(backbone=name)).to("meta")
    assert backbone.padding_multiple == multiple
    height, width = multiple, 2 * multiple
    maps = backbone(torch.empty(1, 3, height, width, device="meta"))
    assert [m.shape[-2:] for m in maps] == [(height // s, width // s) for s in backbone.strides]


def test_a_network_that_takes_no_multiple_of_its_stride_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    class Choosy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.feature_info = timm.models.FeatureInfo([{"num_chs": 4, "reduction": 8, "module": "x"}], (0,))

        def forward(self, images: torch.Tensor) -> None:
            raise AssertionError("images of 100x100 only")

    monkeypatch.setattr(timm, "create_model", lambda *arguments, **options: Choosy())
    backbone_module._padding_factor.cache_clear()
    with pytest.raises(InputError, match=r"accepts no images whose sides are multiples of 8 .*100x100 only"):
        build_backbone(ModelConfig(backbone="test_resnet"))
    backbone_module._padding_factor.cache_clear()
