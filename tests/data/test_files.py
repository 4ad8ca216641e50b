from __future__ import annotations

import dataclasses
import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from ablate.core.errors import UsageError
from ablate.data import datasets, files


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


@pytest.mark.parametrize("layout", [".", "FashionMNIST/raw"])
def test_fashion_mnist_is_read_from_either_layout_packed_or_not(fashion_folder, tmp_path, layout):
    root = tmp_path / "root"
    (root / layout).mkdir(parents=True)
    for file in fashion_folder.glob("*ubyte*"):
        file.rename(root / layout / file.name)
    made = datasets.fashion_mnist(root=str(root), valid_fraction=0.2)
    assert (len(made.train), len(made.valid), len(made.test)) == (40, 10, 20)
    assert made.train.images.shape[1:] == (1, 28, 28)
    assert made.test.labels.tolist() == [item % 10 for item in range(20)]


def config(name, root=None):
    return {"dataset": {"_target_": f"ablate.data.datasets.{name}", "root": None if root is None else str(root)}}


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A working directory without data, on a machine without Debian's package."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    bare = dataclasses.replace(files.SOURCES["fashion_mnist"], roots=(files.DOWNLOADS,))
    monkeypatch.setattr(files, "SOURCES", {**files.SOURCES, "fashion_mnist": bare})
    return tmp_path / "cwd"


def test_a_root_without_fashion_mnist_is_a_usage_error_with_three_remedies(tmp_path):
    with pytest.raises(UsageError, match=r"(?s)are not in dataset.root=.*\(1\) apt install.*\(2\).*\(3\)"):
        files.check(config("fashion_mnist", tmp_path))


@pytest.mark.parametrize("name", files.SOURCES)
def test_missing_files_are_a_usage_error_that_says_where_to_put_them(name, nowhere):
    with pytest.raises(UsageError, match=f"dataset={name}: its files are not in dataset.root=here") as error:
        files.check(config(name, "here"))
    assert files.SOURCES[name].files[0] in str(error.value)
    assert files.SOURCES[name].files[-1] in str(error.value)
    assert "\n" not in str(error.value)


def test_a_download_that_fails_is_a_usage_error_with_three_remedies(nowhere, monkeypatch):
    import torchvision

    def no_internet(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", no_internet)
    files.check(config("fashion_mnist"))
    with pytest.raises(UsageError, match=r"(?s)\(3\).*the download failed: no route to host"):
        files.prepare(config("fashion_mnist"))


def test_files_that_torchvision_cannot_download_say_where_to_get_them(nowhere):
    with pytest.raises(UsageError, match=r"dataset=imagenet32: .*allowed: \(1\) fetch the 32x32 npz batches"):
        files.prepare(config("imagenet32"))


def test_a_download_is_found_by_the_loader(nowhere, fashion_folder, monkeypatch):
    import torchvision

    def download(root, download):
        raw = nowhere / root / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for file in fashion_folder.glob("*ubyte*"):
            file.rename(raw / file.name)

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", download)
    files.prepare(config("fashion_mnist"))
    assert len(datasets.fashion_mnist(root=None, valid_fraction=0).train) == 50


def test_files_that_are_there_are_not_downloaded(fashion_folder, monkeypatch):
    import torchvision

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", None)
    files.prepare(config("fashion_mnist", fashion_folder))


@pytest.mark.parametrize("damage", ["truncated", "not idx", "half a gzip"])
def test_a_damaged_file_is_named(fashion_folder, damage):
    labels, images = fashion_folder / "train-labels-idx1-ubyte", fashion_folder / "train-images-idx3-ubyte.gz"
    if damage == "truncated":
        labels.write_bytes(labels.read_bytes()[:-1])
    elif damage == "not idx":
        labels.write_bytes(b"hello, this is text")
    else:
        images.write_bytes(images.read_bytes()[:100])
    with pytest.raises(UsageError, match=r"train-(labels|images)-idx"):
        files.prepare(config("fashion_mnist", fashion_folder))


PIXELS = np.random.default_rng(1).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)


