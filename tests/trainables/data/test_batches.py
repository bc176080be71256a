from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainables.data.conftest import save
from trainables.config import AugmentationConfig, DataConfig, DrawnConfig
from trainables.data import batches as data_batches
from trainables.data.batches import TrainBatches, evaluation_samples, normalise
from trainables.data.decoded import open_split

DRAWN = DrawnConfig(num_train=7, num_val=3, size=(24, 32))
CROP = AugmentationConfig(crop_size=(16, 20))


def drawn_config(**values: object) -> DataConfig:
    return DataConfig.model_validate({"drawn": DRAWN, "augmentation": CROP, **values})


def batches(
    config: DataConfig | None = None,
    *,
    batch_size: int = 4,
    seed: int = 0,
    start: int = 0,
    stop: int = 6,
    images: list[int] | None = None,
) -> list[tuple[Tensor, Tensor]]:
    config = config or drawn_config()
    split = open_split(config, "train")
    drawn = TrainBatches(
        split, config, batch_size=batch_size, seed=seed, images=images, start_iteration=start, max_iters=stop
    )
    return list(drawn)


def assert_equal(left: list[tuple[Tensor, Tensor]], right: list[tuple[Tensor, Tensor]]) -> None:
    assert len(left) == len(right)
    for (images, labels), (other_images, other_labels) in zip(left, right, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)


def test_shapes_types_and_ranges() -> None:
    for batch in batches():
        assert batch[0].shape == (4, 3, 16, 20)
        assert batch[0].dtype == torch.float32
        assert batch[0].abs().max() < 3.0
        assert batch[1].shape == (4, 16, 20)
        assert batch[1].dtype == torch.int64
        assert set(batch[1].unique().tolist()) <= {0, 1, 2, 3, 255}


@pytest.mark.parametrize("start", [1, 3, 6])
def test_starting_later_gives_the_tail_of_the_stream(start: int) -> None:
    assert_equal(batches(start=start), batches()[start:])


def test_worker_processes_change_nothing() -> None:
    assert_equal(batches(drawn_config(workers=2)), batches())


def test_iterating_twice_gives_the_same() -> None:
    config = drawn_config()
    stream = TrainBatches(open_split(config, "train"), config, batch_size=2, seed=0, start_iteration=0, max_iters=3)
    assert len(stream) == 3
    assert_equal(list(stream), list(stream))


def test_seeds_differ() -> None:
    assert not torch.equal(batches(seed=0)[0][0], batches(seed=1)[0][0])


@pytest.mark.parametrize("workers", [0, 2])
def test_the_global_generators_are_left_alone(workers: int) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    batches(drawn_config(workers=workers))
    assert torch.equal(torch.get_rng_state(), before)


def indices(
    folder: Path, *, batch_size: int, stop: int, num_images: int, seed: int = 0, images: list[int] | None = None
) -> list[int]:
    """Return the index of the image in every slot of the stream; image i is grey of level 10 i."""
    for part in ("image", "label"):
        (folder / "train" / part).mkdir(parents=True)
    for i in range(num_images):
        save(folder / "train" / "image" / f"{i}.png", np.full((4, 4, 3), 10 * i))
        save(folder / "train" / "label" / f"{i}.png", np.zeros((4, 4)))
    plain = AugmentationConfig(crop_size=(4, 4), scale=(1, 1), aspect=(1, 1), brightness=0.0)
    config = DataConfig(dir=str(folder), augmentation=plain)
    drawn = batches(config, batch_size=batch_size, stop=stop, seed=seed, images=images)
    stream = torch.cat([part for part, _ in drawn])
    return [round((float(image[0, 0, 0]) * 0.229 + 0.485) * 25.5) for image in stream]


def test_of_some_images_every_epoch_holds_these_once(tmp_path: Path) -> None:
    found = indices(tmp_path, batch_size=2, stop=6, num_images=7, images=[1, 4, 6])
    epochs = [found[start : start + 3] for start in range(0, 12, 3)]
    assert [sorted(epoch) for epoch in epochs] == [[1, 4, 6]] * 4
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_every_epoch_holds_every_image_once_in_another_order(tmp_path: Path) -> None:
    stream = indices(tmp_path / "a", batch_size=4, stop=7, num_images=7)
    epochs = [stream[i : i + 7] for i in range(0, 28, 7)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(7))] * 4
    assert len({tuple(epoch) for epoch in epochs}) == 4
    # The stream does not depend on the batch size.
    assert indices(tmp_path / "b", batch_size=7, stop=4, num_images=7) == stream


