"""What identifies the code of a user's own parts."""

from __future__ import annotations

import pytest

from ablate.core.errors import UsageError
from ablate.planning import own_code

ARM = '''"""Arms."""
import numpy as np
from helpers import slopes


def leaky(*, slope):
    """Return the arm."""
    return slopes.of(slope), np.pi
'''


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A module and a package of the user, on the Python path; returns their folder."""
    (tmp_path / "helpers").mkdir()
    (tmp_path / "my_arms.py").write_text(ARM)
    (tmp_path / "helpers" / "__init__.py").write_text("from . import slopes\n")
    (tmp_path / "helpers" / "slopes.py").write_text(
        "from .deeper import double\n\n\ndef of(x):\n    return double(x)\n"
    )
    (tmp_path / "helpers" / "deeper.py").write_text("def double(x):\n    return 2 * x\n")
    (tmp_path / "helpers" / "unused.py").write_text("print('nobody imports this')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def mark():
    return own_code.of("my_arms.leaky").fingerprint


def test_a_part_is_its_module_and_the_local_modules_it_imports(code):
    modules = own_code.of("my_arms.leaky").modules
    assert list(modules) == ["helpers", "helpers.deeper", "helpers.slopes", "my_arms"]
    assert modules["helpers"] == code / "helpers" / "__init__.py"


def test_packages_without_an_init_file_are_followed_however_deep(code):
    (code / "lib" / "sub").mkdir(parents=True)
    (code / "lib" / "sub" / "act.py").write_text("x = 1\n")
    (code / "my_arms.py").write_text(f"from lib.sub.act import x\n{ARM}")
    assert "lib.sub.act" in own_code.of("my_arms.leaky").modules


def test_what_another_environment_has_is_not_the_users_code(code, monkeypatch):
    (code / "venv" / "site-packages" / "theirs").mkdir(parents=True)
    (code / "venv" / "site-packages" / "theirs" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(code / "venv" / "site-packages"))
    (code / "my_arms.py").write_text(f"import theirs\n{ARM}")
    assert "theirs" not in own_code.of("my_arms.leaky").modules


def rewritten(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("my_arms.py", '"""Arms."""', '"""Other words."""'),
        ("my_arms.py", '    """Return the arm."""\n', ""),
        ("my_arms.py", "slopes.of(slope), np.pi", "(\n        slopes.of( slope ),  # why\n        np.pi,\n    )"),
        ("helpers/deeper.py", "return 2 * x", "return 2*x  # twice"),
        ("helpers/unused.py", "nobody", "somebody"),
    ],
)
def test_comments_docstrings_formatting_and_modules_that_are_not_imported_do_not_count(code, file, old, new):
    before = mark()
    if new == "":  # a function needs something in its place
        old, new = '"""Return the arm."""', '"""..."""'
    rewritten(code / file, old, new)
    assert mark() == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("my_arms.py", "np.pi", "np.e"),
        ("my_arms.py", "import numpy as np", "import numpy as np, json"),
        ("helpers/__init__.py", "from . import slopes", "from . import slopes, unused"),
        ("helpers/slopes.py", "double(x)", "double(-x)"),
        ("helpers/deeper.py", "2 * x", "3 * x"),
    ],
)
def test_any_other_edit_of_a_module_that_is_imported_counts_however_far(code, file, old, new):
    before = mark()
    rewritten(code / file, old, new)
    assert mark() != before


def test_a_part_moved_with_its_modules_to_another_folder_is_the_same(code, tmp_path, monkeypatch):
    before = mark()
    other = tmp_path / "elsewhere"
    other.mkdir()
    for name in ("my_arms.py", "helpers"):
        (code / name).rename(other / name)
    monkeypatch.syspath_prepend(str(other))
    assert mark() == before


@pytest.mark.parametrize("target", ["ablate.networks.norm.bn", "torch.nn.GELU", "json.loads", "nowhere.part", "bare"])
def test_parts_of_ours_and_of_libraries_have_no_code_of_their_own(target):
    assert own_code.of(target) is None


def test_a_circle_of_imports_ends(code):
    rewritten(code / "helpers" / "deeper.py", "def double", "import my_arms\n\n\ndef double")
    assert "my_arms" in own_code.of("my_arms.leaky").modules


def test_nothing_is_imported(code):
    (code / "my_arms.py").write_text("raise SystemExit('it ran')\n")
    assert own_code.of("my_arms.leaky").fingerprint.startswith("k")


def test_a_module_that_is_not_python_is_one_line(code):
    (code / "helpers" / "deeper.py").write_text("def double(x:\n")
    with pytest.raises(UsageError, match=r"deeper\.py, line 1: not a Python module \("):
        mark()
