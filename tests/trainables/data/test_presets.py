import pytest

from trainables.config import IGNORE_INDEX, DataConfig
from trainables.data.labels import label_table
from trainables.data.presets import PRESETS

NUM_CLASSES = {"ade20k": 150, "camvid": 11, "cityscapes": 19, "coco_stuff": 171, "pascal_context": 59}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_config_that_names_every_class(name: str) -> None:
    preset = PRESETS[name]
    config = DataConfig(
        label_class_ids=preset.label_class_ids,
        reduce_zero_label=preset.reduce_zero_label,
        class_names=preset.class_names,
    )
    assert config.num_classes == NUM_CLASSES[name] == len(set(preset.class_names))


@pytest.mark.parametrize("name", [name for name in PRESETS if PRESETS[name].palette])
def test_a_palette_has_a_colour_of_its_own_for_every_id(name: str) -> None:
    preset = PRESETS[name]
    assert preset.palette is not None
    assert preset.palette.class_ids == preset.label_class_ids
    assert tuple(preset.palette.names[raw] for raw in preset.label_class_ids) == preset.class_names


@pytest.mark.parametrize(
    ("name", "class_name", "raw", "colour"),
    [
        ("cityscapes", "road", 7, (128, 64, 128)),
        ("cityscapes", "train", 31, (0, 80, 100)),
        ("cityscapes", "bicycle", 33, (119, 11, 32)),
        ("camvid", "sky", 0, (128, 128, 128)),
        ("camvid", "bicyclist", 10, (0, 128, 192)),
        ("ade20k", "wall", 1, None),
        ("ade20k", "flag", 150, None),
        ("coco_stuff", "person", 1, None),
        ("coco_stuff", "stop sign", 13, None),
        ("coco_stuff", "banner", 92, None),
        ("coco_stuff", "wood", 182, None),
        ("pascal_context", "aeroplane", 1, None),
        ("pascal_context", "wood", 59, None),
    ],
)
def test_published_ids_and_colours(name: str, class_name: str, raw: int, colour: tuple[int, int, int] | None) -> None:
    preset = PRESETS[name]
    config = DataConfig(label_class_ids=preset.label_class_ids, reduce_zero_label=preset.reduce_zero_label)
    assert label_table(config)[raw] == preset.class_names.index(class_name)
    if colour is not None:
        assert preset.palette is not None
        assert preset.palette.colours[colour] == raw


def test_what_is_no_class_is_ignored() -> None:
    for name, raw in (("ade20k", 0), ("coco_stuff", 0), ("coco_stuff", 12), ("camvid", 11), ("cityscapes", 9)):
        preset = PRESETS[name]
        config = DataConfig(label_class_ids=preset.label_class_ids, reduce_zero_label=preset.reduce_zero_label)
        assert label_table(config)[raw] == IGNORE_INDEX
    for name in ("camvid", "cityscapes"):
        palette = PRESETS[name].palette
        assert palette is not None
        assert palette.colours[0, 0, 0] == IGNORE_INDEX
