"""What a command prints: lines for the user, and the console that tables and progress are drawn on."""

from __future__ import annotations

import sys

from rich.console import Console


class Terminal:
    """The user's terminal, or the file that stands for it.

    Attributes:
        console: rich's console, for tables and progress.
    """

    def __init__(self) -> None:
        self.console = Console(file=sys.stdout, soft_wrap=False, markup=False, emoji=False)

    def line(self, text: str, style: str | None = None) -> None:
        """Print a line as it is: no markup, and never wrapped."""
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print a line that the user should read, in yellow."""
        self.line(text, "yellow")

    def fail(self, text: str) -> None:
        """Print what went wrong, in red."""
        self.line(text, "red")
