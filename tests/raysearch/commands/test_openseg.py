"""Tests of openseg files in place of a config: on the command line, in a space file, and as an export."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from raysearch.commands.cli import app
from raysearch.config.config_files import load_config, load_trained_config
from raysearch.config.trust import trust
from raysearch.errors import InputError
from raysearch.history.events import Begun, Report, Started
from raysearch.history.history import read_history
from raysearch.history.journal import Journal
from raysearch.history.records import lines_of
from raysearch.history.run_dir import RunDir
from raysearch.results.export import best_config_text, best_in_dialect
from raysearch.space.parsing import load_space, parse_space
from raysearch.space.spec import SearchSpec
from tests.raysearch.toy import leave_journal
from trainables.config import Config, DrawnConfig
from trainables.data import class_pixel_counts, draw_split, open_split
from trainables.openseg.writer import write_openseg

FLAGS = "--model_name hrnet_w48_contrast --backbone hrnet48 --loss_type contrast_ce_loss --gpu 0 1 --drop_last y"
SPACE = {
    "name": "from-openseg",
    "config": "any.json",
    "space": {"contrast.temperature": {"type": "float", "low": 0.05, "high": 0.5, "log": True}},
    "objective": {"metric": "miou", "mode": "max"},
    "search": {"trials": 2},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a file that is complete except for its network, which is a placeholder as in the published files."""
    config = Config.model_validate(
        {
            "data": {"dir": "images", "augmentation": {"crop_size": [32, 48]}},
            "model": {"backbone": "hrnet_w48", "head_channels": None, "hrnet_fuse": "bilinear"},
            "contrast": {"proj_dim": 8, "min_pixels": 101},
            "train": {"max_iters": 4, "report_iters": 2, "batch_size": 2},
        }
    )
    document = write_openseg(config) | {"val": {"mode": "ss_test", "batch_size": 4}}
    document["network"] |= {"model_name": "base_ocnet", "backbone": "deepbase_resnet101_dilated8"}
    document.pop("raysearch")
    path = tmp_path / "any.json"
    path.write_text(json.dumps(document))
    return path


def edit(path: Path, section: str, **values: Any) -> None:
    document = json.loads(path.read_text())
    document[section] |= values
    path.write_text(json.dumps(document))


def load(path: Path, words: str, cwd: Path = Path("/cwd")) -> tuple[Config, list[str]]:
    said: list[str] = []
    return load_config(path, Config, words.split(), cwd=cwd, say=said.append), said


