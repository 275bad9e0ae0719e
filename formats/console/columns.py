"""Tables of many rows: laid out at once where they fit, which takes no time to speak of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

_BOLD = Style(bold=True)
_GAP = "  "


@dataclass(frozen=True)
class Columns:
    """A table of plain text, its first column to the left and the others to the right.

    Attributes
    ----------
    title : str
    names : sequence of str
        Of the columns.
    rows : sequence of sequences of str
        Printable, a cell for each column.
    """

    title: str
    names: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[Segment | RenderableType]:
        widths = [max(map(cell_len, cells)) for cells in zip(self.names, *self.rows, strict=True)]
        width = sum(widths) + len(_GAP) * (len(widths) - 1)
        if max(width, cell_len(self.title)) > options.max_width:
            yield self._folded()
            return
        yield Segment(_padded(self.title, width) + "\n", _BOLD)
        yield Segment(_line(self.names, widths) + "\n", _BOLD)
        for row in self.rows:
            yield Segment(_line(row, widths) + "\n")

    def _folded(self) -> Table:
        """The table for a console that is too narrow for it."""
        table = make_table(self.title, *self.names)
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table


def make_table(title: str, *columns: str) -> Table:
    """A table without rows, its first column to the left and the others to the right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table


def _line(cells: Iterable[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return _GAP.join([_padded(*first), *(" " * (w - cell_len(c)) + c for c, w in others)])


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))
