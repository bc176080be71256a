import math
import warnings

import numpy as np
import pytest
import torch

from trainables.metrics import ConfusionMatrix, ImageConfusion, bootstrap_miou


def reference_iou(prediction: np.ndarray, label: np.ndarray, num_classes: int, ignore_index: int) -> list[float]:
    """Return the IoU of every class by sets of pixel positions."""
    counted = {i for i, value in enumerate(label.ravel()) if value != ignore_index}
    iou = []
    for k in range(num_classes):
        predicted = {i for i in counted if prediction.ravel()[i] == k}
        labelled = {i for i in counted if label.ravel()[i] == k}
        union = predicted | labelled
        iou.append(len(predicted & labelled) / len(union) if union else math.nan)
    return iou


def test_hand_computed_case() -> None:
    confusion = ConfusionMatrix(3)
    confusion.update(np.array([[0, 0, 1], [1, 1, 1]]), np.array([[0, 1, 1], [0, 255, 0]]))
    # Class 0: 1 hit of {0, 1, 3, 5}. Class 1: 1 hit of {1, 2, 3, 5}. Class 2 does not occur. Rows are labels.
    np.testing.assert_array_equal(confusion.counts, [[1, 2, 0], [1, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(confusion.iou(), [1 / 4, 1 / 4, math.nan])
    assert confusion.miou() == 1 / 4
    assert confusion.pixel_accuracy() == 2 / 5


def test_class_that_is_labelled_but_never_hit_scores_zero_and_counts() -> None:
    confusion = ConfusionMatrix(3)
    confusion.update(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 1]))
    np.testing.assert_array_equal(confusion.iou(), [0.75, 0.0, math.nan])
    assert confusion.miou() == 0.375


def test_class_that_is_predicted_but_never_labelled_scores_zero_and_counts() -> None:
    confusion = ConfusionMatrix(2)
    confusion.update(torch.tensor([0, 1]), torch.tensor([0, 0]))
    np.testing.assert_array_equal(confusion.iou(), [0.5, 0.0])


@pytest.mark.parametrize("ignore_index", [255, 0, -1])
def test_agrees_with_the_reference_over_several_updates(ignore_index: int) -> None:
    generator = np.random.default_rng(0)
    prediction = generator.integers(0, 5, size=(3, 7, 11))
    label = generator.integers(0, 5, size=(3, 7, 11))
    label[generator.random(label.shape) < 0.2] = ignore_index
    confusion = ConfusionMatrix(6, ignore_index)
    for one_prediction, one_label in zip(prediction, label, strict=True):
        confusion.update(torch.from_numpy(one_prediction), one_label)
    np.testing.assert_allclose(confusion.iou(), reference_iou(prediction, label, 6, ignore_index), rtol=1e-15)
    assert confusion.counts.sum() == (label != ignore_index).sum()


def test_predictions_at_ignored_pixels_do_not_count() -> None:
    confusion = ConfusionMatrix(2)
    confusion.update(torch.tensor([0, 1, 255]), torch.tensor([0, 255, 255]))
    np.testing.assert_array_equal(confusion.counts, [[1, 0], [0, 0]])


def test_nothing_counted_gives_nan_without_a_warning() -> None:
    confusion = ConfusionMatrix(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        confusion.update(np.full((2, 2), 0), np.full((2, 2), 255))
        assert np.isnan(confusion.iou()).all()
        assert math.isnan(confusion.miou())
        assert math.isnan(confusion.pixel_accuracy())


def test_types() -> None:
    confusion = ConfusionMatrix(2)
    confusion.update(torch.tensor([0], dtype=torch.uint8), np.array([0], dtype=np.uint16))
    assert confusion.counts.dtype == np.int64
    assert confusion.iou().dtype == np.float64
    assert confusion.miou().dtype == np.float64


@pytest.mark.parametrize(
    ("prediction", "label", "message"),
    [
        ([0, 3], [0, 0], "prediction 3 is not a class.*\\[0, 3\\)"),
        ([0, -1], [0, 0], "prediction -1 is not a class"),
        ([0, 0], [0, 3], "label 3 is not a class.*or 255"),
        ([0, 0], [-1, 0], "label -1 is not a class"),
        ([0, 255], [0, 0], "prediction 255"),
        ([0, 0], [0, 0, 0], "must have the same shape"),
        ([0.0, 1.0], [0, 1], "integers"),
    ],
)
def test_wrong_values_are_named(prediction: list[float], label: list[int], message: str) -> None:
    confusion = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=message):
        confusion.update(torch.tensor(prediction), torch.tensor(label))
    assert not confusion.counts.any()


def test_what_is_counted_is_left_as_it_was() -> None:
    prediction, label = torch.tensor([1, 1, 0]), torch.tensor([1, 255, 1])
    ConfusionMatrix(2).update(prediction, label)
    assert (prediction.tolist(), label.tolist()) == ([1, 1, 0], [1, 255, 1])


def images_and_labels(num_images: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    label = generator.integers(0, 4, size=(num_images, 6, 8))
    wrong = generator.random(label.shape) < generator.random((num_images, 1, 1))
    prediction = np.where(wrong, generator.integers(0, 4, size=label.shape), label)
    label[generator.random(label.shape) < 0.1] = 255
    return prediction, label


def test_a_matrix_by_image_is_the_matrix_of_all() -> None:
    prediction, label = images_and_labels(10)
    whole, by_image = ConfusionMatrix(4), ImageConfusion(4)
    whole.update(prediction, label)
    by_image.update(prediction[:7], label[:7])
    by_image.update(prediction[7:], label[7:])
    np.testing.assert_array_equal(by_image.counts, whole.counts)


def test_an_image_that_is_wholly_wrong_is_drawn_as_any_other() -> None:
    hits, unions = np.array([[0], [4]]), np.array([[4], [4]])
    assert set(bootstrap_miou(hits, unions, 200)) == {0.0, 0.5, 1.0}


def test_draws_are_scores_of_images_drawn_with_replacement() -> None:
    prediction, label = images_and_labels(10)
    confusion = ImageConfusion(4)
    confusion.update(prediction, label)
    times = np.random.default_rng(0).multinomial(10, [0.1] * 10, 5)
    for draw, row in zip(confusion.miou_draws(5), times, strict=True):
        drawn = np.repeat(np.arange(10), row)
        again = ConfusionMatrix(4)
        again.update(prediction[drawn], label[drawn])
        assert draw == pytest.approx(again.miou(), abs=1e-15)


def test_a_class_that_a_draw_lacks_is_left_out_of_it() -> None:
    # Two images and two classes; the second class is only in the second image, where all is correct. A draw has 1, 1
    # and 2, or 2.
    hits, unions = np.array([[1, 0], [2, 1]]), np.array([[2, 0], [2, 1]])
    draws = bootstrap_miou(hits, unions, 200)
    assert set(np.round(draws, 6)) == {0.5, 0.875, 1.0}
    assert np.isnan(bootstrap_miou(np.zeros((2, 2), int), np.zeros((2, 2), int), 3)).all()


def test_images_without_a_labelled_pixel_have_no_part_in_a_draw() -> None:
    """Nine of ten images have none, so a third of all draws of ten images would contain nothing to score."""
    prediction, label = images_and_labels(12)
    labelled, whole = ImageConfusion(4), ImageConfusion(4)
    labelled.update(prediction[:2], label[:2])
    label[2:] = 255
    whole.update(prediction, label)
    draws = whole.miou_draws(100)
    np.testing.assert_array_equal(draws, labelled.miou_draws(100))
    assert np.isfinite(draws).all()
    assert draws.std(ddof=1) > 0


def test_their_deviation_is_the_noise_of_the_score_over_other_images() -> None:
    def score(seed: int) -> tuple[float, np.ndarray]:
        generator = np.random.default_rng(seed)
        hits = generator.binomial(100, generator.beta(4, 2, size=(60, 1)).repeat(3, axis=1))
        unions = np.full((60, 3), 100)
        return float((hits.sum(axis=0) / unions.sum(axis=0)).mean()), bootstrap_miou(hits, unions, 200)

    scores = [score(seed) for seed in range(200)]
    true = np.std([value for value, _ in scores], ddof=1)
    assert np.mean([draws.std(ddof=1) for _, draws in scores]) == pytest.approx(true, rel=0.15)
    again = score(3)[1]
    np.testing.assert_array_equal(again, scores[3][1])
