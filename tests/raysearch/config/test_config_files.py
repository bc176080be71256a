from pathlib import Path

import pytest

from raysearch.config.config_files import load_config
from raysearch.errors import InputError
from trainables.config import Config


def test_a_config_file_with_overrides(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"data": {"dir": "images"}, "optim": {"lr": 0.5}, "raysearch": {"value": 0.7}}')
    config = load_config(path, Config, ["optim.lr", "1e-3", "model.weights", "w.pth"], cwd=Path("/cwd"))
    assert isinstance(config, Config)
    assert (config.data.dir, config.model.weights, config.optim.lr) == (str(tmp_path / "images"), "/cwd/w.pth", 1e-3)


def test_all_faults_of_a_config_file_and_its_overrides(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"optim": {"lr": -1}, "lss": {}}')
    with pytest.raises(InputError) as caught:
        load_config(path, Config, ["optim.nme", "sgd", "optim.momentum", "2"])
    assert [str(fault).replace(str(path), "config.json") for fault in caught.value.faults] == [
        "optim.nme sgd: the trial config has no optim.nme; did you mean optim.name?",
        "config.json: optim.lr: -1 must be greater than 0; the default is 0.01",
        "optim.momentum 2: 2 must be less than 1; the default is 0.9",
        "config.json: lss: the trial config has no such value; did you mean loss?",
    ]
