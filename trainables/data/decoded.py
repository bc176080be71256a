"""A split decoded once per machine, as flat files of pixels, which the system holds in memory once for all processes.

The files lie in a subfolder of the machine's temporary folder, or of `TRAINABLES_CACHE_DIR`. The subfolder's name holds
two hashes. The first identifies what is read: dataset and split (or the drawn config), bit depth and image scale. The
second is that of its state: path, size and times of each file, and the code that reads them. After a change of state, a
new subfolder is written and the old one is removed. A subfolder is written under another name and renamed once it is
complete.

Every array has a checksum, which each process compares when it first reads the array. A damaged one is decoded again
from its source and written into the file. The files are read, not mapped: if a mapped file is cut, an access ends the
process.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray

from trainables.atomic_files import put_folder
from trainables.config import DataConfig, DrawnConfig
from trainables.data import drawn, image_files
from trainables.data.folder import Pair, at_most, scan_pairs, shown
from trainables.data.image_files import (
    ImageTraits,
    Pixels,
    Size,
    pair_size,
    pixel_digest,
    read_image_and_traits,
    read_label,
)
from trainables.data.labels import class_histograms
from trainables.data.soft_edges import inner_pixels
from trainables.errors import Fault, InputError
from trainables.file_locks import locked

CACHE_VARIABLE = "TRAINABLES_CACHE_DIR"
"""Environment variable that names the folder of decoded datasets."""

LARGEST_SHARE = 0.9
"""Share of the free space that a decoded split may take. If it needs more, images are read anew at each access."""

MAX_THREADS = 8
"""Maximum number of threads that decode."""

Result = TypeVar("Result")

_IMAGES, _TRAIN_LABELS, _LABELS, _INDEX = "images.bin", "train_labels.bin", "labels.bin", "index.json"


class DecodedSplit:
    """Pixels of one split, in the order of its names. Arrays from the files are read-only."""

    names: list[str]
    """Name of each sample: the stem of its image file."""
    label_paths: list[str]
    """Path that each label was read from, for messages."""
    sizes: list[Size]
    """Height and width of each label, and of each image before `image_scale`."""
    image_paths: list[Path]
    """Path that each image was read from, for messages."""
    digests: list[str]
    """Hash of the pixels of each image, before `image_scale`."""
    traits: list[ImageTraits]
    """Properties of each image file that its pixels no longer show."""
    histograms: NDArray[np.int64]
    """(N, 256) number of pixels of each raw value in each label, at the label's own size."""
    inner: NDArray[np.int64]
    """(256,) number of pixels of each raw value whose four neighbours have the same value, over all labels."""

    def __init__(self, source: "_Source", scale: float, folder: Path | None, index: dict[str, Any]) -> None:
        self._source, self._scale = source, scale
        self.names, self.label_paths, self.image_paths = source.names, source.label_paths, source.image_paths
        self.digests = index["digests"]
        self.traits = [ImageTraits(*traits) for traits in index["traits"]]
        self.sizes = [(height, width) for height, width in index["sizes"]]
        self.histograms = np.zeros((len(self.sizes), 256), np.int64)
        for row, counts in zip(self.histograms, index["histograms"], strict=True):
            row[[int(value) for value in counts]] = list(counts.values())
        self.inner = np.array(index["inner"], np.int64)
        self._layout = _Layout(self.sizes, scale)
        self._files = (
            None if folder is None else {name: _StoredFile(folder / name) for name in self._layout.file_sizes()}
        )
        self._checksums: dict[str, list[int]] = index["checksums"]

    def __len__(self) -> int:
        return len(self.sizes)

    def image(self, i: int) -> Pixels:
        """Return image i at `image_scale`: (h, w, 3) uint8 RGB."""
        return self._pixels(_IMAGES, self._layout.image_offsets, i, (*self._layout.scaled[i], 3))

    def train_label(self, i: int) -> Pixels:
        """Return label i at the size of its image: (h, w) uint8, raw values."""
        if self._scale == 1.0:
            return self.label(i)
        return self._pixels(_TRAIN_LABELS, self._layout.train_label_offsets, i, self._layout.scaled[i])

    def label(self, i: int) -> Pixels:
        """Return label i at its own size: (H, W) uint8, raw values."""
        return self._pixels(_LABELS, self._layout.label_offsets, i, self.sizes[i])

    def _pixels(self, name: str, offsets: list[int], i: int, shape: tuple[int, ...]) -> Pixels:
        if self._files is None:
            return self._decoded(name, i)
        if not 0 <= i < len(self):
            raise IndexError(f"sample {i} of {len(self)}")
        stored = self._files[name].read(offsets[i], offsets[i + 1], self._checksums[name][i])
        return self._decoded_again(name, offsets[i], i) if stored is None else stored.reshape(shape)

    def _decoded(self, name: str, i: int) -> Pixels:
        if name == _IMAGES:
            return scaled_image(self._source.image(i)[0], self._scale)
        label = self._source.label(i)
        return _scaled_label(label, self._scale) if name == _TRAIN_LABELS else label

    def _decoded_again(self, name: str, offset: int, i: int) -> Pixels:
        """Return pixels from their source, and write them over the damaged ones.

        Raises:
            InputError: the source has changed since the split was opened.
        """
        assert self._files is not None
        pixels, path = self._decoded(name, i), self._files[name].path
        if _checksum(pixels) != self._checksums[name][i]:
            place = str(self.image_paths[i]) if name == _IMAGES else self.label_paths[i]
            raise InputError([Fault(place, f"has changed, and its copy in {path} is damaged", "start again")])
        warnings.warn(f"{path} was damaged; {self.names[i]} was decoded again", stacklevel=2)
        self._files[name].write(pixels, offset)
        return pixels


