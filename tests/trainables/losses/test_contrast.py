import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.trainables.losses.contrast_reference import contrast_reference
from trainables.config import ContrastConfig
from trainables.losses import build_contrast_loss
from trainables.losses.anchor_sampling import sample_anchors, sample_pool
from trainables.losses.contrast import ContrastTerm, PixelContrast

NUM_CLASSES = 4


class Batch:
    """Embeddings (2, 8, 6, 5), logits on the same grid, and labels of four times that size."""

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.embeddings = F.normalize(torch.randn(2, 8, 6, 5, generator=generator), dim=1).requires_grad_()
        self.logits = torch.randn(2, NUM_CLASSES, 6, 5, generator=generator)
        self.small_labels = torch.randint(0, NUM_CLASSES, (2, 6, 5), generator=generator)
        self.small_labels[:, 0] = 255
        self.labels = self.small_labels.repeat_interleave(4, 1).repeat_interleave(4, 2)


def _config(**options: object) -> ContrastConfig:
    return ContrastConfig.model_validate({"proj_dim": 8, "max_samples": 24, "memory_size": 50, **options})


def _stored(contrast: PixelContrast) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows that the memory bank holds, and their classes."""
    assert contrast.bank is not None
    rows, labels = (torch.cat(parts) for parts in zip(*contrast.bank.queues(), strict=True))
    return rows[labels >= 0], labels[labels >= 0]


def _term(contrast: PixelContrast, batch: Batch, seed: int = 0) -> ContrastTerm:
    return contrast(batch.embeddings, batch.logits, batch.labels, torch.Generator().manual_seed(seed))


def _effects(term: ContrastTerm) -> set[str]:
    return {name for name, took_effect in term.took_effect.items() if took_effect}


def _anchors(config: ContrastConfig, batch: Batch, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the embeddings and labels of the anchors that the same seed draws."""
    predictions = batch.logits.argmax(1).flatten(1)
    generator = torch.Generator().manual_seed(seed)
    chosen = sample_anchors(config, batch.small_labels.flatten(1), predictions, generator)
    rows = batch.embeddings.detach().movedim(1, -1).flatten(0, 2)[chosen.positions]
    return rows.double().numpy(), chosen.labels.numpy()


@pytest.mark.parametrize("options", [{}, {"temperature": 0.01}, {"temperature": 0.2, "base_temperature": 0.07}])
def test_a_batch_is_contrasted_with_itself(options: dict[str, float]) -> None:
    batch = Batch()
    config = _config(**options)
    term = _term(PixelContrast(config, NUM_CLASSES), batch)
    anchors, labels = _anchors(config, batch)
    expected = contrast_reference(
        anchors,
        labels,
        anchors,
        labels,
        temperature=config.temperature,
        base_temperature=config.base_temperature,
        keys_are_anchors=True,
    )
    assert term.loss.item() == pytest.approx(expected, rel=1e-5)
    assert term.num_anchors == len(anchors) == 24
    assert term.num_groups == 8


def test_the_loss_weight_is_left_to_the_caller() -> None:
    light, heavy = (_term(PixelContrast(_config(loss_weight=w), NUM_CLASSES), Batch()) for w in (0.1, 10.0))
    assert light.loss.item() == heavy.loss.item()


def test_only_anchors_get_a_gradient() -> None:
    batch = Batch()
    _term(PixelContrast(_config(max_views=2), NUM_CLASSES), batch).loss.backward()
    assert batch.embeddings.grad is not None
    touched = (batch.embeddings.grad != 0).any(1)
    assert touched.sum() == 16
    assert not touched[batch.small_labels == 255].any()


def test_one_descent_step_lowers_the_loss() -> None:
    batch = Batch()
    contrast = PixelContrast(_config(), NUM_CLASSES)
    before = _term(contrast, batch).loss
    before.backward()
    assert batch.embeddings.grad is not None
    batch.embeddings = (batch.embeddings - 0.1 * batch.embeddings.grad).detach()
    assert _term(contrast, batch).loss < before


