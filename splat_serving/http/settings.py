"""The settings of the activation server, each declared once: environment variables, options of `splat serve`, and docs follow."""

import logging
import os
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from splat_assets.errors import InputError
from splat_assets.store.documents import read_bytes

_log = logging.getLogger(__name__)
_PREFIX = "ACTIVATION_"
_SHORTEST_TOKEN = 16

_DATA, _ACCESS, _LIMITS, _LOG = (
    partial(Field, json_schema_extra={"group": group}) for group in ("Data", "Access", "Limits", "Log")
)
"""Fields of a group; `splat serve --help` lists them under its name."""


class ServerSettings(BaseSettings):
    """Settings of the server. The environment variable of a setting is ACTIVATION_ and its name in capitals.

    `settings_from_environment` builds them with errors that name the setting.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    data_dir: Path | None = _DATA(
        None, description="Folder in the guide's formats (activations_efficient) or a store; same as PATH."
    )
    transposed_dir: Path | None = _DATA(None, description="The activations_transposed folder.")
    neuron_acts_dir: Path | None = _DATA(None, description="The neuron_acts folder.")
    examples_dir: Path | None = _DATA(
        None, description="Output folder of `splat examples`; if missing, examples are computed on demand."
    )
    vocab_path: Path | None = _DATA(None, description="vocab.json, if the folder does not record its vocabulary.")
    weapon_vocab_path: Path | None = _DATA(
        None, description="weapon_vocab.json, if the folder does not record its weapons."
    )
    token_file: Path | None = _ACCESS(
        None, description="File with the token that every request must send: Authorization: Bearer TOKEN."
    )
    allow_labels: bool = _ACCESS(False, description="Allow clients to write labels.")
    insecure: bool = _ACCESS(False, description="Answer other machines without a token.")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = _ACCESS(
        (), description="Accepted host name, in addition to this machine's own; * for any."
    )
    workers: int = _LIMITS(
        max(2, os.cpu_count() or 2),
        ge=1,
        le=256,
        description="Threads for long responses; short ones have the same number of their own.",
    )
    max_in_flight: int = _LIMITS(
        256,
        ge=1,
        description="Maximum concurrent requests; long ones may use three quarters of it. More get status 429.",
    )
    max_connections: int = _LIMITS(768, ge=1, description="Open connections; more get status 503.")
    max_body_bytes: int = _LIMITS(2**20, ge=1, description="Largest request body; larger ones get status 413.")
    max_rows: int = _LIMITS(20_000_000, ge=1, description="Most rows in one response; more get status 413.")
    max_sending_bytes: int = _LIMITS(
        3 * 2**29,
        ge=1,
        description="Memory for responses in progress: their sources and two blocks each. More get status 429.",
    )
    cache_bytes: int = _LIMITS(2**27, ge=0, description="Memory for the cache of slow results.")
    read_timeout_seconds: float = _LIMITS(
        20.0, gt=0, le=3600, description="Timeout for receiving request headers, and for the body."
    )
    write_timeout_seconds: float = _LIMITS(
        120.0, gt=0, le=3600, description="Timeout for sending each block of a response."
    )
    shutdown_seconds: int = _LIMITS(
        30, ge=1, le=3600, description="Time to finish responses in progress when the server stops."
    )
    log_requests: bool = _LOG(False, description="Write one JSON line for every request to standard error.")

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
    """The settings from the environment and changes.

    The log warns about a variable that begins with ACTIVATION_ and is not a setting: it may be misspelt.

    Args:
        changes: Settings by name, which the environment does not change; None leaves one to the environment.

    Raises:
        InputError: Names the invalid setting, by its option if it is one of the changes, else by its variable.

    Examples:
        >>> from splat_serving.http.settings import settings_from_environment
        >>> settings_from_environment(max_rows=1_000, allowed_hosts="a.example, b.example").allowed_hosts
        ('a.example', 'b.example')
        >>> settings_from_environment(max_rows=0)
        Traceback (most recent call last):
        splat_assets.errors.InputError: --max-rows: Input should be greater than or equal to 1, not 0
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
        source = option(name) if changes.get(name) is not None else variable(name)
        raise InputError(f"{source}: {first['msg']}, not {first['input']!r}") from error


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return _PREFIX + name.upper()


def option(name: str) -> str:
    """The option of `splat serve` for a setting."""
    return "--" + {"allowed_hosts": "allowed_host"}.get(name, name).replace("_", "-")
