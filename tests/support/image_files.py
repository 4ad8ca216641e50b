"""Small folders of images, as people have them, and the data sets they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ablate.data import folders

RNG = np.random.default_rng(0)
CATS, DOGS, EELS = "n02", "n10", "n9"


def picture(path, size=(40, 30), mode="RGB"):
    """A random image, `size` pixels wide and high; a JPEG or a PNG by its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, size[::-1] + ((3,) if mode == "RGB" else ()), np.uint8)
    Image.fromarray(pixels).save(path, "JPEG" if path.suffix == ".JPEG" else "PNG")


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_imagenet(root: Path) -> Path:
    """In ImageNet's layout: 3 classes, 5 training and 2 test images each, of many sizes."""
    for label, wnid in enumerate((DOGS, CATS, EELS)):
        for part, items in (("train", 5), ("val", 2)):
            for item in range(items):
                picture(root / part / wnid / f"{part}_{item}.JPEG", (60 + 7 * item, 50 + 11 * label))
    return root


def write_own(root: Path) -> Path:
    """One's own: 2 classes, 4 training and 2 test images each, 8x8 and grey."""
    for label in (0, 1):
        for part, items in (("train", 4), ("test", 2)):
            for item in range(items):
                picture(root / part / str(label) / f"{item}.png", (8, 8), "L")
    return root


def config(where, name="imagenet", **changes):
    """The data set's part of a trial's config; for folders of one's own, name="image_folder"."""
    keys = {"root": where and str(where), "valid_fraction": 0, "workers": 0}
    keys |= {"multi_crop": False} if name == "imagenet" else {"size": None}
    return {"_target_": f"ablate.data.folders.{name}", **keys, **changes}


def made(root, name="imagenet", **changes):
    keys = config(root, name, **changes)
    del keys["_target_"]
    return getattr(folders, name)(**keys)


def names(split):
    return [split.name(item) for item in range(len(split))]


def whole(loader, size=2, order=None):
    """All of a loader's batches as one."""
    return tuple(map(torch.cat, zip(*loader.batches(size, order), strict=True)))