class _StoredFile:
    """One file of the cache, open for reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        self._intact: set[int] = set()
        """Offsets of the arrays whose checksums this process has compared."""

    def read(self, begin: int, end: int, checksum: int) -> Pixels | None:
        """Return the bytes between two offsets as a flat array; None if they are missing or damaged."""
        try:
            data = os.pread(self._file.fileno(), end - begin, begin)
        except OSError:
            return None
        if len(data) < end - begin or (begin not in self._intact and zlib.crc32(data) != checksum):
            return None
        self._intact.add(begin)
        return np.frombuffer(data, np.uint8)

    def write(self, pixels: Pixels, offset: int) -> None:
        """Write an array at an offset; a failure is no error, because the array is decoded again at every access."""
        with contextlib.suppress(OSError), self.path.open("r+b", buffering=0) as file:
            _write_at(file.fileno(), pixels, offset)


def _checksum(pixels: Pixels) -> int:
    return zlib.crc32(np.ascontiguousarray(pixels).data)


def open_split(config: DataConfig, split: str, folder: Path | None = None) -> DecodedSplit:
    """Return a split of the dataset; the first process that asks for it decodes it.

    Args:
        config: Where the data are and how they are scaled.
        split: `train`, `val` or `test`.
        folder: A dataset folder that replaces `config.dir`.

    Raises:
        InputError: every file that is missing, unreadable or of a wrong kind; or the cache folder cannot be written.
    """
    if folder is None and config.dir is not None:
        folder = Path(config.dir)
    if folder is None:
        source: _Source = _Drawn(config.drawn, split)
    else:
        folder = folder.expanduser().absolute()
        pairs, faults = scan_pairs(folder, split)
        source = _Files(pairs, config.bit_depth)
        if faults:
            raise InputError(faults + _faults(source))

    data = (str(folder), config.bit_depth) if folder else config.drawn.model_dump_json()
    identity = _digest([split, config.image_scale, data])
    code = [Path(file).read_bytes() for file in (__file__, image_files.__file__, drawn.__file__)]
    state = _digest([PIL.__version__, cv2.__version__, np.__version__, *code, *source.state()])
    opened = _opened.get(identity)
    if opened is not None and opened[0] == state:
        return opened[1]
    try:
        decoded = _from_cache(source, config.image_scale, cache_folder(), identity, state)
    except OSError as error:
        fix = f"free some space, or set {CACHE_VARIABLE} to a folder that has more"
        raise InputError([Fault(str(cache_folder()), f"cannot hold the decoded images ({error})", fix)]) from error
    _opened[identity] = (state, decoded)
    return decoded


def class_pixel_counts(
    split: DecodedSplit, config: DataConfig, images: Sequence[int] | None = None
) -> NDArray[np.int64]:
    """Count the pixels of each class at the labels' own size, (K,) int64, over all images or the given indices."""
    histograms = split.histograms if images is None else split.histograms[list(images)]
    counts: NDArray[np.int64] = class_histograms(histograms, config).sum(axis=0)
    return counts


