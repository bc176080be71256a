import numpy as np
import pytest

from trainables.config import AugmentationConfig
from trainables.data.augmentation import MEAN_COLOUR, Augmentation
from trainables.data.batches import normalise

Pixels = np.ndarray


def augmentation(**values: object) -> Augmentation:
    """Return an augmentation that only makes the given changes."""
    plain = {"scale": (1.0, 1.0), "aspect": (1.0, 1.0), "flip": 0.0, "brightness": 0.0}
    return Augmentation(AugmentationConfig.model_validate(plain | values))


def places(height: int, width: int) -> tuple[Pixels, Pixels]:
    """Return an image whose colours encode row and column, and a label that encodes them more coarsely."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, np.full_like(rows, 7)], axis=-1).astype(np.uint8)
    return image, (rows // 20 * 16 + columns // 20).astype(np.uint8)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_plain_crop_is_cut_out_exactly() -> None:
    image, label = places(60, 80)
    crop = augmentation(crop_size=(20, 30))
    corners = set()
    for seed in range(40):
        pixels, ids = crop(image, label, rng(seed))
        top, left = (int(value) for value in pixels[0, 0, :2])
        corners.add((top, left))
        np.testing.assert_array_equal(pixels, image[top : top + 20, left : left + 30])
        np.testing.assert_array_equal(ids, label[top : top + 20, left : left + 30])
    assert len(corners) > 30
    assert min(top for top, _ in corners) < 8 < 32 < max(top for top, _ in corners) <= 40
    assert min(left for _, left in corners) < 8 < 42 < max(left for _, left in corners) <= 50


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_label_and_image_stay_aligned(flip: float) -> None:
    image, label = places(200, 240)
    crop = augmentation(crop_size=(96, 96), scale=(0.5, 2.0), aspect=(0.9, 1.1), flip=flip)
    for seed in range(50):
        pixels, ids = crop(image, label, rng(seed))
        inside = ids != 255
        # The label gives the range of rows and columns of the pixel; half a pixel of rounding is allowed.
        for channel, cell in ((0, ids // 16), (1, ids % 16)):
            position = pixels[..., channel].astype(float)
            assert (position[inside] >= 20.0 * cell[inside] - 1.5).all()
            assert (position[inside] <= 20.0 * cell[inside] + 20.5).all()
        assert inside.mean() > 0.5


def test_flip_mirrors_image_and_label() -> None:
    image, label = places(20, 30)
    pixels, ids = augmentation(crop_size=(20, 30), flip=1.0)(image, label, rng(0))
    np.testing.assert_array_equal(pixels, image[:, ::-1])
    np.testing.assert_array_equal(ids, label[:, ::-1])


def test_padding_is_mean_and_ignore_whatever_the_brightness() -> None:
    image, label = places(20, 30)
    image[..., 2] = 0  # no pixel has the colour of the mean
    crop = augmentation(crop_size=(64, 48), brightness=100.0, flip=0.5)
    seen = set()
    for seed in range(40):
        pixels, ids = crop(image, label, rng(seed))
        assert pixels.shape == (64, 48, 3)
        padding = ids == 255
        assert (pixels[padding] == MEAN_COLOUR).all()
        assert (~padding).sum() == 20 * 30
        rows, columns = np.nonzero(~padding)
        seen.add((int(rows.min()), int(columns.min())))
        assert rows.max() - rows.min() == 19
        assert columns.max() - columns.min() == 29
    assert len(seen) > 25  # the image can lie anywhere in the crop


def quarter(height: int, width: int) -> tuple[Pixels, Pixels]:
    """Return a pair in which class 1 fills the lower right quarter."""
    label = np.zeros((height, width), np.uint8)
    label[height // 2 :, width // 2 :] = 1
    return np.where(label[..., None] == 1, np.uint8(200), np.full((1, 1, 3), 100, np.uint8)), label


@pytest.mark.parametrize("size", [(128, 160), (24, 30), (48, 64)])
def test_scaling_shows_the_whole_image_whatever_its_aspect(size: tuple[int, int]) -> None:
    whole = augmentation(crop_size=(48, 64), fit="scale", scale=(0.5, 2.0), aspect=(0.5, 2.0))
    for seed in range(5):
        pixels, ids = whole(*quarter(*size), rng(seed))
        np.testing.assert_array_equal(ids, quarter(48, 64)[1])
        assert pixels.shape == (48, 64, 3)
        assert (pixels[:20, :28] == 100).all()
        assert (pixels[28:, 36:] == 200).all()


@pytest.mark.parametrize(("size", "scaled"), [((128, 160), (48, 60)), ((20, 80), (16, 64)), ((24, 30), (48, 60))])
def test_scaling_and_padding_keeps_the_aspect(size: tuple[int, int], scaled: tuple[int, int]) -> None:
    whole = augmentation(crop_size=(48, 64), fit="scale_and_pad", padding="right_down", scale=(0.5, 2.0))
    pixels, ids = whole(*quarter(*size), rng(0))
    height, width = scaled
    np.testing.assert_array_equal(ids[:height, :width], quarter(height, width)[1])
    assert (ids[height:] == 255).all()
    assert (ids[:, width:] == 255).all()
    assert (pixels[ids == 255] == MEAN_COLOUR).all()


@pytest.mark.parametrize("fit", ["crop", "scale_and_pad"])
@pytest.mark.parametrize(
    ("padding", "corners"),
    [
        ("center", {(0, 17)}),
        ("right_down", {(0, 0)}),
        ("left_up", {(0, 34)}),
        ("border", {(0, 0), (0, 34)}),
        ("random", {(0, left) for left in range(35)}),
    ],
)
def test_where_padding_goes(fit: str, padding: str, corners: set[tuple[int, int]]) -> None:
    crop = augmentation(crop_size=(20, 64), fit=fit, padding=padding)
    seen = set()
    for seed in range(300):
        inside = np.argwhere(crop(*places(20, 30), rng(seed))[1] != 255)
        seen.add(tuple(int(start) for start in inside.min(axis=0)))
    assert seen == corners


def test_the_mean_colour_is_near_zero_once_normalised() -> None:
    pixel = np.array([[MEAN_COLOUR]], np.uint8)
    assert normalise(pixel, "RGB").abs().max() < 0.01


def test_label_values_survive_every_scale() -> None:
    label = rng(0).choice([0, 74, 145], (90, 90)).astype(np.uint8)
    crop = augmentation(crop_size=(64, 64), scale=(0.3, 3.0))
    for seed in range(30):
        assert set(np.unique(crop(np.zeros((90, 90, 3), np.uint8), label, rng(seed))[1])) <= {0, 74, 145, 255}


def scales_of(crop: Augmentation, seeds: int) -> Pixels:
    """Return the drawn scales of height and width, measured by the distance of neighbouring pixels in the crop."""
    image = np.zeros((1000, 1000, 3), np.uint8)
    rows, columns = np.mgrid[:1000, :1000]
    image[..., 0], image[..., 1] = rows // 4, columns // 4
    found = []
    for seed in range(seeds):
        pixels, _ = crop(image, np.zeros((1000, 1000), np.uint8), rng(seed))
        spans = 4.0 * (pixels[-1, -1, :2].astype(float) - pixels[0, 0, :2])
        found.append(199.0 / spans)
    return np.array(found)


def test_scale_is_uniform_and_width_follows_the_aspect() -> None:
    scales = scales_of(augmentation(crop_size=(200, 200), scale=(0.5, 2.0), aspect=(0.9, 1.1)), 300)
    height, ratio = scales[:, 0], scales[:, 1] / scales[:, 0]
    assert 0.48 < height.min() < 0.55
    assert 1.9 < height.max() < 2.15
    assert abs(height.mean() - 1.25) < 0.08
    assert abs((height < 1.25).mean() - 0.5) < 0.09
    assert 0.85 < ratio.min() < 0.93
    assert 1.07 < ratio.max() < 1.16
    assert abs(ratio.mean() - 1.0) < 0.02


def test_flips_come_as_often_as_configured() -> None:
    image, label = places(8, 8)
    crop = augmentation(crop_size=(8, 8), flip=0.25)
    flipped = sum(crop(image, label, rng(seed))[0][0, 0, 1] == 7 for seed in range(400))
    assert 70 <= flipped <= 130


def test_brightness_is_a_shift_of_all_channels_within_its_range() -> None:
    image = np.full((8, 8, 3), 100, np.uint8)
    image[..., 1] = 150
    crop = augmentation(crop_size=(8, 8), brightness=10.0)
    shifts = []
    for seed in range(300):
        difference = crop(image, np.zeros((8, 8), np.uint8), rng(seed))[0].astype(int) - image
        assert np.ptp(difference) <= 1  # rounding
        shifts.append(difference.mean())
    assert min(shifts) < -8
    assert max(shifts) > 8
    assert np.abs(shifts).max() <= 10
    assert abs(np.mean(shifts)) < 1.2


def test_brightness_saturates() -> None:
    crop = augmentation(crop_size=(4, 4), brightness=255.0)
    for value in (0, 255):
        for seed in range(20):
            pixels = crop(np.full((4, 4, 3), value, np.uint8), np.zeros((4, 4), np.uint8), rng(seed))[0]
            assert np.ptp(pixels) == 0


def test_the_generator_alone_decides() -> None:
    image, label = places(60, 80)
    config = AugmentationConfig(crop_size=(32, 32))
    first, second = Augmentation(config), Augmentation(config)
    second(image, label, rng(9))  # earlier calls have no effect
    np.random.seed(1)
    a = first(image, label, rng(4))
    np.random.seed(2)
    b = second(image, label, rng(4))
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])
    assert not np.array_equal(a[0], first(image, label, rng(5))[0])


@pytest.mark.parametrize("size", [(1, 1), (3, 8000), (8000, 1), (256, 256)])
@pytest.mark.parametrize("crop_size", [(1, 1), (96, 64), (256, 256)])
def test_any_image_and_crop_size(size: tuple[int, int], crop_size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 50, np.uint8)
    image.setflags(write=False)
    label = np.full(size, 74, np.uint8)
    label.setflags(write=False)
    crop = Augmentation(AugmentationConfig(crop_size=crop_size))
    for seed in range(8):
        pixels, ids = crop(image, label, rng(seed))
        assert pixels.shape == (*crop_size, 3)
        assert ids.shape == crop_size
        assert pixels.dtype == ids.dtype == np.uint8
        assert 74 in ids
