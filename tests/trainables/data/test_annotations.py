"""Tests of tiny exports of every annotation tool, against the pixels that they stand for."""

import base64
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from trainables.data.annotations import FORMATS, convert_export, recognise
from trainables.data.annotations.regions import BrushRle, CocoRle, PixelPolygon, PngBitmap, Polygons, RowRuns, ellipse
from trainables.data.class_list import read_class_list
from trainables.data.image_files import read_label
from trainables.errors import InputError

HEIGHT, WIDTH = 6, 8
# A rectangle of class a, and one of class b that covers a corner of it.
A, B = (1, 1, 5, 4), (4, 3, 7, 6)
"""Left, top, right, bottom."""
EXPECTED = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 2, 2, 2, 0],
        [0, 0, 0, 0, 2, 2, 2, 0],
        [0, 0, 0, 0, 2, 2, 2, 0],
    ],
    np.uint8,
)
NAMES = [f"{letter} 图" for letter in "pqrstu"]
Rect = tuple[int, int, int, int]


def corners(rect: Rect) -> list[tuple[int, int]]:
    left, top, right, bottom = rect
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def mask_of(rect: Rect) -> NDArray[np.bool_]:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[rect[1] : rect[3], rect[0] : rect[2]] = True
    return mask


def images(folder: Path, names: list[str] = NAMES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 10 * i, np.uint8)).save(folder / f"{name}.png")


def runs(mask: NDArray[np.bool_]) -> list[int]:
    """Return the lengths of runs along the rows; the first run is outside."""
    flat = mask.ravel()
    ends = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
    lengths = np.diff(ends).tolist()
    return [0, *lengths] if flat[0] else lengths


def coco_document(names: list[str] = NAMES) -> dict[str, Any]:
    """Return a COCO file: class a as polygons; class b as polygons, runs and compressed runs in turn."""
    document: dict[str, Any] = {"images": [], "annotations": []}
    document["categories"] = [{"id": 7, "name": "b"}, {"id": 3, "name": "a"}, {"id": 90, "name": "unused"}]
    packed = coco_mask.encode(np.asfortranarray(mask_of(B).astype(np.uint8)))
    segmentations: list[Any] = [
        [[c for corner in corners(B) for c in corner]],
        {"size": [HEIGHT, WIDTH], "counts": runs(mask_of(B).T)},
        {"size": [HEIGHT, WIDTH], "counts": packed["counts"].decode()},
    ]
    for i, name in enumerate(names):
        document["images"].append({"id": 100 + i, "file_name": f"{name}.png", "height": HEIGHT, "width": WIDTH})
        for category, segmentation in ((3, [[c for corner in corners(A) for c in corner]]), (7, segmentations[i % 3])):
            document["annotations"].append(
                {
                    "id": len(document["annotations"]),
                    "image_id": 100 + i,
                    "category_id": category,
                    "segmentation": segmentation,
                    "iscrowd": 0,
                }
            )
    return document