def cache_folder() -> Path:
    """Return the folder of all decoded splits of this user on this machine."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given).expanduser() if given else Path(tempfile.gettempdir()) / f"trainables-{os.getuid()}"


_opened: dict[str, tuple[str, DecodedSplit]] = {}
"""State and split of everything that this process has opened, so that a process that trains again keeps its
mappings.
"""


# Source of the pixels: files, or the drawn dataset.


class _Source(Protocol):
    names: list[str]
    label_paths: list[str]
    image_paths: list[Path]

    def state(self) -> Iterable[Any]:
        """Return values that change whenever the pixels do."""
        ...

    def size(self, i: int) -> Size:
        """Return height and width from the files' headers alone; raise InputError."""
        ...

    def image(self, i: int) -> tuple[Pixels, ImageTraits]:
        """Return (H, W, 3) uint8 RGB and the properties of the file that it no longer shows; raise InputError."""
        ...

    def label(self, i: int) -> Pixels:
        """Return (H, W) uint8, raw values; raise InputError."""
        ...


class _Files:
    def __init__(self, pairs: list[Pair], bit_depth: int) -> None:
        self._pairs, self._bit_depth = pairs, bit_depth
        self.names = [pair.name for pair in pairs]
        self.label_paths = [shown(pair.label) for pair in pairs]
        self.image_paths = [pair.image for pair in pairs]

    def state(self) -> Iterator[Any]:
        for pair in self._pairs:
            for path in (pair.image, pair.label):
                try:
                    stat = path.stat()
                except OSError:  # a dangling link is reported when it is read
                    yield str(path), None
                else:
                    yield str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns

    def size(self, i: int) -> Size:
        return pair_size(self._pairs[i].image, self._pairs[i].label)

    def image(self, i: int) -> tuple[Pixels, ImageTraits]:
        return read_image_and_traits(self._pairs[i].image, self._bit_depth)

    def label(self, i: int) -> Pixels:
        return read_label(self._pairs[i].label)


class _Drawn:
    def __init__(self, config: DrawnConfig, split: str) -> None:
        self._config, self._split = config, split
        self.names = [f"{i:04d}" for i in range(drawn.num_images(config, split))]
        self.label_paths = [f"drawn {split} label {name}" for name in self.names]
        self.image_paths = [Path(f"drawn {split} image {name}") for name in self.names]

    def state(self) -> Iterable[Any]:
        return ()

    def size(self, i: int) -> Size:
        return self._config.size

    def image(self, i: int) -> tuple[Pixels, ImageTraits]:
        return drawn.draw_pair(self._config, self._split, i)[0], ImageTraits()

    def label(self, i: int) -> Pixels:
        return drawn.draw_pair(self._config, self._split, i)[1]


def _scaled_size(size: Size, scale: float) -> Size:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def scaled_image(image: Pixels, scale: float) -> Pixels:
    """Resize an image (H, W, 3) uint8 by a factor, to at least one pixel."""
    return _resized(image, scale, cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR)


def _scaled_label(label: Pixels, scale: float) -> Pixels:
    return _resized(label, scale, cv2.INTER_NEAREST_EXACT)  # samples at pixel centres, as the images' modes do


def _resized(pixels: Pixels, scale: float, interpolation: int) -> Pixels:
    if scale == 1.0:
        return pixels
    height, width = _scaled_size((pixels.shape[0], pixels.shape[1]), scale)
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=interpolation), np.uint8)


# The cache folder.


class _Layout:
    """Position of each array in the flat files: the offsets of N arrays are N + 1 numbers, in bytes."""

    def __init__(self, sizes: list[Size], scale: float) -> None:
        self.scaled = [_scaled_size(size, scale) for size in sizes]
        self._has_train_labels = scale != 1.0  # at scale 1 they are the labels themselves
        self.image_offsets = _offsets(3 * h * w for h, w in self.scaled)
        self.train_label_offsets = _offsets(h * w for h, w in self.scaled)
        self.label_offsets = _offsets(h * w for h, w in sizes)

    def file_sizes(self) -> dict[str, int]:
        """Return the number of bytes of each file."""
        sizes = {_IMAGES: self.image_offsets[-1], _LABELS: self.label_offsets[-1]}
        if self._has_train_labels:
            sizes[_TRAIN_LABELS] = self.train_label_offsets[-1]
        return sizes


def _offsets(lengths: Iterable[int]) -> list[int]:
    return [0, *np.cumsum(list(lengths), dtype=np.int64).tolist()]


def _from_cache(source: _Source, scale: float, cache: Path, identity: str, state: str) -> DecodedSplit:
    """Return the split from its folder, which is written first unless it exists and is complete."""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = cache / f"{identity}-{state}"
    with locked(cache / f"{identity}.lock"):
        index = _read_index(folder, len(source.names), scale)
        if index is None:
            for outdated in cache.glob(f"{identity}-*"):  # processes that have mapped these keep their pixels
                shutil.rmtree(outdated)
            index = _write(source, scale, folder)
        return DecodedSplit(source, scale, folder if index["stored"] else None, index)


