"""Meaning of the raw label values of well-known datasets: ids, names and, if official, colours."""

from dataclasses import dataclass, field

from trainables.config import IGNORE_INDEX
from trainables.data.palette import Palette


@dataclass(frozen=True)
class LabelConvention:
    """Label format of a dataset, in the terms of the `data` section of a trial config."""

    label_class_ids: tuple[int, ...]
    """Raw value of each class, in class order."""
    class_names: tuple[str, ...]
    """Name of each class, in class order."""
    reduce_zero_label: bool = False
    """True if position 0 of the ids is not a class."""
    palette: Palette | None = field(default=None, repr=False)
    """Official colours of colour masks, with 255 for those of no class; None if no colours distinguish all classes."""


def _names(text: str) -> tuple[str, ...]:
    return tuple(" ".join(name.split()) for name in text.split(","))


def _palette(ids: tuple[int, ...], names: tuple[str, ...], colours: str, void: str) -> Palette:
    """Return a palette of colours in hexadecimal RGB, in the order of the ids, and of those that are no class."""
    entries = {_rgb(colour): raw for colour, raw in zip(colours.split(), ids, strict=True)}
    return Palette(entries | dict.fromkeys(map(_rgb, void.split()), IGNORE_INDEX), dict(zip(ids, names, strict=True)))


def _rgb(text: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(text)
    return red, green, blue


_CAMVID_NAMES = _names("sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist")
_CAMVID = LabelConvention(
    tuple(range(11)),  # 11 is void
    _CAMVID_NAMES,
    palette=_palette(
        tuple(range(11)),
        _CAMVID_NAMES,
        "808080 800000 c0c080 804080 0000c0 808000 c08080 404080 400080 404000 0080c0",
        void="000000",
    ),
)

# These are the raw ids (`*_labelIds.png`). A pole group has the colour of poles, a licence plate that of cars.
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_CITYSCAPES_NAMES = _names(
    "road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, terrain, sky, person, "
    "rider, car, truck, bus, train, motorcycle, bicycle"
)
_CITYSCAPES = LabelConvention(
    _CITYSCAPES_IDS,
    _CITYSCAPES_NAMES,
    palette=_palette(
        _CITYSCAPES_IDS,
        _CITYSCAPES_NAMES,
        "804080 f423e8 464646 66669c be9999 999999 faaa1e dcdc00 6b8e23 98fb98 4682b4 dc143c "
        "ff0000 00008e 000046 003c64 005064 0000e6 770b20",
        # unlabelled, dynamic, ground, parking, rail track, guard rail, bridge, tunnel, caravan, trailer
        void="000000 6f4a00 510051 faaaa0 e6968c b4a5b4 966464 96785a 00005a 00006e",
    ),
)

# 0 is "other". The usual colours give road and skyscraper the same grey, so such masks cannot be converted back.
_ADE20K = LabelConvention(
    tuple(range(151)),
    _names(
        """
    wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door,
    table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field,
    armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard,
    chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway,
    case, pool table, pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower,
    book, hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine,
    hovel, bus, towel, light, truck, tower, chandelier, awning, streetlight, booth, television receiver, airplane,
    dirt track, apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship,
    fountain, conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag,
    minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher,
    screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate,
    monitor, bulletin board, shower, radiator, glass, clock, flag
        """
    ),
    reduce_zero_label=True,
)

# 0 is unlabelled. Eleven of the ids 1 to 182 were dropped before any image used them.
_COCO_STUFF = LabelConvention(
    tuple(i for i in range(183) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)),
    _names(
        """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
    parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella,
    handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
    surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
    broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv,
    laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase,
    scissors, teddy bear, hair drier, toothbrush, banner, blanket, branch, bridge, building-other, bush, cabinet,
    cage, cardboard, carpet, ceiling-other, ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-
    stuff, dirt, door-stuff, fence, floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower, fog,
    food-other, fruit, furniture-other, grass, gravel, ground-other, hill, house, leaves, light, mat, metal, mirror-
    stuff, moss, mountain, mud, napkin, net, paper, pavement, pillow, plant-other, plastic, platform, playingfield,
    railing, railroad, river, road, rock, roof, rug, salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-
    other, stairs, stone, straw, structural-other, table, tent, textile-other, towel, tree, vegetable, wall-brick,
    wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops, window-blind,
    window-other, wood
        """
    ),
    reduce_zero_label=True,
)

# The 59 frequent classes are numbered from 1 in alphabetical order; 0 is everything else.
_PASCAL_CONTEXT = LabelConvention(
    tuple(range(60)),
    _names(
        """
    aeroplane, bag, bed, bedclothes, bench, bicycle, bird, boat, book, bottle, building, bus, cabinet, car, cat,
    ceiling, chair, cloth, computer, cow, cup, curtain, dog, door, fence, floor, flower, food, grass, ground, horse,
    keyboard, light, motorbike, mountain, mouse, person, plate, platform, pottedplant, road, rock, sheep, shelves,
    sidewalk, sign, sky, snow, sofa, table, track, train, tree, truck, tvmonitor, wall, water, window, wood
        """
    ),
    reduce_zero_label=True,
)

PRESETS = {
    "ade20k": _ADE20K,
    "camvid": _CAMVID,
    "cityscapes": _CITYSCAPES,
    "coco_stuff": _COCO_STUFF,
    "pascal_context": _PASCAL_CONTEXT,
}
