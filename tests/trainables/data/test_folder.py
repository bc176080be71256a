import unicodedata
from pathlib import Path

import pytest

from trainables.data.folder import find_pairs
from trainables.errors import InputError


def make(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def faults_of(folder: Path, split: str = "train") -> list[str]:
    with pytest.raises(InputError) as caught:
        find_pairs(folder, split)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(("image", "label"), [("image", "label"), ("images", "labels"), ("images", "label")])
def test_layouts(tmp_path: Path, image: str, label: str) -> None:
    make(tmp_path, f"train/{image}/b.jpg", f"train/{label}/b.png", f"train/{image}/a.png", f"train/{label}/a.png")
    pairs = find_pairs(tmp_path, "train")
    assert [pair.name for pair in pairs] == ["a", "b"]
    assert pairs[1].image == tmp_path / "train" / image / "b.jpg"
    assert pairs[1].label == tmp_path / "train" / label / "b.png"


@pytest.mark.parametrize("ending", ["png", "JPG", "jpeg", "Bmp", "tif", "TIFF", "webp"])
def test_endings_in_any_case(tmp_path: Path, ending: str) -> None:
    make(tmp_path, f"val/image/a.{ending}", "val/label/a.PNG")
    assert [pair.image.name for pair in find_pairs(tmp_path, "val")] == [f"a.{ending}"]


def test_names_with_spaces_dots_and_accents(tmp_path: Path) -> None:
    names = ["two words", "v1.2.x", "街", "Straße"]
    make(tmp_path, *(f"train/image/{name}.jpg" for name in names), *(f"train/label/{name}.png" for name in names))
    assert [pair.name for pair in find_pairs(tmp_path, "train")] == sorted(names)


def test_composed_and_decomposed_accents_are_one_name(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    assert composed != decomposed
    make(tmp_path, f"train/image/{composed}.jpg", f"train/label/{decomposed}.png")
    assert len(find_pairs(tmp_path, "train")) == 1


def test_hidden_and_foreign_files_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "train/image/a.jpg", "train/label/a.png", "train/image/.b.jpg", "train/image/Thumbs.db")
    assert len(find_pairs(tmp_path, "train")) == 1


def test_links_to_files_and_folders(tmp_path: Path) -> None:
    store = make(tmp_path / "store", "pictures/1.jpg", "masks/a.png")
    (tmp_path / "data" / "train" / "image").mkdir(parents=True)
    (tmp_path / "data" / "train" / "image" / "a.jpg").symlink_to(store / "pictures" / "1.jpg")
    (tmp_path / "data" / "train" / "label").symlink_to(store / "masks")
    assert [pair.name for pair in find_pairs(tmp_path / "data", "train")] == ["a"]


def test_missing_folder(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path / "nowhere")
    assert fault == f"{tmp_path}/nowhere: is not a folder; give the folder that holds train/ and val/ as data.dir"


def test_missing_split_names_what_is_there(tmp_path: Path) -> None:
    make(tmp_path, "training/image/a.jpg")
    (fault,) = faults_of(tmp_path)
    assert "has no folder train/ (it has training)" in fault


def test_missing_image_and_label_folders(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    image, label = faults_of(tmp_path)
    assert "has no folder image/" in image
    assert "has no folder label/" in label


def test_two_folders_of_one_meaning(tmp_path: Path) -> None:
    make(tmp_path, "train/image/a.jpg", "train/images/a.jpg", "train/label/a.png")
    (fault,) = faults_of(tmp_path)
    assert "has both image/ and images/" in fault


def test_empty_split(tmp_path: Path) -> None:
    for part in ("image", "label"):
        (tmp_path / "train" / part).mkdir(parents=True)
    (fault,) = faults_of(tmp_path)
    assert "holds no image (.png .jpg" in fault


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    make(
        tmp_path,
        *(f"train/image/{name}" for name in ("good.jpg", "alone.jpg", "twice.jpg", "twice.png", "lossy.png")),
        *(f"train/label/{name}" for name in ("good.png", "widow.png", "twice.png", "lossy.jpg")),
    )
    faults = faults_of(tmp_path)
    assert len(faults) == 4
    for file, what in (
        ("image/twice.png", "has the same name as twice.jpg"),
        ("label/lossy.jpg", "is not a .png file"),
        ("image/alone.jpg", "has no label"),
        ("label/widow.png", "has no image"),
    ):
        assert any(f"{tmp_path}/train/{file}: {what}" in fault for fault in faults), (file, faults)


def test_many_faults_of_a_kind_end_in_a_count(tmp_path: Path) -> None:
    make(tmp_path, *(f"train/image/{i:02d}.jpg" for i in range(27)), "train/label/x.png", "train/image/x.jpg")
    faults = faults_of(tmp_path)
    assert len(faults) == 21
    assert "19.jpg" in faults[19]
    assert "7 more faults" in faults[20]
