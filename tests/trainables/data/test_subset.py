import itertools

import numpy as np
import pytest

from trainables.config import DataConfig, DrawnConfig
from trainables.data import open_split, stratified_images
from trainables.data.decoded import DecodedSplit
from trainables.data.labels import class_histograms
from trainables.data.subset import (
    difference_noise,
    nested_choice,
    nested_images,
    stratified_choice,
    subset_notices,
    training_notices,
)


def drawn(num_val: int = 40) -> tuple[DecodedSplit, DataConfig]:
    config = DataConfig(drawn=DrawnConfig(num_train=2, num_val=num_val, size=(24, 32)))
    return open_split(config, "val"), config


class Labels:
    """A split with labels only: pixels (N, K) of every class, where the raw values are the classes."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.histograms = np.zeros((len(pixels), 256), np.int64)
        self.histograms[:, : pixels.shape[1]] = pixels

    def __len__(self) -> int:
        return len(self.histograms)


def chosen_of(pixels: np.ndarray, num_images: int) -> list[int]:
    config = DataConfig(label_class_ids=tuple(range(pixels.shape[1])))
    return stratified_images(Labels(pixels), config, num_images)  # type: ignore[arg-type]


@pytest.mark.parametrize("num_images", [None, 40, 41])
def test_all_images_where_no_fewer_are_asked_for(num_images: int | None) -> None:
    assert stratified_images(*drawn(), num_images) == list(range(40))


def test_as_many_as_asked_for_each_once_in_order_and_always_the_same() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        num_images, num_classes = int(rng.integers(2, 60)), int(rng.integers(2, 20))
        pixels = rng.integers(1, 100, (num_images, num_classes)) * (
            rng.random((num_images, num_classes)) < rng.random(num_classes) ** 3
        )
        wanted = int(rng.integers(1, num_images))
        found = chosen_of(pixels, wanted)
        assert len(found) == wanted
        assert found == sorted(set(found))
        assert found == chosen_of(pixels, wanted)


def test_a_rare_class_is_in_it() -> None:
    pixels = np.tile([100, 0, 0], (50, 1))
    pixels[17, 1] = 5
    pixels[[3, 40], 2] = 5
    for num_images in (4, 10):
        found = pixels[chosen_of(pixels, num_images)]
        assert (found[:, 2] > 0).any(), "two images have it: one is chosen"
        assert (pixels[chosen_of(pixels, 49)][:, 1] > 0).any()


def test_classes_have_their_share_of_images_and_of_pixels() -> None:
    rng = np.random.default_rng(2)
    errors: dict[str, list[float]] = {"stratified": [], "random": []}
    for _ in range(20):
        pixels = rng.lognormal(3, 1.2, (100, 6)).astype(int) * (rng.random((100, 6)) < [1, 0.9, 0.6, 0.4, 0.2, 0.1])
        choices = {"stratified": chosen_of(pixels, 25), "random": rng.permutation(100)[:25].tolist()}
        for name, chosen in choices.items():
            images = (pixels[chosen] > 0).sum(axis=0) - (pixels > 0).sum(axis=0) / 4
            much = pixels >= [np.median(column[column > 0]) for column in pixels.T]
            errors[name].append(np.abs(images).mean() + np.abs(much[chosen].sum(axis=0) - much.sum(axis=0) / 4).mean())
    assert np.mean(errors["stratified"]) < 0.5 * np.mean(errors["random"])


def test_of_a_real_split() -> None:
    split, config = drawn()
    pixels = class_histograms(split.histograms, config)
    assert (pixels[stratified_images(split, config, 8)] > 0).any(axis=0).all()


def test_a_class_that_the_choice_lacks_is_noticed() -> None:
    pixels = np.tile([100, 100, 0], (20, 1))
    pixels[7] = [100, 0, 100]
    config = DataConfig(label_class_ids=(0, 1, 2), class_names=("road", "sky", "bicyclist"))
    split = Labels(pixels)
    found = subset_notices(split, config, 1)  # type: ignore[arg-type]
    (lost,) = {"sky", "bicyclist"} - {"sky" if pixels[i, 1] else "bicyclist" for i in chosen_of(pixels, 1)}
    count = {"sky": 19, "bicyclist": 1}[lost]
    line = (
        f"evaluation.num_images = 1: {lost} is in none of the images that are used for scores, but in {count} of all 20"
    )
    assert line in found
    assert subset_notices(split, config, None) == subset_notices(split, config, 20) == []  # type: ignore[arg-type]
    more = ["evaluation.num_images = 21: val has only 20 images; all of them are scored"]
    assert subset_notices(split, config, 21) == more  # type: ignore[arg-type]


def test_the_noise_is_that_of_so_many_images_of_equal_weight() -> None:
    # Four classes with equal pixels in nine images: 0.06 / sqrt(4 * 9).
    assert difference_noise(np.full((9, 4), 50)) == pytest.approx(0.01)
    # One class with 3, 1 and 0 pixels: (3 + 1)^2 / (9 + 1) = 1.6 images.
    assert difference_noise(np.array([[3, 0], [1, 0], [0, 0]])) == pytest.approx(0.06 / 1.6**0.5)


def test_a_choice_too_small_to_tell_configs_apart_is_noticed() -> None:
    pixels = np.full((50, 4), 100)
    config = DataConfig(label_class_ids=(0, 1, 2, 3))
    line = (
        "evaluation.num_images = 4: the selection of images alone changes the difference of two scores by about 0.015 "
        "mIoU, more than the 0.01 on which rungs decide; 9 images would be enough"
    )
    assert subset_notices(Labels(pixels), config, 4) == [line]  # type: ignore[arg-type]
    assert subset_notices(Labels(pixels), config, 10) == []  # type: ignore[arg-type]


def presence_error(pixels: np.ndarray, chosen: list[int]) -> float:
    """Return the mean difference, over the classes, between the chosen images of a class and its share of them."""
    share = len(chosen) / len(pixels)
    return float(np.abs((pixels[chosen] > 0).sum(axis=0) - share * (pixels > 0).sum(axis=0)).mean())


def test_a_smaller_part_lies_within_every_larger_one() -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(1, 100, (53, 6)) * (rng.random((53, 6)) < [1, 0.9, 0.6, 0.4, 0.2, 0.1])
    parts = [nested_choice(pixels, num_images) for num_images in range(1, 54)]
    assert [len(part) for part in parts] == list(range(1, 54))
    assert all(part == sorted(set(part)) for part in parts)
    assert all(set(smaller) < set(larger) for smaller, larger in itertools.pairwise(parts))
    assert parts == [nested_choice(pixels, num_images) for num_images in range(1, 54)]
    plain = [set(stratified_choice(pixels, num_images)) for num_images in (13, 26)]
    assert not plain[0] <= plain[1], "which a single stratified choice does not give"


def test_a_nested_part_is_stratified() -> None:
    rng = np.random.default_rng(2)
    errors: dict[str, list[float]] = {"nested": [], "random": []}
    for _ in range(20):
        pixels = rng.lognormal(3, 1.2, (100, 6)).astype(int) * (rng.random((100, 6)) < [1, 0.9, 0.6, 0.4, 0.2, 0.1])
        for num_images in (10, 30, 60):
            errors["nested"].append(presence_error(pixels, nested_choice(pixels, num_images)))
            errors["random"].append(presence_error(pixels, rng.permutation(100)[:num_images].tolist()))
    assert np.mean(errors["nested"]) < 0.7 * np.mean(errors["random"])


def test_a_part_of_a_real_split_has_every_class() -> None:
    split, config = drawn()
    pixels = class_histograms(split.histograms, config)
    assert (pixels[nested_images(split, config, 8)] > 0).any(axis=0).all()
    for num_images in (None, 40, 41):
        assert nested_images(split, config, num_images) == list(range(40))


def test_a_class_that_is_not_trained_on_is_noticed() -> None:
    pixels = np.tile([100, 100, 0], (20, 1))
    pixels[7] = [100, 0, 100]

    def notices_of(num_images: int | None) -> list[str]:
        config = DataConfig(label_class_ids=(0, 1, 2), class_names=("road", "sky", "bicyclist"), num_images=num_images)
        return training_notices(Labels(pixels), config)  # type: ignore[arg-type]

    lost, count = ("bicyclist", 1) if pixels[nested_choice(pixels, 1)][0, 1] else ("sky", 19)
    line = f"data.num_images = 1: {lost} is in none of the images that are used for training, but in {count} of all 20"
    assert notices_of(1) == [line]
    assert notices_of(21) == ["data.num_images = 21: train has only 20 images; training uses all of them"]
    assert notices_of(20) == notices_of(None) == []
