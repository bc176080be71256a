from pathlib import Path

import pytest
import timm
import torch

from trainables.config import ModelConfig
from trainables.errors import InputError
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


@pytest.mark.parametrize("output_stride", [2, 4])
def test_hrnet_gives_its_four_branches(output_stride: int) -> None:
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
        ("test_vit", 32, [16, 16, 16]),  # all maps are finer: the coarsest there are
        ("test_mambaout", 4, [4, 8, 16, 32]),  # channels last inside
        ("vit_tiny_patch16_224", 16, [16, 16, 16]),  # made for one size, unless told otherwise
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


def test_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(InputError) as error:
        build_backbone(ModelConfig(backbone="hrnet_w48_contrast"))
    assert messages(error)[0].startswith("model.backbone: hrnet_w48_contrast is not a timm model")
    assert "hrnet_w48" in error.value.faults[0].fix


def test_faults_of_name_and_weights_come_together(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        build_backbone(ModelConfig(backbone="resnet_10", weights=str(tmp_path / "absent.pth")))
    assert [fault.where for fault in error.value.faults] == ["model.backbone", "model.weights"]
    assert "absent.pth is not a file" in messages(error)[1]


def test_unknown_tag_is_a_fault() -> None:
    with pytest.raises(InputError, match=r"resnet18\.nope: Invalid pretrained tag"):
        build_backbone(ModelConfig(backbone="resnet18.nope"))


def test_network_of_one_size_is_a_fault() -> None:
    with pytest.raises(InputError, match="pit_ti_224 takes images of 224x224 pixels only"):
        build_backbone(ModelConfig(backbone="pit_ti_224"))


# HRNet keeps timm's names, ConvNeXt's modules are flattened, ViT's are nested.
@pytest.mark.parametrize("name", ["hrnet_w18_small", "test_convnext", "test_vit"])
def test_weights_of_the_whole_timm_model_load(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole = timm.create_model(name).eval()
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    torch.manual_seed(2)
    backbone = build_backbone(ModelConfig(backbone=name, weights=str(tmp_path / "whole.pth"))).eval()
    images = torch.randn(1, 3, 160, 160)
    with torch.inference_mode():
        expected = whole.forward_intermediates(images, intermediates_only=True)[-1]
        if name == "hrnet_w18_small":  # its intermediates are widened for classification
            expected = whole.stages(whole.act2(whole.bn2(whole.conv2(whole.act1(whole.bn1(whole.conv1(images)))))))[-1]
        torch.testing.assert_close(backbone(images)[-1], expected)


def test_weights_of_the_backbone_alone_load(tmp_path: Path) -> None:
    saved = build_backbone(ModelConfig(backbone="test_resnet"))
    torch.save({"state_dict": saved.network.state_dict()}, tmp_path / "trunk.pth")
    loaded = build_backbone(ModelConfig(backbone="test_resnet", weights=str(tmp_path / "trunk.pth")))
    for key, tensor in saved.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[key]), key


def test_keys_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    state = timm.create_model("test_resnet").state_dict()
    del state["conv1.0.weight" if "conv1.0.weight" in state else "conv1.weight"]
    state["bn1.weight"] = torch.zeros(7)
    state.update({f"decoder.{i}": torch.zeros(1) for i in range(8)})
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(InputError) as error:
        build_backbone(ModelConfig(backbone="test_resnet", weights=str(tmp_path / "other.pth")))
    missing, unexpected, mismatched = messages(error)
    assert "1 keys (conv1" in missing
    assert "missing" in missing
    assert "8 keys (decoder.0, decoder.1, decoder.2, decoder.3, decoder.4 and 3 more) unexpected" in unexpected
    assert "bn1.weight (7,) instead of (32,)" in mismatched


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_file_that_holds_no_weights_is_a_fault(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"weights\.pth cannot be read as weights"):
        build_backbone(ModelConfig(backbone="test_resnet", weights=str(tmp_path / "weights.pth")))


def test_weights_file_runs_no_code(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Path("code")}, tmp_path / "pickled.pth")
    with pytest.raises(InputError, match="cannot be read as weights"):
        build_backbone(ModelConfig(backbone="test_resnet", weights=str(tmp_path / "pickled.pth")))


def test_timm_weights_are_asked_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, pretrained: bool, **options: object) -> None:
        assert pretrained
        raise OSError("no connection")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(InputError, match=r"timm cannot build resnet10t: no connection; give a local file"):
        build_backbone(ModelConfig(backbone="resnet10t", weights="timm"))