def write_json(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def coco(folder: Path) -> None:
    images(folder / "train2017", NAMES[:4])
    images(folder / "val2017", NAMES[4:])
    write_json(folder / "annotations" / "instances_train2017.json", coco_document(NAMES[:4]))
    write_json(folder / "annotations" / "instances_val2017.json", coco_document(NAMES[4:]))


def roboflow(folder: Path) -> None:
    for split, names in (("train", NAMES[:4]), ("valid", NAMES[4:])):
        images(folder / split, names)
        write_json(folder / split / "_annotations.coco.json", coco_document(names))


def yolo(folder: Path) -> None:
    for split, names in (("train", NAMES[:4]), ("val", NAMES[4:])):
        images(folder / "images" / split, names)
        (folder / "labels" / split).mkdir(parents=True)
        for name in names:
            lines = [
                " ".join([str(k), *(f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in corners(rect))])
                for k, rect in ((0, A), (1, B))
            ]
            (folder / "labels" / split / f"{name}.txt").write_text("\n".join(lines))
    (folder / "data.yaml").write_text("train: images/train\nval: images/val\nnames: {0: a, 1: b, 2: unused}\n")


def voc_palette() -> list[int]:
    palette: list[int] = []
    for value in range(256):
        colour = [0, 0, 0]
        for bit in range(8):
            colour[bit % 3] |= (value >> bit & 1) << (7 - bit // 3)
        palette += colour
    return palette


def voc(folder: Path, *, colours: bool = False) -> None:
    images(folder / "JPEGImages")
    (folder / "SegmentationClass").mkdir()
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    for name in NAMES:
        mask = Image.frombytes("P", (WIDTH, HEIGHT), EXPECTED.tobytes())
        mask.putpalette(voc_palette())
        (mask.convert("RGB") if colours else mask).save(folder / "SegmentationClass" / f"{name}.png")
    for split, names in (("train", NAMES[:4]), ("val", NAMES[4:]), ("trainval", NAMES)):
        (folder / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(names), encoding="utf-8")


def cvat_masks(folder: Path) -> None:
    voc(folder, colours=True)
    rows = ["# label:color_rgb:parts:actions", "background:0,0,0::", "a:128,0,0::", "b:0,128,0::"]
    (folder / "labelmap.txt").write_text("\n".join(rows))


def cvat(folder: Path) -> None:
    shapes = "".join(f"<label><name>{name}</name></label>" for name in ("a", "b", "unused"))
    text = f"<annotations><version>1.1</version><meta><task><labels>{shapes}</labels></task></meta>"
    for i, name in enumerate(NAMES):
        subset = "Train" if i < 4 else "Validation"
        text += f'<image id="{i}" name="{name}.png" subset="{subset}" width="{WIDTH}" height="{HEIGHT}">'
        # The first shape in the file is on top by its z_order.
        left, top, right, bottom = B
        inside = runs(np.ones((bottom - top, right - left), bool))
        above = f'rle="{", ".join(map(str, inside))}" left="{left}" top="{top}" width="{right - left}" height="3"'
        text += f'<mask label="b" {above} z_order="1"></mask>'
        points = ";".join(f"{x:.2f},{y:.2f}" for x, y in corners(A))
        if i % 2:
            text += f'<polygon label="a" points="{points}" z_order="0"></polygon>'
        else:
            text += f'<box label="a" xtl="{A[0]}" ytl="{A[1]}" xbr="{A[2]}" ybr="{A[3]}" z_order="0"></box>'
        text += f'<polyline label="a" points="{points}" z_order="2"></polyline></image>'
    images(folder / "images")
    (folder / "annotations.xml").write_text(text + "</annotations>", encoding="utf-8")


def brush(mask: NDArray[np.bool_]) -> list[int]:
    """Return Label Studio's bits: every run of RGBA bytes as a repeated value, with 16 bits for its length."""
    values = np.repeat(np.where(mask, 255, 0).ravel(), 4)
    bits = f"{values.size:032b}" + f"{7:05b}" + "".join(f"{length:04b}" for length in (2, 3, 7, 15))
    start = 0
    while start < values.size:
        end = start + 1
        while end < values.size and values[end] == values[start]:
            end += 1
        bits += "1" + "11" + f"{end - start - 1:016b}" + f"{values[start]:08b}"
        start = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def label_studio(folder: Path) -> None:
    images(folder / "media")
    tasks: list[dict[str, Any]] = []
    for i, name in enumerate(NAMES):
        size = {"original_width": WIDTH, "original_height": HEIGHT}
        percent = [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in corners(A)]
        value: dict[str, Any] = {"points": percent, "polygonlabels": ["a"]}
        rle = {"format": "rle", "rle": brush(mask_of(B)), "brushlabels": ["b"]}
        result = [
            {"type": "polygonlabels", "value": value, **size},
            {"type": "brushlabels", "value": rle, **size},
            {"type": "choices", "value": {"choices": ["good"]}},
        ]
        skipped = {"result": [], "was_cancelled": True}
        url = f"/data/upload/1/0a1b2c3d-{name}.png" if i % 2 else f"/data/local-files/?d=media/{name}.png"
        tasks.append({"id": i, "data": {"image": url}, "annotations": [{"result": result}, skipped]})
    tasks.append({"id": 99, "data": {"image": "x.png"}, "annotations": []})
    write_json(folder / "project-1.json", tasks)


def supervisely(folder: Path) -> None:
    write_json(folder / "meta.json", {"classes": [{"title": "a", "shape": "any"}, {"title": "b"}]})
    patch = np.full((B[3] - B[1], B[2] - B[0]), 255, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(patch).convert("RGBA").save(buffer, "PNG")
    data = base64.b64encode(zlib.compress(buffer.getvalue())).decode()
    exterior = [(A[0], A[1]), (A[2] - 1, A[1]), (A[2] - 1, A[3] - 1), (A[0], A[3] - 1)]  # the corners are pixels
    for dataset, names in (("train", NAMES[:4]), ("val", NAMES[4:])):
        images(folder / dataset / "img", names)
        for name in names:
            objects = [
                {"classTitle": "a", "geometryType": "polygon", "points": {"exterior": exterior, "interior": []}},
                {"classTitle": "b", "geometryType": "bitmap", "bitmap": {"data": data, "origin": [B[0], B[1]]}},
                {"classTitle": "b", "geometryType": "point", "points": {"exterior": [[0, 0]], "interior": []}},
            ]
            document = {"size": {"height": HEIGHT, "width": WIDTH}, "objects": objects, "tags": []}
            write_json(folder / dataset / "ann" / f"{name}.png.json", document)


NAMED = {0: "background", 1: "a", 2: "b"}
EXPORTS: dict[str, tuple[Callable[[Path], None], str, dict[int, str]]] = {
    "coco": (coco, "coco", NAMED),
    "coco by roboflow": (roboflow, "coco", NAMED),
    "yolo": (yolo, "yolo", NAMED),
    "voc": (voc, "voc", {}),
    "voc in colours": (lambda folder: voc(folder, colours=True), "voc", {}),
    "cvat masks": (cvat_masks, "voc", NAMED),
    "cvat": (cvat, "cvat", NAMED),
    "label studio": (label_studio, "label_studio", NAMED),
    "supervisely": (supervisely, "supervisely", NAMED),
}


@pytest.mark.parametrize("kind", EXPORTS)
def test_an_export_becomes_the_pixels_that_were_drawn(kind: str, tmp_path: Path) -> None:
    write, name, names = EXPORTS[kind]
    source, made = tmp_path / "my export", tmp_path / "made"
    write(source)
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    assert recognise(source) == name
    converted = convert_export(source, made, name)
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
    assert converted.class_names == read_class_list(made) == names
    if kind == "label studio":  # which has no splits
        assert set(converted.num_images) == {"train", "val"} and sum(converted.num_images.values()) == 6
    else:
        assert converted.num_images == {"train": 4, "val": 2}
        assert sorted(path.stem for path in (made / "val" / "label").iterdir()) == NAMES[4:]
    for path in made.glob("*/label/*.png"):
        np.testing.assert_array_equal(read_label(path), EXPECTED)
        assert (path.parent.parent / "image" / path.name).exists()
    assert len(list(made.glob("*/label/*.png"))) == 6


def test_every_format_is_tried_and_nothing_else_is_recognised(tmp_path: Path) -> None:
    assert {name for _, name, _ in EXPORTS.values()} == set(FORMATS)
    images(tmp_path / "photos")
    assert recognise(tmp_path) is None
    assert recognise(tmp_path / "nowhere") is None


def test_masks_of_voc_are_taken_byte_by_byte_with_their_borders(tmp_path: Path) -> None:
    voc(tmp_path / "voc")
    path = tmp_path / "voc" / "SegmentationClass" / f"{NAMES[0]}.png"
    with_border = EXPECTED.copy()
    with_border[1, 1:5] = 255
    mask = Image.frombytes("P", (WIDTH, HEIGHT), with_border.tobytes())
    mask.putpalette(voc_palette())
    mask.save(path)
    converted = convert_export(tmp_path / "voc", tmp_path / "made", "voc")
    assert (tmp_path / "made" / "train" / "label" / path.name).read_bytes() == path.read_bytes()
    assert any("255" in line and "ignored" in line for line in converted.notices)


def test_classes_have_the_names_of_voc_only_where_all_its_values_occur(tmp_path: Path) -> None:
    voc(tmp_path / "voc")
    convert_export(tmp_path / "voc", tmp_path / "few", "voc")
    assert read_class_list(tmp_path / "few") == {}
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values.flat[:21] = np.arange(21)
    Image.fromarray(values).save(tmp_path / "voc" / "SegmentationClass" / f"{NAMES[0]}.png")
    convert_export(tmp_path / "voc", tmp_path / "all", "voc")
    names = read_class_list(tmp_path / "all")
    assert len(names) == 21 and names[15] == "person"


def faults_of(source: Path, name: str) -> str:
    with pytest.raises(InputError) as caught:
        convert_export(source, source.with_name("made"), name)
    assert not source.with_name("made").exists()
    return "\n".join(map(str, caught.value.faults))


def test_all_faults_of_a_coco_file_are_told_at_once(tmp_path: Path) -> None:
    document = coco_document()
    annotations = document["annotations"]
    annotations[0]["category_id"] = 55
    annotations[2]["image_id"] = 1
    document["images"][5]["file_name"] = "gone.png"
    images(tmp_path / "e")
    write_json(tmp_path / "e" / "train.json", document)
    told = faults_of(tmp_path / "e", "coco")
    assert "annotation 0: has the category 55" in told
    assert "annotation 2: is of the image 1, which is not among the images" in told
    assert "image 105: names the image gone.png, which is not in" in told


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({"segmentation": [[1, 2, 3]]}, "annotations[1].segmentation"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "a polygon has pairs of x and y, not 7 numbers"),
        ({"segmentation": "oops"}, "annotations[1].segmentation"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [3, 4]}}, "runs of 7 pixels in all"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "~~"}}, "which is not valid in a compressed mask"),
        ({"segmentation": {"size": [9, 9], "counts": [81]}}, "is a mask of 9x9 pixels, but the image is 8x6"),
        ({"segmentation": [], "bbox": None}, "has neither a segmentation nor a box"),
        ({"category_id": None}, "annotations[1].category_id"),
    ],
)
def test_a_broken_coco_annotation_is_named(broken: dict[str, Any], told: str, tmp_path: Path) -> None:
    document = coco_document()
    document["annotations"][1] |= broken
    images(tmp_path / "e")
    write_json(tmp_path / "e" / "all.json", document)
    assert told in faults_of(tmp_path / "e", "coco")


