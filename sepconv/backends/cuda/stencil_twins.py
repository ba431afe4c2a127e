"""The simulator's stand-ins for the tiles of `stencil.py`, in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import activations
from .. import formulas
from . import stencil
from .twins import Scalars


def memory(address: int, dtype: str, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    """Memory at an address as an array; 16-bit floats as their bits."""
    typestr = {"float32": "<f4", "float64": "<f8", "float16": "<f2"}.get(dtype, "<u2")
    found = {"data": (int(address), False), "shape": shape, "strides": strides, "typestr": typestr, "version": 3}
    return np.asarray(type("Memory", (), {"__array_interface__": found})())


def wide(array: np.ndarray, dtype: str) -> np.ndarray:
    """Elements as what they are summed in."""
    if dtype == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if dtype == "float16" else array


def write(target: np.ndarray, values: np.ndarray, dtype: str) -> None:
    if dtype == "bfloat16":
        bits = values.astype(np.float32).view(np.uint32)
        nearest = bits + 0x7FFF + (bits >> 16 & 1) >> 16
        values = np.where(np.isnan(values), bits >> 16 | 0x40, nearest).astype(np.uint16)
    target[...] = values.astype(target.dtype)


def registers(dtype: str, count: int) -> np.ndarray:
    return np.zeros(count, dtype)


def activated(tile: Any, value: np.ndarray, lo: int, hi: int) -> np.ndarray:
    m = Scalars(getattr(np, tile.sums))
    m.where = np.where
    if tile.activation == activations.CLIP:
        return formulas.clip(value, m.whole(lo).view(m.kind), m.whole(hi).view(m.kind), m)
    return formulas.CURVED[tile.activation](value, m) if tile.activation else value


def _windows(tile: Any, height: int, width: int, top: int, left: int, i: int, j: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows, columns, whether inside) that tap (i, j) of the tile's outputs reads."""
    row = np.array([top * tile.stride[0] + tile.row(r, i) for r in range(tile.rows)])[:, None]
    col = np.array([left * tile.stride[1] + tile.col(q, j) for q in range(tile.cols)])[None]
    inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    return np.clip(row, 0, max(0, height - 1)), np.clip(col, 0, width - 1), inside


def _add(tile: Any, acc: np.ndarray, x: int, steps: tuple[int, ...], size: tuple[int, int], at: tuple[int, int], w: Any, by: tuple[int, ...]) -> None:
    lanes = 1 if tile.out_vec else tile.vec
    image = (
        memory(x, tile.dtype, (*size, lanes), (*steps, tile.size))
        if size[0]
        else np.zeros((1, size[1], lanes), "<u2" if tile.size == 2 else tile.dtype)
    )
    weights = memory(w, tile.dtype, (*tile.kernel, lanes), by) if isinstance(w, (int, np.integer)) else w
    total = acc.reshape(tile.rows, tile.cols, lanes)
    for i in range(tile.kernel[0]):
        for j in range(tile.kernel[1]):
            rows, cols, inside = _windows(tile, *size, *at, i, j)
            seen = np.where(inside[..., None], wide(image[rows, cols], tile.dtype), 0).astype(tile.sums)
            total += seen * (weights[i, j] if weights.dtype == total.dtype else wide(weights[i, j], tile.dtype))


def first(shape: str, acc: np.ndarray, x: int, pitch: int, height: int, width: int, top: int, left: int, w: int, wh: int, ww: int) -> None:
    tile = stencil.Tile.read(shape)
    assert (x % (tile.vec * tile.size), pitch % (tile.vec * tile.size), width % tile.vec) == (0, 0, 0), "a word is not aligned"
    _add(tile, acc, x, (pitch, tile.size), (height, width), (top, left), w, (wh, ww, 0))


def last(
    shape: str, acc: np.ndarray, x: int, pitch: int, step: int, height: int, width: int, top: int, left: int, w: int, wc: int, wh: int, ww: int,
    room: Any,
) -> None:  # fmt: skip
    tile = stencil.Tile.read(shape)
    assert (x % (tile.vec * tile.size), pitch % (tile.vec * tile.size), step % (tile.vec * tile.size)) == (0, 0, 0), "a word is not aligned"
    weights: Any = w
    if tile.weights == stencil.STAGED:
        assert wc % tile.vec == 0, "a word is not aligned"
        i, j, n = np.ogrid[: tile.kernel[0], : tile.kernel[1], : tile.vec]
        weights = elements(room)[wc + i * wh + j * ww + n]
    _add(tile, acc, x, (pitch, step), (height, width), (top, left), weights, (wh, ww, wc))


def elements(room: Any) -> np.ndarray:
    """What the simulator's shared memory wraps."""
    return np.asarray(room._item._ary if hasattr(room, "_item") else room)


def stage(shape: str, taps: int, channels: int, threads: int, thread: int, room: Any, w: int, count: int) -> None:
    tile = stencil.Tile.read(shape)
    at = np.arange(thread, min(count, taps * channels), threads)
    if at.size:
        values = memory(w + thread * tile.size, tile.dtype, at.shape, (threads * tile.size,))
        elements(room)[at % taps * (channels + 4) + at // taps] = wide(values, tile.dtype)


def _finish(
    tile: Any, acc: np.ndarray, bias: int, by: int, y: int, steps: tuple[int, int], size: tuple[int, int], at: tuple[int, int], lo: int, hi: int
) -> None:
    lanes = 1 if tile.out_vec else tile.vec
    values = acc.reshape(tile.rows, tile.cols, lanes)
    if bias:
        values = values + wide(memory(bias, tile.dtype, (lanes,), (by,)), tile.dtype)
    values = activated(tile, values, lo, hi)
    (top, left), rows, cols = at, min(tile.rows, size[0] - at[0]), min(tile.cols, size[1] - at[1])
    if rows > 0 and cols > 0:
        target = memory(y + top * steps[0] + left * steps[1], tile.dtype, (rows, cols, lanes), (*steps, tile.size))
        write(target, values[:rows, :cols], tile.dtype)


def finish_first(shape: str, acc: np.ndarray, bias: int, y: int, pitch: int, height: int, width: int, top: int, left: int, lo: int, hi: int) -> None:
    tile = stencil.Tile.read(shape)
    assert (y % (tile.out_vec * tile.size), pitch % (tile.out_vec * tile.size), width % tile.out_vec) == (0, 0, 0), "a word is not aligned"
    _finish(tile, acc, bias, 0, y, (pitch, tile.size), (height, width), (top, left), lo, hi)


def finish_last(
    shape: str, acc: np.ndarray, bias: int, by: int, y: int, pitch: int, step: int, height: int, width: int, top: int, left: int, lo: int, hi: int
) -> None:
    _finish(stencil.Tile.read(shape), acc, bias, by, y, (pitch, step), (height, width), (top, left), lo, hi)
