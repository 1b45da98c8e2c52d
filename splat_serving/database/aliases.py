"""Aliases of runs, folders and servers, as the guide's `--model full`: saved once, for every command on this machine.

They are per user, in `$XDG_CONFIG_HOME/splat/aliases.json` (`~/.config` if unset), not in a data root: a folder of the
guide's formats belongs to none. An alias of a folder also records further formats, and the paths of model
and SAE.
"""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os.path import isdir
from pathlib import Path
from typing import Any

from splat_assets.errors import InputError
from splat_assets.store.documents import WRONG_CONTENT, read_json
from splat_assets.store.errors import AccessDeniedError, CorruptStoreError
from splat_assets.store.files import locked, write_json
from splat_assets.store.layout import DataRoot, checked_name, is_name

_log = logging.getLogger(__name__)
_FORMAT = "splat.aliases/1"
ALIAS_OPTIONS = {
    "transposed_dir": "The activations_transposed folder.",
    "neuron_acts_dir": "The neuron_acts folder.",
    "examples_dir": "Output folder of `splat examples`.",
    "model_checkpoint": "Current path of the base model, if it was moved.",
    "sae_checkpoint": "Current path of the SAE, if it was moved.",
    "vocab_path": "vocab.json, if the folder does not record it, or if it was moved.",
    "weapon_vocab_path": "weapon_vocab.json, if the folder does not record it, or if it was moved.",
}
"""Options of an alias of a folder, each with its line of help."""


@dataclass(frozen=True, slots=True)
class Alias:
    """A name and its target.

    target: the name of a run of the data root, the URL of a server, or an absolute path. parts: of ALIAS_OPTIONS, absolute paths.
    """

    name: str
    target: str
    parts: Mapping[str, Path] = field(default_factory=dict)

    @property
    def is_url(self) -> bool:
        """Whether the target is a server."""
        return self.target.startswith(("http://", "https://"))


def aliases_file(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file of all names; None for a user without a home folder."""
    try:
        base = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    except RuntimeError:
        return None
    return base / "splat" / "aliases.json"


def read_aliases() -> dict[str, Alias]:
    """All aliases, by name; empty, with a log line, if they may not be read; CorruptStoreError for a damaged file."""
    path = aliases_file()
    if path is None:
        return {}
    try:
        raw = read_json(path)
        if raw["format"] != _FORMAT:
            raise ValueError(f"its format is {str(raw['format'])[:40]!r}, this program reads {_FORMAT!r}")
        aliases = {name: _alias(name, one) for name, one in raw["aliases"].items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except AccessDeniedError as error:  # as for a server that another user started: runs and paths need no alias
        _log.warning("aliases cannot be read: %s", error)
        return {}
    except (OSError, *WRONG_CONTENT) as error:
        raise CorruptStoreError(f"{path} does not hold aliases ({error}); repair or delete it") from error
    return dict(sorted(aliases.items()))


def alias_named(name: str, root: DataRoot | None = None) -> Alias | None:
    """The alias of that name; InputError if a run of the root, or a folder here, has the same name and is something else."""
    alias = read_aliases().get(name) if is_name(name) else None
    if alias is None:
        return None
    others = []
    if (
        root is not None
        and root.run(name).root.is_dir()
        and alias.target not in (name, str(root.run(name).root.absolute()))
    ):
        others.append(f"the run {name} of {root.path}")
    if isdir(name) and Path(name).resolve() != Path(alias.target).resolve():
        others.append(f"the folder {Path(name).absolute()}")
    if others:
        raise InputError(
            f"{name} is an alias of {alias.target}, and {' and '.join(others)} has the same name: write a path, or remove the "
            f"alias with `splat alias {name} --remove`"
        )
    return alias


def keep_alias(name: str, target: str, parts: Mapping[str, Path], root: DataRoot) -> Alias:
    """Save an alias, replacing an old one; InputError for an invalid name or target."""
    checked_name(name, "run or folder")
    alias = Alias(name, _checked_target(target, root), {part: path.absolute() for part, path in parts.items()})
    if root.run(name).root.is_dir() and alias.target not in (name, str(root.run(name).root)):
        raise InputError(f"{root.path} has a run called {name}: choose another name for the alias")
    for part, path in alias.parts.items():
        if not path.exists():
            raise InputError(f"--{part.replace('_', '-')}: {path} does not exist")
    if alias.parts and not isdir(alias.target):
        raise InputError(f"{alias.target} is not a folder: {', '.join(alias.parts)} belong to folders only")
    _change(lambda aliases: {**aliases, name: alias})
    return alias


def remove_alias(name: str) -> Alias:
    """Delete an alias and return it; InputError for an unknown one."""
    aliases = read_aliases()
    if name not in aliases:
        raise InputError(f"unknown alias {name[:100]!r}; aliases are: {', '.join(aliases) or 'none'}")
    _change(lambda current: {key: alias for key, alias in current.items() if key != name})
    return aliases[name]


def _change(change: Callable[[dict[str, Alias]], dict[str, Alias]]) -> None:
    path = aliases_file()
    if path is None:
        raise InputError("aliases cannot be saved: this user has no home folder; set XDG_CONFIG_HOME")
    try:
        with locked(path.parent / ".lock"):
            changed = change(read_aliases())
            content = {
                alias.name: {"target": alias.target} | {part: str(path) for part, path in alias.parts.items()}
                for alias in changed.values()
            }
            write_json(path, {"format": _FORMAT, "aliases": content})
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}; set XDG_CONFIG_HOME to another folder"
        ) from error


def _checked_target(target: str, root: DataRoot) -> str:
    if target.startswith(("http://", "https://")):
        return target.rstrip("/")
    if isdir(target):
        return str(Path(target).absolute())
    if is_name(target) and root.run(target).root.is_dir():
        return target
    raise InputError(
        f"{target[:200]!r} is not a folder, nor a run of {root.path} ({', '.join(root.run_names()[:8]) or 'it has none'}), "
        "nor the URL of a server"
    )


def _alias(name: str, raw: Mapping[str, Any]) -> Alias:
    parts = {part: value for part, value in raw.items() if part != "target"}
    if (
        not is_name(name)
        or not all(isinstance(value, str) for value in raw.values())
        or not parts.keys() <= ALIAS_OPTIONS.keys()
    ):
        raise ValueError(f"the target of {name[:100]!r} is invalid")
    return Alias(name, raw["target"], {part: Path(value) for part, value in parts.items()})
