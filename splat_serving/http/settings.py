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
WHAT: _Group = {"group": "Data"}
WHO: _Group = {"group": "Access"}
LIMITS: _Group = {"group": "Limits"}
LOG: _Group = {"group": "Log"}


class ServerSettings(BaseSettings):
    """Settings of the server. The environment variable of a setting is ACTIVATION_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    data_dir: Path | None = Field(
        default=None,
        description="Folder in the guide's formats (activations_efficient) or a store; same as PATH.",
        json_schema_extra=WHAT,
    )
    transposed_dir: Path | None = Field(
        default=None, description="The activations_transposed folder.", json_schema_extra=WHAT
    )
    neuron_acts_dir: Path | None = Field(default=None, description="The neuron_acts folder.", json_schema_extra=WHAT)
    examples_dir: Path | None = Field(
        default=None,
        description="Output folder of `splat examples`; if missing, examples are computed on demand.",
        json_schema_extra=WHAT,
    )
    vocab_path: Path | None = Field(
        default=None,
        description="vocab.json, if the folder does not record its vocabulary.",
        json_schema_extra=WHAT,
    )
    weapon_vocab_path: Path | None = Field(
        default=None,
        description="weapon_vocab.json, if the folder does not record its weapons.",
        json_schema_extra=WHAT,
    )
    token_file: Path | None = Field(
        default=None,
        description="File with the token that every request must send: Authorization: Bearer TOKEN.",
        json_schema_extra=WHO,
    )
    allow_labels: bool = Field(default=False, description="Allow clients to write labels.", json_schema_extra=WHO)
    insecure: bool = Field(default=False, description="Answer other machines without a token.", json_schema_extra=WHO)
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Accepted host name, in addition to this machine's own; * for any.",
        json_schema_extra=WHO,
    )
    workers: int = Field(
        default=max(2, os.cpu_count() or 2),
        ge=1,
        le=256,
        description="Threads for long responses; short ones have the same number of their own.",
        json_schema_extra=LIMITS,
    )
    max_in_flight: int = Field(
        default=256,
        ge=1,
        description="Concurrent requests; more, and long ones beyond three quarters, get status 429.",
        json_schema_extra=LIMITS,
    )
    max_connections: int = Field(
        default=768, ge=1, description="Open connections; more get status 503.", json_schema_extra=LIMITS
    )
    max_body_bytes: int = Field(
        default=2**20,
        ge=1,
        description="Largest request body; larger ones get status 413.",
        json_schema_extra=LIMITS,
    )
    max_rows: int = Field(
        default=20_000_000,
        ge=1,
        description="Most rows in one response; more get status 413.",
        json_schema_extra=LIMITS,
    )
    max_sending_bytes: int = Field(
        default=3 * 2**29,
        ge=1,
        description="Memory for responses in progress: their sources and two blocks each. More get status 429.",
        json_schema_extra=LIMITS,
    )
    cache_bytes: int = Field(
        default=2**27, ge=0, description="Memory for the cache of slow results.", json_schema_extra=LIMITS
    )
    read_timeout_seconds: float = Field(
        default=20.0,
        gt=0,
        le=3600,
        description="Timeout for receiving request headers, and for the body.",
        json_schema_extra=LIMITS,
    )
    write_timeout_seconds: float = Field(
        default=120.0,
        gt=0,
        le=3600,
        description="Timeout for sending each block of a response.",
        json_schema_extra=LIMITS,
    )
    shutdown_seconds: int = Field(
        default=30,
        ge=1,
        le=3600,
        description="Time to finish responses in progress when the server stops.",
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
        """The token of token_file; InputError if it is unreadable, too short, or readable by others."""
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
    """The settings from the environment and changes; InputError names the invalid setting.

    The log warns about a variable that begins with ACTIVATION_ and is not a setting: it may be misspelt.
    """
    known = {variable(name) for name in ServerSettings.model_fields}
    for name in sorted(os.environ):
        if name.startswith(_PREFIX) and name not in known:
            _log.warning(
                "%s is not a setting of the activation server; settings are %s", name, ", ".join(sorted(known))
            )
    try:
        return ServerSettings(**{name: value for name, value in changes.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise InputError(f"{_setting_name(name, changes)}: {first['msg']}, not {first['input']!r}") from error


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return _PREFIX + name.upper()


def option(name: str) -> str:
    """The option of `splat serve` for a setting."""
    return "--" + {"allowed_hosts": "allowed_host"}.get(name, name).replace("_", "-")


def _setting_name(name: str, changes: dict[str, object]) -> str:
    """The option or the environment variable that set the value."""
    return option(name) if changes.get(name) is not None else variable(name)