def test_labels_and_predictions_meet_on_the_embeddings_grid() -> None:
    batch = Batch()
    contrast = PixelContrast(_config(), NUM_CLASSES)
    expected = _term(contrast, batch).loss
    batch.logits = batch.logits.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert _term(contrast, batch).loss.item() == expected.item()
    batch.logits = batch.logits[:, :, ::2, ::2]
    batch.labels = batch.small_labels
    assert _term(contrast, batch).loss.item() == expected.item()


def _rows(batch: Batch, positions: torch.Tensor) -> np.ndarray:
    return batch.embeddings.detach().movedim(1, -1).flatten(0, 2)[positions].double().numpy()


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize(("max_keys", "num_keys"), [(24, 24), (10, 24), (25, 25), (40, 40), (1000, 50)])
def test_random_pixels_of_the_batch_fill_the_keys(max_keys: int, num_keys: int, memory: bool) -> None:
    config = _config(max_keys=max_keys, memory=memory)
    batch = Batch()
    contrast = PixelContrast(config, NUM_CLASSES)
    stored = torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64)
    if memory:
        _term(contrast, Batch(1), seed=1)
        stored = _stored(contrast)

    labels, predictions = batch.small_labels.flatten(), batch.logits.argmax(1).flatten(1)
    generator = torch.Generator().manual_seed(0)
    chosen = sample_anchors(config, labels.view(2, -1), predictions, generator)
    pool, _ = sample_pool(labels, chosen.positions, chosen.labels, max_keys, generator)
    positions = torch.cat([chosen.positions, pool])
    assert len(positions) == num_keys
    expected = contrast_reference(
        _rows(batch, chosen.positions),
        chosen.labels.numpy(),
        np.concatenate([_rows(batch, positions), stored[0].double().numpy()]),
        torch.cat([labels[positions], stored[1]]).numpy(),
        temperature=config.temperature,
        keys_are_anchors=True,
    )
    term = _term(contrast, batch)
    assert term.loss.item() == pytest.approx(expected, rel=1e-5)
    assert term.num_anchors == 24

    term.loss.backward()
    assert batch.embeddings.grad is not None
    touched = (batch.embeddings.grad != 0).any(1).flatten().nonzero().flatten()
    assert torch.equal(touched, positions.sort().values)


def test_keys_that_make_no_more_than_the_anchors_change_nothing() -> None:
    plain, same = (_term(PixelContrast(_config(max_keys=n), NUM_CLASSES), Batch()) for n in (0, 24))
    more = _term(PixelContrast(_config(max_keys=40), NUM_CLASSES), Batch())
    assert plain.loss.item() == same.loss.item()
    assert plain.loss.item() != more.loss.item()


def test_without_anchors_a_pool_is_a_differentiable_zero() -> None:
    batch = Batch()
    term = _term(PixelContrast(_config(max_keys=40, min_pixels=1000), NUM_CLASSES), batch)
    term.loss.backward()
    assert term[:3] == (term.loss, 0, 0)
    assert term.loss.item() == 0.0
    assert batch.embeddings.grad is not None
    assert (batch.embeddings.grad == 0.0).all()


def test_repeated_anchors_count_as_often() -> None:
    config = _config(replacement=True, max_samples=200, max_views=20)
    batch = Batch()
    anchors, labels = _anchors(config, batch)
    assert len(anchors) == 8 * 20 > len(np.unique(anchors, axis=0))
    expected = contrast_reference(
        anchors, labels, anchors, labels, temperature=config.temperature, keys_are_anchors=True
    )
    term = _term(PixelContrast(config, NUM_CLASSES), batch)
    assert term.loss.item() == pytest.approx(expected, rel=1e-5)
    assert term.num_anchors == 160


@pytest.mark.parametrize("strategy", ["hard_fill", "one_sided", "all_cases"])
def test_the_strategy_changes_the_term(strategy: str) -> None:
    batch = Batch()
    # In image 0 one pixel of a class is predicted correctly, in image 1 one is predicted wrongly.
    labels = batch.small_labels.where(batch.small_labels != 255, 0)
    is_right = torch.zeros_like(labels, dtype=torch.bool)
    for c in range(NUM_CLASSES):
        for image, right in ((0, True), (1, False)):
            pixels = (batch.small_labels[image] == c).nonzero()
            is_right[image, pixels[:, 0], pixels[:, 1]] = not right
            is_right[image, pixels[0, 0], pixels[0, 1]] = right
    batch.logits = F.one_hot(labels.where(is_right, (labels + 1) % NUM_CLASSES), NUM_CLASSES).movedim(-1, 1).float()
    plain = _term(PixelContrast(_config(max_samples=32), NUM_CLASSES), batch).loss
    other = _term(PixelContrast(_config(max_samples=32, strategy=strategy), NUM_CLASSES), batch).loss
    assert plain.item() != other.item()


