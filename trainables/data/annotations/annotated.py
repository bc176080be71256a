"""Common structure of all annotation exports: images, and the regions that are drawn on each, in order."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from trainables.data.annotations.regions import Region
from trainables.data.folder import IMAGE_ENDINGS, at_most, shown
from trainables.data.image_files import Size
from trainables.data.layouts import split_of
from trainables.data.palette import Palette
from trainables.errors import Fault, InputError

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Annotation:
    """One region of one class."""

    class_name: str
    region: Region
    where: str
    """File and the place in it, for messages."""


@dataclass(frozen=True)
class Sample:
    """One image with its annotations, of which later ones cover earlier ones, or with a finished label image."""

    image: Path
    split: str | None = None
    annotations: tuple[Annotation, ...] = ()
    size: Size | None = None
    """Height and width that the annotations were made for; None if they fit any size."""
    label: Path | None = None
    """Mask that the tool exported, in place of annotations."""
    where: str = ""
    """File and the place in it that describes this image."""


@dataclass(frozen=True)
class Annotated:
    """A whole export."""

    samples: list[Sample]
    classes: tuple[str, ...]
    """Class names in the tool's order. Classes without annotations are removed later. Unused with label images."""
    notices: list[str] = field(default_factory=list)
    """Decisions that were made, one line each."""
    palette: Palette | None = None
    """Meaning of the colours of label images; None if their values are the classes."""
    class_names: dict[int, str] = field(default_factory=dict)
    """Names of the values in label images, if the export has them."""


class ImageIndex:
    """All images below a folder, found by as much of their path as an export gives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._by_name: dict[str, list[Path]] = {}
        for path in sorted(folder.rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if path.suffix.lower() in IMAGE_ENDINGS and not hidden:
                self._by_name.setdefault(path.name, []).append(path)

    def find(self, name: str, near: Path | None = None, split: str | None = None) -> Path:
        """Return the image of a name, which may begin with folders.

        Args:
            name: A path as the export writes it, with either kind of slash.
            near: Folder that is preferred if several images have the name.
            split: Split that is preferred in that case.

        Raises:
            LookupError: there is none, or there are several; the message says which.
        """
        parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", ".", "..")]
        found = self._by_name.get(parts[-1], []) if parts else []
        if not found:
            raise LookupError(f"names the image {name}, which is not in {shown(self.folder)}")
        common = {path: _common_ending(path.parts, parts) for path in found}
        found = [path for path in found if common[path] == max(common.values())]
        for preferred in (
            [path for path in found if split is not None and self._split_of(path) == split],
            [path for path in found if near is not None and near in path.parents],
        ):
            if len(found) > 1 and preferred:
                found = preferred
        if len(found) > 1:
            raise LookupError(
                f"names the image {name}, but there are {len(found)} of that name: {found[0]}, {found[1]}"
            )
        return found[0]

    def below(self, folder: Path) -> list[Path]:
        """Return the images in and below a folder."""
        return [path for paths in self._by_name.values() for path in paths if folder in path.parents]

    def _split_of(self, path: Path) -> str | None:
        return split_among(path.relative_to(self.folder).parts[:-1])


def split_among(names: Iterable[str]) -> str | None:
    """Return the split named by the last of these folder names that names one."""
    found = [split for name in names if (split := split_of(name)) is not None]
    return found[-1] if found else None


def read_json(path: Path, model: Any) -> Any:
    """Return the contents of a JSON file, as a typed model.

    Raises:
        InputError: the file cannot be read; also every place in it that the model does not allow.
    """
    try:
        return TypeAdapter(model).validate_json(path.read_bytes())
    except OSError as error:
        raise InputError([Fault(shown(path), f"cannot be read ({error.strerror})", "allow it to be read")]) from error
    except ValidationError as error:
        faults = []
        for problem in error.errors(include_url=False):
            place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"])
            what = f"{problem['msg'].lower()}" + (f", got {str(problem['input'])[:60]!r}" if place else "")
            faults.append(
                Fault(f"{shown(path)}: {place.lstrip('.')}" if place else shown(path), what, "export it again")
            )
        raise InputError(at_most(faults)) from None


def _common_ending(path: tuple[str, ...], wanted: list[str]) -> int:
    count = 0
    for have, want in zip(reversed(path), reversed(wanted), strict=False):
        if have != want:
            break
        count += 1
    return count