def faults(path: Path, words: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        load(path, words)
    return [str(fault).replace(str(path), "F") for fault in caught.value.faults]


class TestConfigFile:
    def test_a_file_with_its_flags(self, file: Path, tmp_path: Path) -> None:
        config, said = load(file, FLAGS)
        assert (config.model.backbone, config.contrast.loss_weight, config.train.max_iters) == ("hrnet_w48", 0.1, 4)
        assert config.data.dir == str(tmp_path / "images")
        assert said[0] == "--gpu, --drop_last: ignored, because it has no meaning here"
        assert sum("ignored, because nothing uses them here:" in line for line in said) == 1

    def test_paths_of_flags_start_at_the_working_directory(self, file: Path) -> None:
        config, _ = load(file, f"{FLAGS} --data_dir other --pretrained w.pth")
        assert (config.data.dir, config.model.weights) == ("/cwd/other", "/cwd/w.pth")

    def test_pairs_address_our_paths_first_and_those_of_the_dialect_then(self, file: Path) -> None:
        words = f"{FLAGS} lr.base_lr 0.5 data.data_dir d contrast.temperature 0.3 contrast.with_memory true"
        config, _ = load(file, words)
        assert (config.optim.lr, config.data.dir) == (0.5, "/cwd/d")
        assert (config.contrast.temperature, config.contrast.base_temperature) == (0.3, 0.1)
        assert config.contrast.memory

    def test_our_max_views_leaves_the_smallest_group_as_the_dialect_has_it(self, file: Path) -> None:
        assert load(file, f"{FLAGS} contrast.max_views 7")[0].contrast.min_pixels == 101

    def test_every_fault_at_once_each_at_its_place(self, file: Path) -> None:
        edit(file, "lr", base_lr=-1)
        words = "--max_iters x --loss_type fs_loss train.precison bf16 solver.test_interval 0 lr.bse_lr 1"
        assert [re.sub(r"(; |did you|Valid).*", "", fault) for fault in faults(file, words)] == [
            "--max_iters x: x is not a whole number",
            "F: network.model_name: base_ocnet is a placeholder for the network that the original's scripts give with "
            "--model_name",
            "--loss_type fs_loss: fs_loss is not known",
            "train.precison bf16: the trial config has no train.precison",
            "lr.bse_lr 1: the trial config has no lr.bse_lr",
            "F: lr.base_lr: -1 must be greater than 0",
            "solver.test_interval 0: 0 must be greater than or equal to 1",
        ]

    def test_flags_beside_a_config_of_our_own_are_faults(self, tmp_path: Path) -> None:
        path = tmp_path / "config.json"
        path.write_text("{}")
        (fault,) = faults(path, "--base_lr 0.1")
        assert fault.startswith("--base_lr: requires a JSON file of openseg or ContrastiveSeg, which F is not; give")

    def test_a_config_of_our_own_is_read_as_before_whatever_its_name(self, tmp_path: Path) -> None:
        path = tmp_path / "H_48_D_4.json"
        path.write_text(json.dumps({"optim": {"lr": 0.5}, "raysearch": {"metric": "miou"}}))
        assert load(path, "train.seed 3")[0] == Config.model_validate({"optim": {"lr": 0.5}, "train": {"seed": 3}})


def space(tmp_path: Path, config: Any, *trailing: str, set_values: tuple[str, ...] = (), **other: Any) -> SearchSpec:
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump({**SPACE, "config": config, **other}))
    return load_space(path, set_values, trailing, cwd=tmp_path)


