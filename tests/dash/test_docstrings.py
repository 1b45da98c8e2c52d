"""The examples in the docstrings of the dashboard run."""

import doctest
from importlib import import_module

import pytest

from splat_dash.source import Source


@pytest.mark.parametrize("module", ["app", "cells", "figures", "pages", "shown", "source"])
def test_the_examples_in_the_docstrings_run(module: str, source: Source) -> None:
    result = doctest.testmod(import_module(f"splat_dash.{module}"), extraglobs={"subject": source.subject})

    assert result.attempted > 0 and result.failed == 0
