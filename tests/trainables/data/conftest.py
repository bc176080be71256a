import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide a cache folder for one test; splits opened before belong to other folders."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("TRAINABLES_CACHE_DIR", str(folder))
    return folder


@pytest.fixture(scope="session")
def made_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    for split, count in (("train", 5), ("val", 3)):
        for part in ("image", "label"):
            (folder / split / part).mkdir(parents=True)
        for i in range(count):
            rng = np.random.default_rng([count, i])
            size = (30 + 4 * i, 50 - 3 * i)
            save(folder / split / "image" / f"{i}.png", rng.integers(0, 256, (*size, 3)))
            save(folder / split / "label" / f"{i}.png", rng.choice([0, 74, 128, 145], size))
    return folder


@pytest.fixture
def dataset(made_dataset: Path, tmp_path: Path) -> Path:
    """Provide five training and three validation pairs of random pixels, each pair of a different size."""
    return Path(shutil.copytree(made_dataset, tmp_path / "dataset"))


def save(path: Path, pixels: object, mode: str | None = None) -> None:
    """Write pixels unchanged; `mode="P"` writes them as indices of a palette."""
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    if mode == "P":
        image = image.convert("L")
        image.putpalette([value for i in range(256) for value in (255 - i, i, 7)])
    image.save(path)
