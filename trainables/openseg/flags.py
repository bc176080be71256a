"""Reads the flags of the original's scripts among the words of a command line."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from trainables.errors import Fault
from trainables.protocol import DialectFlags, Given
from trainables.spelling import closest


@dataclass(frozen=True)
class Flags(DialectFlags):
    """The original's flags among the words of a command line."""

    phase: str | None = None
    """The value of `--phase`."""
    resume: str | None = None
    """The value of `--resume`, a checkpoint."""
    resume_continue: bool = False
    """The value of `--resume_continue`."""

    @property
    def tasks(self) -> Mapping[str, str]:
        """Flags that ask for something other than training from the start, each with what to do instead."""
        asked = {
            "--phase": (self.phase or "train") != "train",
            "--resume": self.resume is not None,
            "--resume_continue": self.resume_continue,
        }
        return {name: _INSTEAD[name] for name, is_asked in asked.items() if is_asked}

    @property
    def asks_for_evaluation(self) -> bool:
        """True if the original would score a checkpoint and train nothing."""
        return (self.phase or "train") != "train" or (self.resume is not None and not self.resume_continue)


def read_flags(words: Sequence[str], folder: Path) -> Flags:
    """Return the original's flags among `words`; the paths that they give are relative to `folder`."""
    given: list[Given] = []
    passed_over: list[str] = []
    rest: list[str] = []
    faults: list[Fault] = []
    asked: dict[str, Any] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("--"):
            rest.append(word)
            continue
        name, equals, joined = word.partition("=")
        if name not in FLAGS:
            close = closest(name, FLAGS, cutoff=0.75)
            fix = f"did you mean {close}?" if close else "--help lists the options; config values are pairs"
            faults.append(Fault(name, "is neither an option of this command nor a flag of the original trainer", fix))
            while left and not joined and not left[0].startswith("--"):
                left.pop(0)  # its value, not a pair
            continue
        flag = FLAGS[name]
        values = [joined] if equals else _values_of(flag, left)
        if not values and flag.kind not in ("switch", "none"):
            faults.append(Fault(name, "has no value after it", f"write {name} and a value"))
        elif flag.path is None:
            passed_over.append(name)
        else:
            text = " ".join((name, *values))
            try:
                value = _flag_value(flag, values)
            except ValueError as error:
                faults.append(Fault(text, *str(error).split("; ")))
                continue
            if name in _ASKED:
                asked[name.removeprefix("--")] = value
            else:
                given.append(given_at(text, flag.path, value, folder))
    return Flags(
        given=tuple(given),
        **asked,
        passed_over=tuple(dict.fromkeys(passed_over)),
        rest=tuple(rest),
        faults=tuple(faults),
    )


def given_at(text: str, path: str, value: Any, folder: Path) -> Given:
    """Return a value for a place of the dialect; a value that names a file or folder is relative to `folder`."""
    if path in _PATHS and isinstance(value, str):
        value = os.path.abspath(folder / Path(value).expanduser())
    return Given(text, path, value)


class _Flag(NamedTuple):
    path: str | None
    """Place of the value in the dialect; None if the flag has no meaning here."""
    kind: Literal["text", "int", "float", "switch", "ints", "none"]


FLAGS = {
    "--model_name": _Flag("network.model_name", "text"),
    "--backbone": _Flag("network.backbone", "text"),
    "--pretrained": _Flag("network.pretrained", "text"),
    "--loss_type": _Flag("loss.loss_type", "text"),
    "--base_lr": _Flag("lr.base_lr", "float"),
    "--nbb_mult": _Flag("lr.nbb_mult", "float"),
    "--lr_policy": _Flag("lr.lr_policy", "text"),
    "--is_warm": _Flag("lr.is_warm", "switch"),
    "--optim_method": _Flag("optim.optim_method", "text"),
    "--group_method": _Flag("optim.group_method", "text"),
    "--max_iters": _Flag("solver.max_iters", "int"),
    "--test_interval": _Flag("solver.test_interval", "int"),
    "--train_batch_size": _Flag("train.batch_size", "int"),
    "--val_batch_size": _Flag("val.batch_size", "int"),
    "--data_dir": _Flag("data.data_dir", "text"),
    "--workers": _Flag("data.workers", "int"),
    "--seed": _Flag("seed", "int"),
    "--phase": _Flag("phase", "text"),
    "--resume": _Flag("network.resume", "text"),
    "--resume_continue": _Flag("network.resume_continue", "switch"),
    **{
        f"--{name}": _Flag(f"data.{name}", "switch")
        for name in ("include_val", "include_coarse", "only_coarse", "only_mapillary", "include_atr", "include_cihp")
    },
    **{name: _Flag(None, "ints") for name in ("--gpu", "--multi_grid")},
    **{name: _Flag(None, "none") for name in ("--distributed", "--use_ground_truth")},
    **{
        f"--{name}": _Flag(None, "switch")
        for name in (
            *("drop_last", "gathered", "loss_balance", "only_small", "resume_strict", "finetune"),
            *("resume_eval_train", "resume_eval_val", "rewrite", "log_to_file", "save_prob", "cudnn"),
        )
    },
    **{
        f"--{name}": _Flag(None, "text")
        for name in (
            *("configs", "checkpoints_root", "checkpoints_name", "save_iters", "save_epoch", "bn_type"),
            *("max_epoch", "display_iter", "logfile_level", "stdout_level", "log_file", "test_img"),
            *("test_dir", "out_dir", "local_rank"),
        )
    },
}
_ASKED = ("--phase", "--resume", "--resume_continue")
"""Flags that choose the task and set no value."""
_INSTEAD = {
    "--phase": "give it to raysearch train, with --resume, or use raysearch evaluate",
    "--resume": "give raysearch evaluate or predict the checkpoint as --checkpoint",
    "--resume_continue": "give raysearch train the same --out: it continues where it was interrupted",
}
"""Command of raysearch that replaces each of these flags."""
_PATHS = ("data.data_dir", "network.pretrained")
_YES, _NO = ("yes", "true", "t", "y", "1"), ("no", "false", "f", "n", "0")


def _values_of(flag: _Flag, left: list[str]) -> list[str]:
    """Remove the values of a flag from the words that follow it, and return them."""
    values: list[str] = []
    match flag.kind:
        case "none":
            pass
        case "switch":
            if left and left[0].lower() in _YES + _NO:
                values.append(left.pop(0))
        case "ints":
            while left and left[0].isdecimal():
                values.append(left.pop(0))
        case _:
            if left and not left[0].startswith("--"):
                values.append(left.pop(0))
    return values


def _flag_value(flag: _Flag, values: Sequence[str]) -> Any:
    value = values[0] if values else ""
    match flag.kind:
        case "int" | "float":
            try:
                return int(value) if flag.kind == "int" else float(value)
            except ValueError:
                raise ValueError(f"{value} is not a {'whole ' if flag.kind == 'int' else ''}number; give one") from None
        case "switch":
            if value.lower() not in ("", *_YES, *_NO):
                raise ValueError(f"{value} is neither yes nor no; give y or n")
            return value.lower() in ("", *_YES)
        case _:
            return value