def test_crowds_lie_below_and_unannotated_images_are_background(tmp_path: Path) -> None:
    document = coco_document()
    document["annotations"][1] |= {"iscrowd": 1}  # class b of the first image
    del document["annotations"][2:4]  # of the second image
    images(tmp_path / "e")
    write_json(tmp_path / "e" / "all.json", document)
    convert_export(tmp_path / "e", tmp_path / "made", "coco")
    (first,) = tmp_path.glob(f"made/*/label/{NAMES[0]}.png")
    expected = EXPECTED.copy()
    expected[3, 4] = 1
    np.testing.assert_array_equal(read_label(first), expected)
    (second,) = tmp_path.glob(f"made/*/label/{NAMES[1]}.png")
    assert not read_label(second).any()


def test_images_of_one_name_in_two_folders_are_two_samples(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        images(tmp_path / "e" / folder, NAMES[:3])
    document = coco_document([f"{folder}/{name}" for folder in "xy" for name in NAMES[:3]])
    write_json(tmp_path / "e" / "all.json", document)
    converted = convert_export(tmp_path / "e", tmp_path / "made", "coco")
    assert sum(converted.num_images.values()) == 6
    assert len(list(tmp_path.glob("made/*/image/*.png"))) == 6


def test_an_image_of_another_size_than_annotated_is_a_fault(tmp_path: Path) -> None:
    coco(tmp_path / "e")
    path = tmp_path / "e" / "val2017" / f"{NAMES[5]}.png"
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(path)
    assert "is annotated as 8x6 pixels, but its image" in faults_of(tmp_path / "e", "coco")


def test_faults_of_yolo_lines(tmp_path: Path) -> None:
    yolo(tmp_path / "e")
    labels = tmp_path / "e" / "labels" / "train"
    (labels / f"{NAMES[0]}.txt").write_text("5 0 0 1 0 1 1\n0 0 0 1 0 1\nx y\n0 0 0 300 0 1 1\n")
    (labels / "alone.txt").write_text("0 0 0 1 0 1 1\n")
    told = faults_of(tmp_path / "e", "yolo")
    assert "line 1: has the class 5, but there are names for 0 to 2" in told
    assert "line 2: has 5 coordinates" in told
    assert "line 3: 'x y' is not a class number" in told
    assert "line 4: has coordinates outside of 0 to 1" in told
    assert "alone.txt: has no image of the same name" in told


def test_boxes_alone_are_no_segmentation(tmp_path: Path) -> None:
    yolo(tmp_path / "e")
    for path in tmp_path.glob("e/labels/*/*.txt"):
        path.write_text("0 0.5 0.5 0.2 0.2\n")
    assert "holds only boxes and no polygons" in faults_of(tmp_path / "e", "yolo")


def test_two_formats_at_once_are_for_the_user_to_choose(tmp_path: Path) -> None:
    yolo(tmp_path / "e")
    write_json(tmp_path / "e" / "annotations" / "train.json", coco_document())
    with pytest.raises(
        InputError, match="looks like an export of COCO JSON and of YOLO polygons; choose one with --from"
    ):
        recognise(tmp_path / "e")


def test_a_polygon_covers_the_pixels_that_coco_says(tmp_path: Path) -> None:
    points = ((0.5, 0.2), (7.3, 1.1), (4.0, 5.9))
    flat = [[c for point in points for c in point]]
    theirs = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, HEIGHT, WIDTH)))
    np.testing.assert_array_equal(Polygons((points,)).mask(HEIGHT, WIDTH), theirs.astype(bool))


