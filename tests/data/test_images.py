"""How images are turned as their EXIF says, and what that does to the identity of a data set."""

from __future__ import annotations

import hashlib
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps

from ablate.core.errors import UsageError
from ablate.data import content, folders, images
from ablate.data.loader import on_device
from tests.support.image_files import config, made, whole

ORIENTATION = 0x112
XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "_folder", lambda: tmp_path / "cache")


def photo(path, orientation=None, size=(6, 4)):
    """An image of blocks, so that JPEG keeps them apart, `size` blocks wide and high as it is stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(size[0]).integers(0, 2, size[::-1], np.uint8).repeat(8, 0).repeat(8, 1) * 255
    keys = {}
    if orientation is not None:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        keys["exif"] = exif
    Image.fromarray(pixels).save(path, **keys)
    return path


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_an_image_is_turned_as_pillow_turns_it_and_its_header_has_the_turned_sides(tmp_path, ending, orientation):
    path = photo(tmp_path / f"x.{ending}", orientation)
    with path.open("rb") as file:
        upright = ImageOps.exif_transpose(Image.open(file)).convert("L")
    image = images.decoded(path, "L")
    assert np.array_equal(np.array(image), np.array(upright))
    assert images.header(path)[1] == image.size == ((32, 48) if (orientation or 1) > 4 else (48, 32))


@pytest.mark.parametrize("ending", ["jpg", "png"])
@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_orientation_that_there_is_not_turns_nothing(tmp_path, ending, orientation):
    plain, path = photo(tmp_path / f"plain.{ending}"), photo(tmp_path / f"x.{ending}", orientation)
    assert np.array_equal(np.array(images.decoded(path, "L")), np.array(images.decoded(plain, "L")))
    assert images.sha256_as_turned(str(path)) == content.sha256(str(path))


def test_an_orientation_in_xmp_counts_too(tmp_path):
    Image.new("L", (20, 10)).save(tmp_path / "x.jpg", xmp=XMP % 6)
    assert images.decoded(tmp_path / "x.jpg", "L").size == images.header(tmp_path / "x.jpg")[1] == (10, 20)
    assert images.sha256_as_turned(str(tmp_path / "x.jpg")) != content.sha256(str(tmp_path / "x.jpg"))


def test_damaged_exif_turns_nothing(tmp_path):
    Image.new("L", (20, 10)).save(tmp_path / "x.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff nonsense")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert images.decoded(tmp_path / "x.jpg", "L").size == (20, 10)
        assert images.sha256_as_turned(str(tmp_path / "x.jpg")) == content.sha256(str(tmp_path / "x.jpg"))


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_the_hash_of_a_file_is_another_exactly_where_its_pixels_are_turned(tmp_path, ending, orientation):
    """Pillow turned TIFF files itself already, but misread those whose sides are exchanged."""
    path = photo(tmp_path / f"x.{ending}", orientation)
    is_other = images.sha256_as_turned(str(path)) != hashlib.sha256(path.read_bytes()).digest()
    assert is_other == ((orientation or 1) > (4 if ending == "tif" else 1))


def test_a_file_that_is_no_image_is_hashed_as_it_is(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"\xff\xd8\xff Exif and no more")
    assert images.sha256_as_turned(str(tmp_path / "x.jpg")) == content.sha256(str(tmp_path / "x.jpg"))


def identified(root):
    return folders.identify({"dataset": config(root, "image_folder"), "recipe": {}})


def with_hash_of_earlier_releases(monkeypatch, root):
    with monkeypatch.context() as patched:
        patched.setattr(images, "sha256_as_turned", content.sha256)
        return identified(root)


def test_trials_on_images_that_nothing_turns_keep_their_identity_and_others_are_not_pooled(tmp_path, monkeypatch):
    root = tmp_path / "own"
    for part in ("train", "test"):
        for label in "01":
            photo(root / part / label / "a.jpg", 1)
            photo(root / part / label / "b.jpg", None, (6, 4))
    assert identified(root) == with_hash_of_earlier_releases(monkeypatch, root)
    photo(root / "train" / "1" / "b.jpg", 8, (4, 6))
    assert identified(root) != with_hash_of_earlier_releases(monkeypatch, root)


def test_photos_of_one_size_once_they_are_turned_train_together(tmp_path):
    for part in ("train", "test"):
        photo(tmp_path / part / "0" / "a.jpg", 6, (4, 6))
        photo(tmp_path / part / "1" / "b.jpg", None, (6, 4))
    pixels, _ = whole(on_device(made(tmp_path, "image_folder").test, "cpu"))
    assert pixels.shape == (2, 1, 32, 48)
    photo(tmp_path / "test" / "1" / "b.jpg", 3, (4, 6))
    with pytest.raises(UsageError, match=r"b\.jpg: 32x48 pixels, where .*a\.jpg has 48x32"):
        made(tmp_path, "image_folder").channels  # noqa: B018
