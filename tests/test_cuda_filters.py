"""`sepconv.ndimage` and `sepconv.signal` on a GPU's arrays: in Numba's simulator, and in machine code."""

from __future__ import annotations

import pytest
from cuda_children import child, compiled

REFUSED = """
def refused(calls):
    for words, call in calls.items():
        try:
            call()
        except (TypeError, ValueError) as error:
            assert words in str(error), error
        else:
            raise AssertionError(words)
"""

FILTERS = """
import numpy, sepconv, sepconv.ndimage as ndi
from numba import cuda
r = numpy.random.default_rng(0)
calls = {
    ndi.gaussian_filter: (1.2,), ndi.gaussian_filter1d: (0.8,), ndi.uniform_filter: ((3, 2),), ndi.uniform_filter1d: (4,), ndi.sobel: (0,),
    ndi.prewitt: (1,), ndi.correlate1d: ([1, 2, -3],), ndi.convolve1d: ([1, 2],), ndi.correlate: (r.integers(-2, 3, (2, 3)),),
    ndi.convolve: (numpy.outer([1.0, 2, 1], [1, 0, -1]),), ndi.laplace: (), ndi.gaussian_laplace: (0.7,), ndi.gaussian_gradient_magnitude: (0.7,),
    ndi.generic_laplace: (lambda x, axis, output, mode, cval: ndi.correlate1d(x, [1, -2, 1], axis, output, mode, cval),),
    ndi.generic_gradient_magnitude: (ndi.sobel,),
}
for turn, dtype in enumerate((numpy.float32, numpy.float64, numpy.uint8)):
    x = r.integers(0, 99, (4, 5)).astype(dtype)
    for number, (fn, given) in enumerate(calls.items()):
        mode = ("mirror", "constant")[(turn + number) % 2]
        there, want = cuda.to_device(x), fn(x, *given, mode=mode, cval=3)
        got = fn(there, *given, mode=mode, cval=3)
        assert type(got) is type(there) and got.dtype == dtype, type(got)
        numpy.testing.assert_array_equal(got.copy_to_host(), want, err_msg=fn.__name__)
        assert fn(there, *given, mode=mode, cval=3, output=there) is there  # in place
        numpy.testing.assert_array_equal(there.copy_to_host(), want, err_msg=fn.__name__)
z = (r.random((3, 4, 5)) + 1j * r.random((3, 4, 5))).astype(numpy.complex64)
w = r.integers(-3, 4, 3) + 1j * r.integers(-3, 4, 3)
for image, fn, given in (
    (z, ndi.gaussian_filter, (0.5,)), (z, ndi.uniform_filter, (2,)), (z, ndi.sobel, (1,)), (z, ndi.laplace, ()), (z, ndi.correlate1d, ([1, 2, 3],)),
    (z, ndi.correlate1d, (w,)), (z, ndi.convolve, (w[None, :, None],)), (z.real.copy(), ndi.convolve1d, (w, 0)), (z[0].real > 0.5, ndi.laplace, ()),
    (z, ndi.gaussian_filter, (0,)), (r.integers(-9, 9, (2, 2, 3, 2, 3)), ndi.laplace, ()), (numpy.full((2, 3), 2**60 + 1), ndi.generic_laplace, (1,)),
):
    axes = {"axes": ()} if fn is ndi.generic_laplace else {}
    there, want = cuda.to_device(image), fn(image, *given, mode="wrap", **axes)
    got = fn(there, *given, mode="wrap", **axes).copy_to_host()
    assert got.dtype == want.dtype
    numpy.testing.assert_array_equal(got, want, err_msg=fn.__name__)
    if want.dtype == image.dtype:
        assert fn(there, *given, mode="wrap", output=there, **axes) is there
        numpy.testing.assert_array_equal(there.copy_to_host(), want, err_msg=fn.__name__)
there = cuda.to_device(x)
assert ndi.correlate1d(there, cuda.to_device(numpy.array([1.0, 2]))).copy_to_host().tolist() == ndi.correlate1d(x, [1.0, 2]).tolist()
assert ndi.gaussian_filter(cuda.to_device(x), 0).copy_to_host().tolist() == x.tolist()
assert ndi.sobel(cuda.to_device(x), output="int16").copy_to_host().tolist() == ndi.sobel(x, output="int16").tolist()
big = r.random((70, 64), numpy.float32)  # summed in float32
with sepconv.ndimage.exact():
    want = ndi.correlate1d(big, [0.3, 0.1, 0.5])
got = ndi.correlate1d(cuda.to_device(big), [0.3, 0.1, 0.5]).copy_to_host()
assert 0 < numpy.abs(got - want).max() <= 6 * 2**-24 * 0.9
text = str(sepconv.explain(ndi.gaussian_filter, cuda.to_device(x), 1))
assert "backend cuda" in text and "a thread an output" in text, text
wrong = {
    "array on a GPU": lambda: ndi.sobel(cuda.to_device(x), output=x), "a numpy.ndarray": lambda: ndi.sobel(x, output=cuda.to_device(x)),
    "of real numbers": lambda: ndi.generic_gradient_magnitude(cuda.to_device(x.astype("complex64")), ndi.sobel),
}
refused(wrong)
"""

