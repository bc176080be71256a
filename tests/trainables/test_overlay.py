import numpy as np
import pytest

from trainables.overlay import class_colors, overlay


def as_seen_without_red_and_green(colors: np.ndarray) -> np.ndarray:
    """Return colours as seen with deuteranopia (Viénot, Brettel and Mollon 1999): red and green cones respond alike."""
    linear = (colors / 255.0) ** 2.2
    simulation = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])
    return np.clip(linear @ simulation.T, 0.0, 1.0) ** (1 / 2.2) * 255.0


def closest(colors: np.ndarray) -> float:
    distances = np.linalg.norm(colors[:, None] - colors[None], axis=-1)
    return float(distances[~np.eye(len(colors), dtype=bool)].min())


@pytest.mark.parametrize("num_classes", [2, 8, 9, 12, 19, 171, 255])
def test_every_class_has_a_colour_of_its_own_that_does_not_depend_on_the_number_of_classes(num_classes: int) -> None:
    colors = class_colors(num_classes)
    assert colors.shape == (num_classes, 3)
    assert colors.dtype == np.uint8
    assert len({tuple(color) for color in colors}) == num_classes
    np.testing.assert_array_equal(colors, class_colors(255)[:num_classes])


@pytest.mark.parametrize(("num_classes", "distance"), [(8, 50.0), (16, 25.0), (19, 20.0)])
def test_classes_are_told_apart_without_seeing_red_and_green(num_classes: int, distance: float) -> None:
    assert closest(as_seen_without_red_and_green(class_colors(num_classes).astype(float))) > distance


def test_that_distance_tells_colours_apart_that_only_red_and_green_differ_in() -> None:
    assert closest(as_seen_without_red_and_green(np.array([[180.0, 60, 60], [95, 105, 60]]))) < 20.0


def test_overlay_blends_image_and_colour() -> None:
    image = np.array([[[0, 100, 255], [10, 20, 30]]], np.uint8)
    colors = np.array([[255, 0, 255], [0, 0, 0]], np.uint8)
    blended = overlay(image, np.array([[0, 1]]), colors)
    assert blended.tolist() == [[[128, 50, 255], [5, 10, 15]]]
    assert blended.dtype == np.uint8
    assert overlay(image, np.array([[0, 1]]), colors, opacity=0.0).tolist() == image.tolist()
