"""Plain loops over arrays, compiled on first use by numba; the machine code is kept between runs.

A function and the compiled functions it calls belong in one file: that file's change is what makes kept code anew. Numba
does not compare the options below, so after changing one the kept code (`*.nbi`, `*.nbc`) must be removed.

Where numba is not installed, as with a reader of stores alone, the loops run as they stand: the same answers, later.
"""

import importlib.util
from collections.abc import Callable
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """The function in strict IEEE order of operations, free of the interpreter lock."""
    return _compiled(function, fastmath=False)


def compiled_with_sums(function: Function) -> Function:
    """As `compiled`, but sums may be vectorised and products fused: fixed by the compiled code, so still repeatable."""
    return _compiled(function, fastmath={"reassoc", "contract", "arcp", "nsz"})


def _compiled(function: Function, **options: Any) -> Function:
    if importlib.util.find_spec("numba") is None:
        return function
    import numba

    try:
        return cast(Function, numba.njit(nogil=True, error_model="numpy", cache=True, **options)(function))
    except RuntimeError:  # numba finds no writable cache folder
        return cast(Function, numba.njit(nogil=True, error_model="numpy", **options)(function))
