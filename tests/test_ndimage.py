"""sepconv.ndimage: SciPy's own tests, worked cases, what is corrected on purpose, and what is refused. Random calls: test_ndimage_properties.py."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import textwrap

import numpy as np
import pytest
import scipy.ndimage
from processes import python

import sepconv
import sepconv.ndimage as ndi

MODES = ("reflect", "constant", "nearest", "mirror", "wrap", "grid-mirror", "grid-constant", "grid-wrap")
PAD = {"reflect": "symmetric", "constant": "constant", "nearest": "edge", "mirror": "reflect", "wrap": "wrap"}  # numpy.pad's names
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
FLOATS = ("float32", "float64", "complex64", "complex128")


def assert_bits(got: np.ndarray, want: np.ndarray) -> None:
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    np.testing.assert_array_equal(got, want)


# --- SciPy's tests --------------------------------------------------------------------------------------------------

SUITE = """
    import json, sys, pytest, scipy.ndimage
    import sepconv.ndimage as ours
    try:
        from scipy._lib._array_api import xp_capabilities_table as table  # what SciPy's decorators know of its functions, by object
    except ImportError:
        table = None

    running, reached, failed, passed = [None], set(), [], 0

    def swapped(name):
        function = getattr(ours, name)
        def counted(*args, **kwargs):
            reached.add(running[0])
            return function(*args, **kwargs)
        counted.__name__ = name
        if table is not None:
            table[counted] = table[getattr(scipy.ndimage, name)]
        return counted

    for name in ours.__all__:
        setattr(scipy.ndimage, name, swapped(name))

    class Count:
        def pytest_runtest_setup(self, item):
            running[0] = item.nodeid
        def pytest_runtest_logreport(self, report):
            global passed
            passed += report.when == "call" and report.passed
            if report.failed:
                failed.append(report.nodeid)

    code = pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", sys.argv[1], "-W", "ignore", "-k", sys.argv[2], sys.argv[3]], plugins=[Count()])
    print("@" + json.dumps([int(code), passed, len(reached), failed]))
