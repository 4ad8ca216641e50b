"""Image files, read by Pillow, and folders of them. Any error is a UsageError: one line that names the file.

Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ablate.core.errors import UsageError

GREY = ("1", "L")
"""Pillow's modes of images in one channel of up to 8 bits."""


def header(path: Path) -> tuple[str, tuple[int, int]]:
    """Return the image's mode, and its width and height in pixels; nothing is decoded."""
    with _opened(path) as image:
        return image.mode, image.size


def decoded(path: Path, mode: str) -> Image.Image:
    """Return the decoded image in `mode`: "L", which is grey, or "RGB"."""
    with _opened(path) as image:
        return image.convert(mode)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are about metadata, which nobody reads
            with Image.open(path) as image:
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
