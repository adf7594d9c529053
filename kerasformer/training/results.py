"""What a recipe leaves behind: `metrics.json`, and tables on the terminal."""

import json
import math
import os
import pathlib

from rich.console import Console
from rich.table import Table
from rich.text import Text


def write_metrics(folder, results):
    """Writes `results` as `folder/metrics.json`, atomically."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / ".metrics.json.writing"
    try:
        scratch.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        os.replace(scratch, folder / "metrics.json")
    finally:
        scratch.unlink(missing_ok=True)


def print_table(title, columns, rows):
    """Prints a table: the first column to the left, numbers to the right with four digits."""
    table = Table()
    for index, column in enumerate(columns):
        table.add_column(Text(str(column)), justify="left" if index == 0 else "right")
    for row in rows:
        # As text: a label named "[/b]" is no markup.
        table.add_row(*[Text(_cell(value)) for value in row])
    # Not as the table's own title, which is broken where the table is narrow.
    Console().print(Text(title, "italic"), soft_wrap=True)
    Console().print(table)


def _cell(value):
    if isinstance(value, float):
        return f"{value:.4f}" if math.isfinite(value) else str(value)
    return str(value)
