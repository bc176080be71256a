"""The iterations that trials have in common, trained once and kept in a folder.

Two trainings are one and the same for as long as they differ only in values that do not matter yet: before
`contrast.warmup_iters` the contrast is not computed, and in the first `train.shared_iters` iterations all searched
values that can change on the way are those of the search's base config. After the stage trees of Hippo (Shin et al.,
arXiv 2006.11972): what matters is hashed, and a hash names a chain of checkpoints. A training takes up the furthest
one that lies within what it shares, and trains and leaves behind what is missing.
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.config import Config
from trainables.dotted_paths import assign, lookup

if TYPE_CHECKING:
    from trainables.trainer import Trainer

_CHANGES_NO_WEIGHT = (
    "data.class_names",
    "data.drawn.num_val",
    "data.workers",
    "evaluation",
    "train.report_iters",
    "train.shared_iters",
    "train.shared_values",
)
"""Sections and values that no iteration depends on."""

_OWNER_FILE = "owner.txt"


def num_shared_iters(config: Config) -> int:
    """How many of the first iterations of a training other configs may have in common with it."""
    if config.train.shared_iters > 0:
        return config.train.shared_iters
    if config.contrast.loss_weight > 0.0:
        return min(config.contrast.warmup_iters, config.train.max_iters - 1)
    return 0


def shared_fields(config: Config) -> dict[str, Any]:
    """The nested values that the shared iterations of a config depend on; equal ones train to the same bits."""
    beginning = config.beginning()
    fields = beginning.model_dump(mode="json")
    left_out = [*_CHANGES_NO_WEIGHT, *beginning.unused()]
    if num_shared_iters(config) <= beginning.contrast.warmup_iters:
        left_out += ["contrast", "loss.combination"]
        # All that is there of the contrast is the projection head, which waits.
        assign(fields, "projection", beginning.contrast.head_dim)
    for path in left_out:
        section, _, name = path.rpartition(".")
        (lookup(fields, section, {}) if section else fields).pop(name, None)
    return fields


def shared_key(config: Config) -> str:
    """SHA-256 of the shared fields, in hexadecimal."""
    return hashlib.sha256(json.dumps(shared_fields(config), sort_keys=True).encode()).hexdigest()


def take_up_beginning(trainer: "Trainer", folder: Path, owner: str) -> int:
    """Bring a new training to the end of its shared iterations; train them where no other one has.

    Safe to be called by many processes at once: who comes while another trains the same iterations waits for it. After
    a kill the chain goes on from its last checkpoint.

    Args:
        trainer: At iteration 0.
        folder: Where the chains lie; made where it is not there.
        owner: Names who trains; who takes up its own checkpoint again has saved nothing.

    Returns:
        The number of iterations that another one had trained.

    Raises:
        FloatingPointError: the loss of a shared iteration is not a finite number.
    """
    num_iters = num_shared_iters(trainer.config)
    if num_iters == 0:
        return 0
    chain = folder / shared_key(trainer.config)
    chain.mkdir(parents=True, exist_ok=True)
    with _locked(chain / "lock"):
        there = [iteration for iteration in _checkpoints(chain) if iteration <= num_iters]
        num_saved = 0
        if there:
            checkpoint = chain / str(max(there))
            trainer.load(checkpoint)
            if (checkpoint / _OWNER_FILE).read_text(encoding="utf-8") != owner:
                num_saved = trainer.iteration
        while trainer.iteration < num_iters:
            unfinished = trainer.iteration
            trainer.train_to(min(unfinished + trainer.config.train.report_iters, num_iters))
            _keep(trainer, chain, owner)
            if unfinished not in there and unfinished > 0:
                shutil.rmtree(chain / str(unfinished))
    return num_saved


def _checkpoints(chain: Path) -> list[int]:
    return [int(path.name) for path in chain.iterdir() if path.name.isdecimal()]


def _keep(trainer: "Trainer", chain: Path, owner: str) -> None:
    part = chain / ".part"
    shutil.rmtree(part, ignore_errors=True)
    trainer.save(part)
    (part / _OWNER_FILE).write_text(owner, encoding="utf-8")
    part.rename(chain / str(trainer.iteration))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, however it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
