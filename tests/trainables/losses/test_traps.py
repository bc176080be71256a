"""Tests for faults of the original's losses: ours passes each check, and the check detects the old behaviour.

The old behaviour is a plain loop with one fault. The loop without the fault passes, so the check detects the fault.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.trainables.losses.contrast_reference import contrast_reference
from trainables import losses
from trainables.config import ContrastConfig, LossConfig
from trainables.losses import build_segmentation_loss, contrast
from trainables.losses.anchor_sampling import Anchors
from trainables.losses.contrast import ContrastTerm, PixelContrast

Keys = tuple[Tensor, Tensor]


class LoopBank:
    """A memory bank by loops over images and classes, with one of the original's faults or none."""

    def __init__(self, config: ContrastConfig, num_classes: int, fault: str | None = None) -> None:
        self.config, self.num_classes, self.fault = config, num_classes, fault
        shape = (2, num_classes, config.memory_size, config.proj_dim)
        self.rows = F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(0)), dim=3)
        self.written = torch.zeros(2, num_classes, dtype=torch.int64)
        self.pointers = self.written.clone()

    def update(self, embeddings: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        if self.fault == "stride":  # of the labels instead of the embeddings
            labels = labels[:, ::2, ::2]
        for pixels, of_image in zip(embeddings.flatten(2).movedim(1, 2), labels.flatten(1), strict=True):
            for c in of_image.unique().tolist():
                if c == 255 or (c == 0 and self.fault == "class 0"):
                    continue
                members = (of_image == c).nonzero().flatten()
                self._push(0, c, F.normalize(pixels[members].mean(0, keepdim=True), dim=1))
                shuffled = torch.randperm(len(members), generator=generator)[: self.config.pixel_update_freq]
                self._push(1, c, pixels[shuffled if self.fault == "permutation" else members[shuffled]])

    def _push(self, queue: int, c: int, rows: Tensor) -> None:
        size = self.config.memory_size
        slots = (self.pointers[queue, c] + torch.arange(len(rows))) % size
        self.rows[queue, c, slots] = rows
        self.pointers[queue, c] += 1 if self.fault == "pointer" else len(rows)
        self.written[queue, c] += len(rows)

    def has_overwritten(self) -> Tensor:
        """Return False; the contrast loss asks for this, but it does not matter here."""
        return torch.tensor(False)

    def queues(self) -> list[Keys]:
        is_filled = torch.arange(self.config.memory_size) < self.written.unsqueeze(2)
        if self.fault == "empty rows":
            is_filled = torch.ones_like(is_filled)
        return [(self.rows[is_filled], is_filled.nonzero()[:, 1])]


def loop_sample(
    config: ContrastConfig, labels: Tensor, predictions: Tensor, generator: torch.Generator, fault: str | None = None
) -> Any:
    """Return the anchors of `semi_hard` by a loop over groups, with one of the original's faults or none."""
    num_pixels = labels.shape[1]
    groups = [
        (image, c)
        for image, of_image in enumerate(labels)
        for c in of_image.unique().tolist()
        if c != 255 and (of_image == c).sum() >= config.min_pixels
    ]
    if not groups and fault == "no group":
        return None
    if fault != "no view":
        groups = groups[: config.max_samples]
    num_views = min(config.max_samples // max(1, len(groups)), config.max_views)
    positions, classes = [torch.zeros(0, dtype=torch.int64)], []
    for image, c in groups:
        of_class = labels[image] == c
        is_hard = predictions[image] != c
        hard, easy = (
            pixels[torch.randperm(len(pixels), generator=generator)] + image * num_pixels
            for pixels in ((of_class & is_hard).nonzero().flatten(), (of_class & ~is_hard).nonzero().flatten())
        )
        half = num_views // 2 if fault == "one view" else (num_views + 1) // 2
        hard = hard[: max(half, num_views - len(easy))]
        drawn = torch.cat([hard, easy[: num_views - len(hard)]])
        positions.append(drawn)
        classes += [c] * len(drawn)
    of_anchors = torch.tensor(classes, dtype=torch.int64)
    return Anchors(torch.cat(positions), of_anchors, torch.tensor(len(groups)), {})


def loop_loss(
    anchors: Tensor,
    anchor_labels: Tensor,
    keys: Tensor,
    key_labels: Tensor,
    *,
    temperature: float,
    base_temperature: float | None = None,
    keys_are_anchors: bool = False,
    memory: Sequence[Keys] = (),
    max_positives: int | None = None,
    negative_ratio: float | None = None,
    generator: torch.Generator | None = None,
    fault: str | None = None,
) -> Tensor:
    """Return the contrast loss over the whole matrix, with one of the original's faults or none."""
    assert base_temperature is None and max_positives is None and negative_ratio is None
    num_own = len(keys)
    keys = torch.cat([keys, *(rows[labels >= 0] for rows, labels in memory)])
    key_labels = torch.cat([key_labels, *(labels[labels >= 0] for _, labels in memory)])
    similarities = anchors @ keys.T / temperature
    same_class = anchor_labels.unsqueeze(1) == key_labels
    itself = torch.zeros_like(same_class)
    if keys_are_anchors:
        itself.fill_diagonal_(True)
    if fault == "self-mask" and memory:  # over the columns of the queue
        itself[:, num_own:].fill_diagonal_(True)
    positives = same_class & ~itself
    if fault == "quotients":
        logits = similarities - similarities.amax(1, keepdim=True).detach()
        negatives = (logits.exp() * ~same_class).sum(1, keepdim=True)
        terms = torch.log(logits.exp() + negatives) - logits
    else:
        negatives = similarities.masked_fill(same_class, -torch.inf).logsumexp(1, keepdim=True)
        terms = F.softplus(negatives - similarities)
    sums, counts = terms.where(positives, 0.0).sum(1), positives.sum(1)
    if fault == "no positives":
        return (sums / counts).mean()
    return (sums / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)


class LoopLovasz(torch.nn.Module):
    """The Lovász-softmax loss with one of the faults of its first implementation or none."""

    def __init__(self, fault: str | None = None) -> None:
        super().__init__()
        self.fault = fault

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        valid = (labels.flatten() != 255).nonzero().flatten()
        if self.fault == "one pixel":
            valid = valid.squeeze()
        probabilities, labels = logits.softmax(1).movedim(1, -1).flatten(0, 2)[valid], labels.flatten()[valid]
        if probabilities.numel() == 0:
            return probabilities * 0.0 if self.fault == "all ignored" else probabilities.sum()
        of_classes = []
        for c in labels.unique().tolist():
            errors, order = ((labels == c).to(logits.dtype) - probabilities[:, c]).abs().sort(descending=True)
            truth = (labels == c)[order].to(logits.dtype)
            jaccard = 1 - (truth.sum() - truth.cumsum(0)) / (truth.sum() + (1 - truth).cumsum(0))
            of_classes.append((errors * jaccard.diff(prepend=jaccard.new_zeros(1))).sum())
        return torch.stack(of_classes).mean()


class TorchsMean(torch.nn.Module):
    """The cross entropy with torch's own average."""

    def __init__(self, weights: Tensor | None, fault: str | None = None) -> None:
        super().__init__()
        self.fault = fault

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.fault is None and (labels == 255).all():
            return logits.sum() * 0.0
        return F.cross_entropy(logits, labels, ignore_index=255)


NUM_CLASSES = 8


def _pixel_contrast(**options: Any) -> PixelContrast:
    settings = {"proj_dim": NUM_CLASSES, "memory_size": 500, "max_samples": 64, **options}
    return PixelContrast(ContrastConfig.model_validate(settings), NUM_CLASSES)


def _term(term: PixelContrast, embeddings: Tensor, labels: Tensor, logits: Tensor | None = None) -> ContrastTerm:
    """Return the term; without logits every pixel is predicted as class 0."""
    logits = torch.zeros(len(labels), NUM_CLASSES, 1, 1) if logits is None else logits
    return term(embeddings, logits, labels, torch.Generator().manual_seed(0))


def _stored(term: PixelContrast) -> Keys:
    """Return the rows of the memory bank that are keys, and their classes."""
    assert term.bank is not None
    rows, labels = (torch.cat(parts) for parts in zip(*term.bank.queues(), strict=True))
    return rows[labels >= 0], labels[labels >= 0]


def _blocks(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return labels (4, 128, 128) in blocks of 8, and embeddings (4, 8, 32, 32) that encode each pixel's class."""
    blocks = torch.randint(NUM_CLASSES, (4, 16, 16), generator=torch.Generator().manual_seed(seed))
    small = blocks.repeat_interleave(2, 1).repeat_interleave(2, 2)
    return small.repeat_interleave(4, 1).repeat_interleave(4, 2), F.one_hot(small, NUM_CLASSES).movedim(-1, 1).float()


def purities(num_updates: int = 10) -> tuple[float, float]:
    """Return the shares of segment rows and of pixel rows that are nearest to the class under which they are stored."""
    term = _pixel_contrast(memory=True)
    for seed in range(num_updates):
        labels, embeddings = _blocks(seed)
        _term(term, embeddings, labels)
    keys, key_labels = _stored(term)
    is_pure = (keys.argmax(1) == key_labels).float()
    num_segments = num_updates * 4 * NUM_CLASSES
    return is_pure[:num_segments].mean().item(), is_pure[num_segments:].mean().item()


def rows_are_of_their_class() -> None:
    assert purities() == (1.0, 1.0)


def rows_kept() -> int:
    """Return how many of 400 pixels, written 10 at a time, the pixel queue of one class still holds."""
    term = _pixel_contrast(memory=True)
    written = []
    for seed in range(40):
        pixels = torch.randn(1, NUM_CLASSES, 2, 5, generator=torch.Generator().manual_seed(seed))
        _term(term, pixels, torch.ones(1, 2, 5, dtype=torch.int64))
        written.append(pixels.flatten(2)[0].T)
    keys, _ = _stored(term)
    return int((torch.cat(written).unsqueeze(1) == keys).all(2).any(1).sum())


def four_hundred_writes_leave_as_many_rows() -> None:
    assert rows_kept() == 400


def class_0_is_stored() -> None:
    term = _pixel_contrast(memory=True)
    labels, embeddings = _blocks()
    _term(term, embeddings, labels)
    keys, key_labels = _stored(term)
    assert (key_labels == 0).sum() == 4 * 11
    assert torch.equal(keys[key_labels == 0].argmax(1), torch.zeros(4 * 11, dtype=torch.int64))


def only_what_was_written_is_a_key() -> None:
    term = _pixel_contrast(memory=True)
    labels, embeddings = _blocks()
    _term(term, embeddings, labels.clamp(max=1))
    keys, key_labels = _stored(term)
    assert len(keys) == 4 * 2 * 11
    assert key_labels.unique().tolist() == [0, 1]


def no_anchor_loses_a_row_of_the_memory() -> None:
    """Check that no anchor loses a row of the memory; row i is of the class of anchor i."""
    term = _pixel_contrast(memory=True, pixel_update_freq=1)
    first, second = F.normalize(torch.randn(2, 1, NUM_CLASSES, 2, 4, generator=torch.Generator().manual_seed(0)), dim=2)
    _term(term, first, torch.arange(4).repeat(2).view(1, 2, 4))
    keys, key_labels = _stored(term)
    assert key_labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]

    labels = torch.tensor([0, 1, 2, 3, 255, 255, 255, 255])
    anchors = second.flatten(2)[0].T[:4]
    expected = contrast_reference(
        anchors.double().numpy(),
        labels[:4].numpy(),
        torch.cat([anchors, keys]).double().numpy(),
        torch.cat([labels[:4], key_labels]).numpy(),
        temperature=0.1,
        keys_are_anchors=True,
    )
    assert _term(term, second, labels.view(1, 2, 4)).loss.item() == pytest.approx(expected, rel=1e-5)


def no_group_gives_a_differentiable_zero() -> None:
    labels, embeddings = _blocks()
    embeddings.requires_grad_()
    term = _term(_pixel_contrast(), embeddings, torch.full_like(labels, 255))
    term.loss.backward()
    assert (term.loss.item(), term.num_anchors, term.num_groups) == (0.0, 0, 0)
    assert embeddings.grad is not None
    assert (embeddings.grad == 0.0).all()


def fewer_samples_than_groups_give_one_each() -> None:
    labels, embeddings = _blocks()
    term = _term(_pixel_contrast(max_samples=5), embeddings, labels)
    assert (term.num_anchors, term.num_groups) == (5, 5)


def one_view_is_a_hard_one() -> None:
    """Check that exactly the wrongly predicted pixels get a gradient."""
    labels = torch.tensor([[0] * 10 + [1] * 10] * 2).view(2, 1, 20)
    logits = F.one_hot(labels, NUM_CLASSES).movedim(-1, 1).float()
    logits[:, :, 0, [3, 14]] = logits[:, :, 0, [14, 3]]
    pixels = torch.randn(2, NUM_CLASSES, 1, 20, generator=torch.Generator().manual_seed(0)).requires_grad_()
    _term(_pixel_contrast(max_views=1), pixels, labels, logits).loss.backward()
    assert pixels.grad is not None
    assert (pixels.grad != 0).any(1)[:, 0].nonzero()[:, 1].tolist() == [3, 14, 3, 14]


def an_anchor_without_positives_is_left_out() -> None:
    labels = torch.tensor([0, 0, 1, 1, 2]).view(1, 1, 5)
    pixels = F.normalize(torch.randn(1, NUM_CLASSES, 1, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    _is_the_definition(pixels, labels, temperature=0.1)


def a_batch_of_one_class_gives_zero() -> None:
    pixels = F.normalize(torch.randn(2, NUM_CLASSES, 3, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    labels = torch.ones(2, 3, 3, dtype=torch.int64)
    assert _is_the_definition(pixels, labels, temperature=0.01) == 0.0


def distant_vectors_do_not_underflow() -> None:
    """Check three directions 120 degrees apart: at T = 0.01, each is 150 more similar to itself than to the others."""
    angles = torch.tensor([0.0, 2.0, 4.0, 2.0]) * torch.pi / 3
    pixels = torch.zeros(1, NUM_CLASSES, 1, 4)
    pixels[0, 0, 0], pixels[0, 1, 0] = angles.cos(), angles.sin()
    assert _is_the_definition(pixels, torch.tensor([0, 0, 1, 1]).view(1, 1, 4), temperature=0.01) > 0.0


def _is_the_definition(pixels: Tensor, labels: Tensor, temperature: float) -> float:
    """Return the term over all pixels, after checks of its value against the definition and of its gradient."""
    pixels.requires_grad_()
    loss = _term(_pixel_contrast(temperature=temperature), pixels, labels).loss
    loss.backward()
    rows, classes = pixels.detach().movedim(1, -1).flatten(0, 2).double().numpy(), labels.flatten().numpy()
    expected = contrast_reference(rows, classes, rows, classes, temperature=temperature, keys_are_anchors=True)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert pixels.grad is not None
    assert pixels.grad.isfinite().all()
    return expected


def _segmentation(kind: str, labels: Tensor) -> float:
    logits = torch.zeros(1, 4, 2, 3, requires_grad=True)
    loss = build_segmentation_loss(LossConfig.model_validate({"segmentation": kind}), [1] * 4)(logits, None, labels)
    loss.backward()
    assert loss.shape == ()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    return loss.item()


def lovasz_of_one_pixel() -> None:
    labels = torch.full((1, 2, 3), 255)
    labels[0, 1, 1] = 2
    assert _segmentation("lovasz", labels) == pytest.approx(0.75)


def lovasz_of_none() -> None:
    assert _segmentation("lovasz", torch.full((1, 2, 3), 255)) == 0.0


def cross_entropy_of_none() -> None:
    assert _segmentation("ce", torch.full((1, 2, 3), 255)) == 0.0


LOOPS: dict[str, tuple[Any, Callable[..., Any]]] = {
    "MemoryBank": (contrast, LoopBank),
    "sample_anchors": (contrast, loop_sample),
    "pixel_contrast_loss": (contrast, loop_loss),
    "LovaszSoftmax": (losses, LoopLovasz),
    "CrossEntropy": (losses, TorchsMean),
}

TRAPS: dict[str, tuple[Callable[[], None], str, str]] = {
    "labels at another stride in the memory": (rows_are_of_their_class, "MemoryBank", "stride"),
    "pixel queue takes any position": (rows_are_of_their_class, "MemoryBank", "permutation"),
    "pointer moves by one": (four_hundred_writes_leave_as_many_rows, "MemoryBank", "pointer"),
    "class 0 is skipped": (class_0_is_stored, "MemoryBank", "class 0"),
    "empty rows are keys": (only_what_was_written_is_a_key, "MemoryBank", "empty rows"),
    "self-mask over the queue": (no_anchor_loses_a_row_of_the_memory, "pixel_contrast_loss", "self-mask"),
    "no group qualifies": (no_group_gives_a_differentiable_zero, "sample_anchors", "no group"),
    "fewer samples than groups": (fewer_samples_than_groups_give_one_each, "sample_anchors", "no view"),
    "max_views = 1": (one_view_is_a_hard_one, "sample_anchors", "one view"),
    "an anchor without positives": (an_anchor_without_positives_is_left_out, "pixel_contrast_loss", "no positives"),
    "one class at T = 0.01": (a_batch_of_one_class_gives_zero, "pixel_contrast_loss", "quotients"),
    "underflow at T = 0.01": (distant_vectors_do_not_underflow, "pixel_contrast_loss", "quotients"),
    "Lovasz with one pixel": (lovasz_of_one_pixel, "LovaszSoftmax", "one pixel"),
    "Lovasz with all ignored": (lovasz_of_none, "LovaszSoftmax", "all ignored"),
    "cross entropy with all ignored": (cross_entropy_of_none, "CrossEntropy", "all ignored"),
}

every_trap = pytest.mark.parametrize("trap", TRAPS)


@every_trap
def test_ours_does_not_fall_into_it(trap: str) -> None:
    check, _, _ = TRAPS[trap]
    check()


@every_trap
def test_the_old_behaviour_is_caught(trap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check, name, fault = TRAPS[trap]
    module, loop = LOOPS[name]
    monkeypatch.setattr(module, name, partial(loop, fault=fault))
    with pytest.raises((AssertionError, AttributeError, IndexError, RuntimeError)):
        check()


@every_trap
def test_it_is_the_fault_that_is_caught(trap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check, name, _ = TRAPS[trap]
    module, loop = LOOPS[name]
    monkeypatch.setattr(module, name, loop)
    check()


@pytest.mark.parametrize(("fault", "queue"), [("stride", 0), ("permutation", 1)])
def test_rows_of_the_old_memory_are_little_purer_than_chance(
    fault: str, queue: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrast, "MemoryBank", partial(LoopBank, fault=fault))
    assert 0.05 < purities()[queue] < 0.2


def test_the_old_pointer_keeps_49_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrast, "MemoryBank", partial(LoopBank, fault="pointer"))
    assert rows_kept() == 49
