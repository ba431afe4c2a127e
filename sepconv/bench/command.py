"""`sepconv bench`: from the command line's arguments to tables and files."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from . import report as tables
from . import run
from .results import Report

SECONDS = 1.0  # of timing a convolution
SECONDS_NETWORK = 8.0
BATCH = 32  # images per call on a GPU
GPU_ONLY = ("dtype", "batch")
LAYERS_ONLY = ("op", "net", "layers", "libraries", "all_rows", "markdown", "png", "compare")
NETWORK_ONLY = ("image", "every_way")


def main(chosen: argparse.Namespace) -> int:
    """Runs, shows, writes. ValueError and OSError, before any work, for arguments and files that cannot be."""
    if chosen.network is not None:
        return _network(chosen)
    _without(chosen, NETWORK_ONLY, "needs --network")
    if chosen.device != "cuda":
        _without(chosen, GPU_ONLY, "needs --device cuda")
    seconds = SECONDS if chosen.seconds is None else chosen.seconds
    old = Report.load(chosen.compare) if chosen.compare else None
    for path in (chosen.json, chosen.markdown, chosen.png):
        if path:
            writable(path)
    if chosen.png:
        from . import picture
    console = tables.console()
    tell = lambda text: console.print(text, markup=False)
    report = _on_gpu(chosen, seconds, tell, console.is_terminal) if chosen.device == "cuda" else run(
        chosen.op, chosen.net, chosen.layers, layout=chosen.layout, threads=chosen.threads, libraries=chosen.libraries, seconds=seconds,
        epilogue=chosen.epilogue, tell=tell, progress=console.is_terminal,
    )  # fmt: skip
    if chosen.json:
        Path(chosen.json).write_text(report.to_json(), encoding="utf-8")
    if chosen.markdown:
        Path(chosen.markdown).write_text(tables.markdown(report, chosen.all_rows, old), encoding="utf-8")
    if chosen.png:
        picture.draw(report, chosen.png)
    tables.show(console, report, chosen.all_rows, old)
    return 0


def _on_gpu(chosen: argparse.Namespace, seconds: float, tell: Callable[[str], None], progress: bool) -> Report:
    from . import gpu

    _without(chosen, ("threads",), "does not go with --device cuda")
    return gpu.run(
        chosen.op, chosen.net, chosen.layers, dtype=chosen.dtype or "float32", batch=BATCH if chosen.batch is None else chosen.batch,
        layout=chosen.layout, names=chosen.libraries, seconds=seconds, epilogue=chosen.epilogue, tell=tell, progress=progress,
    )  # fmt: skip


def _network(chosen: argparse.Namespace) -> int:
    """A whole network instead of layers; the exit code is 1 if a result is wrong."""
    from . import network

    _without(chosen, (*LAYERS_ONLY, *GPU_ONLY), "does not go with --network")
    if chosen.device != "cpu":
        raise ValueError("--device cuda does not go with --network")
    if chosen.epilogue != "none":
        raise ValueError("--epilogue does not go with --network, which has activations of its own")
    if chosen.network not in network.NAMES:
        raise ValueError(f"network is {chosen.network!r}; allowed is {', '.join(network.NAMES)}")
    if chosen.layout not in (*network.LAYOUTS, "both"):
        raise ValueError(f"layout is {chosen.layout!r}; allowed are {', '.join(network.LAYOUTS)} and both")
    if chosen.json:
        writable(chosen.json)
    seconds = SECONDS_NETWORK if chosen.seconds is None else chosen.seconds
    return network.command(argparse.Namespace(**{**vars(chosen), "seconds": seconds}))


def _without(chosen: argparse.Namespace, names: tuple[str, ...], why: str) -> None:
    given = next((name for name in names if getattr(chosen, name)), None)
    if given is not None:
        raise ValueError(f"--{given.replace('_', '-')} {why}")


def writable(path: str) -> Path:
    """The file's place; OSError where it cannot be written: better now than after the measurements."""
    folder = Path(path).absolute().parent
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file")
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder {folder} does not exist")
    if not os.access(path if Path(path).exists() else folder, os.W_OK):
        raise PermissionError(f"{path} cannot be written")
    return Path(path).absolute()
