import numpy as np

from trainables.config import DataConfig
from trainables.data.labels import label_table


def test_ids_become_positions_and_everything_else_is_ignored() -> None:
    table = label_table(DataConfig(label_class_ids=(0, 74, 128, 145)))
    expected = {0: 0, 74: 1, 128: 2, 145: 3}
    assert table.shape == (256,)
    assert table.dtype == np.uint8
    assert [int(index) for index in table] == [expected.get(value, 255) for value in range(256)]


def test_order_of_the_ids_is_the_order_of_the_classes() -> None:
    table = label_table(DataConfig(label_class_ids=(145, 0, 74)))
    assert table[[145, 0, 74, 128]].tolist() == [0, 1, 2, 255]


def test_reduce_zero_label_maps_to_positions_first() -> None:
    table = label_table(DataConfig(label_class_ids=(7, 3, 5), reduce_zero_label=True))
    assert table[[7, 3, 5]].tolist() == [255, 0, 1]
    assert table[[0, 1, 254, 255]].tolist() == [255] * 4


def test_172_ids_with_reduce_zero_label_make_171_classes() -> None:
    gaps = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}
    ids = tuple(i for i in range(183) if i not in gaps)
    config = DataConfig(label_class_ids=ids, reduce_zero_label=True)
    table = label_table(config)
    assert (len(ids), config.num_classes) == (172, 171)
    assert sorted(set(table.tolist())) == [*range(171), 255]
    assert table[ids[0]] == 255
    assert table[list(ids[1:])].tolist() == list(range(171))
    assert table[255] == 255  # the original makes it 254, a class


def test_all_255_ids_fit() -> None:
    table = label_table(DataConfig(label_class_ids=tuple(range(255))))
    assert table.tolist() == list(range(256))
