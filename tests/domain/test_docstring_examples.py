"""The examples in docstrings of statistics, gear, SAEs and base models give what they say."""

import doctest
from importlib import import_module

import pytest

MODULES = (
    *(
        "analysis.histogram",
        "analysis.idf",
        "analysis.influence",
        "analysis.statistics",
        "analysis.inference.intervals",
    ),
    *("analysis.rules.null", "analysis.rules.search"),
    *("domain.builds", "domain.rule_text", "domain.tokens", "domain.vocabulary"),
    *(
        "sae.autoencoder",
        "sae.evaluate",
        "sae.formats",
        "sae.recipe",
        "sae.training.calibration",
        "sae.training.training",
    ),
    *("model.checkpoint", "model.splatgpt", "model.train"),
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module_give_what_they_say(name: str) -> None:
    results = doctest.testmod(import_module(f"splat_assets.{name}"))

    assert results.attempted > 0 and results.failed == 0