def test_memory_rows_are_keys_and_none_is_masked() -> None:
    config = _config(memory=True)
    contrast = PixelContrast(config, NUM_CLASSES)
    first, second = Batch(0), Batch(1)
    alone = _term(PixelContrast(_config(), NUM_CLASSES), first).loss
    assert _term(contrast, first, seed=0).loss.item() == alone.item()

    stored = _stored(contrast)
    bank_keys, bank_labels = stored[0].numpy(), stored[1].numpy()
    assert len(bank_keys) > 24
    anchors, labels = _anchors(config, second, seed=1)
    expected = contrast_reference(
        anchors,
        labels,
        np.concatenate([anchors, bank_keys.astype(np.float64)]),
        np.concatenate([labels, bank_labels]),
        temperature=config.temperature,
        keys_are_anchors=True,
    )
    term = _term(contrast, second, seed=1)
    assert term.loss.item() == pytest.approx(expected, rel=1e-5)
    term.loss.backward()
    assert len(_stored(contrast)[0]) > len(bank_keys)


def test_memory_holds_the_classes_the_labels_say() -> None:
    batch = Batch()
    batch.embeddings = F.one_hot(batch.small_labels.where(batch.small_labels != 255, 7), 8).movedim(-1, 1).float()
    contrast = PixelContrast(_config(memory=True), NUM_CLASSES)
    _term(contrast, batch)
    keys, key_labels = _stored(contrast)
    assert torch.equal(keys, F.one_hot(key_labels, 8).float())
    assert 0 in key_labels


def test_memory_is_what_the_config_says() -> None:
    assert PixelContrast(_config(memory=False), NUM_CLASSES).bank is None
    assert PixelContrast(_config(memory=False), NUM_CLASSES).state_dict() == {}
    assert PixelContrast(_config(memory=True), NUM_CLASSES).bank is not None


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("reason", ["all ignored", "too few pixels"])
def test_no_anchors_is_a_differentiable_zero(reason: str, memory: bool) -> None:
    batch = Batch()
    if reason == "all ignored":
        batch.labels = torch.full_like(batch.labels, 255)
    config = _config(memory=memory, min_pixels=1 if reason == "all ignored" else 1000)
    contrast = PixelContrast(config, NUM_CLASSES)
    for seed in range(2):
        term = _term(contrast, batch, seed)
        (term.loss + batch.embeddings.square().sum()).backward()
        assert term[:3] == (term.loss, 0, 0)
        assert term.loss.item() == 0.0
    assert batch.embeddings.grad is not None
    torch.testing.assert_close(batch.embeddings.grad, 4 * batch.embeddings.detach())


@pytest.mark.parametrize("temperature", [0.01, 0.1])
def test_a_batch_of_one_class_gives_zero(temperature: float) -> None:
    batch = Batch()
    batch.labels = torch.zeros_like(batch.labels)
    term = _term(PixelContrast(_config(temperature=temperature), NUM_CLASSES), batch)
    term.loss.backward()
    assert term.num_anchors == 24
    assert term.loss.item() == 0.0
    assert batch.embeddings.grad is not None
    assert (batch.embeddings.grad == 0.0).all()


def test_a_class_seen_once_by_one_view_poisons_nothing() -> None:
    batch = Batch()
    batch.labels = torch.zeros_like(batch.labels)
    batch.labels[0, :, 10:] = 1
    batch.labels[1, :, 10:] = 2
    term = _term(PixelContrast(_config(max_views=1), NUM_CLASSES), batch)
    term.loss.backward()
    assert term.num_anchors == term.num_groups == 4
    assert term.loss.item() > 0.0
    assert batch.embeddings.grad is not None
    assert batch.embeddings.grad.isfinite().all()