"""
# Tests of rank, minimum, maximum, median and generic filters, which are not ours.
LEFT_OUT = "not (rank or minimum or maximum or minmax or median or Vectorized or percentile or footprint)"


def test_scipys_own_tests(tmp_path: pathlib.Path) -> None:
    """Every test of `scipy/ndimage/tests/test_filters.py` that calls a function that we have."""
    found = importlib.util.find_spec("scipy.ndimage.tests.test_filters")
    if found is None or found.origin is None:
        pytest.skip("this SciPy was installed without its tests")
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(SUITE))
    # This run's options are not SciPy's.
    done = python(str(script), str(tmp_path), LEFT_OUT, found.origin, cwd=tmp_path, timeout=1800, PYTEST_ADDOPTS="")
    told = [line for line in done.stdout.splitlines() if line.startswith("@")]
    assert told, done.stdout[-3000:] + done.stderr[-3000:]
    code, passed, reached, failed = json.loads(told[0][1:])
    assert not failed and code == 0, failed
    assert reached > 1000 and passed >= reached  # far fewer would mean that the functions were not swapped


# --- borders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", PAD)
@pytest.mark.parametrize("n", (1, 2, 3, 5))
def test_kernels_wider_than_the_array(backend: str, mode: str, n: int) -> None:
    """Any number of times: the array repeats as numpy.pad says. SciPy's n-D filters read outside it (S11)."""
    x, k = np.random.default_rng(n).integers(-9, 10, n), 8 * n + 5
    w = np.random.default_rng(n).integers(-5, 6, k)
    wide = np.pad(x, (k // 2, k - 1 - k // 2), PAD[mode])
    want = np.correlate(wide, w, "valid")
    assert_bits(ndi.correlate1d(x, w, mode=mode), want)
    assert_bits(ndi.correlate(x, w, mode=mode), want)
    assert_bits(ndi.correlate(np.stack([x, 2 * x]), w[None], mode=mode), np.stack([want, 2 * want]))
    means = np.correlate(wide, np.ones(k, int), "valid") / k
    np.testing.assert_allclose(ndi.uniform_filter1d(x.astype(float), k, mode=mode), means, rtol=1e-14, atol=1e-14)


# --- what is copied -------------------------------------------------------------------------------------------------


def test_worked_by_hand(backend: str) -> None:
    unit = [0, 0, 1, 0, 0]
    assert ndi.correlate1d(unit, [1, 2, 3]).tolist() == [0, 3, 2, 1, 0] and ndi.convolve1d(unit, [1, 2, 3]).tolist() == [0, 1, 2, 3, 0]
    assert ndi.correlate1d(unit, [1, 2, 3], origin=-1).tolist() == [3, 2, 1, 0, 0]
    assert ndi.correlate1d(unit, [1, 2, 3], origin=1).tolist() == [0, 0, 3, 2, 1]
    assert ndi.correlate1d(unit, [1, 2]).tolist() == [0, 0, 2, 1, 0] and ndi.convolve1d(unit, [1, 2]).tolist() == [0, 1, 2, 0, 0]
    assert ndi.correlate([0.0, 1, 0, 0], [1j, 0, 0])[2] == -1j and ndi.convolve([0.0, 1, 0, 0], [1j, 0, 0])[0] == 1j
    assert ndi.uniform_filter1d(np.repeat([0, 1, 0], 9), 6).sum() == 4
    assert ndi.sobel(np.array([0, 40, 0], np.uint8)).tolist() == [40, 0, 216]  # wraps, as SciPy's
    assert ndi.correlate1d([2.9, -2.9], [1.0], output=int).tolist() == [2, -2]  # cut, not rounded
    assert ndi.correlate1d(np.array([2**53 + 1]), [1.0]).tolist() == [2**53]  # all work is float64


@pytest.mark.parametrize("sigma", (8, 9, 10, 12))
def test_the_last_bit_shows_in_integers(backend: str, sigma: int) -> None:
    """A constant image of 100 is 99 for some sigmas: the sum of the weights decides, in SciPy's order."""
    x = np.full(200, 100, np.uint8)
    assert_bits(ndi.gaussian_filter1d(x, sigma), scipy.ndimage.gaussian_filter1d(x, sigma))


def test_what_nan_does(backend: str) -> None:
    """The n-D filters do not see what lies under a tap of zero, the 1-D ones do."""
    x = np.array([0.0, np.nan, 0, 0, 0])
    assert np.isnan(ndi.correlate(x, [1.0, 0, 1])).tolist() == [True, False, True, False, False]
    assert np.isnan(ndi.correlate1d(x, [1.0, 0, 1])).tolist() == [True, True, True, False, False]
    assert np.isnan(ndi.correlate1d(np.zeros(4), [1.0, 0, 0], mode="constant", cval=np.nan)).tolist() == [True, False, False, True]
    assert ndi.correlate(np.zeros(4, int), [1.0, 0, 0], mode="constant", cval=np.nan)[1:].tolist() == [0, 0, 0]


# --- what is corrected ----------------------------------------------------------------------------------------------


def test_small_weights_are_weights(backend: str) -> None:
    """SciPy takes 1e-17, 2e-17, 4e-17 for symmetric (S1), and drops such taps in n dimensions (S2)."""
    x, w = np.arange(9.0), np.array([1.0, 2, 4])
    tiny = 2.0**-57
    for fn in (ndi.correlate1d, ndi.correlate, ndi.convolve1d, ndi.convolve):
        assert_bits(fn(x, w * tiny), fn(x, w) * tiny)
    assert np.isnan(ndi.correlate(x, [1, np.nan, 1])).all()


def test_means_do_not_drift(backend: str) -> None:
    """A NaN or an infinity spoils its windows alone, and a large number leaves nothing behind (S3)."""
    x = np.zeros(50)
    for bad in (np.nan, np.inf, 1e300):
        x[20] = bad
        assert np.flatnonzero(ndi.uniform_filter1d(x, 5) != 0).tolist() == [18, 19, 20, 21, 22]
    x = np.array([1e16, *[1.0] * 30])
    assert (ndi.uniform_filter1d(x, 3)[2:] == 1).all()


def test_gradients_of_some_axes(backend: str) -> None:
    """SciPy smooths along the axes that were not named, too."""
    x = np.random.default_rng(0).random((9, 10, 3))
    apart = [ndi.gaussian_gradient_magnitude(x[..., c], (1.0, 2.0)) for c in range(3)]
    assert_bits(ndi.gaussian_gradient_magnitude(x, (1.0, 2.0), axes=(0, 1)), np.stack(apart, -1))
    assert_bits(ndi.gaussian_gradient_magnitude(x, (2.0, 1.0), axes=(1, 0)), ndi.gaussian_gradient_magnitude(x, (2.0, 1.0), axes=(-2, -3)))


def test_bools_stay_bools(backend: str) -> None:
    x = np.array([0, 1, 1, 0, 1], bool)
    assert ndi.correlate1d(x, [1, 1, 1]).view(np.uint8).tolist() == [1] * 5
    assert ndi.uniform_filter1d(x, 2).tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("dtype", FLOATS)
def test_output_may_be_the_input(backend: str, dtype: str) -> None:
    x = np.random.default_rng(0).standard_normal((12, 70)).astype(dtype)
    x = x + 1j * x[::-1] if dtype.startswith("complex") else x
    calls = {
        ndi.gaussian_filter: (2.0,), ndi.uniform_filter: (4,), ndi.sobel: (), ndi.laplace: (), ndi.gaussian_laplace: (1.0,),
        ndi.gaussian_gradient_magnitude: (1.0,), ndi.correlate: (np.eye(3),), ndi.correlate1d: ([1, 2, 3],),
    }  # fmt: skip
    if x.dtype.kind == "c":
        calls |= {ndi.convolve: (np.eye(3) * (1 + 2j),), ndi.convolve1d: ([1, 2j, 3],)}
    for fn, given_ in calls.items():
        for where in ((slice(None), slice(None)), (slice(1, None), slice(1, None))):  # the same elements, others of the same memory
            y = x.copy()
            out = y[where]
            part = x[: out.shape[0], : out.shape[1]]
            want = fn(part, *given_)
            got = fn(y[: out.shape[0], : out.shape[1]], *given_, output=out)
            assert got is out
            np.testing.assert_array_equal(got, want, err_msg=fn.__name__)


# --- memory and threads ---------------------------------------------------------------------------------------------


def laid(x: np.ndarray) -> dict[str, np.ndarray]:
    """The same values in other memory."""
    apart = np.zeros([2 * n for n in x.shape], x.dtype)[(slice(None, None, 2),) * x.ndim]
    apart[...] = x
    packed = np.zeros(x.size * x.itemsize + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    packed[...] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    field = np.zeros(x.shape, np.dtype([("a", "u1"), ("b", x.dtype)]))["b"]
    field[...] = x
    return {"Fortran": np.asfortranarray(x), "apart": apart, "unaligned": packed, "read-only": frozen, "a field": field,
            "foreign": x.astype(x.dtype.newbyteorder()), "turned": x[::-1, ..., ::-1].copy()[::-1, ..., ::-1]}  # fmt: skip


@pytest.mark.large
@pytest.mark.parametrize("dtype", ("int16", "float32", "float64"))
def test_memory_of_any_kind(backend: str, dtype: str) -> None:
    x = np.random.default_rng(1).integers(-50, 50, (4, 5, 6, 35)).astype(dtype)
    w = np.random.default_rng(2).integers(-2, 3, (2, 3, 2, 3))
    want, means, product = ndi.gaussian_filter(x, 1.5, axes=(0, 2, 3)), ndi.uniform_filter(x, 3), ndi.correlate(x, w, mode="wrap")
    outs = laid(np.zeros_like(x))
    for name, view in laid(x).items():
        out = outs[name] if outs[name].flags.writeable else None
        np.testing.assert_array_equal(ndi.gaussian_filter(view, 1.5, axes=(0, 2, 3), output=out), want, err_msg=name)
        np.testing.assert_array_equal(ndi.uniform_filter(view, 3, output=out), means, err_msg=name)
        np.testing.assert_array_equal(ndi.correlate(view, w, mode="wrap", output=out), product, err_msg=name)


def test_cells_between_the_outputs_are_left_alone() -> None:
    room = np.full((20, 40), 7, np.int16)
    ndi.uniform_filter(np.ones((10, 20)), 3, output=room[::2, 1::2])
    mask = np.ones(room.shape, bool)
    mask[::2, 1::2] = False
    assert (room[mask] == 7).all() and (room[::2, 1::2] == 1).all()


@pytest.mark.parametrize("mode", PAD)
@pytest.mark.parametrize("shape", ((70_000,), (9_000, 3), (3_000, 70)))
def test_lines_of_several_bands(mode: str, shape: tuple[int, ...]) -> None:
    """Longer than scratch; also in place, where what the end needs has been overwritten by then."""
    x = np.random.default_rng(3).integers(0, 9, shape).astype(np.float64)
    w = np.random.default_rng(4).integers(-3, 4, 51)
    for size in (w, w + w[::-1], 33):
        fn = ndi.correlate1d if isinstance(size, np.ndarray) else ndi.uniform_filter1d
        want = getattr(scipy.ndimage, fn.__name__)(x, size, axis=0, mode=mode)
        y = x.copy()
        np.testing.assert_allclose(fn(x, size, axis=0, mode=mode), want, rtol=1e-14, atol=1e-14)
        np.testing.assert_allclose(fn(y, size, axis=0, mode=mode, output=y), want, rtol=1e-14, atol=1e-14)


@pytest.mark.skipif(sepconv.threads.LIMIT < 2, reason="this process may use one core only: nothing runs in parallel")
@pytest.mark.parametrize("shape", ((400_000,), (300, 400), (40, 50, 60), (700, 500, 3)))
def test_the_same_bits_on_any_number_of_threads(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    calls = (lambda: ndi.gaussian_filter(x, 2.0)), (lambda: ndi.uniform_filter(x, 9)), (lambda: ndi.correlate(x, np.ones((3,) * x.ndim)))
    for call in calls:
        with sepconv.num_threads(1):
            one = call()
        with sepconv.num_threads(2):
            assert_bits(call(), one)


# --- outer products -------------------------------------------------------------------------------------------------


def gaussian(size: int) -> np.ndarray:
    line = np.exp(-(((np.arange(size) - size // 2) / (size / 4)) ** 2))
    return np.outer(line, line) / line.sum() ** 2


@pytest.mark.large
@pytest.mark.parametrize("mode", PAD)
@pytest.mark.parametrize("dtype", ("float32", "float64", "uint8"))
def test_separability_is_found(backend: str, mode: str, dtype: str) -> None:
    """And changes nothing beyond rounding; beyond the edge, cval goes through the passes."""
    rng = np.random.default_rng(6)
    x, whole = rng.integers(0, 9, (40, 33)).astype(dtype), np.outer(np.arange(1, 13), rng.integers(-3, 4, 15))
    for weights, output in (
        (gaussian(15), np.float64),
        (gaussian(15), np.float32),
        (whole, np.int64),
        (whole, None),
        (gaussian(15)[None], np.float64),
    ):
        image = x[None].repeat(2, 0) if weights.ndim == 3 else x
        options = dict(mode=mode, cval=2.5, origin=(0, 2, -3)[-weights.ndim :], output=output)
        found = "outer product" in str(sepconv.explain(ndi.convolve, image, weights, **options))
        assert found == (np.dtype(output or dtype).kind == "f" or dtype == "uint8")
        got, want = (fn.convolve(image, weights, **options) for fn in (ndi, scipy.ndimage))
        if want.dtype.kind in "iu":
            assert_bits(got, want)
        else:
            eps = np.finfo(want.dtype).eps
            np.testing.assert_allclose(got, want, atol=8 * eps * np.abs(weights).sum() * 9, rtol=2 * eps)


def test_separability_is_left_alone() -> None:
    """Where a sum that is cut could become another number, where a NaN would spread, and where the kernel is not an outer product."""
    x, w = np.ones((40, 40)), gaussian(15)
    explained = lambda x, w, **options: "outer product" in str(sepconv.explain(ndi.correlate, x, w, **options))
    assert explained(x, w) and not explained(x, w, output=np.uint8) and not explained(x, w + np.eye(15)) and not explained(x, gaussian(5))
    x[3, 3] = np.nan
    assert not explained(x, w)
    x[3, 3] = 1e200
    assert not explained(x, w)


def test_import_costs_nothing() -> None:
    """No numba and no SciPy before the first call, and none of SciPy after it."""
    script = """
        import sys, sepconv
        assert "sepconv.ndimage" not in sys.modules
        ndi = sepconv.ndimage
        assert "numba" not in sys.modules and "scipy" not in sys.modules
        print(ndi.uniform_filter1d([2, 8, 0, 4, 1, 9, 9, 0], size=3).tolist(), "numba" in sys.modules)
    """
    done = python("-c", textwrap.dedent(script))
    assert done.stdout.split("\n")[0] == "[4, 3, 4, 1, 4, 6, 6, 3] True", done.stderr


def test_without_a_compiler() -> None:
    done = python("-c", "import sepconv.ndimage as n; print(n.correlate1d([2, 8, 0, 4, 1, 9, 9, 0], [1, 3]).tolist())", NUMBA_DISABLE_JIT="1")
    assert done.stdout.strip() == "[8, 26, 8, 12, 7, 28, 36, 9]", done.stderr
