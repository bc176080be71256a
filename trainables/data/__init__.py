"""Images and labels: where they lie, how they are read, cached, augmented and batched."""

from trainables.data.augmentation import Augmentation
from trainables.data.batches import EvaluationSample, TrainBatch, TrainBatches, evaluation_samples, normalise
from trainables.data.decoded import DecodedSplit, class_pixel_counts, open_split
from trainables.data.drawn import draw_split
from trainables.data.folder import Pair, find_pairs
from trainables.data.labels import label_table

__all__ = [
    "Augmentation",
    "DecodedSplit",
    "EvaluationSample",
    "Pair",
    "TrainBatch",
    "TrainBatches",
    "class_pixel_counts",
    "draw_split",
    "evaluation_samples",
    "find_pairs",
    "label_table",
    "normalise",
    "open_split",
]
