import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainables.losses.contrast_reference import Array, contrast_reference, numerical_gradient
from trainables.losses import pixel_contrast
from trainables.losses.pixel_contrast import PairLimits, pixel_contrast_loss


class Case(NamedTuple):
    anchor_labels: list[int]
    key_labels: list[int] | None = None
    """Labels of the keys; None if the keys are the anchors."""
    num_further_keys: int = 0
    """Number of keys after those that are the anchors."""
    temperature: float = 0.1
    base_temperature: float | None = None
    spread: float = 0.0
    """0 for unit vectors, otherwise the approximate largest length of a row."""
    identical: bool = False

    def tensors(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        generator = np.random.default_rng(3)
        labels = torch.tensor(self.anchor_labels)
        anchors = self._rows(len(labels), generator)
        if self.key_labels is not None:
            keys, key_labels = self._rows(len(self.key_labels), generator), torch.tensor(self.key_labels)
        else:
            keys = np.concatenate([anchors, self._rows(self.num_further_keys, generator)])
            further = [self.anchor_labels[i % len(self.anchor_labels)] for i in range(self.num_further_keys)]
            key_labels = torch.tensor([*self.anchor_labels, *further])
        return torch.tensor(anchors, dtype=dtype), labels, torch.tensor(keys, dtype=dtype), key_labels

    def options(self) -> dict[str, Any]:
        return {
            "temperature": self.temperature,
            "base_temperature": self.base_temperature,
            "keys_are_anchors": self.key_labels is None,
        }

    def _rows(self, count: int, generator: np.random.Generator) -> Array:
        rows = generator.normal(size=(count, 4))
        if self.identical:
            rows[:] = rows[:1]
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(rows * self.spread / 2 if self.spread else rows / lengths)


CASES = {
    "anchors among themselves": Case([2, 0, 1, 0, 2, 1, 1, 0, 2]),
    "keys apart": Case([2, 0, 1, 0], [1, 0, 0, 2, 2, 1, 3]),
    "anchors and a memory": Case([2, 0, 1, 0, 2, 1], num_further_keys=7),
    "lengths other than 1": Case([2, 0, 1, 0, 2, 1], spread=2.0),
    "T = 0.01": Case([2, 0, 1, 0, 2, 1, 1], temperature=0.01),
    "T = 0.01 with a memory": Case([2, 0, 1, 0, 2], num_further_keys=6, temperature=0.01),
    "T = 10": Case([2, 0, 1, 0, 2, 1, 1], temperature=10.0),
    "its own base temperature": Case([2, 0, 1, 0, 2, 1], base_temperature=0.07),
    "one class": Case([5, 5, 5, 5], temperature=0.01),
    "one class in the keys": Case([5, 3, 5], [5, 5, 5]),
    "an anchor without positives": Case([0, 0, 1, 2, 2]),
    "every class once": Case([0, 1, 2, 3]),
    "no key of the anchors' classes": Case([0, 1], [2, 3, 3]),
    "a class of keys only": Case([0, 0, 0], [0, 0, 4, 4]),
    "one anchor": Case([0], [0, 1]),
    "all vectors the same": Case([0, 0, 1, 1, 2], identical=True, temperature=0.01),
    "the largest label": Case([254, 0, 254, 0]),
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_those_of_the_definition(name: str) -> None:
    case = CASES[name]
    anchors, labels, keys, key_labels = case.tensors(torch.float32)
    anchors.requires_grad_()
    keys.requires_grad_()
    loss = pixel_contrast_loss(anchors, labels, keys, key_labels, **case.options())
    loss.backward()

    exact_anchors, exact_keys = (x.detach().double().numpy() for x in (anchors, keys))

    def reference(a: Array, k: Array) -> float:
        return contrast_reference(a, labels.numpy(), k, key_labels.numpy(), **case.options())

    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(reference(exact_anchors, exact_keys), rel=1e-5, abs=1e-12)
    assert anchors.grad is not None
    assert keys.grad is not None
    by_anchors = numerical_gradient(lambda a: reference(a, exact_keys), exact_anchors)
    by_keys = numerical_gradient(lambda k: reference(exact_anchors, k), exact_keys)
    for gradient, expected in ((anchors.grad, by_anchors), (keys.grad, by_keys)):
        # Entries are sums of terms up to 1 / T that may cancel, so float32 is accurate to about 1e-7 of a term.
        tolerance = 1e-4 * np.abs(expected).max() + 2e-7 / case.temperature
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_the_closed_form_gradient_passes_gradcheck(name: str) -> None:
    case = CASES[name]
    anchors, labels, keys, key_labels = case.tensors(torch.float64)

    def loss(a: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return pixel_contrast_loss(a, labels, k, key_labels, **case.options())

    assert torch.autograd.gradcheck(loss, (anchors.requires_grad_(), keys.requires_grad_()))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("num_memory", [0, 1, 3])
def test_a_memory_is_further_keys_without_a_gradient(name: str, num_memory: int) -> None:
    case = CASES[name]
    anchors, labels, keys, key_labels = case.tensors(torch.float64)
    if case.key_labels is None and len(keys) - num_memory < len(anchors):
        num_memory = len(keys) - len(anchors)
    inputs = (anchors.requires_grad_(), keys.requires_grad_())
    whole = pixel_contrast_loss(anchors, labels, keys, key_labels, **case.options())
    of_anchors, of_keys = torch.autograd.grad(whole, inputs)
    num_keys = len(keys) - num_memory
    memory = [(keys[num_keys:], key_labels[num_keys:])]
    loss = pixel_contrast_loss(anchors, labels, keys[:num_keys], key_labels[:num_keys], **case.options(), memory=memory)
    assert loss.item() == pytest.approx(whole.item(), rel=1e-12)
    anchors_grad, keys_grad = torch.autograd.grad(loss, inputs)
    torch.testing.assert_close(anchors_grad, of_anchors)
    torch.testing.assert_close(keys_grad[:num_keys], of_keys[:num_keys])
    assert (keys_grad[num_keys:] == 0.0).all()


def test_three_anchors_by_hand() -> None:
    anchors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    labels = torch.tensor([0, 0, 1])
    loss = pixel_contrast_loss(anchors, labels, anchors, labels, temperature=0.5, keys_are_anchors=True)
    # Anchor 0: positive at 0, negative at -1 / 0.5. Anchor 1: both at 0. Anchor 2: no positive, not counted.
    assert loss.item() == pytest.approx((math.log(1 + math.exp(-2)) + math.log(2)) / 2, rel=1e-6)


def test_the_base_temperature_only_scales() -> None:
    anchors, labels, keys, key_labels = CASES["keys apart"].tensors(torch.float64)
    plain = pixel_contrast_loss(anchors, labels, keys, key_labels, temperature=0.1)
    scaled = pixel_contrast_loss(anchors, labels, keys, key_labels, temperature=0.1, base_temperature=0.07)
    assert scaled.item() == pytest.approx(plain.item() * 0.1 / 0.07)


@pytest.mark.parametrize("name", ["one class", "every class once", "no key of the anchors' classes"])
def test_without_a_pair_to_compare_it_is_zero_and_so_is_the_gradient(name: str) -> None:
    anchors, labels, keys, key_labels = CASES[name].tensors(torch.float32)
    anchors.requires_grad_()
    loss = pixel_contrast_loss(anchors, labels, keys, key_labels, **CASES[name].options())
    loss.backward()
    assert loss.item() == 0.0
    assert anchors.grad is not None
    assert (anchors.grad == 0.0).all()


@pytest.mark.parametrize("num_keys", [0, 3])
def test_no_anchor_gives_a_differentiable_zero(num_keys: int) -> None:
    embeddings = torch.randn(5, 4, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    keys = torch.randn(num_keys, 4, requires_grad=True)
    key_labels = torch.arange(num_keys)
    loss = pixel_contrast_loss(embeddings[none], none, keys, key_labels, temperature=0.1, keys_are_anchors=True)
    loss.backward()
    assert loss.item() == 0.0
    assert embeddings.grad is not None
    assert (embeddings.grad == 0.0).all()


@pytest.mark.parametrize("name", ["anchors among themselves", "keys apart", "anchors and a memory"])
def test_chunks_add_up_to_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]

    def value_and_gradients() -> list[torch.Tensor]:
        anchors, labels, keys, key_labels = case.tensors(torch.float64)
        inputs = (anchors.requires_grad_(), keys.requires_grad_())
        loss = pixel_contrast_loss(anchors, labels, keys, key_labels, **case.options())
        return [loss, *torch.autograd.grad(loss, inputs)]

    whole = value_and_gradients()
    monkeypatch.setattr(pixel_contrast, "_CHUNK_ELEMENTS", 1)
    monkeypatch.setattr(pixel_contrast, "_MIN_ROWS", 2)
    torch.testing.assert_close(value_and_gradients(), whole)


def test_the_matrix_of_similarities_is_not_kept() -> None:
    anchors = torch.randn(300, 4, requires_grad=True)
    labels = torch.arange(300) % 3
    kept: list[int] = []

    def count(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        pixel_contrast_loss(anchors, labels, anchors, labels, temperature=0.1, keys_are_anchors=True)
    assert sum(kept) <= 2 * anchors.numel()


def test_nothing_is_kept_for_the_gradient_of_a_memory() -> None:
    anchors, labels = torch.randn(6, 4, requires_grad=True), torch.arange(6) % 3
    memory = [(torch.randn(500, 4), torch.arange(500) % 3)]
    kept: list[int] = []

    def count(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        pixel_contrast_loss(anchors, labels, anchors, labels, temperature=0.1, keys_are_anchors=True, memory=memory)
    assert sum(kept) <= 2 * anchors.numel()


def test_without_gradients_the_value_is_the_same() -> None:
    anchors, labels, keys, key_labels = CASES["keys apart"].tensors(torch.float32)
    expected = pixel_contrast_loss(anchors.requires_grad_(), labels, keys, key_labels, temperature=0.1)
    with torch.no_grad():
        loss = pixel_contrast_loss(anchors, labels, keys, key_labels, temperature=0.1)
    assert not loss.requires_grad
    assert loss.item() == expected.item()


def test_gradients_scale_with_the_coefficient_of_the_loss() -> None:
    anchors, labels, keys, key_labels = CASES["keys apart"].tensors(torch.float64)
    loss = pixel_contrast_loss(anchors.requires_grad_(), labels, keys, key_labels, temperature=0.1)
    (once,) = torch.autograd.grad(loss, anchors, retain_graph=True)
    (thrice,) = torch.autograd.grad(3 * loss, anchors)
    torch.testing.assert_close(thrice, 3 * once)


def test_autocast_changes_nothing() -> None:
    anchors, labels, keys, key_labels = CASES["T = 0.01"].tensors(torch.float32)
    expected = pixel_contrast_loss(anchors, labels, keys, key_labels, temperature=0.01, keys_are_anchors=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = pixel_contrast_loss(anchors, labels, keys, key_labels, temperature=0.01, keys_are_anchors=True)
    assert loss.dtype == torch.float32
    assert loss.item() == expected.item()


def test_half_precision_inputs_are_computed_in_float32() -> None:
    anchors, labels, keys, key_labels = CASES["keys apart"].tensors(torch.bfloat16)
    anchors.requires_grad_()
    loss = pixel_contrast_loss(anchors, labels, keys, key_labels, temperature=0.1)
    loss.backward()
    expected = pixel_contrast_loss(anchors.detach().float(), labels, keys.float(), key_labels, temperature=0.1)
    assert loss.dtype == torch.float32
    assert loss.item() == expected.item()
    assert anchors.grad is not None
    assert anchors.grad.dtype == torch.bfloat16


def test_a_nan_is_not_hidden() -> None:
    anchors, labels, keys, key_labels = CASES["keys apart"].tensors(torch.float32)
    anchors[0, 0] = torch.nan
    assert pixel_contrast_loss(anchors, labels, keys, key_labels, temperature=0.1).isnan()


@settings(max_examples=40, deadline=None)
@given(labels=st.lists(st.integers(0, 4), min_size=2, max_size=12), seed=st.integers(0, 2**31))
def test_neither_order_nor_class_numbers_matter(labels: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    classes = torch.tensor(labels)
    anchors = torch.randn(len(labels), 3, dtype=torch.float64, generator=generator)
    order = torch.randperm(len(labels), generator=generator)
    renamed = torch.randperm(5, generator=generator)[classes[order]]

    def loss(a: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return pixel_contrast_loss(a, c, a, c, temperature=0.3, keys_are_anchors=True)

    torch.testing.assert_close(loss(anchors[order], renamed), loss(anchors, classes))


LIMITS = [
    {"max_positives": 1},
    {"max_positives": 2},
    {"negative_ratio": 0.5},
    {"negative_ratio": 1.5},
    {"max_positives": 2, "negative_ratio": 1.0},
]
LIMITED_CASES = {
    "anchors among themselves": Case([2, 0, 1, 0, 2, 1, 1, 0, 2, 0, 1, 2]),
    "keys apart": Case([2, 0, 1, 0], [1, 0, 0, 2, 2, 1, 3, 0, 2, 2, 1, 1]),
    "anchors and further keys": Case([2, 0, 1, 0, 2, 1], num_further_keys=7),
    "T = 0.01": CASES["T = 0.01 with a memory"],
}


def pairs_drawn(
    case: Case, labels: Array, key_labels: Array, max_positives: int = 99, negative_ratio: float = 99.0
) -> npt.NDArray[np.bool_]:
    """Return the pairs that take part, (N, M) bool, by plain loops with a row of random numbers for each anchor.

    Anchors are ordered by class. If positives are left out, the row has a number for each key of the class. If
    negatives are left out, one number for each key follows. Keys are sorted by class, and the smallest numbers take
    part.
    """
    generator = torch.Generator().manual_seed(7)
    part = np.zeros((len(labels), len(key_labels)), bool)
    order = np.argsort(key_labels, kind="stable")
    for anchor in np.argsort(labels, kind="stable"):
        own = order[key_labels[order] == labels[anchor]]
        positives = own[own != anchor] if case.key_labels is None else own
        negatives = order[key_labels[order] != labels[anchor]]
        if not len(positives) or not len(negatives):
            continue
        num_positives = min(max_positives, len(positives))
        num_negatives = min(max(1, round(negative_ratio * num_positives)), len(negatives))
        for kept, num_kept, keys in ((positives, num_positives, own), (negatives, num_negatives, order)):
            if num_kept < len(kept):
                numbers = dict(zip(keys, torch.rand(len(keys), generator=generator).tolist(), strict=True))
                kept = sorted(kept, key=numbers.__getitem__)[:num_kept]
            part[anchor, kept] = True
    return part


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("name", LIMITED_CASES)
def test_value_and_gradient_of_a_choice_of_pairs_are_those_of_the_definition(
    name: str, limits: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = LIMITED_CASES[name]
    anchors, labels, keys, key_labels = case.tensors(torch.float64)
    part = pairs_drawn(case, labels.numpy(), key_labels.numpy(), **limits)
    assert (part != pairs_drawn(case, labels.numpy(), key_labels.numpy())).any(), "something is left out"

    def loss(a: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(7)
        return pixel_contrast_loss(a, labels, k, key_labels, **case.options(), **limits, generator=generator)

    def reference(a: Array, k: Array) -> float:
        return contrast_reference(a, labels.numpy(), k, key_labels.numpy(), **case.options(), takes_part=part)

    inputs = (anchors.requires_grad_(), keys.requires_grad_())
    exact = tuple(x.detach().numpy() for x in inputs)
    value = loss(*inputs)
    assert value.item() == pytest.approx(reference(*exact), rel=1e-10)
    by_anchors, by_keys = torch.autograd.grad(value, inputs)
    tolerance = 1e-6 / case.temperature
    np.testing.assert_allclose(by_anchors, numerical_gradient(lambda a: reference(a, exact[1]), exact[0]), 0, tolerance)
    np.testing.assert_allclose(by_keys, numerical_gradient(lambda k: reference(exact[0], k), exact[1]), 0, tolerance)
    assert torch.autograd.gradcheck(loss, inputs)
    monkeypatch.setattr(pixel_contrast, "_CHUNK_ELEMENTS", 1)
    monkeypatch.setattr(pixel_contrast, "_MIN_ROWS", 2)
    assert loss(*inputs).item() == pytest.approx(value.item(), rel=1e-12), "chunks change no draw"


@pytest.mark.parametrize(
    ("limits", "num_negatives"),
    [
        ({}, 7),
        ({"max_positives": 1}, 7),
        ({"negative_ratio": 1.0}, 5),
        ({"negative_ratio": 0.25}, 1),
        ({"negative_ratio": 0.01}, 1),
        ({"max_positives": 2, "negative_ratio": 1.5}, 3),
        ({"max_positives": 3, "negative_ratio": 99.0}, 7),
    ],
)
@pytest.mark.parametrize("num_memory", [0, 6])
def test_the_number_of_pairs_by_hand(limits: dict[str, Any], num_negatives: int, num_memory: int) -> None:
    """If all similarities are equal, a positive's term is log(1 + negatives), whichever negatives are drawn."""
    anchors = torch.ones(1, 4)
    labels, key_labels = torch.tensor([0]), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 0])
    keys = torch.ones(12, 4)
    memory = [(keys[12 - num_memory :], key_labels[12 - num_memory :])]
    loss = pixel_contrast_loss(
        anchors,
        labels,
        keys[: 12 - num_memory],
        key_labels[: 12 - num_memory],
        temperature=0.3,
        memory=memory,
        **limits,
        generator=torch.Generator().manual_seed(0),
    )
    assert loss.item() == pytest.approx(math.log(1 + num_negatives), rel=1e-6)


def test_the_positives_are_drawn_evenly_and_so_are_the_negatives() -> None:
    keys, key_labels = torch.eye(6, dtype=torch.float64), torch.tensor([0, 1, 0, 1, 0, 1])
    anchors, labels = torch.zeros(1, 6, dtype=torch.float64), torch.tensor([0])
    counts = torch.zeros(6)
    for seed in range(600):
        anchors.requires_grad_()
        loss = pixel_contrast_loss(
            anchors,
            labels,
            keys,
            key_labels,
            temperature=1.0,
            max_positives=1,
            negative_ratio=2.0,
            generator=torch.Generator().manual_seed(seed),
        )
        (gradient,) = torch.autograd.grad(loss, anchors)
        counts += gradient[0] != 0
    assert counts[0::2].sum() == 600
    assert counts[1::2].sum() == 1200
    assert (counts[0::2] - 200).abs().max() < 50, "200 each, with a standard deviation of 12"
    assert (counts[1::2] - 400).abs().max() < 50


@pytest.mark.parametrize("name", CASES)
def test_limits_beyond_what_there_is_change_no_bit_and_draw_nothing(name: str) -> None:
    case = CASES[name]
    anchors, labels, keys, key_labels = case.tensors(torch.float32)
    inputs = (anchors.requires_grad_(), keys.requires_grad_())
    plain = pixel_contrast_loss(anchors, labels, keys, key_labels, **case.options())
    limited = pixel_contrast_loss(
        anchors, labels, keys, key_labels, **case.options(), max_positives=100, negative_ratio=100.0, generator=None
    )
    assert limited.item() == plain.item()
    for one, other in zip(torch.autograd.grad(limited, inputs), torch.autograd.grad(plain, inputs), strict=True):
        assert one.equal(other)


def test_an_anchor_without_positives_stays_out_of_a_limited_mean() -> None:
    anchors, labels = torch.ones(4, 3, requires_grad=True), torch.tensor([0, 0, 0, 1])
    generator = torch.Generator().manual_seed(0)
    loss = pixel_contrast_loss(
        anchors, labels, anchors, labels, temperature=0.5, keys_are_anchors=True, max_positives=1, generator=generator
    )
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2)), "one negative, and three anchors that count"
    assert anchors.grad is not None
    assert anchors.grad.isfinite().all()


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((None, None), set()),
        ((1, None), {"max_positives"}),
        ((2, None), set()),
        ((None, 5.0), set()),
        ((None, 0.5), {"negative_ratio"}),
        ((2, 0.5), {"negative_ratio"}),
        ((1, 1.0), {"max_positives", "negative_ratio"}),
    ],
)
def test_limits_bind_where_they_leave_out_a_pair(limits: tuple[Any, Any], expected: set[str]) -> None:
    # Class 0: two positives, four negatives. Class 1: none. Class 2: one positive, five negatives, one in memory.
    labels, key_labels = torch.tensor([0, 0, 0, 1, 2]), torch.tensor([0, 0, 0, 1, 2, 2, 1])
    binding = PairLimits(*limits).binding(labels, key_labels, keys_are_anchors=True)
    assert {name for name, binds in binding.items() if binds} == expected


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("is_symmetric", [False, True])
def test_masks_give_the_same_as_ranges_of_classes(
    name: str, is_symmetric: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An accelerator computes with masks, and with rows that take no part."""
    case = CASES[name]
    anchors, labels, keys, key_labels = case.tensors(torch.float64)
    if is_symmetric:
        keys, key_labels = anchors, labels
    absent = torch.ones(2, 4, dtype=torch.float64)
    memory = [(torch.cat([keys[:3], absent]), torch.tensor([*key_labels[:3].tolist(), -1, -1]))]

    def compared(memory: list[tuple[torch.Tensor, torch.Tensor]], num_padded: int) -> list[torch.Tensor]:
        more = torch.full((num_padded,), pixel_contrast.ABSENT)
        a, k = (torch.cat([x, absent[:num_padded]]).requires_grad_() for x in (anchors, keys))
        if is_symmetric:
            k = a
        options = {**case.options(), "keys_are_anchors": is_symmetric}
        loss = pixel_contrast_loss(
            a, torch.cat([labels, more]), k, torch.cat([key_labels, more]), **options, memory=memory
        )
        gradients = torch.autograd.grad(loss, (a, k))
        assert all((gradient[len(gradient) - num_padded :] == 0.0).all() for gradient in gradients)
        return [loss, gradients[0][: len(anchors)], gradients[1][: len(keys)]]

    for of_memory in ([], memory):
        expected = compared(of_memory, 0)
        torch.testing.assert_close(compared(of_memory, 2), expected)
        with monkeypatch.context() as patch:
            patch.setattr(pixel_contrast, "_by_class", pixel_contrast._by_mask)
            patch.setattr(pixel_contrast, "_is_plain", lambda *_: False)
            torch.testing.assert_close(compared(of_memory, 2), expected)
            patch.setattr(pixel_contrast, "_MASKED_ELEMENTS", 1)
            torch.testing.assert_close(compared(of_memory, 2), expected)


@pytest.mark.parametrize("temperature", [0.01, 0.1, 10.0])
@pytest.mark.parametrize("room", [0, 2**21])
def test_each_pair_of_anchors_is_multiplied_once(
    temperature: float, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With float32 inputs, value and gradient equal the plain formula in float64."""
    generator = torch.Generator().manual_seed(0)
    anchors = torch.nn.functional.normalize(torch.randn(300, 16, generator=generator), dim=1).requires_grad_()
    labels = torch.randint(0, 7, (300,), generator=generator)
    monkeypatch.setattr(pixel_contrast, "_KEPT_ELEMENTS", room)
    loss = pixel_contrast_loss(anchors, labels, anchors, labels, temperature=temperature, keys_are_anchors=True)
    (gradient,) = torch.autograd.grad(loss, anchors)
    exact = anchors.detach().double().requires_grad_()
    similarities = exact @ exact.T / temperature
    same = labels.unsqueeze(1) == labels
    negatives = similarities.masked_fill(same, -torch.inf).logsumexp(1, keepdim=True)
    positives = same & ~torch.eye(300, dtype=torch.bool)
    terms = torch.nn.functional.softplus(negatives - similarities).where(positives, 0.0).sum(1) / positives.sum(1)
    expected = terms.mean()
    (expected_gradient,) = torch.autograd.grad(expected, exact)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert (gradient - expected_gradient).abs().max() <= 1e-6 * expected_gradient.abs().max()


@pytest.mark.parametrize("limits", LIMITS)
def test_masks_draw_as_many_pairs_as_the_limits_allow(limits: dict[str, Any]) -> None:
    candidates = torch.rand(50, 20, generator=torch.Generator().manual_seed(0)) < 0.6
    positives, negatives = candidates.sum(1), (~candidates).sum(1)
    num_kept = PairLimits(limits.get("max_positives"), limits.get("negative_ratio")).kept(positives, negatives)[0]
    drawn = pixel_contrast._drawn(candidates, num_kept, torch.Generator().manual_seed(1))
    assert torch.equal(drawn.sum(1), num_kept)
    assert not (drawn & ~candidates).any()
    other = pixel_contrast._drawn(candidates, (num_kept + 1) // 2, torch.Generator().manual_seed(2))
    assert not torch.equal(other, drawn)
