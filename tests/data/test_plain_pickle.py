from __future__ import annotations

import copyreg
import io
import pickle
import struct

import numpy as np
import pytest

from ablate.data import plain_pickle

IMAGES = np.arange(48, dtype=np.uint8).reshape(4, 12)


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("array", [IMAGES, IMAGES[:1], IMAGES[::2]])
def test_an_array_of_bytes_is_read_as_numpy_reads_it(protocol, array):
    written = pickle.dumps({b"data": array, b"labels": [1, 2], "name": "x"}, protocol=protocol)
    batch = plain_pickle.load(io.BytesIO(written))
    assert (batch[b"labels"], batch["name"]) == ([1, 2], "x")
    back = plain_pickle.uint8_array(batch[b"data"])
    assert np.array_equal(back, array)
    assert (back.dtype, back.flags.writeable) == (np.uint8, True)


def test_a_file_of_python_2_is_read():
    """As CIFAR's authors wrote it: text is bytes."""
    written = (
        b"\x80\x02}q\x01U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05"
        b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x06abcdeftbs."
    )
    array = plain_pickle.uint8_array(plain_pickle.load(io.BytesIO(written))[b"data"])
    assert np.array_equal(array, np.frombuffer(b"abcdef", np.uint8).reshape(2, 3))


class Names:
    """Pickled as a call of `function` with `arguments`, and `state` given to what it returns."""

    def __init__(self, function, *arguments, state=None):
        self.function, self.arguments, self.state = function, arguments, state

    def __reduce__(self):
        return self.function, self.arguments, *(() if self.state is None else (self.state,))


RECONSTRUCT = np.ndarray(0).__reduce__()[0]
NEW = (RECONSTRUCT, np.ndarray, (0,), b"b")
OBJECTS = (3, "|", None, None, None, -1, -1, 63)


@pytest.mark.parametrize(
    "value",
    [
        Names(*NEW, state=(1, (2,), np.dtype("O"), False, b"A" * 16)),
        Names(
            RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (2,), Names(np.dtype, "u1", state=OBJECTS), False, b"A" * 8)
        ),
        Names(*NEW, state=(1, (1 << 60,), np.dtype("u1"), False, b"A")),
        Names(*NEW, state=(1, (-2, -2), np.dtype("u1"), False, b"AAAA")),
        np.array([print, print]),
        np.arange(3),
        np.asfortranarray(IMAGES),
        [1, 2],
        b"abc",
        None,
    ],
)
def test_what_is_no_array_of_bytes_is_a_value_error(value):
    with pytest.raises((ValueError, pickle.UnpicklingError), match=r"array|bytes"):
        plain_pickle.uint8_array(plain_pickle.load(io.BytesIO(pickle.dumps(value, protocol=2))))


@pytest.mark.parametrize(
    "value",
    [Names(print, "ran"), Names(copyreg._reconstructor, object, object, None), np.float64(1), np.random.Generator],
)
def test_a_name_of_anything_else_is_refused(value, capsys):
    with pytest.raises(pickle.UnpicklingError, match="which is no array"):
        plain_pickle.load(io.BytesIO(pickle.dumps(value)))
    assert capsys.readouterr().out == ""


def test_a_file_does_not_say_how_much_memory_is_taken():
    with pytest.raises((EOFError, pickle.UnpicklingError, ValueError)):
        plain_pickle.load(
            io.BytesIO(b"\x80\x02]r" + struct.pack("<I", 0xFFFFFFF0) + b"B" + struct.pack("<I", 1 << 31) + b"x")
        )
