"""The trainer as a Ray Tune trainable."""

import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ray import tune

from trainables.config import Config as TrialConfig
from trainables.config_used import config_used
from trainables.cost import measure_cost
from trainables.data.preflight import inspect, notices
from trainables.data_tables import describe_data
from trainables.models import build_model, warm_model
from trainables.onnx_file import check_libraries, write_onnx
from trainables.openseg.writer import openseg_file
from trainables.pictures import predict_pictures
from trainables.precision import with_fastest_precision
from trainables.preflight import check_batch, preflight
from trainables.protocol import (
    CONFIG_USED,
    ITERATIONS_SHARED,
    DataDescription,
    DialectFile,
    OnnxFile,
    PredictionPanel,
    Progress,
    Trained,
    TrialCost,
)
from trainables.scoring import load_network, score, scores_of
from trainables.shared_beginning import num_shared_iters, shared_key, take_up_beginning
from trainables.trainer import DRAWN_METRICS, METRICS, TRAINER_FILE, Trainer


class ContrastiveSegmentation(tune.Trainable):
    """Training of a segmentation network with pixel contrast. Each step trains to the next report."""

    Config = TrialConfig
    METRICS = METRICS
    DRAWN_METRICS = DRAWN_METRICS
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

    EVALUATED = frozenset({"miou", "pixel_accuracy"})
    DIALECT_NAME = "openseg"
    RESUME_FILES = frozenset({TRAINER_FILE})

    _holder: ClassVar[weakref.ref[Trainer] | None] = None
    """The last trainer that was given the warm network."""

    @classmethod
    def preflight(cls, config: TrialConfig) -> list[str]:
        """Read the whole dataset and build the network once.

        Returns:
            Notices, for example about class imbalance, classes that a split lacks, and label values that will be
            ignored.

        Raises:
            InputError: every fault of the dataset, of the class weights, of the backbone and its weights, and a batch
                too small for the network's batch norms.
        """
        return preflight(config)

    @classmethod
    def check_combination(cls, config: TrialConfig) -> None:
        """Check that the network's batch norms get enough values from the batch and the crop.

        Raises:
            InputError: they do not, or the backbone or its weights cannot be had.
        """
        check_batch(config)

    @classmethod
    def describe_data(cls, config: TrialConfig) -> DataDescription:
        """Return the numbers of images and classes, the sizes of the images, and the share of every class."""
        return describe_data(config)

    @classmethod
    def on_this_machine(cls, config: TrialConfig) -> TrialConfig:
        """Return a config with the faster precision in place of `auto`, which takes some seconds to measure.

        Raises:
            InputError: the backbone cannot be built, or the device does not exist.
        """
        return with_fastest_precision(config)

    @classmethod
    def measure_cost(cls, config: TrialConfig) -> TrialCost:
        """Train a config for a few iterations, discard the result, and return the measured cost."""
        return measure_cost(config)

    @classmethod
    def check_split(cls, config: TrialConfig, split: str) -> list[str]:
        """Read a split of the dataset.

        Returns:
            Notices, as `preflight` has them of the training and validation images.

        Raises:
            InputError: every fault of the split.
        """
        return notices(inspect(config.data, config.data.augmentation.crop_size, (split,)), config.data)

    @classmethod
    def evaluate(cls, config: TrialConfig, checkpoint: Path, split: str, progress: Progress) -> Mapping[str, Any]:
        """Score the network of a checkpoint on all images of a split.

        Returns:
            `miou`, `pixel_accuracy`, and in `iou` the score of each class.

        Raises:
            InputError: there is no checkpoint, it does not fit the config, or the dataset is wrong.
        """
        return scores_of(score(config, checkpoint, split, progress))

    @classmethod
    def predict_pictures(cls, winner: Trained, default: Trained | None, folder: Path) -> PredictionPanel:
        """Write the worst validation images of the winner with their labels and predictions, in colour.

        Raises:
            InputError: there is no checkpoint, it does not fit the config, or the dataset is wrong.
        """
        return predict_pictures(winner, default, folder)

    @classmethod
    def export_onnx(
        cls, config: TrialConfig, checkpoint: Path, path: Path, origin: Mapping[str, Any] | None
    ) -> OnnxFile:
        """Write the network of a checkpoint as an ONNX file, as `write_onnx` does.

        Raises:
            InputError: a library is missing, there is no checkpoint, or it does not fit the config.
            UnequalScoresError: the scores differ from the network's; the file is not written.
        """
        check_libraries()
        network, _ = load_network(config, checkpoint)
        return write_onnx(network.cpu(), config, path, origin)

    @classmethod
    def write_dialect(cls, config: TrialConfig) -> DialectFile:
        """Return a config as a file of openseg and ContrastiveSeg.

        Raises:
            InputError: a scheme of class weights needs the dataset, and that cannot be read.
        """
        return openseg_file(config)

    @classmethod
    def num_shared_iters(cls, config: TrialConfig) -> int:
        """Return the number of first iterations that a training may have in common with other configs."""
        return num_shared_iters(config)

    @classmethod
    def shared_key(cls, config: TrialConfig) -> str:
        """Return a hash that is equal for configs that train to the same bits in their shared iterations."""
        return shared_key(config)

    def setup(self, config: dict[str, Any]) -> None:
        """Build the trainer; reuse the last network if it is free and its config was equal."""
        cls = ContrastiveSegmentation
        is_free = cls._holder is None or cls._holder() is None
        validated = TrialConfig.model_validate(config)
        self._trainer = Trainer(validated, build_network=warm_model if is_free else build_model)
        if is_free:
            cls._holder = weakref.ref(self._trainer)
        self._iterations_shared = 0

    def share_beginning(self, folder: Path, owner: str) -> None:
        """Take up the iterations that other trials have already trained, or train them for the others."""
        self._iterations_shared = take_up_beginning(self._trainer, folder, owner)

    def tell_iterations(self, tell: Callable[[int], None]) -> None:
        """Call `tell` with the number of trained iterations after every iteration."""
        self._trainer.after_iteration = tell

    def step(self) -> dict[str, Any]:
        """Train to the next report."""
        report = self._trainer.run_to_report()
        report[ITERATIONS_SHARED], self._iterations_shared = self._iterations_shared, 0
        return {**report, CONFIG_USED: config_used(self._trainer), "done": self._trainer.done}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the trainer's state."""
        self._trainer.save(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load the state from a checkpoint folder."""
        self._trainer.load(Path(checkpoint))
