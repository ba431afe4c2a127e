"""`sepconv bench`: from the command line's arguments to tables and files."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from . import report as tables
from . import run
from .results import Report


def main(chosen: argparse.Namespace) -> int:
    """Runs, shows, writes. ValueError and OSError, before any work, for arguments and files that cannot be."""
    old = Report.load(chosen.compare) if chosen.compare else None
    for path in (chosen.json, chosen.markdown, chosen.png):
        if path:
            _writable(path)
    if chosen.png:
        from . import picture
    console = tables.console()
    report = run(
        chosen.op, chosen.net, chosen.layers, layout=chosen.layout, threads=chosen.threads, libraries=chosen.libraries, seconds=chosen.seconds,
        epilogue=chosen.epilogue, tell=lambda text: console.print(text, markup=False), progress=console.is_terminal,
    )  # fmt: skip
    if chosen.json:
        Path(chosen.json).write_text(report.to_json(), encoding="utf-8")
    if chosen.markdown:
        Path(chosen.markdown).write_text(tables.markdown(report, chosen.all_rows, old), encoding="utf-8")
    if chosen.png:
        picture.draw(report, chosen.png)
    tables.show(console, report, chosen.all_rows, old)
    return 0


def _writable(path: str) -> None:
    """OSError where a file cannot be written: better now than after the measurements."""
    folder = Path(path).absolute().parent
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file")
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder {folder} does not exist")
    if not os.access(path if Path(path).exists() else folder, os.W_OK):
        raise PermissionError(f"{path} cannot be written")
