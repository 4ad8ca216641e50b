from __future__ import annotations

from pathlib import Path

import pytest

from ablate.cli.encodings import unreadable

ARM = "_target_: ablate.networks.norm.group_norm\n# für uns\n_partial_: true\ngroups: 4\n"
FILLER = "# nothing\n" * 2000


@pytest.mark.parametrize(
    ("content", "line", "byte"),
    [
        (ARM.encode("latin-1"), 2, "fc"),
        (ARM.encode("utf-16"), 1, "ff"),
        ((FILLER + ARM).encode("cp1252"), 2002, "fc"),
        (ARM.encode() + b"# \x80", 5, "80"),
    ],
)
def test_yaml_that_is_not_utf8_is_named_with_its_line(folder, say, content, line, byte):
    file = folder / "mine" / "norm" / "own.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    status, out, err = say("ablate.run", "--config-dir=mine", "-m", "norm=bn,own", "mode=plan", "track=off")
    assert (status, out) == (2, "")
    assert err == f"{file}: line {line} is not in UTF-8 (byte 0x{byte}); allowed: the file saved as UTF-8\n"


def test_a_preset_of_ones_own_that_is_not_utf8_is_named(folder, say):
    file = folder / "mine" / "preset" / "ours.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes("# für uns\ngrids: [norm=bn]\n".encode("latin-1"))
    status, _, err = say("ablate.run", "--config-dir=mine", "-m", "preset=ours", "mode=plan", "track=off")
    assert (status, err.partition(" (")[0]) == (2, f"{file}: line 1 is not in UTF-8")


def test_yaml_in_utf8_may_hold_any_letters(folder, say):
    file = folder / "mine" / "norm" / "own.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(ARM)
    assert say("ablate.run", "--config-dir=mine", "-m", "norm=bn,own", "mode=plan", "track=off")[0] == 0


def test_any_file_that_was_being_read_is_found(folder):
    Path("notes.txt").write_bytes(b"a\nb\xe9\n")
    with pytest.raises(UnicodeDecodeError) as raised:
        Path("notes.txt").read_text(encoding="utf-8")
    assert unreadable(raised.value) == "notes.txt: line 2 is not in UTF-8 (byte 0xe9); allowed: the file saved as UTF-8"


def test_bytes_that_came_from_no_file_stay_a_bug():
    with pytest.raises(UnicodeDecodeError) as raised:
        b"\xe9".decode()
    assert unreadable(raised.value) is None
