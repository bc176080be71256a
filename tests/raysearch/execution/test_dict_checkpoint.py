"""Tests of dictionaries as checkpoints: what goes in comes out, and nothing that could run code goes in or out."""

import pickle
import random
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raysearch.errors import InputError
from raysearch.execution.dict_checkpoint import holds_one, read, write


def there_and_back(values: dict[Any, Any], folder: Path) -> Any:
    write(values, folder)
    assert holds_one(folder)
    return read(folder)


def test_values_keep_their_types(tmp_path: Path) -> None:
    values = {
        "t": 3,
        7: [1.5, float("inf"), True, None, "text", 10**30],
        ("a", 1): {"empty": [], "nothing": {}, "looks like a container": ["list", ["dict"]]},
        "tuple": (1, (2, frozenset({3}))),
        "set": {1, 2},
        "bytes": b"\0\xff",
        "bytearray": bytearray(b"ab"),
        "ordered": OrderedDict(b=1, a=2),
    }
    back = there_and_back(values, tmp_path)
    assert back == values
    assert repr(back) == repr(values), "equal numbers of another type would be equal"


def test_arrays_and_tensors_come_back_bit_for_bit(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    values = {
        "array": np.array([[1.0, np.nan]], dtype=np.float32),
        "scalar": np.float64(0.1),
        "text": np.array(["a", "bc"]),
        "tensors": [shared, shared[:2], torch.ones(2, dtype=torch.bfloat16), torch.nn.Parameter(torch.zeros(1))],
    }
    back = there_and_back(values, tmp_path)
    np.testing.assert_array_equal(back["array"], values["array"])
    assert (back["array"].dtype, type(back["scalar"]), back["scalar"]) == (np.float32, np.float64, 0.1)
    assert back["text"].tolist() == ["a", "bc"]
    whole, part, half, parameter = back["tensors"]
    assert (half.dtype, type(parameter)) == (torch.bfloat16, torch.nn.Parameter)
    whole[0] = 9.0
    assert part[0] == 9.0, "tensors that shared their memory still do"


def test_a_training_goes_on_from_its_optimizer_and_its_random_states(tmp_path: Path) -> None:
    def step(network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        network(torch.rand(4, 2) + random.random() + float(np.random.rand())).sum().backward()
        optimizer.step()

    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(network.parameters())
    step(network, optimizer)
    saved = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),
        "python": random.getstate(),
    }
    write(saved, tmp_path)
    step(network, optimizer)
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    back = read(tmp_path)
    network.load_state_dict(back["network"])
    optimizer.load_state_dict(back["optimizer"])
    torch.set_rng_state(back["torch"])
    np.random.set_state(back["numpy"])
    random.setstate(back["python"])
    step(network, optimizer)
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


class Plants:
    """An object that creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


@pytest.mark.parametrize(
    "value", [Plants(Path("x")), lambda: None, np.array([object()]), np.ma.masked_array([1], [True])]
)
def test_an_object_is_refused_with_its_place_and_the_fix(value: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"save_checkpoint\(\)\['a'\]\[1\]: is a .*, which cannot be stored") as caught:
        write({"a": [0, value]}, tmp_path)
    assert "write files into the folder" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_planted_pickle_is_never_loaded(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "checkpoint.pkl").write_bytes(pickle.dumps(Plants(ran)))
    with pytest.raises(InputError, match=r"checkpoint.pkl: is a pickle"):
        holds_one(tmp_path)
    write({"array": np.zeros(1), "tensor": torch.zeros(1)}, tmp_path)
    with zipfile.ZipFile(tmp_path / "arrays.npz", "w") as arrays:
        np.save(tmp_path / "planted.npy", np.array([Plants(ran)]), allow_pickle=True)
        arrays.write(tmp_path / "planted.npy", "0.npy")
    with pytest.raises(ValueError, match="allow_pickle"):
        read(tmp_path)
    write({"array": np.zeros(1), "tensor": torch.zeros(1)}, tmp_path)
    torch.save([Plants(ran)], tmp_path / "tensors.pt")
    with pytest.raises(pickle.UnpicklingError):
        read(tmp_path)
    assert not ran.exists()
