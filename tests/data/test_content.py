"""Which changes to files make another data set, and so other trials."""

from __future__ import annotations

import gzip
import json
import os
import shutil

import numpy as np
import pytest

from ablate.core.errors import UsageError
from ablate.data import content, files, folders

IN_FOLDERS = ("image_folder", "imagenet")
KINDS = (*files.SOURCES, *IN_FOLDERS)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own, which also keeps files that are young."""
    monkeypatch.setattr(content, "YOUNGEST_CACHED_NS", 0)
    monkeypatch.setattr(content, "_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def write(kind, root):
    """Write files of random bytes where the data set has its own: what they hold is not looked at."""
    rng = np.random.default_rng(0)
    if kind in IN_FOLDERS:
        test, names = ("test", ("0", "1", "2")) if kind == "image_folder" else ("val", ("n01", "n02", "n03"))
        paths = [root / part / name / f"{n}.png" for part in ("train", test) for name in names for n in range(3)]
    else:
        paths = [root / name for name in files.SOURCES[kind].files]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(200))
    return paths


def content_of(kind, root):
    module = folders if kind in IN_FOLDERS else files
    keys = {"root": str(root), "valid_fraction": 0.1, "workers": None}
    own = {"image_folder": {"size": None}, "imagenet": {"multi_crop": False}}.get(kind, {})
    path = f"{module.__name__}.{kind}" if kind in IN_FOLDERS else f"ablate.data.datasets.{kind}"
    return module.identify({"dataset": {"_target_": path, **keys, **own}, "recipe": {}})


def flip(path):
    whole = bytearray(path.read_bytes())
    whole[100] ^= 1
    path.write_bytes(whole)


def a_byte_of_the_first_file(root, paths):
    flip(paths[0])


def a_byte_of_the_last_file_at_the_same_time_and_size(root, paths):
    before = paths[-1].stat()
    flip(paths[-1])
    os.utime(paths[-1], ns=(before.st_atime_ns, before.st_mtime_ns))


def a_file_cut_short(root, paths):
    paths[1].write_bytes(paths[1].read_bytes()[:-1])


def two_files_exchanged(root, paths):
    """In folders, images of two classes; in batches, the order of the items."""
    first, last = paths[0].read_bytes(), paths[-1].read_bytes()
    paths[0].write_bytes(last)
    paths[-1].write_bytes(first)


def another_time(root, paths):
    for path in paths:
        os.utime(path, (1, 1))


def a_hidden_file_beside_each(root, paths):
    for path in paths:
        (path.parent / ".DS_Store").write_bytes(b"finder")


def a_readme_in_the_root(root, paths):
    (root / "README.txt").write_text("where they are from")


def a_copy_elsewhere(root, paths):
    shutil.copytree(root, root.with_name("elsewhere"))
    shutil.rmtree(root)
    root.with_name("elsewhere").rename(root)


def the_root_a_link(root, paths):
    root.rename(root.with_name("real"))
    root.symlink_to(root.with_name("real"))


def each_file_a_link(root, paths):
    store = root.with_name("store")
    store.mkdir()
    for number, path in enumerate(paths):
        path.rename(store / str(number))
        path.symlink_to(store / str(number))


OTHER = (
    a_byte_of_the_first_file,
    a_byte_of_the_last_file_at_the_same_time_and_size,
    a_file_cut_short,
    two_files_exchanged,
)
SAME = (
    another_time,
    a_hidden_file_beside_each,
    a_readme_in_the_root,
    a_copy_elsewhere,
    the_root_a_link,
    each_file_a_link,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", OTHER + SAME, ids=lambda change: change.__name__)
def test_other_content_is_another_data_set_and_nothing_else_is(kind, change, tmp_path):
    root = tmp_path / "root"
    paths = write(kind, root)
    before = content_of(kind, root)
    assert before is not None
    change(root, paths)
    assert (content_of(kind, root) == before) == (change in SAME)


@pytest.mark.parametrize("kind", IN_FOLDERS)
def test_of_images_in_folders_the_classes_and_the_order_count_and_names_do_not(kind, tmp_path):
    root = tmp_path / "root"
    paths = write(kind, root)
    before = content_of(kind, root)
    paths[0].rename(paths[0].with_name("00.png"))  # still the first
    assert content_of(kind, root) == before
    paths[0].with_name("00.png").rename(paths[0].with_name("9.png"))  # now the last: others are set aside
    assert content_of(kind, root) != before
    paths[0].with_name("9.png").rename(paths[0])
    first, second = paths[0].parent, paths[3].parent
    first.rename(root / "aside")
    second.rename(first)
    (root / "aside").rename(second)  # the classes are permuted
    assert content_of(kind, root) != before


@pytest.mark.parametrize("kind", IN_FOLDERS)
def test_class_folders_that_are_links_are_followed(kind, tmp_path):
    root = tmp_path / "root"
    paths = write(kind, root)
    before = content_of(kind, root)
    (tmp_path / "store").mkdir()
    for folder in {path.parent for path in paths}:
        target = tmp_path / "store" / f"{folder.parent.name}-{folder.name}"
        folder.rename(target)
        folder.symlink_to(target)
    assert content_of(kind, root) == before
    flip(paths[0])
    assert content_of(kind, root) != before


@pytest.mark.parametrize("kind", IN_FOLDERS)
@pytest.mark.parametrize("part", ["train", "test"])
def test_an_image_more_or_less_is_another_data_set(kind, part, tmp_path):
    root = tmp_path / "root"
    paths = write(kind, root)
    before = content_of(kind, root)
    path = paths[0 if part == "train" else -1]
    (path.parent / "z.png").write_bytes(b"one more")
    assert content_of(kind, root) != before
    (path.parent / "z.png").unlink()
    assert content_of(kind, root) == before
    path.unlink()
    assert content_of(kind, root) != before


def test_packed_files_are_the_same_data_set(tmp_path):
    root = tmp_path / "root"
    paths = write("mnist", root)
    before = content_of("mnist", root)
    for path in paths:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert content_of("mnist", root) == before


def test_the_same_files_are_another_data_set_under_another_name_only_in_the_name(tmp_path):
    """What the config says of the data set distinguishes the trials then."""
    write("mnist", tmp_path / "root")
    assert content_of("mnist", tmp_path / "root") == content_of("fashion_mnist", tmp_path / "root")


def test_nothing_is_identified_where_no_files_are(tmp_path):
    assert [content_of(kind, tmp_path / "nowhere") for kind in KINDS] == [None] * len(KINDS)


def test_the_published_files_are_those_that_torchvision_downloads():
    from torchvision import datasets

    for name, kind in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        md5 = dict((*kind.train_list, *kind.test_list))
        assert list(files.SOURCES[name].md5) == [md5[file] for file in files.SOURCES[name].files]
    assert list(files.SOURCES["svhn"].md5) == [datasets.SVHN.split_list[part][2] for part in ("train", "test")]


def test_published_files_have_no_content_so_that_their_trials_keep_their_identity(tmp_path, monkeypatch):
    fashion = files.find("fashion_mnist", None)
    if fashion is None:
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    assert content_of("fashion_mnist", fashion) is None
    for file in fashion.glob("*.gz"):
        (tmp_path / file.name.removesuffix(".gz")).write_bytes(gzip.decompress(file.read_bytes()))
    assert content_of("fashion_mnist", tmp_path) is None
    assert content_of("mnist", tmp_path) is not None


def test_what_was_read_once_is_not_read_again(tmp_path, monkeypatch):
    root = tmp_path / "root"
    paths = write("image_folder", root)
    read = []

    def noted(path):
        read.append(path)
        return content.sha256(path)

    groups = [(path.parent.name + path.parent.parent.name, [str(path)]) for path in paths[::3]]
    first = content.group_hashes(root, groups, noted)
    assert len(read) == len(groups)
    assert content.group_hashes(root, groups, noted) == first
    assert len(read) == len(groups)
    flip(paths[3])
    assert content.group_hashes(root, groups, noted) != first
    assert read[len(groups) :] == [str(paths[3])]


def test_files_that_may_still_change_are_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "YOUNGEST_CACHED_NS", 10**12)
    path = tmp_path / "file"
    path.write_bytes(b"1")
    read = []

    def noted(path):
        read.append(path)
        return content.sha256(path)

    for _ in range(2):
        content.group_hashes(tmp_path, [("all", [str(path)])], noted)
    assert len(read) == 2


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"all": 3}', b'{"all": ["x"]}', b"\xff"])
def test_a_damaged_cache_is_no_cache(tmp_path, cache, damage):
    (tmp_path / "file").write_bytes(b"1")
    groups = [("all", [str(tmp_path / "file")])]
    first = content.group_hashes(tmp_path, groups)
    (kept,) = cache.iterdir()
    assert list(json.loads(kept.read_text())) == ["all"]
    kept.write_bytes(damage)
    assert content.group_hashes(tmp_path, groups) == first


def test_without_a_place_for_a_cache_files_are_read_each_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"1")
    monkeypatch.setattr(content, "_folder", lambda: tmp_path / "file" / "no-folder")
    groups = [("all", [str(tmp_path / "file")])]
    assert content.group_hashes(tmp_path, groups) == content.group_hashes(tmp_path, groups)


def test_an_interrupt_keeps_the_groups_that_were_read(tmp_path):
    (tmp_path / "file").write_bytes(b"1")
    read = []

    def groups():
        yield "first", [str(tmp_path / "file")]
        raise KeyboardInterrupt

    def noted(path):
        read.append(path)
        return content.sha256(path)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            content.group_hashes(tmp_path, groups(), noted)
    assert len(read) == 1


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.png: cannot be read: No such file"):
        content.group_hashes(tmp_path, [("all", [str(tmp_path / "gone.png")])])


def test_a_long_reading_is_announced_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(content, "SECONDS_BEFORE_A_NOTICE", -1)
    (tmp_path / "file").write_bytes(b"1")
    content.group_hashes(tmp_path, [(str(n), [str(tmp_path / "file")]) for n in range(3)])
    assert capsys.readouterr().err.count("reading all files once, to identify the data set") == 1
