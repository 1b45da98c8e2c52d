"""Numbers of settings: what is written as one is one, and nothing else."""

from typing import Annotated, Any

import pytest
from pydantic import Field

from splat_assets.errors import InputError
from splat_serving.database.plain_numbers import PlainNumbers
from splat_serving.investigations.experiment import experiment, experiment_names
from splat_serving.investigations.spec import FeatureSpec, checked_spec

NO_NUMBERS = [True, "1_0", " 1", "+1", "\N{ARABIC-INDIC DIGIT ONE}"]


class Numbers(PlainNumbers):
    whole: int = 0
    perhaps: float | None = None
    several: tuple[Annotated[int, Field(ge=0)], ...] = ()
    named: int | str = 0
    on: bool = False


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_a_setting_that_is_no_number_is_refused(value: Any) -> None:
    for name in ("feature_id", "seed"):
        with pytest.raises(InputError, match=f"{name}: must be a number"):
            checked_spec(FeatureSpec, {"experiment": "x", "feature_id": 1, name: value})


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_so_is_a_member_of_a_list(value: Any) -> None:
    with pytest.raises(ValueError, match="must be a number"):
        Numbers.model_validate({"several": [1, value]})
    with pytest.raises(ValueError, match="must be a number"):
        Numbers.model_validate({"perhaps": value})


def test_numbers_names_and_truth_values_are_read() -> None:
    found = Numbers.model_validate({"whole": "12", "perhaps": 1, "several": ["1", 2], "named": "1_0", "on": True})

    assert found == Numbers(whole=12, perhaps=1.0, several=(1, 2), named="1_0", on=True)


@pytest.mark.parametrize("name", experiment_names())
def test_every_experiment_reads_its_numbers_so(name: str) -> None:
    assert issubclass(experiment(name).spec, PlainNumbers)
