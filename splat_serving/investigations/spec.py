"""The specification of an experiment: the base of all of them, and reading and writing them as small files.

Each setting is declared once, as a field with a description: options of `splat experiment`, tools for assistants, files and
the schema follow from it.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import tomli_w
from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from splat_assets.domain.abilities import ability_of
from splat_assets.errors import InputError
from splat_assets.store.documents import json_of, read_text, toml_of
from splat_serving.database.plain_numbers import PlainNumbers
from splat_serving.database.selection import MOST_SEED

FeatureId = Annotated[int, Field(ge=0, lt=2**31, description="The feature, 0 to n_features - 1.")]
Ability = Annotated[str, AfterValidator(ability_of)]
"""The name of an ability, or of a token of one; spaces, capitals and the short names of players are accepted."""
Seed = Annotated[
    int,
    Field(ge=0, le=MOST_SEED, description="Seed of everything drawn at random; the same seed gives the same numbers."),
]


class Spec(PlainNumbers):
    """A specification. `experiment` names its kind; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: str


class FeatureSpec(Spec):
    """A specification for one feature."""

    feature_id: FeatureId
    seed: Seed = 0


def read_spec_file(path: Path) -> dict[str, Any]:
    """The content of a JSON or TOML specification, not yet validated; InputError says where it is wrong."""
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"the specification {path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error
    try:
        raw = toml_of(text) if path.suffix == ".toml" else json_of(text)
    except ValueError as error:  # both kinds of syntax error are a ValueError
        raise InputError(
            f"the specification {path} is not {'TOML' if path.suffix == '.toml' else 'JSON'}: {error}"
        ) from error
    if not isinstance(raw, dict):
        raise InputError(f"the specification {path} must be one object with `experiment` and its settings")
    return raw.get("spec", raw) if isinstance(raw.get("spec"), dict) else raw  # a result holds the spec it came from


def write_spec_file(spec: dict[str, Any], path: Path) -> None:
    """Write a specification as TOML or JSON, by the ending of path."""
    known = {name: value for name, value in spec.items() if value is not None}
    text = tomli_w.dumps(known) if path.suffix == ".toml" else json.dumps(known, indent=2) + "\n"
    path.write_text(text, encoding="utf-8")


def checked_spec(kind: type[Spec], raw: dict[str, Any], named: str = "") -> Any:
    """The validated specification; InputError says in one sentence which setting is invalid, and why."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            there = ", ".join(name for name in kind.model_fields if name != "experiment")
            raise InputError(f"{named}{where} is not a setting; the settings are {there}") from error
        if first["type"] == "missing":
            raise InputError(f"{named}{where} is missing") from error
        message = first["msg"].removeprefix("Value error, ")
        if not where:
            raise InputError(f"{named}{message}") from error
        raise InputError(f"{named}{where}: {message}, not {first['input']!r}") from error
