"""The trainer as a Ray Tune Trainable."""

import weakref
from pathlib import Path
from typing import Any, ClassVar

from ray import tune

from trainables.config import Config as TrialConfig
from trainables.cost import measure_cost
from trainables.models import build_model, warm_model
from trainables.preflight import check_batch, preflight
from trainables.protocol import CONFIG_USED, ITERATIONS_SHARED, TrialCost
from trainables.shared_beginning import take_up_beginning
from trainables.trainer import METRICS, Trainer


class ContrastiveSegmentation(tune.Trainable):
    """Trains a segmentation network with pixel contrast; a step runs to the next report."""

    Config = TrialConfig
    METRICS = METRICS
    COMBINED = frozenset(
        {
            "data.augmentation.crop_size",
            "model.backbone",
            "model.head",
            "model.output_stride",
            "train.batch_size",
            "train.freeze_norm",
            "train.micro_batch_size",
        }
    )

    _holder: ClassVar[weakref.ref[Trainer] | None] = None
    """The last trainer that was given the warm network."""

    @classmethod
    def preflight(cls, config: TrialConfig) -> list[str]:
        """Read the whole dataset and build the network once.

        Returns:
            Notices: imbalance, classes that a split lacks, label values that become ignore.

        Raises:
            InputError: every fault of the dataset, and of the backbone and its weights.
        """
        return preflight(config)

    @classmethod
    def check_combination(cls, config: TrialConfig) -> None:
        """See that the batch norms of the network get enough values from the batch and the crop.

        Raises:
            InputError: they do not.
        """
        check_batch(config)

    @classmethod
    def measure_cost(cls, config: TrialConfig) -> TrialCost:
        """Train a config for a few iterations and throw them away."""
        return measure_cost(config)

    def setup(self, config: dict[str, Any]) -> None:
        """Build the trainer; the network of an equal config before is reset and used again once its trainer is gone."""
        cls = ContrastiveSegmentation
        is_free = cls._holder is None or cls._holder() is None
        validated = TrialConfig.model_validate(config)
        self._trainer = Trainer(validated, build_network=warm_model if is_free else build_model)
        if is_free:
            cls._holder = weakref.ref(self._trainer)
        self._iterations_shared = 0

    def share_beginning(self, folder: Path, owner: str) -> None:
        """Take up the iterations that other trials have trained already, or train them for the others."""
        self._iterations_shared = take_up_beginning(self._trainer, folder, owner)

    def step(self) -> dict[str, Any]:
        """Train to the next report."""
        report = self._trainer.run_to_report()
        report[ITERATIONS_SHARED], self._iterations_shared = self._iterations_shared, 0
        return {**report, CONFIG_USED: self._trainer.config_used(), "done": self._trainer.done}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the trainer's state."""
        self._trainer.save(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Take up the state in a checkpoint's folder."""
        self._trainer.load(Path(checkpoint))
