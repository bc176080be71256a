"""Tests of checkpoint files in every supported layout, and of the messages for those that do not fit."""

import argparse
import gzip
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
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
        if name == "hrnet_w18_small":  # its intermediate maps are widened for classification
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
    assert "1 key (conv1" in missing
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


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: tensor for key, tensor in state.items()}


NAME = "test_resnet"
OTHER_PART = {"decode_head.conv.weight": torch.zeros(1)}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    weights: dict[str, Tensor] = timm.create_model(NAME).state_dict()
    return weights


def trunk(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: state[key] for key in build_backbone(ModelConfig(backbone=NAME)).network.state_dict()}


class TestAPartOfSomethingLarger:
    @pytest.mark.parametrize(
        "wrap",
        [
            lambda state: {"model_state_dict": state, "optimizer": {"state": {0: {"step": torch.zeros(1)}}}},
            lambda state: {"network": state},
            lambda state: {"model": {"student": prefixed("net.encoder.", state)}, "epoch": 3},
            lambda state: {"state_dict": prefixed("backbone.", state) | OTHER_PART, "meta": {"epoch": 1}},
            lambda state: prefixed("encoder.", state) | OTHER_PART,
            lambda state: prefixed("module.encoder_q.", state) | {"module.queue": torch.zeros(2, 3)},
            lambda state: prefixed("module._orig_mod.", state),
            lambda state: prefixed("backbone.network.", trunk(state)) | {"head.classifier.weight": torch.zeros(4, 8)},
            lambda state: {"state_dict": prefixed("model.", state), "model": state},
            lambda state: {"state_dict": prefixed("model.", state) | {"criterion.weight": torch.ones(4)}},
            lambda state: {"model_ema": state, "model": {key: tensor * 2 for key, tensor in state.items()}},
            lambda state: {"state_dict": state, "args": argparse.Namespace(lr=0.1), "best": np.float64(0.5)},
            lambda state: {**state, "epoch": 4},
        ],
        ids=[
            *("model_state_dict", "network", "nested", "backbone", "encoder", "contrast", "compiled", "own", "twice"),
            *("criterion", "ema", "arguments", "epoch"),
        ],
    )
    def test_loads(self, wrap: Callable[[dict[str, Tensor]], object], state: dict[str, Tensor], tmp_path: Path) -> None:
        assert_holds(loaded(NAME, wrap(state), tmp_path), trunk(state))

    def test_several_sets_of_weights_are_a_fault(self, state: dict[str, Tensor], tmp_path: Path) -> None:
        both = prefixed("encoder_q.", state) | prefixed("encoder_k.", {key: t + 1 for key, t in state.items()})
        with pytest.raises(InputError, match=r"holds 2 different sets .*: model encoder_k\., model encoder_q\.;"):
            loaded(NAME, {"model": both}, tmp_path)

    def test_a_part_that_fits_in_part_is_a_fault(self, state: dict[str, Tensor], tmp_path: Path) -> None:
        content = {"model": prefixed("backbone.", state) | {"backbone.more": torch.zeros(1)}}
        del content["model"]["backbone.conv1.weight" if "conv1.weight" in state else "backbone.conv1.0.weight"]
        with pytest.raises(InputError) as error:
            loaded(NAME, content, tmp_path)
        missing, unexpected = messages(error)
        assert "weights.pth under model backbone. does not fit test_resnet: 1 key (conv1" in missing
        assert "1 key (backbone.more) unexpected" in unexpected


class _Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch ran",)


def torch_file(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def zip_file() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/weights.pth", "x")
    return buffer.getvalue()


def torchscript_file() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Identity()), buffer)
    return buffer.getvalue()


class TestOtherFiles:
    @pytest.mark.parametrize(
        ("content", "what", "fix"),
        [
            (b"", "it is empty", "download it again"),
            (b"\n<!DOCTYPE html><html>404</html>", "it is a web page", "download the file itself"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer that git LFS", "git lfs pull"),
            (b"404: Not Found\n", 'a text file that begins with "404: Not Found"', "give a file of weights"),
            (gzip.compress(b"x"), "it is a packed archive", "unpack it"),
            (zip_file(), "a zip archive of other files (of model/weights.pth)", "unpack it"),
            (torch_file({"a": torch.zeros(99)})[:300], "it is incomplete or damaged", "download it again"),
            (safetensors.torch.save({"a": torch.zeros(99)})[:100], "it is incomplete or damaged", "download it again"),
            (torch_file(torch.nn.Linear(1, 1)), "run code (torch.nn.modules.linear.Linear)", "state_dict()"),
            (torch_file({"a": _Runs()}), "reading it would run code (posix.system)", "state_dict()"),
            (pickle.dumps({"a": _Runs()}), "a pickle that torch.save did not write", "state_dict()"),
            (torchscript_file(), "it is a TorchScript program", "state_dict()"),
            (torch_file({}), "no tensor in it has a name", "state dict"),
            (torch_file([torch.zeros(1)]), "no tensor in it has a name", "state dict"),
            (
                bytes(range(1, 40)) + b"\xff",
                "it is neither a file of torch.save nor of safetensors",
                "give one of these",
            ),
        ],
        ids=str.split(
            "empty html lfs text gzip zip torn torn_safetensors module torch_code pickle script dict list other"
        ),
    )
    def test_each_is_named_with_the_way_to_the_weights(
        self, content: bytes, what: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "weights.pth").write_bytes(content)
        with pytest.raises(InputError) as error:
            build_backbone(ModelConfig(backbone=NAME, weights=str(tmp_path / "weights.pth")))
        (fault,) = error.value.faults
        assert f"{tmp_path}/weights.pth cannot be read as weights: " in fault.what
        assert what in fault.what
        assert fix in fault.fix
        assert "weights_only" not in str(fault)
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
    def test_safetensors_load_whatever_their_name(self, name: str, state: dict[str, Tensor], tmp_path: Path) -> None:
        safetensors.torch.save_file(state, tmp_path / name)
        assert_holds(build_backbone(ModelConfig(backbone=NAME, weights=str(tmp_path / name))), trunk(state))


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
        name = "resnet10t"  # a small one
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
