"""The table in a CSV file, whether a program of this kind or a spreadsheet wrote it: text first, then values.

Each field stands under the name in the header above it, or the file is refused: no column is ever shifted.
"""

from __future__ import annotations

import csv
import io
import lzma
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import pandas as pd
from fsspec.implementations.local import LocalFileSystem

from ablate.core.errors import UsageError

SEPARATORS = ",;\t"
"""The marks that may separate columns, in the order of preference; a first line such as `sep=|` names another."""

ABSENT = {"", "na", "n/a", "#n/a", "nan", "none", "null", "<na>", "-"}
"""Fields, in lower case, that stand for no number. As levels of a factor they are words like others, but the first."""

_EXCEL = re.compile(r'"?sep=(?P<mark>.)[";,\t]*$', re.IGNORECASE)
"""The first line by which Excel tells the separator, with what a program may have appended to it."""

_NUMBER = re.compile(r"[-+]?\d*(?P<mark>[.,]?)\d+(e[-+]?\d+)?\s*(?P<percent>%?)", re.IGNORECASE)
"""A number, with a decimal point, a decimal comma or none, and perhaps a percent sign."""

Line = tuple[int, list[str]]
"""The number of a line, as an editor counts, and its fields."""


@dataclass(frozen=True)
class Table:
    """A CSV file's fields.

    text: one row per line that is not blank, a column per name; each field is a text without blanks around it.
    lines: the number of each row's line in the file, as an editor counts.
    repeated: the names that the header has more than once. The second `acc` is the column `acc (2)`.
    separator: what separates the columns.
    """

    text: pd.DataFrame
    lines: Sequence[int]
    repeated: Sequence[str]
    separator: str


def read(path: Path) -> Table:
    """Return the fields of a CSV file that has a header.

    Commas, semicolons or tabs separate them, or what a first line such as `sep=;` names.

    Raises:
        UsageError: the file cannot be read, or a row has more fields than the header has names.
    """
    content = _content(path)
    first, _, rest = content.partition("\n")
    named = _EXCEL.match(first.strip("\r"))
    separator = named["mark"] if named else max(SEPARATORS, key=lambda mark: len(_fields(first, mark)))
    try:
        lines = list(_lines(rest if named else content, separator, first_line=2 if named else 1))
    except csv.Error as error:
        raise UsageError(f"path={path}: cannot be read: {error}; allowed: fields in which quotes end") from error
    if not lines:
        raise UsageError(f"path={path}: it is empty; allowed: a header, and one row per run")
    (_, header), *rows = lines
    for line, fields in rows:
        if any(fields[len(header) :]):
            raise UsageError(
                f"path={path}: row {line} has {len(fields)} fields, the header {len(header)}; allowed: one field for "
                f"each name, in quotes where it holds the separator {separator!r}"
            )
    padded = [(fields + [""] * len(header))[: len(header)] for _, fields in rows]
    text = pd.DataFrame(padded, columns=list(_names(header)), dtype=object)
    text = text.drop(columns=[text.columns[at] for at in range(len(header)) if _is_unnamed(header, text, at)])
    repeated = [name for name in dict.fromkeys(header) if name and header.count(name) > 1]
    return Table(text, [line for line, _ in rows], repeated, separator)


def values(text: pd.DataFrame) -> pd.DataFrame:
    """Return a table of texts as values: a column of numbers, or of true and false, as such; NaN for an empty field."""
    if text.empty:
        return text
    buffer = io.StringIO()
    text.to_csv(buffer, index=False, quoting=csv.QUOTE_ALL)
    buffer.seek(0)
    return pd.read_csv(buffer, index_col=False, keep_default_na=False, na_values=[""], low_memory=False)


def numbers(table: Table, name: str) -> tuple[pd.Series, list[str], bool]:
    """Return a column's texts as Python writes numbers, what was changed in words, and whether they are percentages.

    Percent signs are read where all its numbers have them, and decimal commas where no comma separates columns.
    """
    column = table.text[name]
    matches = [_NUMBER.fullmatch(text) for text in column if not is_absent(text)]
    marks, signs = ({match[part] if match else None for match in matches} for part in ("mark", "percent"))
    notes = []
    if table.separator != "," and "," in marks and marks <= {",", ""}:
        example = next(text for text in column if "," in text)
        column = column.str.replace(",", ".")
        notes.append(f"{name} has decimal commas: {example} is {example.replace(',', '.')}.")
    if signs == {"%"}:
        column = column.str.removesuffix("%").str.rstrip()
    return column, notes, signs == {"%"}


def levels(column: pd.Series) -> pd.Series:
    """Return a column of values as levels: where some are numbers and the rest say that there is none, numbers stay so.

    >>> levels(pd.Series(["1", "0.5", "None"])).tolist(), levels(pd.Series(["1", "a", "None"])).tolist()
    ([1, 0.5, 'None'], ['1', 'a', 'None'])
    """
    if not (pd.api.types.is_object_dtype(column) or pd.api.types.is_string_dtype(column)):
        return column
    number_of = {text: _number(text) for text in column.unique() if isinstance(text, str) and not is_absent(text)}
    if None in number_of.values():
        return column
    return pd.Series([number_of.get(text, text) for text in column], column.index, dtype=object)


def is_absent(text: str) -> bool:
    """Return whether a field stands for no number.

    >>> [is_absent(text) for text in ("", "NaN", "None", "0")]
    [True, True, True, False]
    """
    return text.casefold() in ABSENT


def _content(path: Path) -> str:
    """Return a file's text. It may be compressed, as its suffix says, and begin with a mark of its byte order."""
    try:
        with LocalFileSystem().open(str(path.absolute()), "rb", compression="infer") as file:
            raw: bytes = file.read()
    except (OSError, ValueError, EOFError, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise UsageError(f"path={path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        content = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UsageError(
            f"path={path}: cannot be read: line {line} is no text in UTF-8; allowed: a CSV file saved as UTF-8"
        ) from error
    return content.replace("\r\n", "\n").replace("\r", "\n")


def _lines(content: str, separator: str, *, first_line: int) -> Iterator[Line]:
    """Yield each line that is not blank, without blanks around its fields. Quotes may hold line breaks."""
    reader = csv.reader(io.StringIO(content), delimiter=separator, skipinitialspace=separator != "\t", strict=True)
    number = first_line
    for fields in reader:
        stripped = [field.strip() for field in fields]
        if any(stripped):
            yield number, stripped
        number = first_line + reader.line_num


def _fields(line: str, separator: str) -> list[str]:
    """Return the fields of one line; none where its quotes do not end."""
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def _names(header: Iterable[str]) -> Iterator[str]:
    """Yield a name for each column, each of them once."""
    known: set[str] = set()
    for position, name in enumerate(header, start=1):
        choices = chain([name or f"column {position}"], (f"{name} ({number})" for number in count(2)))
        unique = next(choice for choice in choices if choice not in known)
        known.add(unique)
        yield unique


def _is_unnamed(header: Sequence[str], text: pd.DataFrame, position: int) -> bool:
    """Return whether a column has neither a name nor anything to say: it is blank, or numbers the rows."""
    if header[position]:
        return False
    column = text.iloc[:, position].tolist()
    numbered = [[str(row + start) for row in range(len(column))] for start in (0, 1)]
    return not any(column) or (position == 0 and column in numbered)


def _number(text: str) -> int | float | None:
    match = _NUMBER.fullmatch(text)
    if not match or match["mark"] == "," or match["percent"]:
        return None
    return int(float(text)) if float(text).is_integer() else float(text)
