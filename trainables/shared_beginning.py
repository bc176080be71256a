"""The first iterations that trials have in common, trained once and kept in a folder.

Two trainings are identical as long as they differ only in values that have no effect yet. Before
`contrast.warmup_iters` the contrast loss is not computed. In the first `train.shared_iters` iterations, all searched
values that can change during a training are those of the search's base config. The method follows the stage trees of
Hippo (Shin et al., arXiv 2006.11972): the values that matter are hashed, and each hash names a chain of checkpoints. A
training takes up the last checkpoint that lies within its shared iterations, and trains and stores the missing ones.
"""

import hashlib
import json
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.atomic_files import replaced_folder
from trainables.checksums import damage, write_checksums
from trainables.config import Config
from trainables.dotted_paths import assign, lookup
from trainables.file_locks import locked

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
    """Return the number of first iterations that a training may have in common with other configs."""
    if config.train.shared_iters > 0:
        return config.train.shared_iters
    if config.contrast.loss_weight > 0.0:
        return min(config.contrast.warmup_iters, config.train.max_iters - 1)
    return 0


def shared_fields(config: Config) -> dict[str, Any]:
    """Return the nested values that the shared iterations of a config depend on.

    Configs with equal values train to the same bits.
    """
    beginning = config.beginning()
    fields = beginning.model_dump(mode="json")
    left_out = [*_CHANGES_NO_WEIGHT, *beginning.unused()]
    if num_shared_iters(config) <= beginning.contrast.warmup_iters:
        left_out += ["contrast", "loss.combination"]
        # Only the projection head exists of the contrast; it is not trained yet.
        assign(fields, "projection", beginning.contrast.head_dim)
    for path in left_out:
        section, _, name = path.rpartition(".")
        (lookup(fields, section, {}) if section else fields).pop(name, None)
    return fields


def shared_key(config: Config) -> str:
    """Return the SHA-256 of the shared fields, in hexadecimal."""
    return hashlib.sha256(json.dumps(shared_fields(config), sort_keys=True).encode()).hexdigest()


def take_up_beginning(trainer: "Trainer", folder: Path, owner: str) -> int:
    """Bring a new training to the end of its shared iterations, and train those that no other training has.

    Many processes may call this at once: a process waits while another one trains the same iterations. After a kill,
    the chain continues from its last checkpoint.

    Args:
        trainer: A trainer at iteration 0.
        folder: Folder of the chains; created if it does not exist.
        owner: The name of the training. A training that takes up its own checkpoint again has saved nothing.

    Returns:
        The number of iterations that another training had trained.

    Raises:
        FloatingPointError: the loss of a shared iteration is not finite.
    """
    num_iters = num_shared_iters(trainer.config)
    if num_iters == 0:
        return 0
    chain = folder / shared_key(trainer.config)
    chain.mkdir(parents=True, exist_ok=True)
    with locked(chain / "lock"):
        there = [iteration for iteration in _checkpoints(chain) if iteration <= num_iters]
        for iteration in list(there):
            if (what := damage(chain / str(iteration))) is not None:
                warnings.warn(f"{chain / str(iteration)} {what}; its iterations are trained again", stacklevel=2)
                there.remove(iteration)
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
    with replaced_folder(chain / str(trainer.iteration)) as part:
        trainer.save(part)
        (part / _OWNER_FILE).write_text(owner, encoding="utf-8")
        write_checksums(part)
