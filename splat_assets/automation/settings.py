"""`<data root>/automation.toml`: what is automated, and how. Without the file, everything is, with the defaults."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from splat_assets.errors import InputError
from splat_assets.sae.recipe import flag_of
from splat_assets.store.documents import read_toml
from splat_assets.store.layout import DataRoot

FILE = "automation.toml"
AUTOMATION = "SPLAT_AUTOMATION"
"""Environment variable: `off` starts Dagster's sensors and schedule stopped."""
Option = str | int | float | bool


class Automation(BaseModel):
    """The settings of the automation. recipe: options of `splat run new` for the runs that are made, without dashes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    model: str | None = None
    """Base model for a new dataset or SAE. [default: the newest]"""
    dataset: str | None = None
    """Dataset for a new base model or SAE. [default: the newest]"""
    keep_versions: Annotated[int, Field(ge=1)] = 5
    """Number of versions to keep per run, besides pinned ones."""
    recipe: dict[str, Option] = {}


def read_settings(root: DataRoot) -> Automation:
    """The settings of a data root; InputError for an invalid file."""
    path = root.path / FILE
    try:
        return Automation(**_parsed(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        known = ", ".join(Automation.model_fields)
        raise InputError(f"{path}: {where}: {first['msg']} (there are {known})") from error


def as_options(recipe: dict[str, Option]) -> list[str]:
    """`{"k": 32, "profile": "compact", "embeddings": False}` as `--k 32 --profile compact --no-embeddings`."""
    words: list[str] = []
    for name, value in recipe.items():
        flag = flag_of(name)
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        else:
            words += [flag, str(value)]
    return words


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
