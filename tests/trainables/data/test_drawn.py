import numpy as np
import pytest

from trainables.config import DrawnConfig
from trainables.data.drawn import draw_split


def test_shapes_values_and_counts() -> None:
    config = DrawnConfig(num_train=30, num_val=2, size=(40, 56))
    images, labels = draw_split(config, "train")
    assert len(images) == len(labels) == 30
    assert {(image.shape, image.dtype.name) for image in images} == {((40, 56, 3), "uint8")}
    assert {(label.shape, label.dtype.name) for label in labels} == {((40, 56), "uint8")}
    assert set(np.unique(np.stack(labels)).tolist()) == {0, 74, 128, 145, 255}
    assert len(draw_split(config, "val")[0]) == len(draw_split(config, "test")[0]) == 2


@pytest.mark.parametrize("seed", [0, 1])
def test_classes_are_strongly_imbalanced(seed: int) -> None:
    _, labels = draw_split(DrawnConfig(seed=seed), "train")
    counts = np.bincount(np.stack(labels).ravel(), minlength=256)
    ground, striped, dotted, cross = counts[[0, 74, 128, 145]]
    assert ground > striped > dotted > cross
    assert ground / cross >= 40
    assert counts[255] < 0.03 * counts.sum()


def test_val_holds_every_class_in_several_images() -> None:
    _, labels = draw_split(DrawnConfig(), "val")
    for value in (0, 74, 128, 145):
        assert sum(value in label for label in labels) >= 10


def test_a_pair_depends_on_seed_split_and_index_alone() -> None:
    few, few_labels = draw_split(DrawnConfig(num_train=3), "train")
    many, many_labels = draw_split(DrawnConfig(num_train=6, num_val=1), "train")
    for i in range(3):
        np.testing.assert_array_equal(few[i], many[i])
        np.testing.assert_array_equal(few_labels[i], many_labels[i])
    others = [*many[1:], draw_split(DrawnConfig(num_train=1, seed=1), "train")[0][0]]
    others += [draw_split(DrawnConfig(num_val=1), split)[0][0] for split in ("val", "test")]
    assert not any(np.array_equal(few[0], other) for other in others)


def test_the_drawing_leaves_the_global_generator_alone() -> None:
    np.random.seed(3)
    before = np.random.get_state(legacy=False)
    draw_split(DrawnConfig(num_train=2), "train")
    np.testing.assert_equal(np.random.get_state(legacy=False), before)


def colour_counts(split: str) -> np.ndarray:
    """Return the pixels of every class and coarse colour, (4, 512)."""
    images, labels = draw_split(DrawnConfig(), split)
    bins, values = np.stack(images).astype(np.int64) // 32 @ [1, 8, 64], np.stack(labels)
    return np.stack([np.bincount(bins[values == value], minlength=512) for value in (0, 74, 128, 145)])


@pytest.mark.parametrize("balanced", [0.0, 0.5, 1.0])
def test_colour_alone_does_not_tell_the_classes_apart(balanced: float) -> None:
    train, val = colour_counts("train"), colour_counts("val")
    # Predict the best class of every colour, with weights from proportional to pixels to equal for all classes.
    prediction = (train / train.sum(axis=1, keepdims=True) ** balanced).argmax(axis=0)
    hits = np.stack([val[:, prediction == k].sum(axis=1) for k in range(4)], axis=1)
    iou = hits.diagonal() / (hits.sum(axis=0) + hits.sum(axis=1) - hits.diagonal())
    assert iou.mean() < 0.35


@pytest.mark.parametrize("size", [(1, 1), (8, 300), (256, 256)])
def test_any_size(size: tuple[int, int]) -> None:
    images, labels = draw_split(DrawnConfig(num_train=1, size=size), "train")
    assert images[0].shape == (*size, 3)
    assert labels[0].shape == size
