"""docs/architecture.md names every file, and the code keeps the rules that no linter knows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ablate import CONF

ROOT = CONF.parent
MODULES = sorted(path for package in ("ablate", "analysis") for path in (ROOT / package).rglob("*.py"))
BESIDE = sorted(path for folder in ("benchmarks", "hydra_plugins", "tests") for path in (ROOT / folder).rglob("*.py"))

NOT_NAMES = {
    *("mistake", "care", "keeper", "claim", "beat", "holding", "away", "agenda", "maker", "aids", "told", "said"),
    *("asked", "one", "found", "its", "held", "deal", "dealt", "terms", "remember", "recall", "forget", "settled"),
    *("ready", "stopping", "finished", "moments", "gang", "place"),
}
"""Words that stand for nothing in particular, or for which the field has another: no name in the code has one."""

ALLOWED = {
    "one_factor": "the name of a design",
    "ONE_FACTOR": "the name of a design",
    "one_line": "a single line of text",
    "finished_trials": "trials that ended",
    "moments": "the config key recipe.moments, and Hydra's type of it",
    "Moments": "the config key recipe.moments, and Hydra's type of it",
}

MOST_LINES, MOST_FUNCTION_LINES, MOST_PARAMETERS = 300, 60, 6
LONG_CONSTRUCTORS = {"WideResNet", "ImageNetResNet", "Conv2d"}
"""Modules of torch, whose parameters are hyperparameters with names, as torch's own have them."""


def chosen_names(tree: ast.AST) -> Iterator[str]:
    """Yield every name that a module chooses itself: variables, parameters, attributes, functions, classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name


def words(name: str) -> set[str]:
    """Return the words of a name in snake case or camel case."""
    return set(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_"))


@pytest.mark.parametrize("path", [*MODULES, *BESIDE], ids=lambda path: str(path.relative_to(ROOT)))
def test_names_are_the_fields_words(path: Path):
    """A test's own name is a sentence, which may have any word."""
    is_about_claims = {"paper", "rendering"} & set(path.relative_to(ROOT).parts)
    unwanted = NOT_NAMES - ({"claim"} if is_about_claims or path.name == "findings.py" else set())
    names = (name for name in chosen_names(ast.parse(path.read_text())) if not name.startswith("test_"))
    assert [name for name in names if words(name) & unwanted and name not in ALLOWED] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_functions_and_constructors_are_short(path: Path):
    text = path.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < MOST_FUNCTION_LINES, node.name
        if isinstance(node, ast.ClassDef) and node.name not in LONG_CONSTRUCTORS:
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                    parameters = len(method.args.args) + len(method.args.kwonlyargs) - 1
                    assert parameters <= MOST_PARAMETERS, node.name


def test_the_architecture_names_every_file():
    text = (ROOT / "docs" / "architecture.md").read_text()
    missing = [
        str(path.relative_to(ROOT)) for path in MODULES if path.name != "__init__.py" and f"{path.name}`" not in text
    ]
    assert missing == []


def test_a_new_floor_is_documented():
    text = (ROOT / "docs" / "architecture.md").read_text()
    packages = {path.name for root in ("ablate", "analysis") for path in (ROOT / root).iterdir() if path.is_dir()}
    assert {name for name in packages - {"__pycache__", "conf"} if f"{name}/`" not in text} == set()