def space_faults(tmp_path: Path, config: Any, *trailing: str, **other: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        space(tmp_path, config, *trailing, **other)
    return [str(fault).replace(str(tmp_path), "T") for fault in caught.value.faults]


class TestSpace:
    @pytest.mark.parametrize("flags", [FLAGS, FLAGS.split()], ids=["text", "words"])
    def test_the_flags_stand_beside_the_file(self, flags: Any, file: Path, tmp_path: Path) -> None:
        spec = space(tmp_path, {"openseg": "any.json", "flags": flags})
        assert spec.config["model"]["backbone"] == "hrnet_w48"
        assert spec.notices[0] == "--gpu, --drop_last: ignored, because it has no meaning here"

    def test_values_of_the_config_beside_it_win(self, file: Path, tmp_path: Path) -> None:
        config = {"openseg": "any.json", "flags": f"{FLAGS} --data_dir d", "train": {"seed": 5}}
        spec = space(tmp_path, config | {"model": {"weights": "w.pth"}}, "--base_lr", "0.5", "data.data_dir", "e")
        assert (spec.config["train"]["seed"], spec.config["train"]["max_iters"]) == (5, 4)
        assert spec.config["model"]["weights"] == str(tmp_path / "w.pth")
        assert (spec.config["optim"]["lr"], spec.config["data"]["dir"]) == (0.5, str(tmp_path / "e"))

    def test_a_file_alone_with_flags_on_the_command_line_and_by_set(self, file: Path, tmp_path: Path) -> None:
        spec = space(tmp_path, "any.json", *FLAGS.split(), set_values=("config.lr.base_lr=0.25",))
        assert (spec.config["optim"]["lr"], spec.config["train"]["batch_size"]) == (0.25, 2)

    def test_it_is_the_same_search_when_read_again_as_run(self, file: Path, tmp_path: Path) -> None:
        spec = space(tmp_path, {"openseg": "any.json", "flags": FLAGS})
        again = parse_space(yaml.safe_load(spec.to_yaml()), tmp_path)
        assert (again, again.sha256(), again.notices) == (spec, spec.sha256(), ())
        assert "openseg" not in spec.document["config"]

    def test_every_fault_at_once_each_at_its_place(self, file: Path, tmp_path: Path) -> None:
        edit(file, "contrast", max_samples=0)
        config = {"openseg": "any.json", "flags": f"{FLAGS} --zzz 1 --base_lr 0 left", "train": {"sed": 1, "seed": -1}}
        assert [re.sub(r"; .*", "", fault) for fault in space_faults(tmp_path, config)] == [
            "T/space.yaml: config.flags: --zzz is neither an option of this command nor a flag of the original trainer",
            "T/space.yaml: config.flags: left does not belong to any flag",
            "T/space.yaml: config.train.sed: the trial config has no such value",
            "T/space.yaml: config.train.seed: -1 must be greater than or equal to 0",
            "T/any.json: contrast.max_samples: 0 must be greater than or equal to 1",
            "--base_lr 0: 0.0 must be greater than 0",
        ]

    def test_an_open_quotation_in_the_flags(self, file: Path, tmp_path: Path) -> None:
        (fault,) = space_faults(tmp_path, {"openseg": "any.json", "flags": "--model_name 'hrnet"})
        assert fault.startswith("T/space.yaml: config.flags: ")
        assert fault.endswith("; close the quotation, or write a list")

    def test_the_reference_is_text(self, tmp_path: Path) -> None:
        (fault, *_) = space_faults(tmp_path, {"openseg": 5})
        assert fault.startswith("T/space.yaml: config.openseg: 5 must be text; write it in quotes")

    def test_flags_without_such_a_file_are_faults(self, tmp_path: Path) -> None:
        (fault,) = space_faults(tmp_path, {}, "--base_lr", "1")
        assert fault.startswith("--base_lr: requires a JSON file of openseg or ContrastiveSeg, which config is not;")

    def test_a_trainable_of_the_users_own_gets_the_file_as_it_is(self, file: Path, tmp_path: Path) -> None:
        (tmp_path / "mine.py").write_text("def train(config): ...\n")
        spec = space(tmp_path, "any.json", trainable="mine.py:train", scheduler={"name": "none"})
        assert spec.config == json.loads(file.read_text())


def run_of(tmp_path: Path, config: dict[str, Any], **other: Any) -> RunDir:
    """Return the folder of a search with one trial that reported once."""
    spec = parse_space({**SPACE, "config": config, **other}, tmp_path)
    run_dir = RunDir.create("any", tmp_path / "run")
    run_dir.space.write_text(spec.to_yaml())
    values = {"contrast.temperature": 0.3}
    distributions = {parameter.path: parameter.distribution for parameter in spec.parameters}
    with Journal(run_dir.journal) as journal:
        journal.append(lines_of(Begun("any", "max", 1)))
        journal.append(lines_of(Started(values, distributions, values, is_default=False)))
        journal.append(lines_of(Report(40, 0.75, {}, None, 1.0, False), 0))
    return run_dir


class TestExport:
    CONFIG = {"contrast": {"strategy": "all_cases", "memory_size": 7}, "optim": {"nbb_mult": 10}}

    def test_the_exported_file_is_the_best_config(self, tmp_path: Path) -> None:
        run_dir = run_of(tmp_path, self.CONFIG)
        best = json.loads(best_config_text(run_dir))
        exported = best_in_dialect(run_dir, "openseg")
        path = tmp_path / "exported.json"
        path.write_text(exported.text)
        origin = best.pop("raysearch")
        assert load(path, "")[0] == Config.model_validate(best)
        assert load_trained_config(path).origin["metric"] == "miou"
        block = json.loads(exported.text)["raysearch"]
        assert {key: block[key] for key in origin} == origin
        assert json.loads(exported.text)["contrast"]["temperature"] == 0.3

    def test_the_weights_of_a_scheme_are_those_of_the_training_pixels(self, tmp_path: Path) -> None:
        config = {**self.CONFIG, "loss": {"ce_weights": "max_over_count", "ce_weight_power": 0.5}}
        exported = best_in_dialect(run_of(tmp_path, config), "openseg")
        written = json.loads(exported.text)["loss"]["params"]["ce_weight"]
        data = Config().data
        counts = class_pixel_counts(open_split(data, "train"), data)
        assert written == pytest.approx(((counts.max() / counts) ** 0.5).tolist(), rel=1e-12)
        (tmp_path / "exported.json").write_text(exported.text)
        loss = load(tmp_path / "exported.json", "")[0].loss
        assert (loss.ce_weights, loss.ce_weight_power) == ("max_over_count", 0.5)

    def test_weights_that_cannot_be_computed_are_a_fault(self, tmp_path: Path) -> None:
        run_dir = run_of(tmp_path, {**self.CONFIG, "loss": {"ce_weight_power": 1}, "data": {"dir": "gone"}})
        with pytest.raises(InputError, match="gone"):
            best_in_dialect(run_dir, "openseg")

    def test_it_says_what_the_original_needs_and_does_not_know(self, tmp_path: Path) -> None:
        exported = best_in_dialect(run_of(tmp_path, self.CONFIG), "openseg")
        assert exported.flags == "--drop_last y --seed 0 --nbb_mult 10 --distributed"
        assert {"contrast.strategy", "model.backbone"} <= set(exported.unsaid)
        assert "contrast.memory_size" not in exported.unsaid

    def test_values_without_effect_are_not_said(self, tmp_path: Path) -> None:
        config = {**self.CONFIG, "contrast": {"loss_weight": 0.0, "strategy": "all_cases"}}
        searched = {"optim.lr": {"type": "float", "low": 0.01, "high": 0.1}}
        spec = parse_space({**SPACE, "config": config, "space": searched}, tmp_path)
        run_dir = RunDir.create("any", tmp_path / "run")
        run_dir.space.write_text(spec.to_yaml())
        with Journal(run_dir.journal) as journal:
            journal.append([*lines_of(Begun("any", "max", 1)), *lines_of(Started({}, {}, {}, is_default=True))])
            journal.append(lines_of(Report(40, 0.75, {}, None, 1.0, False), 0))
        exported = best_in_dialect(run_dir, "openseg")
        assert "contrast.strategy" in json.loads(exported.text)["raysearch"]
        assert not [path for path in exported.unsaid if path.startswith("contrast.")]

    def test_a_trainable_of_the_users_own_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "mine.py").write_text("def train(config): ...\n")
        trust(["mine.py:train"], tmp_path)
        run_dir = run_of(tmp_path, {}, trainable="mine.py:train", scheduler={"name": "none"})
        with pytest.raises(InputError, match="has its own config, which an openseg file cannot hold"):
            best_in_dialect(run_dir, "openseg")

    def test_before_the_first_report(self, tmp_path: Path) -> None:
        run_dir = run_of(tmp_path, {})
        leave_journal(run_dir.journal, run_dir.journal.read_bytes().splitlines(keepends=True)[0])
        assert read_history(run_dir.journal).best_trial() is None
        with pytest.raises(InputError, match="no trial has reported yet"):
            best_in_dialect(run_dir, "openseg")


