"""Image files, read by Pillow and turned as their EXIF says, and folders of them.

Any error is a UsageError: one line that names the file. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from PIL import ExifTags, Image, UnidentifiedImageError

from ablate.core.errors import UsageError

GREY = ("1", "L")
"""Pillow's modes of images in one channel of up to 8 bits."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> what turns the stored pixels upright, as in PIL.ImageOps.exif_transpose.

That function writes the EXIF anew, too, and raises where it is damaged.
"""

EXCHANGES_SIDES = (5, 6, 7, 8)

MARKS = (b"Exif", b"eXIf", b"EXIF", b"exif", b"xmp", b"XMP", b"Orientation", b"profile type")
"""A file in which none of these stands says nothing of an orientation; one in which one stands may say it."""


def header(path: Path) -> tuple[str, tuple[int, int]]:
    """Return the image's mode, and its width and height in pixels once it is turned upright."""
    with _opened(path) as image:
        width, height = image.size
        return image.mode, (height, width) if _orientation(image) in EXCHANGES_SIDES else (width, height)


def decoded(path: Path, mode: str) -> Image.Image:
    """Return the decoded image in `mode`, "L", which is grey, or "RGB", turned upright as its EXIF says."""
    with _opened(path) as image:
        turn, pixels = TURNS.get(_orientation(image)), image.convert(mode)
        return pixels if turn is None else pixels.transpose(turn)


def sha256_as_turned(path: str) -> bytes:
    """Return the SHA-256 of a file's bytes; another for an image that `decoded` turns, and earlier releases did not.

    TIFF files they turned, or read in a wrong shape where that exchanges the sides.
    """
    with open(path, "rb") as file:
        data = file.read()
    digest = hashlib.sha256(data).digest()
    is_tiff = data[:2] in (b"II", b"MM")
    if not is_tiff and not any(mark in data for mark in MARKS):
        return digest
    try:
        with Image.open(io.BytesIO(data)) as image:
            is_turned = _says(image) in EXCHANGES_SIDES if image.format == "TIFF" else _orientation(image) in TURNS
    except Exception:  # it is no image that Pillow can open, of which the data set's check tells
        return digest
    return hashlib.sha256(digest + b"turned").digest() if is_turned else digest


def _orientation(image: Image.Image) -> int:
    """Return the orientation that the image's EXIF or XMP says, 1 for upright; 1 where it says none or is damaged."""
    if image.format == "TIFF":
        return 1  # Pillow turns these itself
    if image.format == "PNG" and not _is_marked(image):
        return 1  # to know what stands behind the pixels, Pillow would decode them
    return _says(image)


def _says(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow raises whatever its parsers trip over
        return 1


def _is_marked(image: Image.Image) -> bool:
    """Return whether one of MARKS stands in the file of an image that is not decoded yet."""
    file: IO[bytes] = image.fp  # type: ignore[attr-defined]
    at = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(at)
    return any(mark in data for mark in MARKS)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are about metadata, which nobody reads
            # opened by its path, an uncompressed TIFF file that is to be turned is read as another shape (Pillow 13.0)
            with path.open("rb") as file, Image.open(file) as image:
                if image.mode[0] in "IF":  # Pillow would clip their values to 255
                    raise UsageError(f"{path}: an image of mode {image.mode}; allowed: 8 bits a channel")
                yield image
    except (UsageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise UsageError(f"{path}: not an image, or of an unknown format") from error
    except Exception as error:  # Pillow raises whatever its decoders trip over
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path}: not a whole image ({reason})") from error


def folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder; files beside them are ignored."""
    classes = [entry.name for entry in _visible(folder) if entry.is_dir()]
    if not classes:
        raise UsageError(f"{folder}: there is no folder in it; allowed: a folder a class, with its images")
    return classes


def files(folder: Path) -> list[str]:
    """Return the names of the image files of one class."""
    inside = _visible(folder)
    if not inside:
        raise UsageError(f"{folder}: an empty folder; allowed: the images of its class")
    for entry in inside:
        if entry.is_dir():
            raise UsageError(f"{entry.path}: a folder in the folder of a class; allowed: its images alone")
    return [entry.name for entry in inside]


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """Return what a folder holds, sorted by name, without hidden files and folders."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read: {error.strerror}") from error
