"""The libraries that filter images, a table as in `libraries.py`. Each writes into an array that is there; the border is mirrored in all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .graphs import Prepared, Unsupported
from .images import Arrays, Case
from .libraries import OURS, Library, opencv_session

SCIPY_MACS = 5e9  # about five seconds


def _ndimage(module: Any, case: Case, arrays: Arrays) -> Prepared:
    """A function of scipy.ndimage, or of sepconv's by the same name."""
    x, out, axes = arrays.x, arrays.out(), (0, 1)
    kernel = arrays.kernel if case.channels == 1 else arrays.kernel[..., None]
    calls: dict[str, Callable[[], np.ndarray]] = {
        "gaussian": lambda: module.gaussian_filter(x, arrays.sigma, output=out, radius=case.taps // 2, axes=axes),
        "box": lambda: module.uniform_filter(x, case.taps, output=out, axes=axes),
        "sobel": lambda: module.sobel(x, 1, output=out),
    }
    return Prepared(calls.get(case.op, lambda: module.correlate(x, kernel, output=out)), arrays.patches)


def _sepconv(case: Case, arrays: Arrays, threads: int) -> Prepared:
    from .. import ndimage

    return _ndimage(ndimage, case, arrays)


def _scipy(case: Case, arrays: Arrays, threads: int) -> Prepared:
    from scipy import ndimage

    macs = case.cost.macs if case.op != "outer" else case.cost.macs * case.taps // 2  # type: ignore[operator]
    if case.op != "box" and macs > SCIPY_MACS:  # type: ignore[operator]
        raise Unsupported("more than some five seconds")
    return _ndimage(ndimage, case, arrays)


def _opencv(name: str, ops: tuple[str, ...]) -> Callable[[Case, Arrays, int], Prepared]:
    def make(case: Case, arrays: Arrays, threads: int) -> Prepared:
        import cv2

        if case.op not in ops:
            raise Unsupported(f"only {' and '.join(ops)}")
        x, out, k, border = arrays.x, arrays.out(), case.taps, cv2.BORDER_REFLECT
        depth = {"float32": cv2.CV_32F, "uint8": cv2.CV_8U, "int16": cv2.CV_16S}[case.result]
        across = np.array([-1.0, 0, 1]) if case.op == "sobel" else arrays.line
        calls: dict[str, Callable[[], Any]] = {
            "GaussianBlur": lambda: cv2.GaussianBlur(x, (k, k), arrays.sigma, dst=out, sigmaY=arrays.sigma, borderType=border),
            "sepFilter2D": lambda: cv2.sepFilter2D(x, depth, across, arrays.line, dst=out, borderType=border),
            "boxFilter": lambda: cv2.boxFilter(x, depth, (k, k), dst=out, borderType=border),
            "Sobel": lambda: cv2.Sobel(x, depth, 1, 0, dst=out, ksize=3, borderType=border),
            "filter2D": lambda: cv2.filter2D(x, depth, arrays.kernel, dst=out, borderType=border),
        }
        return Prepared(calls[name], arrays.patches)

    return make


LIBRARIES: tuple[Library, ...] = (
    Library("sepconv", "sepconv", "image", _sepconv, OURS, "sepconv.ndimage, into output="),
    *(
        Library(f"OpenCV {name}", "cv2", "image", _opencv(name, ops), opencv_session, f"{' and '.join(ops)}; into dst=")
        for name, ops in (
            ("GaussianBlur", ("gaussian",)), ("sepFilter2D", ("gaussian", "sobel")), ("boxFilter", ("box",)), ("Sobel", ("sobel",)),
            ("filter2D", ("dense", "outer")),
        )
    ),
    Library("SciPy", "scipy", "image", _scipy, note="scipy.ndimage, one thread, into output="),
)  # fmt: skip
