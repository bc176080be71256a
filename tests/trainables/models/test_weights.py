"""Checkpoint files in every layout that is read, and what is said of those that do not fit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from trainables.config import ModelConfig
from trainables.errors import InputError
from trainables.models.backbone import Backbone, build_backbone
from trainables.models.t2t_vit import VARIANTS, Variant


def messages(error: pytest.ExceptionInfo[InputError]) -> list[str]:
    return [str(fault) for fault in error.value.faults]


def loaded(name: str, content: object, tmp_path: Path, **options: object) -> Backbone:
    torch.save(content, tmp_path / "weights.pth")
    torch.manual_seed(99)
    return build_backbone(ModelConfig(backbone=name, weights=str(tmp_path / "weights.pth"), **options))


def assert_holds(backbone: Backbone, expected: dict[str, Tensor]) -> None:
    state = backbone.network.state_dict()
    assert state.keys() == expected.keys()
    for key, tensor in state.items():
        assert torch.equal(tensor, expected[key]), key


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


class TestOriginalLayouts:
    @pytest.mark.parametrize(("prefix", "fuse"), [("", "bilinear"), ("module.", "nearest")])
    def test_hrnet_with_its_classifier(self, prefix: str, fuse: str, tmp_path: Path) -> None:
        torch.manual_seed(1)
        state = timm.create_model("hrnet_w18_small").state_dict()
        assert {key.split(".")[0] for key in state} >= {
            "incre_modules",
            "downsamp_modules",
            "final_layer",
            "classifier",
        }
        content = {prefix + key: tensor for key, tensor in state.items()}
        backbone = loaded("hrnet_w18_small", content, tmp_path, hrnet_fuse=fuse)
        assert_holds(backbone, {key: state[key] for key in backbone.network.state_dict()})

    @pytest.mark.parametrize("prefix", ["", "module.", "resinit.", "prefix.", "module.resinit."])
    def test_deep_stemmed_resnet(self, prefix: str, tmp_path: Path) -> None:
        name = "resnet10t"  # a short one
        torch.manual_seed(1)
        state = timm.create_model(name).state_dict()
        original = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3"}
        content = {}
        for key, tensor in state.items():
            module, *rest = key.split(".")
            if module == "conv1":
                key = ".".join([prefix + original[rest[0]], *rest[1:]])
            elif module == "bn1":
                key = ".".join([prefix + "bn3", *rest])
            elif prefix.startswith("module."):
                key = "module." + key
            if not key.endswith("num_batches_tracked"):  # the files are older than these counters
                content[key] = tensor
        assert prefix + "conv3.weight" in content
        backbone = loaded(name, content, tmp_path, head="deeplab_v3")
        assert_holds(backbone, {key: state[key] for key in backbone.network.state_dict()})

    def test_resnet101s_has_the_stem_of_the_original(self) -> None:
        with torch.device("meta"):
            state = timm.create_model("resnet101s").state_dict()
        shapes = {key: tuple(state[key].shape) for key in ("conv1.0.weight", "conv1.3.weight", "conv1.6.weight")}
        assert shapes == {
            "conv1.0.weight": (64, 3, 3, 3),
            "conv1.3.weight": (64, 64, 3, 3),
            "conv1.6.weight": (128, 64, 3, 3),
        }

    @pytest.mark.parametrize(
        "wrap",
        [
            dict,
            lambda state: {"state_dict_ema": state, "state_dict": {}, "epoch": 310},
            lambda state: {"state_dict": state},
        ],
        ids=["bare", "ema", "state_dict"],
    )
    @pytest.mark.parametrize("prefix", ["", "module."])
    def test_t2t_vit_with_its_classifier(
        self,
        wrap: Callable[[dict[str, Tensor]], object],
        prefix: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setitem(VARIANTS, "t2t_vit_14", Variant(dim=32, depth=2, num_heads=2))
        torch.manual_seed(1)
        state = build_backbone(ModelConfig(backbone="t2t_vit_14")).network.state_dict()
        classifier = {"head.weight": torch.zeros(1000, 32), "head.bias": torch.zeros(1000)}
        content = wrap({prefix + key: tensor for key, tensor in (state | classifier).items()})
        assert_holds(loaded("t2t_vit_14", content, tmp_path), state)

    def test_t2t_vit_of_another_size_is_a_fault(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(VARIANTS, "t2t_vit_14", Variant(dim=32, depth=2, num_heads=2))
        monkeypatch.setitem(VARIANTS, "t2t_vit_19", Variant(dim=32, depth=3, num_heads=2))
        state = build_backbone(ModelConfig(backbone="t2t_vit_19")).network.state_dict()
        with pytest.raises(InputError) as error:
            loaded("t2t_vit_14", state, tmp_path)
        (message,) = messages(error)
        assert "does not fit t2t_vit_14: 11 keys (blocks.2.norm1.weight" in message
        assert "unexpected" in message
