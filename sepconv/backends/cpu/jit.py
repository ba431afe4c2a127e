"""How Numba compiles what is here: kernels, and the parts of them."""

from __future__ import annotations

import functools

from numba import njit

OPTIONS = dict(nogil=True, error_model="numpy", boundscheck=False, no_cfunc_wrapper=True)

# A function that kernels alone call: from Python it is not to be called, nor in the `py_func` of another, for nothing is there to enter. Numba
# would compile each for callers from Python and from C as well, and unpack records there field by field: a quarter of all the time that compiling
# takes.
callee = functools.partial(njit, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
