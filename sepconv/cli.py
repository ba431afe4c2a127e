"""The command line, `sepconv COMMAND`: demo, info, cost, bench, warm, inspect. What a command does not need is not imported."""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import platform
import sys
from collections.abc import Sequence
from typing import Any

from . import __version__, backends, conv_cost, get_num_threads
from .cost import KINDS

OPTIONAL = ("scipy", "torch", "matplotlib", "rich", "ml_dtypes")
EXTRAS = {"demo": ("matplotlib", "rich", "PIL"), "bench": ("matplotlib", "rich", "PIL", "skimage")}  # what commands need besides: sepconv[COMMAND]

LABELS = {
    "isa": "instruction set",
    "lanes": "vector width",
    "registers": "vector registers",
    "cpu": "CPU as LLVM names it",
    "threads": "threads",
    "threading_layer": "threading layer",
    "cache_folder": "kernel cache",
    "cache_bytes": "cache size",
    "cache_hits": "kernels loaded from it",
    "cache_misses": "kernels compiled",
    "compile_seconds": "seconds compiling",
    "arrays": "takes",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, or 2 where the arguments or the installation do not allow it."""
    chosen = _parser().parse_args(arguments)
    try:
        return chosen.run(chosen)
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        sys.stderr.close()
        return 0
    except ImportError as error:
        name = chosen.run.__name__.removeprefix("_")
        if (error.name or "").partition(".")[0] not in EXTRAS.get(name, ()):
            raise
        return _fail(chosen, f'{name} needs {error.name}, which is not installed: install sepconv[{name}], as in pip install "sepconv[{name}]"')
    except chosen.refusals as error:
        return _fail(chosen, error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sepconv", description="Convolution for arrays: depthwise, pointwise, separable and standard.")
    parser.add_argument("--version", action="version", version=f"sepconv {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    for run, arguments, refusals, text in (  # errors that are the user's arguments' or files', and not ours
        (_demo, _demo_arguments, (OSError, ValueError), "filter a photograph every way there is, compare, and draw it"),
        (_info, lambda parser: None, (), "what runs here: machine, threads, kernel cache, backends"),
        (_cost, _cost_arguments, (ValueError, TypeError), "count weights, multiply-adds and bytes of a convolution"),
        (_bench, _bench_arguments, (OSError, ValueError), "time layers of well-known networks here and in other libraries"),
        (_warm, _warm_arguments, (OSError, ValueError), "compile the kernels of a network ahead of its first call"),
        (_inspect, _inspect_arguments, (ValueError, TypeError, RuntimeError), "the kernel of a convolution, its tile and its hot loop in assembly"),
    ):
        command = commands.add_parser(run.__name__.removeprefix("_"), help=text, description=run.__doc__)
        arguments(command)
        command.set_defaults(run=run, parser=command, refusals=refusals)
    return parser


def _fail(chosen: argparse.Namespace, message: object) -> int:
    print(f"{chosen.parser.prog}: {message}", file=sys.stderr)
    return 2


# --- demo ---------------------------------------------------------------------------------------------------------


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", nargs="?", metavar="IMAGE", help="a picture file; the default is a photograph that comes with matplotlib")
    parser.add_argument("--output", default="sepconv-demo.png", metavar="PNG", help="where the picture goes (default: %(default)s)")


def _demo(chosen: argparse.Namespace) -> int:
    """Filter a photograph: one filter per channel, Sobel in two passes, a depthwise-separable layer beside its standard one; time it; draw it."""
    from . import demo

    demo.run(chosen.image, chosen.output)
    return 0


# --- info ---------------------------------------------------------------------------------------------------------


def _info(chosen: argparse.Namespace) -> int:
    """Print the versions, the machine as sepconv sees it, the kernel cache, and every backend found, or why it was not."""
    from .bench.machine import cpu_model

    rows = [("sepconv", __version__), ("Python", f"{platform.python_version()}, {platform.platform()}")]
    rows += [(name, _version(name)) for name in ("numba", "numpy", *OPTIONAL)]
    rows.append(("CPU", cpu_model()))
    _print_rows("Versions and machine", rows)
    for name, facts in backends().items():
        state = "available" if facts.pop("available") else f"not available, {facts.pop('reason')}"
        told = [(LABELS.get(key, key.replace("_", " ")), _fact(key, value)) for key, value in facts.items() if value != ""]
        _print_rows(f"Backend {name}: {state}", told)
    return 0


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed (optional)" if package in OPTIONAL else "not installed"


def _fact(key: str, value: Any) -> str:
    if key == "lanes":
        return f"{32 * value} bits, {value} float32"
    if key.endswith("_bytes") and isinstance(value, int):
        return _bytes(value)
    if isinstance(value, float):
        return f"{value:.3g}"
    return "none" if value is None else str(value)


def _print_rows(title: str, rows: list[tuple[str, str]]) -> None:
    width = max((len(name) for name, _ in rows), default=0)
    print(title)
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")
    print()


# --- cost ---------------------------------------------------------------------------------------------------------


def _cost_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("kind", metavar="KIND", help=", ".join(KINDS))
    add("-i", "--in-channels", type=int, required=True, metavar="N")
    add("-o", "--out-channels", type=int, metavar="N", help="default: in-channels * multiplier for depthwise and spatial, else required")
    add("-k", "--kernel-size", type=int, nargs="+", required=True, metavar="K", help="one int, or one per axis: -k 3 3")
    add("-s", "--input-size", type=int, nargs="+", metavar="N", help="one int, or one per axis: --input-size 224 224; without it only weights")
    add("--stride", type=int, nargs="+", default=[1], metavar="N", help="one int, or one per axis")
    add("--padding", nargs="+", default=["0"], metavar="P", help="valid, same, same_lower; an int; one per axis; pairs before,after: 0,1 0,1")
    add("--dilation", type=int, nargs="+", default=[1], metavar="N", help="one int, or one per axis")
    add("--multiplier", type=int, default=1, metavar="N", help="depthwise filters per input channel")
    add("--groups", type=int, default=1, metavar="N", help="for grouped")
    add("--bias", action="store_true", help="count a bias too")
    add("--dtype", default="float32", metavar="NAME", help="default: %(default)s")
    add("--dims", type=int, choices=(1, 2, 3), help="1-D, 2-D or 3-D, where single ints leave that open (default: 2)")


def _cost(chosen: argparse.Namespace) -> int:
    """Count weights, multiply-adds (MACs), floating-point operations and least memory traffic of one convolution of one image."""
    out_channels = chosen.out_channels
    if out_channels is None:
        if chosen.kind not in ("depthwise", "spatial"):
            return _fail(chosen, f"--out-channels is missing; only depthwise and spatial can do without it, and KIND is {chosen.kind}")
        out_channels = chosen.in_channels * chosen.multiplier
    cost = conv_cost(
        chosen.kind, in_channels=chosen.in_channels, out_channels=out_channels, kernel_size=_axes(chosen.kernel_size, chosen.dims),
        input_size=None if chosen.input_size is None else _axes(chosen.input_size, chosen.dims), stride=_axes(chosen.stride),
        padding=_padding(chosen.padding), dilation=_axes(chosen.dilation), multiplier=chosen.multiplier, groups=chosen.groups,
        bias=chosen.bias, dtype=chosen.dtype,
    )  # fmt: skip
    rows = [("weights", f"{cost.params:,}")]
    if cost.macs is None:
        rows.append(("MACs, FLOPs, bytes", "give --input-size"))
    else:
        rows += [("MACs", f"{cost.macs:,}"), ("FLOPs", f"{cost.flops:,}"), ("bytes", f"{cost.bytes:,}, {_bytes(cost.bytes)}")]
        rows.append(("intensity", f"{cost.intensity:.4g} FLOPs per byte"))
    _print_rows(f"{chosen.kind}, {chosen.in_channels} -> {out_channels} channels, {chosen.dtype}", rows)
    return 0


def _axes(values: list[int], dims: int | None = None) -> int | tuple[int, ...]:
    """One int stays one, so that it serves every axis; with `dims` it is written out."""
    if len(values) > 1:
        return tuple(values)
    return values[0] if dims is None else tuple(values) * dims


def _padding(words: list[str]) -> Any:
    """`same`, `1`, `1 2` or `0,1 0,1` as the functions take it; what is no number is left for them to refuse."""
    try:
        found = [tuple(int(n) for n in word.split(",")) if "," in word else int(word) for word in words]
    except ValueError:
        return words[0] if len(words) == 1 else tuple(words)
    if len(found) == 1:
        return found[0] if isinstance(found[0], int) else (found[0],)
    return tuple(found)


def _bytes(n: int | None) -> str:
    if not n:
        return "0 B"
    power = min(4, int(math.log(n, 1024)))
    return f"{n} B" if power == 0 else f"{n / 1024**power:.1f} {'KMGT'[power - 1]}iB"


# --- bench --------------------------------------------------------------------------------------------------------


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    filters = "gaussian, box, sobel, dense, outer"
    add("--op", nargs="+", metavar="OP", help=f"depthwise, pointwise, separable, standard (default: these); or filters of images: {filters}")
    add("--net", nargs="+", metavar="NET", help="names as in sepconv.data.networks(); of images 1080p, 4096 (default: all)")
    add("--layers", nargs="+", metavar="TEXT", help='only rows whose "net name" contains one of these, such as s3. or "grey uint8"')
    add("--layout", default="both", metavar="LAYOUT", help="of sepconv: NCHW, NHWC or both (default: %(default)s)")
    add("--threads", type=int, metavar="N", help="of every library (default: what sepconv takes)")
    add("--libraries", nargs="+", metavar="NAME", help="such as sepconv torch onnxruntime openvino numpy opencv scipy (default: all installed)")
    add("--seconds", type=float, metavar="S", help="for one convolution, shared by the libraries (default: 1; of a whole network 8)")
    add("--epilogue", default="none", metavar="WHAT", help="after each half: none, bias, or relu, which is bias and relu (default: %(default)s)")
    add("--device", default="cpu", choices=("cpu", "cuda"), help="where; cuda: against PyTorch (cuDNN) and CuPy (default: %(default)s)")
    add("--dtype", metavar="NAME", help="with --device cuda: float32 or float16 (default: float32)")
    add("--batch", type=int, metavar="N", help="with --device cuda: images per call (default: 32)")
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument("--unique", action="store_false", dest="all_rows", help="a line for every different convolution (default)")
    rows.add_argument("--all-rows", action="store_true", help="a line for every layer; what is the same convolution is measured once all the same")
    parser.set_defaults(all_rows=False)
    add("--json", metavar="FILE", help="write all that was measured")
    add("--markdown", metavar="FILE", help="write the tables")
    add("--png", metavar="FILE", help="draw the ratios and the roofline")
    add("--compare", metavar="FILE", help="show an earlier run's --json beside this one")
    whole = parser.add_argument_group("a whole network", "takes --layout, --threads, --seconds and --json too")
    whole.add_argument("--network", metavar="NAME", help="efficientnet_lite0, with its published weights, on a photograph")
    whole.add_argument("--image", metavar="FILE", help="a picture file (default: scikit-image's photograph of a cat)")
    whole.add_argument("--every-way", action="store_true", help="also sepconv's slower ways, to see what each saves")


def _bench(chosen: argparse.Namespace) -> int:
    """Time layers, a whole network, or filters of images in sepconv and every other library installed: results checked, libraries in turns."""
    from .bench import command

    try:
        return command.main(chosen)
    except RuntimeError as error:
        if chosen.device != "cuda":
            raise
        return _fail(chosen, f"{error}; what would run on one, and what it costs: sepconv inspect OP --target cuda")


# --- warm ---------------------------------------------------------------------------------------------------------


def _warm_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", nargs="+", default=[], metavar="NET", help="names as in sepconv.data.networks(), or efficientnet_lite0")
    add("--shapes", nargs="+", default=[], metavar="WHAT", help='CSV files with the columns of sepconv/layers.csv, or texts: "32x112x112 k3 s2"')
    add("--all", action="store_true", help="every network; many minutes")
    add("--layout", nargs="+", default=["NCHW", "NHWC"], metavar="LAYOUT", help="some of NCHW, NHWC (default: both)")
    add("--dtype", nargs="+", default=["float32"], metavar="NAME", help="some of float32, float64 (default: float32)")
    add("--threads", nargs="+", type=int, metavar="N", help="that the calls will use (default: what sepconv takes)")
    add("--batch", type=int, default=1, metavar="N", help="images per call (default: %(default)s)")
    add("--jobs", type=int, default=get_num_threads(), metavar="N", help="processes that compile at once (default: %(default)s)")
    add("--dir", metavar="FOLDER", help="keep the kernels there; SEPCONV_CACHE_DIR must name it when they are used")


def _warm(chosen: argparse.Namespace) -> int:
    """Compile the kernels that a network's calls will need, or load them if they are in the cache: for this kind of processor, and this version."""
    from . import warm

    print(warm.command(chosen))
    return 0


# --- inspect ------------------------------------------------------------------------------------------------------


def _inspect_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("op", metavar="OP", help="depthwise, pointwise, separable, standard")
    add("--taps", type=int, metavar="K", help="kernel size, on each side (default: 3; 1 of pointwise)")
    add("--channels", type=int, default=128, metavar="N", help="of the image (default: %(default)s)")
    add("--out-channels", type=int, metavar="N", help="default: as many as there are in the image")
    add("--size", type=int, default=56, metavar="N", help="of the image, on each side, in pixels (default: %(default)s)")
    add("--stride", type=int, default=1, metavar="N", help="default: %(default)s")
    add("--layout", default="NCHW", metavar="LAYOUT", help="NCHW or NHWC (default: %(default)s)")
    add("--dtype", default="float32", metavar="NAME", help="default: %(default)s")
    add("--target", default="cpu", metavar="TARGET", help="cpu or cuda (default: %(default)s)")
    add("--isa", default="host", metavar="ISA", help="host, avx512, avx2, zen3, sse2 or neon: nothing has to run here (default: %(default)s)")
    add("--cc", default="9.0", metavar="CC", help="for cuda: compute capability 7.5, 8.0, 8.6, 8.9, 9.0, 10.0 or 12.0 (default: %(default)s)")
    full = "cuda: the whole machine code; cpu: also the loops of narrower tiles and those that meet the border of the image"
    add("--full", action="store_true", help=full)


def _inspect(chosen: argparse.Namespace) -> int:
    """Print which kernel and tile a convolution with padding "same" would run, and its hot loop: registers, spills, loads, assembly."""
    from . import inspect_kernel

    print(inspect_kernel.report(**{name: value for name, value in vars(chosen).items() if name not in ("run", "parser", "refusals")}))
    return 0
