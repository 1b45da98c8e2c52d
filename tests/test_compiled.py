import pkgutil
from importlib import import_module

import numba
import pytest

import splat_assets.compute
import splat_assets.sae

MODULES = [
    found.name
    for package in (splat_assets.compute, splat_assets.sae)
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
]


@pytest.mark.parametrize("module", MODULES)
def test_a_compiled_function_calls_none_of_another_file_whose_change_would_leave_kept_code_stale(module: str) -> None:
    functions = [value for value in vars(import_module(module)).values() if numba.extending.is_jitted(value)]

    for function in (value.py_func for value in functions):
        called = [function.__globals__.get(name) for name in function.__code__.co_names]
        elsewhere = [f.__name__ for f in called if numba.extending.is_jitted(f) and f.__module__ != function.__module__]
        assert elsewhere == [], function.__qualname__
