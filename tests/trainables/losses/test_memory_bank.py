import pytest
import torch
import torch.nn.functional as F

from trainables.config import ContrastConfig
from trainables.losses.memory_bank import MemoryBank


def _bank(num_classes: int = 4, dims: int = 8, size: int = 500, freq: int = 10) -> MemoryBank:
    return MemoryBank(ContrastConfig(memory_size=size, pixel_update_freq=freq, proj_dim=dims), num_classes)


def _keys(bank: MemoryBank) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows written so far, segments first, and their classes."""
    rows, labels = (torch.cat(parts) for parts in zip(*bank.queues(), strict=True))
    return rows[labels >= 0], labels[labels >= 0]


def _unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=1)


def _update(bank: MemoryBank, embeddings: torch.Tensor, labels: torch.Tensor, seed: int = 0) -> None:
    bank.update(embeddings, labels, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(6, 10), (7, 5), (1, 60)])
def test_every_row_stems_from_its_own_class(shape: tuple[int, int]) -> None:
    bank = _bank()
    labels = torch.randint(0, 4, (3, *shape), generator=torch.Generator().manual_seed(1))
    labels[:, :1, :2] = 255
    # An embedding encodes its class, and ignored pixels use a separate dimension.
    dimension = labels.where(labels != 255, 7)
    embeddings = F.one_hot(dimension, 8).permute(0, 3, 1, 2).float()
    for seed in range(4):
        _update(bank, embeddings, labels, seed)
    keys, key_labels = _keys(bank)
    assert len(keys) > 4 * 3
    assert torch.equal(keys, F.one_hot(key_labels, 8).float())
    assert key_labels.unique().tolist() == [0, 1, 2, 3]


def test_segments_are_normalised_means_and_pixels_are_pixels() -> None:
    bank = _bank(num_classes=2, freq=3)
    embeddings = _unit(2, 8, 4, 4)
    labels = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 255]]).repeat_interleave(4, 0).view(2, 4, 4)
    _update(bank, embeddings, labels)
    keys, key_labels = _keys(bank)
    assert key_labels.tolist() == [0] + [1, 1] + [0] * 3 + [1] * 6
    for row, (image, label) in zip(keys[:3], [(0, 0), (0, 1), (1, 1)], strict=True):
        mean = embeddings[image][:, labels[image] == label].mean(1)
        torch.testing.assert_close(row, mean / mean.norm())
    for row, label in zip(keys[3:], key_labels[3:], strict=True):
        of_class = embeddings.movedim(1, -1)[labels == label]
        assert (of_class == row).all(1).any()


def test_four_hundred_writes_leave_four_hundred_rows() -> None:
    bank = _bank(num_classes=1, size=500, freq=10)
    for step in range(40):
        _update(bank, _unit(1, 8, 5, 5, seed=step), torch.zeros(1, 5, 5, dtype=torch.int64), seed=step)
    keys, _ = _keys(bank)
    assert len(keys) == 40 + 400
    assert len(keys[40:].unique(dim=0)) == 400


def test_a_full_queue_keeps_the_newest() -> None:
    bank = _bank(num_classes=2, dims=2, size=3, freq=1)
    for step in range(8):
        angle = torch.tensor(float(step))
        embeddings = torch.stack([angle.cos(), angle.sin()]).view(1, 2, 1, 1)
        _update(bank, embeddings, torch.ones(1, 1, 1, dtype=torch.int64))
    keys, key_labels = _keys(bank)
    assert key_labels.tolist() == [1] * 6
    steps = torch.atan2(keys[:, 1], keys[:, 0]).remainder(2 * torch.pi)
    torch.testing.assert_close(
        steps[:3].sort().values, torch.tensor([5.0, 6.0, 7.0]).remainder(2 * torch.pi).sort().values
    )
    torch.testing.assert_close(steps[3:], steps[:3])


def test_more_rows_than_slots_in_one_update() -> None:
    bank = _bank(num_classes=2, size=3, freq=10)
    embeddings = _unit(5, 8, 2, 2)
    _update(bank, embeddings, torch.zeros(5, 2, 2, dtype=torch.int64))
    keys, key_labels = _keys(bank)
    assert key_labels.tolist() == [0] * 6
    newest_means = F.normalize(embeddings[2:].mean((2, 3)), dim=1)
    for row in newest_means:
        assert torch.isclose(keys[:3], row).all(1).any()
    assert len(keys[3:].unique(dim=0)) == 3


def test_up_to_so_many_random_pixels_of_a_class_and_image() -> None:
    embeddings = _unit(1, 8, 10, 10)
    labels = torch.zeros(1, 10, 10, dtype=torch.int64)
    labels[0, 0, :4] = 1
    chosen = []
    for seed in range(2):
        bank = _bank(num_classes=2, freq=6)
        _update(bank, embeddings, labels, seed)
        assert bank.pixels_written.tolist() == [6, 4]
        chosen.append(_keys(bank)[0][2:8])
    assert len(chosen[0].unique(dim=0)) == 6
    assert not torch.equal(chosen[0], chosen[1])


def test_only_written_rows_are_keys() -> None:
    bank = _bank()
    keys, key_labels = _keys(bank)
    assert keys.shape == (0, 8)
    assert key_labels.shape == (0,)
    _update(bank, _unit(1, 8, 3, 3), torch.full((1, 3, 3), 2))
    keys, key_labels = _keys(bank)
    assert key_labels.tolist() == [2] * 10
    torch.testing.assert_close(keys.norm(dim=1), torch.ones(10))


def test_an_ignored_image_writes_nothing() -> None:
    bank = _bank()
    _update(bank, _unit(2, 8, 3, 3), torch.full((2, 3, 3), 255))
    assert len(_keys(bank)[0]) == 0


def test_rows_hold_no_graph() -> None:
    bank = _bank()
    embeddings = _unit(1, 8, 3, 3).requires_grad_()
    _update(bank, embeddings, torch.zeros(1, 3, 3, dtype=torch.int64))
    assert not _keys(bank)[0].requires_grad


def test_half_precision_embeddings_are_stored_in_float32_under_autocast() -> None:
    bank, expected = _bank(), _bank()
    embeddings = _unit(2, 8, 4, 4).bfloat16()
    labels = torch.randint(0, 4, (2, 4, 4), generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        _update(bank, embeddings, labels)
    _update(expected, embeddings.float(), labels)
    assert torch.equal(_keys(bank)[0], _keys(expected)[0])


def test_a_restored_bank_goes_on_as_if_never_stopped() -> None:
    bank = _bank(size=5, freq=3)
    labels = torch.randint(0, 4, (2, 4, 4), generator=torch.Generator().manual_seed(0))
    for step in range(3):
        _update(bank, _unit(2, 8, 4, 4, seed=step), labels, step)
    restored = _bank(size=5, freq=3)
    restored.load_state_dict(bank.state_dict())
    for each in (bank, restored):
        _update(each, _unit(2, 8, 4, 4, seed=9), labels, 9)
    for expected, got in zip(_keys(bank), _keys(restored), strict=True):
        assert torch.equal(expected, got)
