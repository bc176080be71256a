import math

from raysearch.report.class_iou import MAX_CLASSES, ClassScore, class_iou_info, class_iou_parts
from raysearch.report.parts import Plot, Table, Text
from raysearch.report.view import SearchView
from tests.raysearch.report.histories import history_of, trial


def test_every_class_of_the_winner_beside_the_default() -> None:
    history = history_of(
        trial({"views": 1}, {5: 0.3}, is_default=True, metrics={"iou": [0.5, 0.25, math.nan]}),
        trial({"views": 2}, {7: 0.4}, metrics={"iou": [0.75, 0.125, 0.5]}),
    )
    info = class_iou_info(SearchView(history, "miou", entries={"iou": ("sky", "road", "car")}))
    assert info is not None
    assert (info.winner, info.iteration, info.default, info.default_iteration) == (1, 7, 0, 5)
    assert info.classes == (
        ClassScore("sky", 0.75, 0.5),
        ClassScore("road", 0.125, 0.25),
        ClassScore("car", 0.5, None),
    )
    assert [one.difference for one in info.classes] == [0.25, -0.125, None]
    text, plot, table = class_iou_parts(info)
    assert isinstance(text, Text)
    assert text.text.endswith("The winner is better on 1 class and worse on 1.")
    assert isinstance(plot, Plot)
    assert isinstance(table, Table)
    assert table.rows == (
        ("sky", "0.7500", "0.5000", "+0.2500"),
        ("road", "0.1250", "0.2500", "-0.1250"),
        ("car", "0.5000", "—", "—"),
    )


def test_a_default_that_wins_stands_alone_and_classes_without_names_are_numbered() -> None:
    history = history_of(trial({"views": 1}, [0.3], is_default=True, metrics={"iou": [0.5, 0.25]}))
    info = class_iou_info(SearchView(history, "miou"))
    assert info is not None
    assert (info.winner, info.default) == (0, None)
    assert info.classes == (ClassScore("0", 0.5, None), ClassScore("1", 0.25, None))


def test_of_very_many_classes_those_that_differ_are_drawn() -> None:
    metrics = [{"iou": [0.5] * 150}, {"iou": [0.5 + 0.001 * k for k in range(150)]}]
    history = history_of(
        trial({"views": 1}, [0.3], is_default=True, metrics=metrics[0]), trial({"views": 2}, [0.4], metrics=metrics[1])
    )
    _, plot, table = class_iou_parts(class_iou_info(SearchView(history, "miou")))
    assert isinstance(plot, Plot)
    assert isinstance(table, Table)
    assert list(plot.figure.data[0].y) == [str(k) for k in range(149, 149 - MAX_CLASSES, -1)]
    assert len(table.rows) == 150


def test_a_trainable_without_classes_has_no_such_panel() -> None:
    assert class_iou_parts(class_iou_info(SearchView(history_of(trial({"views": 1}, [0.3])), "miou"))) == []