class TestCommands:
    def test_train_takes_flags_and_pairs_in_any_order(self, file: Path, tmp_path: Path) -> None:
        for split in ("train", "val"):
            for i, pair in enumerate(zip(*draw_split(DrawnConfig(num_train=4, num_val=2), split), strict=True)):
                for part, pixels in zip(("image", "label"), pair, strict=True):
                    folder = tmp_path / "images" / split / part
                    folder.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(folder / f"{i}.png")
        words = f"{FLAGS} model.backbone test_efficientnet model.head_channels 8 --max_iters 2 train.device cpu"
        out = tmp_path / "out"
        done = CliRunner().invoke(app, ["train", str(file), *words.split(), "--out", str(out)])
        assert done.exception is None, done.output
        notes = [line for line in done.output.splitlines() if line.startswith("note: ")]
        assert notes[0] == "note: --gpu, --drop_last: ignored, because it has no meaning here"
        assert sum("ignored, because nothing uses them here:" in line for line in notes) == 1
        assert [row["iteration"] for row in pq.read_table(out / "results.parquet").to_pylist()] == [2]
        written = Config.model_validate_json((out / "config.json").read_text())
        assert (written.model.backbone, written.train.max_iters) == ("test_efficientnet", 2)
        pairs = ["--checkpoint", str(out / "checkpoint"), "--split", "val"]
        scored = CliRunner().invoke(app, ["evaluate", str(file), *pairs, *words.split()])
        assert scored.exception is None, scored.output
        score = f"mIoU {pq.read_table(out / 'results.parquet')['value'][-1].as_py():.6f}"
        assert score in scored.output
        for checkpoint in (out / "checkpoint", out / "checkpoint" / "model.pt"):
            asked = ["--phase", "test", "--resume", str(checkpoint), "--out", str(tmp_path / "none")]
            tested = CliRunner().invoke(app, ["train", str(file), *words.split(), *asked])
            assert tested.exception is None, tested.output
            assert score in tested.output
        assert not (tmp_path / "none").exists()

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("train --phase test", "--phase test: needs a checkpoint to score; give --resume and the folder"),
            ("train --phase test --resume gone", "gone: holds no model.pt; give the folder of a checkpoint"),
            (
                "train --resume c --resume_continue y",
                "--resume_continue: asks for another task than that of this command",
            ),
            ("evaluate --checkpoint c --resume c", "--resume: asks for another task than that of this command; give"),
            ("run --phase test --resume c", "--phase: asks for another task than that of this command; give it to"),
        ],
    )
    def test_tasks_of_the_original_that_are_not_this_command(self, words: str, expected: str, tmp_path: Path) -> None:
        path = tmp_path / "any.yaml"
        path.write_text(yaml.safe_dump({**SPACE, "config": {}}) if words.startswith("run") else "{}")
        command, *rest = words.split()
        done = CliRunner().invoke(app, [command, str(path), *rest])
        assert isinstance(done.exception, InputError)
        assert expected in str(done.exception)

    def test_check_says_what_nothing_reads(self, file: Path, tmp_path: Path) -> None:
        (tmp_path / "mine.py").write_text("from trainables.config import Config as C\nclass T:\n    Config = C\n")
        path = tmp_path / "space.yaml"
        config = {"openseg": "any.json", "flags": FLAGS}
        path.write_text(yaml.safe_dump({**SPACE, "config": config, "trainable": "mine.py:T"}))
        done = CliRunner().invoke(app, ["check", str(path)])
        assert sum("ignored, because nothing uses them here:" in line for line in done.output.splitlines()) == 1

    def test_an_option_that_nothing_knows_is_a_fault(self, file: Path) -> None:
        done = CliRunner().invoke(app, ["train", str(file), *FLAGS.split(), "--otu", "x"])
        assert isinstance(done.exception, InputError)
        assert str(done.exception).startswith("--otu: is not an option of this command; did you mean --out?")

    def test_export_writes_json_alone_to_its_output(self, tmp_path: Path) -> None:
        run_dir = run_of(tmp_path, TestExport.CONFIG)
        done = CliRunner().invoke(app, ["export", str(run_dir.root), "--format", "openseg"])
        assert json.loads(done.stdout) == json.loads(best_in_dialect(run_dir, "openseg").text)
        assert "the original trainer also needs these flags: --drop_last y" in done.stderr
        out = tmp_path / "best.json"
        CliRunner().invoke(app, ["export", str(run_dir.root), "--format", "openseg", "--out", str(out)])
        assert out.read_text() == best_in_dialect(run_dir, "openseg").text
        plain = CliRunner().invoke(app, ["export", str(run_dir.root)])
        assert plain.stdout == best_config_text(run_dir)