SIGNALS = """
import numpy, sepconv, sepconv.signal as sig
from sepconv.signal import _convolutions
from numba import cuda
r = numpy.random.default_rng(0)
there = cuda.to_device

def close(got, want, image):
    if isinstance(want, tuple):
        return [close(g, w, image) for g, w in zip(got, want)]
    got = got.copy_to_host()
    assert (got.shape, got.dtype) == (want.shape, want.dtype), (got.shape, want.shape, got.dtype, want.dtype)
    numpy.testing.assert_allclose(got, want, rtol=1e-5 if want.dtype.name in ("float32", "complex64") else 1e-12, atol=1e-4)

def plain(fn):
    '''On NumPy's arrays, where nothing is to be compiled.'''
    def call(*given):
        with sepconv.use_backend("reference"):
            return fn(*given)
    return call

def drawn(shape, dtype):
    x = r.integers(0, 250, shape).astype(dtype)
    return x + 1j * x[::-1] if x.dtype.kind == "c" else x

for turn, dtype in enumerate(("uint8", "int64", "float32", "complex64")):
    x, line = drawn((3, 4), dtype), drawn(6, dtype)
    for taps in (drawn((2, 3), dtype), drawn((1, 2), "complex128")):
        for number, mode in enumerate(_convolutions.MODES):
            fn = {"full": sig.convolve, "same": sig.correlate, "valid": sig.oaconvolve}[mode]
            close(fn(there(x), taps, mode), plain(fn)(x, taps, mode), x)
            border, fill = {"full": ("fill", 3), "same": ("wrap", 0), "valid": ("symm", 0)}[mode]
            for fn in (sig.convolve2d, sig.correlate2d)[(turn + number) % 2 :: 2]:
                close(fn(there(x), there(taps), mode, border, fill), plain(fn)(x, taps, mode, border, fill), x)
    for b in ([1, 2, 3], [1j, 2]):
        close(sig.lfilter(b, 2, there(line)), plain(sig.lfilter)(b, 2, line), line)
        for axis in (0, 1):
            state = drawn((len(b) - 1, 1) if axis == 0 else (3, len(b) - 1), "float64")
            close(sig.lfilter(b, [2, 0], there(x), axis, there(state)), plain(sig.lfilter)(b, [2, 0], x, axis, state), x)
    close(sig.sepfir2d(there(x), [1, 2, 1], [0.5, 1, 0]), plain(sig.sepfir2d)(x, [1, 2, 1], [0.5, 1, 0]), x)
    close(sig.convolve(there(line), line), plain(sig.convolve)(line, line), line)
    cube = drawn((2, 2, 3), dtype)
    close(sig.oaconvolve(there(cube), cube[:1, :, :1], axes=1), plain(sig.oaconvolve)(cube, cube[:1, :, :1], "full", 1), cube)
one, none = drawn((3, 4), "float32"), numpy.zeros((3, 0), "complex64")  # of which the state alone is complex
close(sig.lfilter([2], 1, there(one), 1, there(none)), plain(sig.lfilter)([2], 1, one, 1, none), one)
assert "a thread an output" in str(sepconv.explain(sig.convolve, there(x), x[:2, :2]))
refused({
    "as in2 is one": lambda: sig.convolve(x, there(x)), "no larger than in1": lambda: sig.convolve(there(x[:2]), x, "valid"),
    "at least 1": lambda: sig.convolve(there(x), x[:0]), "both on a GPU": lambda: sig.lfilter([1, 2], 1, there(line), zi=[1.0]),
    "float16": lambda: sig.convolve(there(line.real.astype("float16")), [1.0]),
})
"""


@compiled
@pytest.mark.parametrize("script", (FILTERS, SIGNALS), ids=("filters", "signals"))
def test_results(script):
    """What the same functions make of NumPy's arrays, as arrays of the same kind, in place too; in the simulator."""
    done = child("-c", REFUSED + script + 'print("right")', simulator=True)
    assert done.stdout.strip() == "right", done.stdout + done.stderr


@pytest.mark.parametrize("sums", ("float32", "float64"))
def test_machine_code_of_filters(sums, machine_code, sweep):
    """In float64 products and sums are apart, as in SciPy: nothing is fused. In float32 there is no double. No spills, no local memory."""
    from sepconv.backends.cuda import linear, runtime

    sorts = (-1, 0, 1, 2)[:: 1 if sweep else 2] if sums == "float64" else (-1, 1)[: 2 if sweep else 1]
    kernels = [linear.kernel(linear.along, "float32", "float32", sums, 4, 4, sort, 3) for sort in sorts]
    mixed = ("root", "add", "copy", "subtract", "square", "fill")[: 6 if sweep else 2]
    mixes = [(linear.dense,), *((linear.mixed, what) for what in mixed)] if sums == "float64" else []
    kernels += [linear.kernel(factory, "float32", "float32", sums, 4, 4, *what) for factory, *what in mixes]
    for kernel in kernels:
        found = machine_code.judge(kernel, runtime.signature(linear.WORDS), 128)
        assert found.spills == found.stack == found.counts["local"] == 0 and found.registers <= 64
        assert "fma.rn.f64" not in found.ptx
        assert sums == "float64" or ".f64" not in found.ptx