def write_cifar(folder, name, images, labels, key):
    """As the authors of CIFAR did: protocol 2, keys of bytes, an image's red plane first."""
    batch = {b"batch_label": name.encode(), key: labels, b"data": images.reshape(len(images), -1), b"filenames": []}
    (folder / name).write_bytes(pickle.dumps(batch, protocol=2))


def write_all(name, folder):
    """Small files in a data set's true format: PIXELS as training images, the first two as test images."""
    folder.mkdir(exist_ok=True)
    if name == "mnist":
        for part, images in (("train", PIXELS), ("t10k", PIXELS[:2])):
            write_idx(folder / f"{part}-images-idx3-ubyte", images[:, 0])
            write_idx(folder / f"{part}-labels-idx1-ubyte", np.arange(len(images)))
    elif name == "cifar10":
        for batch in range(1, 6):
            part = PIXELS[batch - 1 : batch] if batch < 5 else PIXELS[4:]
            write_cifar(folder, f"data_batch_{batch}", part, [batch - 1, 5][: len(part)], b"labels")
        write_cifar(folder, "test_batch", PIXELS[:2], [0, 1], b"labels")
    elif name == "cifar100":
        write_cifar(folder, "train", PIXELS, list(range(6)), b"fine_labels")
        write_cifar(folder, "test", PIXELS[:2], [0, 1], b"fine_labels")
    elif name == "svhn":
        for part, images in (("train", PIXELS), ("test", PIXELS[:2])):
            labels = np.array([[10], [1], [2], [3], [4], [5]], dtype=np.uint8)[: len(images)]
            savemat(folder / f"{part}_32x32.mat", {"X": images.transpose(2, 3, 1, 0), "y": labels})
    else:
        for batch in range(1, 11):
            part, labels = (PIXELS, np.arange(6)) if batch == 1 else (PIXELS[:1], np.array([0]))
            named = {"data": part.reshape(len(part), -1), "labels": labels + 1, "mean": np.zeros(3072)}
            np.savez(folder / f"train_data_batch_{batch}.npz", **named)
        np.savez(folder / "val_data.npz", data=PIXELS[:2].reshape(2, -1), labels=np.array([1, 2]))


FORMATS = ["mnist", "cifar10", "cifar100", "svhn", "imagenet32"]


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_gives_its_images_and_labels(name, tmp_path):
    write_all(name, tmp_path)
    files.prepare(config(name, tmp_path))
    made = getattr(datasets, name)(root=str(tmp_path), valid_fraction=0)
    expected = PIXELS[:, :1] if name == "mnist" else PIXELS
    assert np.array_equal(made.train.images[:6], expected)
    assert np.array_equal(made.test.images, expected[:2])
    assert made.train.labels[:6].tolist() == list(range(6))
    assert (made.test.labels.tolist(), made.test.labels.dtype) == ([0, 1], np.int64)
    assert made.train.images.flags.c_contiguous


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("damage", ["half of it", "text", "empty"])
def test_a_damaged_file_of_each_format_is_one_line_that_names_it(name, damage, tmp_path):
    write_all(name, tmp_path)
    victim = sorted(tmp_path.iterdir())[0]
    content = victim.read_bytes()
    victim.write_bytes(
        {"half of it": content[: len(content) // 2], "text": b"hello, this is text", "empty": b""}[damage]
    )
    with pytest.raises(UsageError, match=victim.name.replace(".", r"\.")) as error:
        files.prepare(config(name, tmp_path))
    assert "\n" not in str(error.value)


def test_labels_beyond_the_classes_are_refused(tmp_path):
    write_all("cifar10", tmp_path)
    write_cifar(tmp_path, "test_batch", PIXELS[:2], [0, 10], b"labels")
    with pytest.raises(UsageError, match=r"test_batch: labels from 0 to 10; allowed: 10 classes"):
        files.load("cifar10", str(tmp_path))


def test_a_cifar_file_that_would_run_code_is_refused(tmp_path):
    class Runs:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    write_all("cifar10", tmp_path)
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Runs()}))
    with pytest.raises(UsageError, match="test_batch: not a whole CIFAR batch"):
        files.load("cifar10", str(tmp_path))
    assert not (tmp_path / "ran").exists()
