import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trainables.losses.class_weights import class_weights

SCHEMES = ("max_over_count", "inverse", "one_minus_frequency", "inverse_log")


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("max_over_count", [1.0, 1_000.0, 10_000.0]),
        ("inverse", [1e-6, 1e-3, 1e-2]),
        ("one_minus_frequency", [1 - 1e6 / 1_001_100, 1 - 1e3 / 1_001_100, 1 - 1e2 / 1_001_100]),
        ((2.0, 3.0, 5.0), [2.0, 3.0, 5.0]),
    ],
)
def test_power_one_is_the_scheme_itself(scheme: str | tuple[float, ...], expected: list[float]) -> None:
    np.testing.assert_allclose(class_weights(scheme, 1.0, [1_000_000, 1_000, 100]), expected, rtol=1e-12)


def test_inverse_log_has_mean_one() -> None:
    weights = class_weights("inverse_log", 1.0, [3, 1])
    assert weights.mean() == pytest.approx(1.0)
    assert weights[1] / weights[0] == pytest.approx(math.log(1.02 + 0.75) / math.log(1.02 + 0.25))


def test_one_minus_frequency_sums_to_one_less_than_the_classes() -> None:
    counts = np.arange(1, 13) ** 3
    assert class_weights("one_minus_frequency", 1.0, counts).sum() == pytest.approx(11.0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_power_is_an_exponent(scheme: str) -> None:
    counts = [500, 30, 70]
    np.testing.assert_allclose(class_weights(scheme, 0.5, counts) ** 2, class_weights(scheme, 1.0, counts))


@pytest.mark.parametrize("scheme", [*SCHEMES, (3.0, 0.0, 1.0)])
def test_power_zero_leaves_classes_unweighted(scheme: str | tuple[float, ...]) -> None:
    assert class_weights(scheme, 0.0, [10, 0, 5]).tolist() == [1.0, 1.0, 1.0]


@settings(deadline=None)
@given(
    scheme=st.sampled_from(SCHEMES),
    power=st.floats(0.01, 2.0),
    counts=st.lists(st.integers(0, 10**12), min_size=1, max_size=8).filter(any),
)
def test_weights_are_finite_and_absent_classes_have_none(scheme: str, power: float, counts: list[int]) -> None:
    assume(scheme != "one_minus_frequency" or sum(map(bool, counts)) > 1)  # a single class would have weight 0
    weights = class_weights(scheme, power, counts)
    assert weights.dtype == np.float64
    assert np.isfinite(weights).all()
    assert (weights[np.asarray(counts) == 0] == 0.0).all()
    assert (weights >= 0.0).all()


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_a_list_of_the_wrong_length_names_both_lengths(power: float) -> None:
    with pytest.raises(ValueError, match="2 numbers for 3 classes"):
        class_weights((1.0, 2.0), power, [1, 2, 3])


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        class_weights((1.0, -2.0), 0.5, [1, 2])


@pytest.mark.parametrize(
    ("scheme", "counts"), [((0.0, 0.0, 2.0), [5, 7, 0]), ((0.0, 0.0), [5, 7]), ("one_minus_frequency", [0, 7])]
)
def test_weight_0_for_every_class_that_has_pixels_is_refused(
    scheme: str | tuple[float, ...], counts: list[int]
) -> None:
    with pytest.raises(ValueError, match="weight 0 to every class that has training pixels"):
        class_weights(scheme, 0.5, counts)


def test_an_unknown_scheme_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="max_over_count, inverse, one_minus_frequency, inverse_log"):
        class_weights("inverse_sqrt", 1.0, [1, 2])


def test_no_labelled_pixel_is_an_error_not_an_infinity() -> None:
    with pytest.raises(ValueError, match="no class has any"):
        class_weights("inverse", 1.0, [0, 0])
