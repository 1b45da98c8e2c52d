"""The examples in the docstrings of the pipeline's entry points run as they are written."""

import doctest
import importlib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from splat_assets.runs import InputFile, RunInputs

MODULES = (
    "assets.asset",
    "automation.arrivals",
    "errors",
    "orchestration.resources",
    "runs",
    "sweeps",
    "text.terminal",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(f"splat_assets.{name}")
    used = {each.__name__: each for each in (InputFile, Path, RunInputs, TemporaryDirectory)}

    failed, tried = doctest.testmod(module, extraglobs=used, optionflags=doctest.ELLIPSIS)

    assert tried and not failed