@pytest.mark.parametrize("num_images", [1, 3])
def test_datasets_smaller_than_a_batch(tmp_path: Path, num_images: int) -> None:
    stream = indices(tmp_path, batch_size=8, stop=3, num_images=num_images)
    assert [sorted(stream[i : i + num_images]) for i in range(0, 24, num_images)] == [list(range(num_images))] * (
        24 // num_images
    )


def test_slots_of_one_image_are_augmented_differently() -> None:
    images, _ = batches(drawn_config(drawn=DRAWN.model_copy(update={"num_train": 1})), batch_size=4, stop=1)[0]
    assert len({image.numpy().tobytes() for image in images}) == 4


def test_the_order_of_an_epoch_is_not_the_augmentation_of_a_slot() -> None:
    # NumPy treats [s, 1] and [s, 1, 0] as the same seed; streams that share a seed would be correlated.
    seeds = []
    original = np.random.default_rng

    def recorded(seed: list[int]) -> np.random.Generator:
        seeds.append(tuple(original(seed).bit_generator.state["state"].values()))
        return original(seed)

    config, split = drawn_config(), open_split(drawn_config(), "train")
    stream = TrainBatches(split, config, batch_size=4, seed=0, start_iteration=0, max_iters=7)
    data_batches._order.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np.random, "default_rng", recorded)
        list(stream)
    assert len(seeds) == 4 + 28
    assert len(set(seeds)) == len(seeds)


def test_normalise_against_numpy() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    rgb, bgr = normalise(image, "RGB"), normalise(image, "BGR")
    assert rgb.dtype == torch.float32
    assert rgb.is_contiguous()
    np.testing.assert_allclose(rgb.numpy(), ((image / 255 - mean) / std).transpose(2, 0, 1), atol=1e-5)
    # The original trainer feeds blue first but applies the statistics in RGB order.
    np.testing.assert_allclose(bgr.numpy(), ((image[..., ::-1] / 255 - mean) / std).transpose(2, 0, 1), atol=1e-5)


def test_bgr_batches_hold_the_same_crops() -> None:
    (rgb, labels), (bgr, other) = batches(stop=1)[0], batches(drawn_config(input_mode="BGR"), stop=1)[0]
    assert torch.equal(labels, other)
    std, mean = torch.tensor([0.229, 0.224, 0.225]), torch.tensor([0.485, 0.456, 0.406])
    colours = [image.permute(0, 2, 3, 1) * std + mean for image in (rgb, bgr)]
    torch.testing.assert_close(colours[0], colours[1].flip(-1))


def test_evaluation_samples_are_whole_and_unchanged(dataset: Path) -> None:
    config = DataConfig(dir=str(dataset), image_scale=0.5, label_class_ids=(0, 145, 74))
    split = open_split(config, "val")
    samples = list(evaluation_samples(split, config))
    assert [sample.name for sample in samples] == split.names == ["0", "1", "2"]
    for i, sample in enumerate(samples):
        assert torch.equal(sample.image, normalise(split.image(i), "RGB"))
        assert sample.size == split.sizes[i] == tuple(sample.label.shape)
        assert sample.image.shape[1:] == split.image(i).shape[:2] != sample.size
        assert sample.label.dtype == torch.int64
        raw = torch.from_numpy(split.label(i).copy())
        for value, index in ((0, 0), (145, 1), (74, 2), (128, 255)):
            assert (sample.label[raw == value] == index).all()


def test_reduce_zero_label_reaches_batches_and_samples() -> None:
    config = drawn_config(reduce_zero_label=True)
    plain, reduced = batches(stop=2), batches(config, stop=2)
    for (_, labels), (_, moved) in zip(plain, reduced, strict=True):
        expected = torch.where((labels == 0) | (labels == 255), 255, labels - 1)
        assert torch.equal(moved, expected)
    (sample, *_) = evaluation_samples(open_split(config, "val"), config)
    assert set(sample.label.unique().tolist()) <= {0, 1, 2, 255}
