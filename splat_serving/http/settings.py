"""The settings of the activation server, each declared once: environment variables, options of `splat serve`, and docs follow."""

import logging
import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, JsonValue, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from splat_assets.errors import InputError
from splat_assets.store.documents import read_bytes

_log = logging.getLogger(__name__)
_PREFIX = "ACTIVATION_"
_SHORTEST_TOKEN = 16

_Group = dict[str, JsonValue]
WHAT: _Group = {"group": "What is served"}
WHO: _Group = {"group": "Who may ask"}
LIMITS: _Group = {"group": "Limits"}
LOG: _Group = {"group": "Log"}


class ServerSettings(BaseSettings):
    """How activations are served. The environment variable of a setting is ACTIVATION_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    data_dir: Path | None = Field(
        default=None,
        description="A folder of guide formats (activations_efficient) or a store; what PATH says.",
        json_schema_extra=WHAT,
    )
    transposed_dir: Path | None = Field(
        default=None, description="The activations_transposed folder.", json_schema_extra=WHAT
    )
    neuron_acts_dir: Path | None = Field(default=None, description="The neuron_acts folder.", json_schema_extra=WHAT)
    examples_dir: Path | None = Field(
        default=None,
        description="The folder that `splat examples` wrote; examples are drawn when asked for where there is none.",
        json_schema_extra=WHAT,
    )
    vocab_path: Path | None = Field(
        default=None,
        description="vocab.json, where the folder does not record its vocabulary.",
        json_schema_extra=WHAT,
    )
    weapon_vocab_path: Path | None = Field(
        default=None, description="weapon_vocab.json, where the folder records no weapons.", json_schema_extra=WHAT
    )
    token_file: Path | None = Field(
        default=None,
        description="File with a secret; every request must send it: Authorization: Bearer SECRET.",
        json_schema_extra=WHO,
    )
    allow_labels: bool = Field(
        default=False, description="Let whoever may ask write labels, too.", json_schema_extra=WHO
    )
    insecure: bool = Field(default=False, description="Answer other machines without a token.", json_schema_extra=WHO)
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Names under which the server may be asked, beside this machine's own; * for any.",
        json_schema_extra=WHO,
    )
    workers: int = Field(
        default=max(2, os.cpu_count() or 2),
        ge=1,
        le=256,
        description="Threads that read and encode long answers at the same time; short ones have as many of their own.",
        json_schema_extra=LIMITS,
    )
    max_in_flight: int = Field(
        default=256,
        ge=1,
        description="Requests under way at once; more, and long ones beyond three quarters, are answered with 429.",
        json_schema_extra=LIMITS,
    )
    max_connections: int = Field(
        default=768, ge=1, description="Open connections; further ones are answered with 503.", json_schema_extra=LIMITS
    )
    max_body_bytes: int = Field(
        default=2**20,
        ge=1,
        description="Largest request body; larger ones are answered with 413.",
        json_schema_extra=LIMITS,
    )
    max_rows: int = Field(
        default=20_000_000,
        ge=1,
        description="Most rows in one answer; more are answered with 413.",
        json_schema_extra=LIMITS,
    )
    max_sending_bytes: int = Field(
        default=3 * 2**29,
        ge=1,
        description="Memory for answers that are made and taken: what they are made from, and two blocks. Further ones get 429.",
        json_schema_extra=LIMITS,
    )
    cache_bytes: int = Field(
        default=2**27, ge=0, description="Memory for answers that take long to compute.", json_schema_extra=LIMITS
    )
    read_timeout_seconds: float = Field(
        default=20.0,
        gt=0,
        le=3600,
        description="Time for the head of a request to arrive, and for its body.",
        json_schema_extra=LIMITS,
    )
    write_timeout_seconds: float = Field(
        default=120.0,
        gt=0,
        le=3600,
        description="Time for a client to take each block of an answer.",
        json_schema_extra=LIMITS,
    )
    shutdown_seconds: int = Field(
        default=30,
        ge=1,
        le=3600,
        description="Time for answers under way to be finished when the server is told to stop.",
        json_schema_extra=LIMITS,
    )
    log_requests: bool = Field(
        default=False, description="Write one JSON line for every request to standard error.", json_schema_extra=LOG
    )

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value

    @property
    def token(self) -> bytes | None:
        """The secret of token_file; InputError when it cannot be read, is short, or may be read by others."""
        if self.token_file is None:
            return None
        try:
            secret = read_bytes(self.token_file).strip()
            mode = self.token_file.stat().st_mode
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise InputError(f"the token file {self.token_file} cannot be read: {why}") from error
        if len(secret) < _SHORTEST_TOKEN or not secret.isascii() or any(byte <= 32 or byte == 127 for byte in secret):
            raise InputError(
                f"the token file {self.token_file} must hold one line of at least {_SHORTEST_TOKEN} ASCII characters "
                "without spaces"
            )
        if mode & 0o077:
            raise InputError(f"the token file {self.token_file} can be read by others; chmod 600 it")
        return secret


def settings_from_environment(**changes: object) -> ServerSettings:
    """The settings that the environment and the given values make; InputError names the setting that means nothing.

    A variable that begins with ACTIVATION_ and is no setting is pointed out in the log: it may be a misspelt one.
    """
    known = {variable(name) for name in ServerSettings.model_fields}
    for name in sorted(os.environ):
        if name.startswith(_PREFIX) and name not in known:
            _log.warning("%s is no setting of the activation server; there are %s", name, ", ".join(sorted(known)))
    try:
        return ServerSettings(**{name: value for name, value in changes.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise InputError(f"{_said_as(name, changes)}: {first['msg']}, not {first['input']!r}") from error


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return _PREFIX + name.upper()


def option(name: str) -> str:
    """The option of `splat serve` for a setting."""
    return "--" + {"allowed_hosts": "allowed_host"}.get(name, name).replace("_", "-")


def _said_as(name: str, changes: dict[str, object]) -> str:
    """How the value of the setting was given: by its option or its variable."""
    return option(name) if changes.get(name) is not None else variable(name)
