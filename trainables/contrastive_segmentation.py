"""The trainer as a Ray Tune Trainable."""

from pathlib import Path
from typing import Any

from ray import tune

from trainables.config import Config
from trainables.data import preflight
from trainables.models import warm_model
from trainables.protocol import CONFIG_USED
from trainables.trainer import METRICS, Trainer


class ContrastiveSegmentation(tune.Trainable):
    """Trains a segmentation network with pixel contrast; a step runs to the next report."""

    Config = Config
    METRICS = METRICS

    @classmethod
    def preflight(cls, config: Config) -> list[str]:
        """Read the whole dataset once.

        Returns:
            Notices: imbalance, classes that a split lacks, label values that become ignore.

        Raises:
            InputError: every fault of the dataset.
        """
        return preflight.notices(preflight.inspect(config.data, config.data.augmentation.crop_size), config.data)

    def setup(self, config: dict[str, Any]) -> None:
        """Build the trainer; the network of an equal config before is reset and used again."""
        self._trainer = Trainer(Config.model_validate(config), build_network=warm_model)

    def step(self) -> dict[str, Any]:
        """Train to the next report."""
        report = self._trainer.run_to_report()
        return {**report, CONFIG_USED: self._trainer.config_used(), "done": self._trainer.done}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the trainer's state."""
        self._trainer.save(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Take up the state in a checkpoint's folder."""
        self._trainer.load(Path(checkpoint))
