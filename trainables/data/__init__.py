"""Images and labels: where they are, and how they are read, cached, augmented and batched."""

from trainables.data.augmentation import Augmentation
from trainables.data.batches import (
    EvaluationSample,
    ImageSample,
    TrainBatch,
    TrainBatches,
    evaluation_samples,
    image_samples,
    normalise,
)
from trainables.data.decoded import DecodedSplit, class_pixel_counts, open_split
from trainables.data.drawn import draw_split
from trainables.data.folder import Pair, find_pairs
from trainables.data.labels import label_table, raw_values
from trainables.data.subset import nested_images, stratified_images, training_pixel_counts

__all__ = [
    "Augmentation",
    "DecodedSplit",
    "EvaluationSample",
    "ImageSample",
    "Pair",
    "TrainBatch",
    "TrainBatches",
    "class_pixel_counts",
    "draw_split",
    "evaluation_samples",
    "find_pairs",
    "image_samples",
    "label_table",
    "nested_images",
    "normalise",
    "open_split",
    "raw_values",
    "stratified_images",
    "training_pixel_counts",
]
