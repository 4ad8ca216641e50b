"""Tables as Markdown and LaTeX, which no name and no level can break."""

from __future__ import annotations

import re
from collections.abc import Collection

import pandas as pd

from analysis.formats import ABSENT

_MARKDOWN = re.compile(r"[\\|`*~$]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])|\[(?=[^\]]*\]\()")
"""What GitHub's Markdown takes for the end of a cell, emphasis, code, HTML, an entity, mathematics or a link."""


def markdown(table: pd.DataFrame, title: str = "") -> str:
    """Return a table in Markdown, below its title if it has one."""
    escaped = table.map(markdown_text).set_axis([markdown_text(column) for column in table.columns], axis=1)
    text = escaped.to_markdown(index=False, disable_numparse=True)
    return f"**{markdown_text(title)}**\n\n{text}" if title else text


def markdown_text(cell: object) -> str:
    r"""Return text that Markdown shows as it is, on one line.

    >>> print(markdown_text("a|b"), markdown_text("a\nb"), markdown_text(r"a\|b"), markdown_text("<b>"))
    a\|b a b a\\\|b \<b>
    >>> print(markdown_text("recipe.micro_batch"), markdown_text("__x__"), markdown_text("<0.001"))
    recipe.micro_batch \_\_x\_\_ <0.001
    """
    return _MARKDOWN.sub(r"\\\g<0>", _unbroken(cell))


def latex(table: pd.DataFrame, words: Collection[str], title: str = "") -> str:
    """Return a table for LaTeX's booktabs package: words on the left, numbers on the right with true minus signs.

    Args:
        table: its cells are texts.
        words: the columns of words; so is any other column that holds more than numbers.
        title: a comment above the table.
    """
    kept = table.loc[:, [column != "notes" or table[column].any() for column in table]]
    columns = ["l" if column in (*words, "notes") or not _numeric(kept[column]) else "r" for column in kept]
    kept = kept.map(_unbroken).set_axis([_unbroken(column) for column in kept.columns], axis=1)
    styled = kept.style.hide(axis="index").format(_latex_signs, escape="latex")
    styled = styled.format_index(_latex_signs, escape="latex", axis=1)
    text = str(styled.to_latex(hrules=True, column_format="".join(columns)))
    return f"% {_unbroken(title)}\n{text}" if title else text


def _latex_signs(cell: object) -> str:
    """Replace dashes, minus signs and marks of escaped text by those that LaTeX sets.

    A bracket or a star at the beginning would be an option of the end of the row before.

    >>> _latex_signs("-0.50 to +1.25"), _latex_signs("14-2"), _latex_signs("–"), _latex_signs("− norm x bits")
    ('$-$0.50 to +1.25', '14-2', '--', '$-$ norm x bits')
    >>> _latex_signs("[64, 64]"), _latex_signs("a|b"), _latex_signs("<0.001")
    ('{}[64, 64]', 'a$|$b', '$<$0.001')
    """
    text = re.sub(r"(?<![\w-])-(?=\d)|−", "$-$", str(cell).replace(ABSENT, "--"))
    text = re.sub(r"[|<>]", r"$\g<0>$", text)
    return f"{{}}{text}" if text.startswith(("[", "*")) else text


def _unbroken(cell: object) -> str:
    return re.sub(r"\s*[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]\s*", " ", str(cell))


def _numeric(column: pd.Series) -> bool:
    """Return whether a column holds only numbers, intervals of numbers, or nothing."""
    return bool(column.astype(str).str.fullmatch(r"[-+−\d., to of–]*").all())
