from __future__ import annotations

import gzip

import numpy as np
import pytest

from ablate.design import Mistake
from ablate.parts import checks, data


def write_idx(path, array, pack=False):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    content = head + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if pack else content)


@pytest.fixture
def fashion_folder(tmp_path):
    rng = np.random.default_rng(0)
    for part, items in (("train", 50), ("t10k", 20)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (items, 28, 28)), pack=True)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.arange(items) % 10)
    return tmp_path


def test_digits_are_whole_stratified_and_stretched_to_255():
    made = data.digits(valid_fraction=0.1)
    assert (len(made.train), len(made.valid), len(made.test)) == (1293, 144, 360)
    assert made.train.images.shape[1:] == (1, 8, 8)
    assert (made.train.images.min(), made.train.images.max()) == (0, 255)
    for split in (made.train, made.valid, made.test):
        shares = np.bincount(split.labels) / len(split)
        assert shares == pytest.approx(np.full(10, 0.1), abs=0.015)


def test_no_image_is_in_two_splits_and_none_is_lost():
    with_valid, without = data.digits(valid_fraction=0.1), data.digits(valid_fraction=0)
    assert without.valid is None
    assert np.array_equal(with_valid.test.images, without.test.images)
    together = [*map(bytes, with_valid.train.images), *map(bytes, with_valid.valid.images)]
    assert sorted(together) == sorted(map(bytes, without.train.images))


def test_splits_are_the_same_every_time():
    np.random.seed(7)
    first, second = data.digits(valid_fraction=0.1), data.digits(valid_fraction=0.1)
    assert np.array_equal(first.valid.images, second.valid.images)


@pytest.mark.parametrize("layout", [".", "FashionMNIST/raw"])
def test_fashion_mnist_is_read_from_either_layout_packed_or_not(fashion_folder, tmp_path, layout):
    root = tmp_path / "root"
    (root / layout).mkdir(parents=True)
    for file in fashion_folder.glob("*ubyte*"):
        file.rename(root / layout / file.name)
    made = data.fashion_mnist(root=str(root), valid_fraction=0.2)
    assert (len(made.train), len(made.valid), len(made.test)) == (40, 10, 20)
    assert made.train.images.shape[1:] == (1, 28, 28)
    assert made.test.labels.tolist() == [item % 10 for item in range(20)]


def test_a_root_without_fashion_mnist_is_a_mistake_with_three_remedies(tmp_path):
    config = {"dataset": {"root": str(tmp_path)}}
    with pytest.raises(Mistake, match=r"(?s)are not in dataset.root=.*\(1\) apt install.*\(2\).*\(3\)"):
        data.check_fashion_mnist(config)


def test_a_download_that_fails_is_a_mistake_with_three_remedies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "DEBIAN_FOLDER", str(tmp_path / "none"))
    from torchvision import datasets

    def no_internet(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(datasets, "FashionMNIST", no_internet)
    data.check_fashion_mnist({"dataset": {"root": None}})
    with pytest.raises(Mistake, match=r"(?s)\(3\).*the download failed: no route to host"):
        data.fetch_fashion_mnist({"dataset": {"root": None}})


def test_a_download_is_found_by_the_loader(tmp_path, fashion_folder, monkeypatch):
    elsewhere = tmp_path / "cwd"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(data, "DEBIAN_FOLDER", str(tmp_path / "none"))
    from torchvision import datasets

    def download(root, download):
        raw = elsewhere / root / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for file in fashion_folder.glob("*ubyte*"):
            file.rename(raw / file.name)

    monkeypatch.setattr(datasets, "FashionMNIST", download)
    data.fetch_fashion_mnist({"dataset": {"root": None}})
    assert len(data.fashion_mnist(root=None, valid_fraction=0).train) == 50


def test_files_that_are_there_are_not_downloaded(fashion_folder, monkeypatch):
    from torchvision import datasets

    monkeypatch.setattr(datasets, "FashionMNIST", None)
    data.fetch_fashion_mnist({"dataset": {"root": str(fashion_folder)}})


@pytest.mark.parametrize("damage", ["truncated", "not idx", "half a gzip"])
def test_a_damaged_file_is_named(fashion_folder, damage):
    labels, images = fashion_folder / "train-labels-idx1-ubyte", fashion_folder / "train-images-idx3-ubyte.gz"
    if damage == "truncated":
        labels.write_bytes(labels.read_bytes()[:-1])
    elif damage == "not idx":
        labels.write_bytes(b"hello, this is text")
    else:
        images.write_bytes(images.read_bytes()[:100])
    with pytest.raises(Mistake, match=r"train-(labels|images)-idx"):
        data.fashion_mnist(root=str(fashion_folder), valid_fraction=0)


def test_synthetic_images_have_the_shape_asked_for_and_repeat():
    asked = {"train_items": 50, "test_items": 20, "channels": 3, "size": 12, "classes": 5, "noise": 0.5, "data_seed": 3}
    made, again = (data.synthetic(valid_fraction=0.2, **asked) for _ in range(2))
    assert made.train.images.shape == (40, 3, 12, 12)
    assert made.train.images.dtype == np.uint8
    assert (len(made.valid), len(made.test), made.classes, made.channels) == (10, 20, 5, 3)
    assert np.array_equal(made.train.images, again.train.images)


def test_synthetic_classes_can_be_told_apart():
    made = data.synthetic(
        valid_fraction=0, train_items=200, test_items=100, channels=1, size=8, classes=4, noise=1.0, data_seed=0
    )
    centres = np.stack([made.train.images[made.train.labels == c].mean(0) for c in range(4)])
    distance = ((made.test.images[:, None] - centres[None]) ** 2).sum((2, 3, 4))
    assert (distance.argmin(1) == made.test.labels).mean() > 0.95


@pytest.mark.parametrize("value", [0, -1, None, True, "hot"])
def test_a_temperature_that_is_no_positive_number_is_refused(value):
    with pytest.raises(Mistake, match=r"norm.temperature="):
        checks.shifted_relu({"norm": {"floor": -1, "temperature": value}})
