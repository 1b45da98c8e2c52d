"""Reading the small files that a step needs whole: regular files only, JSON and TOML of any depth, and who may not read them.

Every reader of such a file goes through here, so that no file makes a command hang or end with a traceback. What a file means is
its reader's business: a file with wrong content is a ValueError without the path, to which the reader adds path and remedy.
"""

import errno
import json
import os
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from splat_assets.store.errors import AccessDeniedError

DEEPEST = 100
"""Objects and lists within each other. No file of ours has ten; what walks such values later has room for a thousand calls."""
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_OF_THE_SHELL = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
_DENIED = (errno.EACCES, errno.EPERM)
WRONG_CONTENT = (ValueError, LookupError, TypeError, AttributeError, OverflowError)
"""What reading a file, or taking fields out of what it says, raises when it says something else than is expected."""


def read_bytes(path: Path) -> bytes:
    """The bytes of a regular file, or of a pipe that the shell made for this process: `<(…)`, `/dev/stdin`.

    Raises FileNotFoundError, AccessDeniedError, and ValueError for a folder, another pipe, a socket or a device, none of which
    is opened: opening a pipe waits for a writer.
    """
    if not str(path).startswith(_OF_THE_SHELL):
        refuse_irregular(path)
    try:
        return path.read_bytes()
    except PermissionError as error:
        raise access_denied(error, path) from error


def read_text(path: Path) -> str:
    """The text of a regular file in UTF-8, without a byte order mark; raises as `read_bytes`."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8 text; save it as UTF-8") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises as `read_bytes`, and ValueError as `json_of`."""
    return json_of(read_bytes(path))


def json_of(
    content: bytes | str,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
    parse_constant: Callable[[str], Any] | None = None,
) -> Any:
    """The value of JSON in UTF-8; ValueError where it is invalid or nested deeper than DEEPEST. Hooks as of `json.loads`."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=object_pairs_hook, parse_constant=parse_constant)
        if "\\u" in text:
            json.dumps(
                value, ensure_ascii=False
            ).encode()  # half a surrogate pair is not a text that can be written again
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8 text; save it as UTF-8") from error
    except UnicodeEncodeError as error:
        raise ValueError("a text in it holds half a surrogate pair") from error
    return _of_some_depth(value)


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file; raises as `read_bytes`, and ValueError as `toml_of`."""
    return toml_of(read_text(path))


def toml_of(text: str) -> dict[str, Any]:
    """The value of TOML; ValueError where it is invalid, or nested deeper than DEEPEST."""
    try:
        value = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    _of_some_depth(value)
    return value


def refuse_irregular(path: Path) -> None:
    """Raise ValueError, AccessDeniedError or FileNotFoundError unless path is a regular file or a link to one."""
    try:
        mode = os.stat(path).st_mode
    except PermissionError as error:
        raise access_denied(error, path) from error
    if not stat.S_ISREG(mode):
        raise ValueError(f"it is {_kind(mode)}, not a file")


def refuse_irregular_parts(folder: Path) -> None:
    """Raise as `refuse_irregular`, with the name, for the first thing below folder that is neither a file nor a folder.

    A library that opens a whole folder would wait for ever at a pipe in it.
    """
    for place, _, files in os.walk(folder):
        for name in files:
            path = Path(place, name)
            try:
                refuse_irregular(path)
            except FileNotFoundError:  # removed meanwhile, or a link to nothing: who reads it says so
                continue
            except ValueError as error:
                raise ValueError(f"{path.relative_to(folder)} is {kind_of(path)}, not a file") from error


def is_regular(path: Path) -> bool:
    """Whether a regular file is there: False where nothing is; raises ValueError and AccessDeniedError as `refuse_irregular`."""
    try:
        refuse_irregular(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def is_folder(path: Path | str) -> bool:
    """Whether a folder is there; False also for what can be no path. AccessDeniedError where that cannot be seen."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except PermissionError as error:
        raise access_denied(error, Path(path)) from error
    except (OSError, ValueError):
        return False


def kind_of(path: Path) -> str:
    """The kind of file at path: `a named pipe`, `nothing`. AccessDeniedError where that cannot be seen."""
    try:
        return _kind(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    except PermissionError as error:
        raise access_denied(error, path) from error


def entries(folder: Path) -> list[Path]:
    """The entries of a folder, by name; empty where the folder does not exist. AccessDeniedError where it cannot be listed."""
    try:
        return sorted(folder / name for name in os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise access_denied(error, folder) from error


def access_denied(error: OSError, path: Path | None = None) -> AccessDeniedError:
    """The one sentence for what may not be read or written: which file, as whom, and which folder above it is closed."""
    place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else path
    if place is None:
        return AccessDeniedError(f"permission denied, as {user()}")
    above = [folder for folder in place.absolute().parents if not _may_enter(folder)]
    closed = f": {above[-1]} may not be entered" if above else ""
    return AccessDeniedError(
        f"permission denied: {place}, as {user()}{closed}; allow it with chmod or chown, or run this as another user"
    )


def explained(error: OSError) -> str | None:
    """An error of the file system in one sentence, with the file; None for one that names no file and is not a refusal."""
    if error.errno in _DENIED or isinstance(error, PermissionError):
        return str(access_denied(error))
    if error.filename is None or not error.strerror:
        return None
    return f"{os.fsdecode(error.filename)}: {error.strerror[:1].lower()}{error.strerror[1:]}"


def in_words(error: Exception) -> str:
    """Any error that a file causes, in one sentence."""
    return (explained(error) if isinstance(error, OSError) else None) or str(error)


def first_line(error: BaseException) -> str:
    """The message of a library's error, or its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def user() -> str:
    """The user that this process runs as, by name and number."""
    number = os.geteuid()
    try:
        import pwd

        return f"{pwd.getpwuid(number).pw_name} (uid {number})"
    except KeyError:
        return f"uid {number}"


def _may_enter(folder: Path) -> bool:
    if not os.path.isdir(folder):
        return True
    return os.access(folder, os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _kind(mode: int) -> str:
    return next((words for is_kind, words in _KINDS if is_kind(mode)), "a file")


_TOO_DEEP = f"it is nested more than {DEEPEST} levels deep"


def _of_some_depth(value: Any) -> Any:
    level = [value]
    for _ in range(DEEPEST + 1):
        held = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [one for values in held for one in values]
        if not level:
            return value
    raise ValueError(_TOO_DEEP)
