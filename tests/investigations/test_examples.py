"""The examples in the docstrings of investigations and labels run, and print what they show."""

import doctest
import importlib

import pytest

from splat_assets.store.layout import DataRoot
from splat_serving.investigations.subject import Subject


@pytest.mark.parametrize(
    "name",
    [
        "investigations.assistant.server",
        "investigations.experiment",
        "investigations.investigate",
        "investigations.opening",
        "investigations.overview",
        "investigations.results.result",
        "investigations.subject",
        "labels.book",
        "labels.importing",
        "labels.upstream",
    ],
)
def test_the_examples_of_a_module_run(name: str, local: Subject, finished_root: DataRoot) -> None:
    module = importlib.import_module(f"splat_serving.{name}")
    failed, tried = doctest.testmod(module, extraglobs={"subject": local, "root": finished_root})

    assert tried
    assert not failed
