"""The settings of the activation server, each declared once: environment variables, options of `splat serve`, and docs follow."""

import os
from pathlib import Path

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from splat_assets.errors import InputError

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_SHORTEST_TOKEN = 16


class ServerSettings(BaseSettings):
    """How activations are served. The environment variable of a setting is ACTIVATION_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="ACTIVATION_", frozen=True, extra="ignore")

    data_dir: Path | None = Field(
        default=None, description="A folder of guide formats (activations_efficient) or a store."
    )
    transposed_dir: Path | None = Field(default=None, description="Its activations_transposed folder.")
    neuron_acts_dir: Path | None = Field(default=None, description="Its neuron_acts folder.")
    vocab_path: Path | None = Field(
        default=None, description="vocab.json, where the folder does not record its vocabulary."
    )
    weapon_vocab_path: Path | None = Field(
        default=None, description="weapon_vocab.json, where the folder records no weapons."
    )
    token_file: Path | None = Field(
        default=None, description="File with a secret; every request must send it: Authorization: Bearer SECRET."
    )
    insecure: bool = Field(default=False, description="Answer other machines without a token.")
    allowed_hosts: tuple[str, ...] = Field(
        default=(), description="Names under which the server may be asked, beside this machine's own; * for any."
    )
    workers: int = Field(
        default=max(2, os.cpu_count() or 2), ge=1, le=256, description="Threads that read and encode at the same time."
    )
    max_in_flight: int = Field(default=256, ge=1, description="Requests under way at once; more are answered with 429.")
    max_body_bytes: int = Field(
        default=2**20, ge=1, description="Largest request body; larger ones are answered with 413."
    )
    max_rows: int = Field(default=20_000_000, ge=1, description="Most rows in one answer; more are answered with 413.")
    cache_bytes: int = Field(default=2**27, ge=0, description="Memory for answers that take long to compute.")
    read_timeout_seconds: float = Field(default=20.0, gt=0, description="Time for a request to arrive.")
    write_timeout_seconds: float = Field(
        default=120.0, gt=0, description="Time for a client to take each block of an answer."
    )

    @field_validator("token_file", "data_dir", "transposed_dir", "neuron_acts_dir", "vocab_path", "weapon_vocab_path")
    @classmethod
    def _empty_is_none(cls, value: Path | None) -> Path | None:
        return None if value is not None and str(value) in ("", ".") else value

    @property
    def token(self) -> bytes | None:
        """The secret of token_file; InputError when it cannot be read, is short, or may be read by others."""
        if self.token_file is None:
            return None
        try:
            secret = self.token_file.read_bytes().strip()
            mode = self.token_file.stat().st_mode
        except OSError as error:
            raise InputError(f"the token file {self.token_file} cannot be read: {error.strerror}") from error
        if len(secret) < _SHORTEST_TOKEN or b"\n" in secret or not secret.isascii():
            raise InputError(
                f"the token file {self.token_file} must hold one line of at least {_SHORTEST_TOKEN} ASCII characters"
            )
        if mode & 0o077:
            raise InputError(f"the token file {self.token_file} can be read by others; chmod 600 it")
        return secret


def settings_from_environment(**changes: object) -> ServerSettings:
    """The settings that the environment and the given values make; InputError names the setting that means nothing."""
    try:
        return ServerSettings(**{name: value for name, value in changes.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise InputError(f"ACTIVATION_{name.upper()}: {first['msg']}, not {first['input']!r}") from error
