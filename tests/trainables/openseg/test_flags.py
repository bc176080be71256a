from pathlib import Path

import pytest

from trainables.openseg.flags import given_at, read_flags
from trainables.protocol import Given


class TestFlags:
    def test_a_line_of_the_original_scripts(self) -> None:
        words = (
            "--configs c.json --drop_last y --phase train --gathered n --loss_balance y --log_to_file n "
            "--backbone hrnet48 --model_name hrnet_w48_mem --gpu 0 1 2 3 --data_dir d --max_iters 100 "
            "--loss_type mem_contrast_ce_loss --train_batch_size 8 --checkpoints_root r --checkpoints_name n "
            "--pretrained p --distributed --base_lr 0.01"
        )
        flags = read_flags(words.split(), Path("/cwd"))
        assert not flags.faults
        assert not flags.rest
        assert {given.path: given.value for given in flags.given} == {
            "network.backbone": "hrnet48",
            "network.model_name": "hrnet_w48_mem",
            "data.data_dir": "/cwd/d",
            "loss.loss_type": "mem_contrast_ce_loss",
            "solver.max_iters": 100,
            "train.batch_size": 8,
            "network.pretrained": "/cwd/p",
            "lr.base_lr": 0.01,
        }
        assert (flags.phase, flags.resume, flags.asks_for_evaluation) == ("train", None, False)
        assert " ".join(flags.passed_over) == (
            "--configs --drop_last --gathered --loss_balance --log_to_file --gpu --checkpoints_root "
            "--checkpoints_name --distributed"
        )

    @pytest.mark.parametrize(
        ("words", "rest"),
        [
            ("--gpu 0 1 optim.lr 0.1", "optim.lr 0.1"),
            ("optim.lr 0.1 --gpu 0 1", "optim.lr 0.1"),
            ("--gpu 0 --drop_last contrast.max_views -1", "contrast.max_views -1"),
            ("--distributed optim.lr 0.1 --drop_last y train.seed 1", "optim.lr 0.1 train.seed 1"),
            ("--base_lr=0.1 optim.lr 0.1", "optim.lr 0.1"),
        ],
    )
    def test_pairs_between_flags_stay_pairs(self, words: str, rest: str) -> None:
        flags = read_flags(words.split(), Path())
        assert (" ".join(flags.rest), flags.faults) == (rest, ())

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (
                "--modelname x",
                "--modelname: is neither an option of this command nor a flag of the original trainer; did you mean",
            ),
            (
                "--zzz x y",
                "--zzz: is neither an option of this command nor a flag of the original trainer; --help lists",
            ),
            ("--base_lr", "--base_lr: has no value after it; write --base_lr and a value"),
            ("--base_lr --gpu 0", "--base_lr: has no value after it; write --base_lr and a value"),
            ("--base_lr fast", "--base_lr fast: fast is not a number; give one"),
            ("--max_iters 1e3", "--max_iters 1e3: 1e3 is not a whole number; give one"),
            ("--is_warm=maybe", "--is_warm maybe: maybe is neither yes nor no; give y or n"),
        ],
    )
    def test_faults(self, words: str, expected: str) -> None:
        flags = read_flags(words.split(), Path())
        assert len(flags.faults) == 1
        assert str(flags.faults[0]).startswith(expected)
        assert not flags.rest

    @pytest.mark.parametrize(
        ("words", "tasks", "evaluates"),
        [
            ("", (), False),
            ("--phase train", (), False),
            ("--phase test --resume c", ("--phase", "--resume"), True),
            ("--phase test", ("--phase",), True),
            ("--resume c", ("--resume",), True),
            ("--resume c --resume_continue n", ("--resume",), True),
            ("--resume c --resume_continue y", ("--resume", "--resume_continue"), False),
        ],
    )
    def test_the_tasks_of_the_original(self, words: str, tasks: tuple[str, ...], evaluates: bool) -> None:
        flags = read_flags(words.split(), Path("/cwd"))
        assert (tuple(flags.tasks), flags.asks_for_evaluation, flags.passed_over) == (tasks, evaluates, ())

    def test_switches(self) -> None:
        for word, value in (("y", True), ("True", True), ("1", True), ("n", False), ("0", False), ("", True)):
            (given,) = read_flags(["--is_warm", *([word] if word else [])], Path()).given
            assert given.value is value

    def test_a_place_that_names_a_file_is_made_absolute(self) -> None:
        assert given_at("t", "data.data_dir", "d", Path("/w")) == Given("t", "data.data_dir", "/w/d")
        assert given_at("t", "loss.loss_type", "d", Path("/w")).value == "d"