def test_compressed_masks_are_read_as_pycocotools_does() -> None:
    rng = np.random.default_rng(0)
    for size in ((1, 1), (7, 5), (40, 300), (200, 100)):
        mask = rng.random(size) < rng.random()
        text = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        np.testing.assert_array_equal(CocoRle(text, size).mask(*size), mask)


def test_holes_are_left_out() -> None:
    region = PixelPolygon(((0, 0), (6, 0), (6, 5), (0, 5)), (((2, 2), (4, 2), (4, 3), (2, 3)),))
    expected = mask_of((0, 0, 7, 6)) & ~mask_of((2, 2, 5, 4))
    np.testing.assert_array_equal(region.mask(HEIGHT, WIDTH), expected)


def test_an_ellipse_has_its_area_and_turns() -> None:
    area = ellipse(50, 40, 30, 10).mask(80, 100).sum()
    assert area == pytest.approx(np.pi * 300, rel=0.01)
    turned = ellipse(50, 40, 30, 10, rotation=90).mask(80, 100)
    rows, columns = np.nonzero(turned)
    assert np.ptp(rows) > 55 > 25 > np.ptp(columns)


@pytest.mark.parametrize(
    "region",
    [
        Polygons((((0, 0), (1, 1)),)),
        RowRuns((0, 5), 0, 0, 2, 2),
        RowRuns((0, 4), 7, 5, 2, 2),
        PngBitmap("no base64", 0, 0),
        BrushRle(b"\x00\x00", (HEIGHT, WIDTH)),
        BrushRle(b"", (1, 1)),
        CocoRle((-3, 51), (HEIGHT, WIDTH)),
    ],
)
def test_what_is_no_mask_says_so(region: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        region.mask(HEIGHT, WIDTH)
