import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainables.data.conftest import save
from trainables.config import DataConfig
from trainables.data import splitting
from trainables.data.folder import find_pairs
from trainables.data.splitting import split_dataset, stratified
from trainables.errors import InputError

SHARES = {"train": 0.8, "val": 0.2}


def presences(rng: np.random.Generator, num_images: int, frequencies: list[float]) -> np.ndarray:
    return rng.random((num_images, len(frequencies))) < frequencies


def names(num_images: int) -> list[str]:
    return [f"{i:04d}" for i in range(num_images)]


class TestStratified:
    @pytest.mark.parametrize("seed", range(5))
    def test_every_class_is_shared_out_as_the_images_are(self, seed: int) -> None:
        presence = presences(np.random.default_rng(seed), 468, [1.0, 0.95, 0.9, 0.6, 0.4, 0.2, 0.05, 0.015])
        chosen = stratified(presence, names(468), {"train": 0.7, "val": 0.2, "test": 0.1}, seed)
        np.testing.assert_array_equal(np.sort(np.concatenate(list(chosen.values()))), np.arange(468))
        for split, share in (("train", 0.7), ("val", 0.2), ("test", 0.1)):
            assert abs(len(chosen[split]) - 468 * share) <= 10
            fair = share * presence.sum(axis=0)
            assert (np.abs(presence[chosen[split]].sum(axis=0) - fair) <= np.maximum(2, 0.1 * fair)).all()

    def test_a_plain_draw_would_miss_what_this_one_does_not(self) -> None:
        presence = np.zeros((200, 10), bool)
        presence[np.arange(50), np.arange(50) % 10] = True  # each class in 5 images
        for seed in range(20):
            chosen = stratified(presence, names(200), SHARES, seed)
            assert presence[chosen["val"]].any(axis=0).all()
            assert presence[chosen["train"]].any(axis=0).all()
        plain = [np.random.default_rng(seed).permutation(200)[:40] for seed in range(20)]
        assert not all(presence[indices].any(axis=0).all() for indices in plain)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([0.1, 0.2, 0.5]))
    def test_a_class_of_five_images_is_in_both_splits_however_classes_meet(
        self, seed: int, num_classes: int, val: float
    ) -> None:
        rng = np.random.default_rng(seed)
        presence = presences(rng, 60, rng.uniform(0.02, 1.0, num_classes).tolist())
        chosen = stratified(presence, names(60), {"train": 1 - val, "val": val}, seed % 7)
        frequent = presence.sum(axis=0) >= 5
        assert presence[chosen["train"]][:, frequent].any(axis=0).all()
        assert presence[chosen["val"]][:, frequent].any(axis=0).all()

    def test_a_class_whose_images_rarer_classes_took_is_mended(self) -> None:
        presence = np.zeros((40, 4), bool)
        presence[:6, 0] = True  # of its six images ...
        presence[[0, 3], 1] = presence[[1, 4], 2] = presence[[2, 5], 3] = True  # ... all have a rarer class too
        for seed in range(10):
            chosen = stratified(presence, names(40), SHARES, seed)
            for indices in chosen.values():
                assert presence[indices].any(axis=0).all()

    @pytest.mark.parametrize("seed", [2595, 3228, 3426, 3822, 5150, 5863])  # a fix for one class could rob another
    def test_mending_robs_no_other_class(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        presence = presences(rng, 16, rng.uniform(0.05, 0.4, 8).tolist())
        chosen = stratified(presence, names(16), SHARES, 0)
        for indices in chosen.values():
            assert presence[indices][:, presence.sum(axis=0) >= 2].any(axis=0).all()

    def test_room_is_kept_for_rare_classes(self) -> None:
        presence = np.zeros((60, 14), bool)
        presence[np.arange(28), np.arange(28) % 14] = True  # fourteen classes of two images each
        chosen = stratified(presence, names(60), SHARES, 0)
        assert presence[chosen["val"]].sum(axis=0).tolist() == [1] * 14
        assert len(chosen["val"]) == 14

    def test_an_only_image_is_trained_on(self) -> None:
        presence = np.zeros((20, 1), bool)
        presence[7] = True
        for seed in range(5):
            assert 7 in stratified(presence, names(20), SHARES, seed)["train"]

    def test_the_seed_is_all_that_changes_the_draw(self) -> None:
        presence = presences(np.random.default_rng(0), 100, [0.5, 0.1])
        draws = [stratified(presence, names(100), SHARES, seed)["val"].tolist() for seed in (0, 0, 1)]
        assert draws[0] == draws[1] != draws[2]

    @pytest.mark.parametrize("seed", range(3))
    def test_groups_stay_together(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        groups = [f"clip {i}" for i in rng.integers(0, 25, 300)]
        presence = presences(rng, 300, [0.9, 0.5, 0.05])
        chosen = stratified(presence, groups, SHARES, seed)
        of_train, of_val = ({groups[i] for i in chosen[split]} for split in SHARES)
        assert not of_train & of_val
        assert presence[chosen["val"]].any(axis=0).all()
        assert 40 <= len(chosen["val"]) <= 80

    def test_large_groups_are_shared_out_first_and_small_ones_even_out(self) -> None:
        sizes = [1] * 30 + [10, 20, 40]
        groups = [f"clip {i}" for i, size in enumerate(sizes) for _ in range(size)]
        chosen = stratified(np.ones((100, 1), bool), groups, SHARES, 0)
        assert {split: len(indices) for split, indices in chosen.items()} == {"train": 80, "val": 20}

    @pytest.mark.parametrize("seed", [4, 12, 102, 116, 297])  # 15 to 18 images, by the classes alone
    def test_val_is_as_large_as_groups_allow(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        of_image = rng.integers(0, 9, 40)
        groups = [str(group) for group in of_image]
        presence = presences(rng, 40, [1.0, 0.5, 0.2, 0.08])
        chosen = stratified(presence, groups, {"train": 0.75, "val": 0.25}, seed)
        assert len(chosen["val"]) == 10
        assert not set(of_image[chosen["train"]]) & set(of_image[chosen["val"]])
        num_with = sum(presence[of_image == group].any(axis=0).astype(int) for group in range(9))
        for indices in chosen.values():
            assert presence[np.ix_(indices, num_with >= 3)].any(axis=0).all()

    def test_groups_are_exchanged_where_no_move_alone_helps(self) -> None:
        images = np.array([[7, 7], [7, 7], [6, 6], [5, 5], [5, 5]])  # of five groups
        assigned = np.array([0, 0, 0, 1, 1])  # 20 and 10, and no group of 2 to move
        splitting._even_out(images, assigned, np.array([0.6, 0.4]))
        assert images[assigned == 0].sum(axis=0).tolist() == [18, 18]

    def test_a_class_is_worth_more_than_the_size(self) -> None:
        groups = ["a"] * 8 + ["b"] * 8 + [f"{i}" for i in range(4)]
        presence = np.zeros((20, 1), bool)
        presence[[0, 8]] = True  # only in the two large groups
        chosen = stratified(presence, groups, {"train": 0.9, "val": 0.1}, 0)
        assert {split: len(indices) for split, indices in chosen.items()} == {"train": 12, "val": 8}

    @pytest.mark.parametrize("seed", range(5))
    def test_numbers_are_met_exactly_and_no_class_pays_for_it(self, seed: int) -> None:
        presence = presences(np.random.default_rng(seed), 468, [1.0, 0.9, 0.4, 0.2, 0.05, 0.015])
        for number in (13, 100, 331):
            shares = {"train": 1 - (number + 40) / 468, "val": number / 468, "test": 40 / 468}
            chosen = stratified(presence, names(468), shares, seed, {"val": number, "test": 40})
            assert {split: len(indices) for split, indices in chosen.items()} == {
                "train": 428 - number,
                "val": number,
                "test": 40,
            }
            frequent = presence.sum(axis=0) >= 5
            assert presence[chosen["val"]][:, frequent].any(axis=0).all()
            fair = number / 468 * presence.sum(axis=0)
            assert (np.abs(presence[chosen["val"]].sum(axis=0) - fair) <= np.maximum(4, 0.15 * fair)).all()

    def test_fewer_groups_than_splits(self) -> None:
        with pytest.raises(InputError, match="3 images in 1 group cannot be divided into 2 splits"):
            stratified(np.ones((3, 1), bool), ["a"] * 3, SHARES, 0)

    def test_no_class_at_all(self) -> None:
        chosen = stratified(np.zeros((10, 0), bool), names(10), SHARES, 0)
        assert {split: len(indices) for split, indices in chosen.items()} == {"train": 8, "val": 2}

    def test_no_split_is_empty(self) -> None:
        chosen = stratified(np.ones((5, 1), bool), names(5), {"train": 0.98, "val": 0.01, "test": 0.01}, 0)
        assert [len(indices) for indices in chosen.values()] == [3, 1, 1]


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Provide twenty pairs of four clips and two sites; class 3 is in five of them."""
    folder = tmp_path / "all images 全"
    for part in ("image", "label"):
        (folder / part).mkdir(parents=True)
    for i in range(20):
        name = f"clip{i // 5} {'AB'[i % 2]} {i:02d}"
        save(folder / "image" / f"{name}.png", np.full((4, 6, 3), i))
        label = np.full((4, 6), 255)
        label[0], label[1, 0] = i % 2, 3 if i % 4 == 0 else 255
        save(folder / "label" / f"{name}.png", label)
    return folder


def written(folder: Path) -> dict[str, list[str]]:
    return {path.name: [pair.name for pair in find_pairs(folder, path.name)] for path in sorted(folder.iterdir())}


class TestSplitDataset:
    @pytest.mark.parametrize("link", [False, True])
    def test_writes_a_dataset_and_leaves_the_source(self, link: bool, flat: Path, tmp_path: Path) -> None:
        before = {path: path.read_bytes() for path in flat.rglob("*.png")}
        done = split_dataset(flat, tmp_path / "out", SHARES, link=link)
        parts = written(tmp_path / "out")
        assert {split: len(pairs) for split, pairs in parts.items()} == done.num_images == {"train": 16, "val": 4}
        assert sorted(parts["train"] + parts["val"]) == sorted(path.stem for path in (flat / "image").iterdir())
        for split in parts:
            for pair in find_pairs(tmp_path / "out", split):
                for path in (pair.image, pair.label):
                    original = flat / path.parent.name / path.name
                    assert path.read_bytes() == before[original]
                    assert os.path.samefile(path, original) == link
        assert {path: path.read_bytes() for path in flat.rglob("*.png")} == before
        assert done.class_names == ("value 0", "value 1", "value 3")
        assert [sum(images) for images in zip(*done.class_images.values(), strict=True)] == [10, 10, 5]
        assert [sum(pixels) for pixels in zip(*done.class_pixels.values(), strict=True)] == [60, 60, 5]
        assert done.missing() == []

    def test_splits_a_dataset_anew(self, flat: Path, tmp_path: Path) -> None:
        split_dataset(flat, tmp_path / "first", {"train": 0.5, "val": 0.5})
        split_dataset(tmp_path / "first", tmp_path / "second", {"train": 0.6, "val": 0.2, "test": 0.2})
        assert {split: len(pairs) for split, pairs in written(tmp_path / "second").items()} == {
            "test": 4,
            "train": 12,
            "val": 4,
        }

    def test_a_source_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="absent: is not a folder"):
            split_dataset(tmp_path / "absent", tmp_path / "out", SHARES)

    def test_names_that_two_splits_share_cannot_be_put_together(self, dataset: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError) as caught:
            split_dataset(dataset, tmp_path / "out", SHARES)
        assert [Path(fault.where).name for fault in caught.value.faults] == ["0.png", "1.png", "2.png"]
        assert not (tmp_path / "out").exists()

    def test_groups_by_pattern_and_by_csv(self, flat: Path, tmp_path: Path) -> None:
        groups = tmp_path / "groups.csv"
        rows = [
            f'"{path.name if i % 2 else path.stem}",{path.stem[4]}' for i, path in enumerate((flat / "image").iterdir())
        ]
        groups.write_text("\n".join(rows))
        for group in (r"clip(\d)", groups):
            out = tmp_path / ("csv" if group is groups else "pattern")
            split_dataset(flat, out, {"train": 0.75, "val": 0.25}, group=group)
            parts = written(out)
            assert {name[:5] for name in parts["train"]} & {name[:5] for name in parts["val"]} == set()
            assert len(parts["val"]) == 5

    def test_what_a_grouping_does_not_cover_is_named(self, flat: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"--group clip0 does not match") as caught:
            split_dataset(flat, tmp_path / "out", SHARES, group="clip0")
        assert len(caught.value.faults) == 15
        with pytest.raises(InputError, match="not a valid regular expression"):
            split_dataset(flat, tmp_path / "out", SHARES, group="(")
        groups = tmp_path / "groups.csv"
        groups.write_text("clip0 A 00,1\nclip0 A 00,2\nonly one column\n")
        with pytest.raises(InputError) as caught:
            split_dataset(flat, tmp_path / "out", SHARES, group=groups)
        text = str(caught.value)
        assert "row 2: gives clip0 A 00 another group than before" in text
        assert "row 3: has 1 column," in text
        assert "has no group for clip0 B 01" in text
        with pytest.raises(InputError, match="cannot be read"):
            split_dataset(flat, tmp_path / "out", SHARES, group=tmp_path / "absent.csv")

    def test_every_sub_category_is_in_every_split(self, flat: Path, tmp_path: Path) -> None:
        done = split_dataset(flat, tmp_path / "out", SHARES, subcategory=r"clip\d [AB]")
        assert len(done.subcategory_images) == 8
        assert all(min(images.values()) >= 1 for images in done.subcategory_images.values())
        done = split_dataset(flat, tmp_path / "again", SHARES, subcategory=r"clip\d")
        assert done.subcategory_images == {f"clip{i}": {"train": 4, "val": 1} for i in range(4)}

    def test_what_is_in_too_few_images_is_told(self, flat: Path, tmp_path: Path) -> None:
        label = next((flat / "label").iterdir())
        save(label, np.full((4, 6), 9))
        done = split_dataset(flat, tmp_path / "out", SHARES, config=DataConfig(label_class_ids=(0, 1, 9, 77)))
        assert done.missing() == [("9", "val", 1)]

    def test_every_bad_file_is_named_and_nothing_written(self, flat: Path, tmp_path: Path) -> None:
        labels = sorted((flat / "label").iterdir())
        labels[0].write_bytes(b"rubbish")
        labels[1].unlink()
        with pytest.raises(InputError) as caught:
            split_dataset(flat, tmp_path / "new" / "out", SHARES)
        assert {Path(fault.where).name for fault in caught.value.faults} == {labels[0].name, labels[1].name}
        assert not (tmp_path / "new").exists()

    def test_an_interrupt_leaves_no_half_output(
        self, flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = []

        def interrupted(source: Path, target: Path, *, link: bool) -> None:
            calls.append(target)
            if len(calls) == 7:
                raise KeyboardInterrupt
            target.touch()

        monkeypatch.setattr(splitting, "place", interrupted)
        with pytest.raises(KeyboardInterrupt):
            split_dataset(flat, tmp_path / "out", SHARES)
        assert len(calls) == 7
        assert [path for path in tmp_path.iterdir() if path.name != "cache"] == [flat]
