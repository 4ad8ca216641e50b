"""The code of a user's own parts: the modules that a part is made of, and what identifies them.

Nothing is imported, and so nothing runs: modules are looked for and read as text.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from ablate.core.config import Config
from ablate.core.errors import UsageError
from ablate.core.identity import CODE
from ablate.planning.parts import GROUPS_WITH_A_TARGET

OURS = ("ablate", "analysis")

_INSTALLED = tuple(
    folder + os.sep
    for folder in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        site.getusersitepackages(),
    }
)
"""Folders of modules that others keep: what is imported from there is no part of the user's code."""


_OF_PACKAGES = frozenset({"site-packages", "dist-packages"})
"""Folders of another environment that this one sees too."""


@dataclass(frozen=True)
class Code:
    """The code of one part.

    modules: full name -> file, of the part's module and of all local modules that it imports, however far.
    fingerprint: "k" and 16 hex digits, the same for code that differs in comments, docstrings and formatting alone.
    """

    modules: Mapping[str, Path]
    fingerprint: str


def fingerprint_of(group: Config) -> dict[str, str]:
    """Return the key and the fingerprint of a group's code, where its `_target_` is a user's own; else nothing."""
    code = of(str(group["_target_"]))
    return {CODE: code.fingerprint} if code else {}


def of_config(config: Config) -> dict[str, Code]:
    """Return fingerprint -> code, of the parts of a trial that are a user's own."""
    codes = (of(str(config[name]["_target_"])) for name in GROUPS_WITH_A_TARGET if CODE in config[name])
    return {code.fingerprint: code for code in codes if code}


def is_ours(target: str) -> bool:
    """Return whether a part with this path is one of ablate's own."""
    return target.partition(".")[0] in OURS


def of(target: str) -> Code | None:
    """Return the code of the part with this path, package.module.Name; None for a part of ours or of a library.

    Raises:
        UsageError: a module of it cannot be read, or is not Python.
    """
    module = target.rpartition(".")[0]
    if not module or is_ours(target):
        return None
    modules: dict[str, Path] = {}
    waiting = list(_with_packages(module))
    hashes = {}
    while waiting:
        name = waiting.pop()
        file = _file(name) if name not in modules else None
        if file is None:
            continue
        modules[name] = file
        if file.suffix == ".py":
            tree = _tree(file)
            waiting += [part for imported in _imports(tree, name, file) for part in _with_packages(imported)]
            hashes[name] = ast.unparse(_without_docstrings(tree))
        else:
            hashes[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    if not modules:
        return None
    listing = json.dumps(sorted(hashes.items())).encode()
    return Code(dict(sorted(modules.items())), "k" + hashlib.sha256(listing).hexdigest()[:16])


def _with_packages(name: str) -> Iterator[str]:
    """Yield the packages that a module is in, outermost first, and the module."""
    parts = name.split(".")
    yield from (".".join(parts[: n + 1]) for n in range(len(parts)))


def _file(name: str) -> Path | None:
    """Return the file of a local module; None for another, and where there is none."""
    if name.partition(".")[0] in OURS:
        return None
    path, spec = None, None
    for part in _with_packages(name):
        # by its last name alone: of a package in one without __init__.py, Python asks the parent, which is not imported
        spec = PathFinder.find_spec(part.rpartition(".")[2], path)
        if spec is None:
            return None
        path = _locations(spec, path)
    if spec is None or spec.origin is None or not spec.has_location:
        return None
    file = Path(spec.origin)
    installed = str(file.absolute()).startswith(_INSTALLED) or not _OF_PACKAGES.isdisjoint(file.parts)
    return None if installed else file


def _locations(spec: ModuleSpec, path: Sequence[str] | None) -> list[str]:
    """Return the folders of a package's modules. Those of a package without __init__.py Python knows after its import.

    Args:
        spec: of the package.
        path: the folders in which it was found; None for those of sys.path.
    """
    if spec.origin is not None:
        return list(spec.submodule_search_locations or [])
    folders = (os.path.join(folder or os.curdir, spec.name) for folder in path or sys.path)
    return [folder for folder in folders if os.path.isdir(folder)]


def _tree(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes(), str(file))
    except (OSError, SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        why = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UsageError(f"{file}{line}: not a Python module ({why})") from error


def _imports(tree: ast.Module, module: str, file: Path) -> Iterator[str]:
    """Yield the full name of everything that the module imports, anywhere in it; some are names in a module."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            if origin:
                yield origin
                yield from (f"{origin}.{alias.name}" for alias in node.names)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body[0] = ast.Pass()
    return tree
