"""How far each board is, on stderr: a table that changes on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.live
    import rich.table

PLAIN_LINE_EVERY_S = 5.0
REFRESHES_PER_S = 4


@dataclass
class Row:
    """One board: what is going on there. Only the thread of that board writes it."""

    name: str
    is_shown: bool
    text: str = "waiting for its turn"
    done: float = 0.0
    _told_s: float = 0.0

    def say(self, text: str) -> None:
        """Tell what happens now."""
        self.text, self.done = text, 0.0
        self._print(text)

    def share(self, more: float) -> None:
        """Tell how much more of it is done, of 1."""
        self.done = min(1.0, self.done + more)
        if time.monotonic() - self._told_s >= PLAIN_LINE_EVERY_S:
            self._print(f"{self.text}: {self.done:.0%}")

    def _print(self, text: str) -> None:
        self._told_s = time.monotonic()
        if not self.is_shown:
            print(f"{self.name}: {text}", file=sys.stderr, flush=True)


class Table:
    """The rows, in the order in which the boards were named; shown during a `with` block."""

    def __init__(self, names: Sequence[str]) -> None:
        self._live = self._build_live() if sys.stderr.isatty() else None
        self._rows = {name: Row(name, self._live is not None) for name in names}

    def __enter__(self) -> "Table":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._live is not None:
            self._live.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to the block, which asks a person something; the rows are wiped until then."""
        if self._live is None:
            yield
            return
        self._live.transient = True
        self._live.stop()
        try:
            yield
        finally:
            self._live.transient = False
            self._live.start()

    def row(self, name: str) -> Row:
        """Return the row of a board."""
        return self._rows[name]

    def __rich__(self) -> "rich.table.Table":
        from rich.table import Table as Shown
        from rich.text import Text

        shown = Shown("board", "", "", box=None, header_style="bold")
        shown.columns[1].ratio = 1
        for row in self._rows.values():
            shown.add_row(row.name, Text(row.text), f"{row.done:.0%}" if row.done else "")
        return shown

    def _build_live(self) -> "rich.live.Live":
        from rich.console import Console
        from rich.live import Live

        return Live(self, console=Console(stderr=True), refresh_per_second=REFRESHES_PER_S)