def test_fewer_samples_than_groups() -> None:
    term = _term(PixelContrast(_config(max_samples=3), NUM_CLASSES), Batch())
    assert term.num_anchors == term.num_groups == 3
    assert term.loss.isfinite()


@pytest.mark.parametrize("memory", [False, True])
def test_it_is_float32_under_autocast(memory: bool) -> None:
    terms = []
    for autocast in (False, True):
        batch = Batch()
        batch.embeddings = batch.embeddings.detach().bfloat16()
        contrast = PixelContrast(_config(temperature=0.01, memory=memory), NUM_CLASSES)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            _term(contrast, batch)
            terms.append(_term(contrast, batch))
    assert terms[0].loss.dtype == terms[1].loss.dtype == torch.float32
    assert terms[0].loss.item() == terms[1].loss.item()


def test_keys_and_memory_say_when_they_took_effect() -> None:
    def effects(num_batches: int = 1, **options: object) -> set[str]:
        contrast = PixelContrast(_config(**options), NUM_CLASSES)
        return _effects([_term(contrast, Batch(seed), seed) for seed in range(num_batches)][-1])

    assert not {"max_keys", "memory_size"} & effects(max_keys=24)
    assert "max_keys" in effects(max_keys=25)
    # At most two segments and 20 pixels per batch and class enter the bank.
    assert "memory_size" not in effects(memory=True, memory_size=44, num_batches=2)
    assert "memory_size" in effects(memory=True, memory_size=2)
    assert "memory_size" in effects(memory=True, memory_size=12, num_batches=6)


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("limit", [{"max_positives": 1}, {"negative_ratio": 0.5}])
def test_limits_on_pairs_are_drawn_from_the_generator_alone(limit: dict[str, float], memory: bool) -> None:
    def loss(seed: int, **options: object) -> ContrastTerm:
        contrast = PixelContrast(_config(max_keys=40, memory=memory, **options), NUM_CLASSES)
        _term(contrast, Batch(1), 1)
        return _term(contrast, Batch(), seed)

    (name,) = limit
    first, again, other = loss(0, **limit), loss(0, **limit), loss(3, **limit)
    assert first.loss.item() == again.loss.item() != other.loss.item()
    assert name in _effects(first)
    plain, wide = loss(0), loss(0, max_positives=10**6, negative_ratio=1e6)
    assert first.loss.item() != plain.loss.item() == wide.loss.item()
    assert _effects(wide) == _effects(plain)


def test_channels_last_embeddings_give_the_same() -> None:
    batch = Batch()
    contrast = PixelContrast(_config(), NUM_CLASSES)
    expected = _term(contrast, batch).loss
    batch.embeddings = batch.embeddings.detach().to(memory_format=torch.channels_last)
    assert _term(contrast, batch).loss.item() == expected.item()


def test_a_resumed_term_equals_an_uninterrupted_one() -> None:
    config = _config(memory=True, memory_size=6)
    contrast = PixelContrast(config, NUM_CLASSES)
    for seed in range(3):
        _term(contrast, Batch(seed), seed)
    restored = PixelContrast(config, NUM_CLASSES)
    restored.load_state_dict(contrast.state_dict())
    for seed in range(3, 5):
        assert _term(restored, Batch(seed), seed).loss.item() == _term(contrast, Batch(seed), seed).loss.item()


def test_no_weight_builds_no_term() -> None:
    assert build_contrast_loss(_config(loss_weight=0.0), NUM_CLASSES) is None
    built = build_contrast_loss(_config(loss_weight=0.1), NUM_CLASSES)
    assert built is not None
    assert built.config.loss_weight == 0.1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("memory", [False, True])
def test_a_gpu_computes_the_same(memory: bool) -> None:
    terms = []
    for device in ("cpu", "cuda"):
        contrast = PixelContrast(_config(memory=memory), NUM_CLASSES).to(device)
        for seed in range(3):
            batch = Batch(seed)
            inputs = (x.to(device) for x in (batch.embeddings, batch.logits, batch.labels))
            term = contrast(*inputs, torch.Generator().manual_seed(seed))
        terms.append(term)
    assert terms[0].num_anchors == terms[1].num_anchors
    assert terms[1].loss.item() == pytest.approx(terms[0].loss.item(), rel=1e-5)