def _read_index(folder: Path, num_samples: int, scale: float) -> dict[str, Any] | None:
    """Return the index of a complete cache folder.

    It is None if anything is missing or cut off, or if the pixels were not stored and there is room for them by now.
    """
    try:
        index: dict[str, Any] = json.loads((folder / _INDEX).read_text(encoding="ascii"))
        if index.pop("check") != _index_checksum(index):
            return None
        expected = _Layout(index["sizes"], scale).file_sizes()
        if not index["stored"]:
            return None if _fits(expected, folder) else index
        whole = all((folder / name).stat().st_size == size for name, size in expected.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return index if whole and len(index["sizes"]) == num_samples else None


def _write(source: _Source, scale: float, folder: Path) -> dict[str, Any]:
    """Decode everything into `folder` and return its index.

    Raises:
        InputError: every file that cannot be decoded.
        OSError: there is no room, or the folder cannot be written.
    """
    faults: list[Fault] = []
    sizes = for_all(source.size, len(source.names), faults)
    if faults:
        raise InputError(_faults(source))
    layout = _Layout(sizes, scale)
    stored = _fits(layout.file_sizes(), folder)
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    files: dict[str, int] = {}

    def decode(i: int) -> tuple[str, ImageTraits, dict[str, int], NDArray[np.int64], dict[str, int]]:
        (image, traits), label = source.image(i), source.label(i)
        if not image.shape[:2] == label.shape == sizes[i]:
            raise InputError(
                [Fault(source.label_paths[i], "or its image changed while it was being read", "try again")]
            )
        checksums: dict[str, int] = {}
        if stored:
            arrays = [
                (_IMAGES, scaled_image(image, scale), layout.image_offsets),
                (_LABELS, label, layout.label_offsets),
            ]
            if _TRAIN_LABELS in files:
                arrays.append((_TRAIN_LABELS, _scaled_label(label, scale), layout.train_label_offsets))
            for name, pixels, offsets in arrays:
                _write_at(files[name], pixels, offsets[i])
                checksums[name] = _checksum(pixels)
        counts = np.bincount(label.ravel(), minlength=256)
        histogram = {str(value): int(counts[value]) for value in np.flatnonzero(counts)}
        return pixel_digest(image), traits, histogram, inner_pixels(label), checksums

    try:
        if stored:
            files = {name: os.open(partial / name, os.O_CREAT | os.O_WRONLY, 0o600) for name in layout.file_sizes()}
        found = for_all(decode, len(sizes), faults)
        if faults:
            raise InputError(_faults(source) or faults)
        index = {
            "stored": stored,
            "sizes": sizes,
            "digests": [digest for digest, *_ in found],
            "traits": [traits for _, traits, *_ in found],
            "histograms": [histogram for *_, histogram, _, _ in found],
            "inner": sum((inner for *_, inner, _ in found), np.zeros(256, np.int64)).tolist(),
            "checksums": {name: [checksums[name] for *_, checksums in found] for name in files},
        }
        (partial / _INDEX).write_text(json.dumps({**index, "check": _index_checksum(index)}), encoding="ascii")
        put_folder(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        for file in files.values():
            os.close(file)
    return index


def _index_checksum(index: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(index, sort_keys=True).encode())


def _write_at(file: int, pixels: Pixels, offset: int) -> None:
    """Write all of an array; a full disk raises here, whereas writing to mapped memory would kill the process."""
    data = memoryview(pixels.tobytes())
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written


def _fits(file_sizes: dict[str, int], folder: Path) -> bool:
    return sum(file_sizes.values()) <= LARGEST_SHARE * shutil.disk_usage(folder.parent).free


def _faults(source: _Source) -> list[Fault]:
    """Return the faults of every file, by reading them all."""
    faults: list[Fault] = []
    for read in (source.size, source.image, source.label):
        for_all(read, len(source.names), faults)
    return at_most(dict.fromkeys(faults))


def for_all(function: Callable[[int], Result], count: int, faults: list[Fault]) -> list[Result]:
    """Return function(0) to function(count - 1) in order, run by a pool of threads.

    Args:
        function: Called with each index.
        count: Number of calls.
        faults: Receives the faults of calls that raise InputError; their results are left out.
    """
    results: list[Result] = []
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(function, i) for i in range(count)]
        try:
            for future in futures:
                try:
                    results.append(future.result())
                except InputError as error:
                    faults.extend(error.faults)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def _digest(parts: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode("utf-8", "backslashreplace") + b"\n")
    return digest.hexdigest()[:16]
