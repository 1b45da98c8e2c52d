"""Limits of a process that cause errors: open files, file size, memory, threads; none is a fault of the data."""

import errno
import re
import resource
from collections.abc import Iterator

_BY_TEXT = re.compile(r"\(os error (\d+)\)")
"""Polars and other Rust libraries pass on only the text of a fault, with its number."""
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory")
_NO_THREAD = "can't start new thread"


def process_limit(error: BaseException) -> str | None:
    """What a fault, or one that it came from, says of a limit of this process: one sentence; None where it is of no limit."""
    for one in _chain(error):
        number = _number(one)
        if number in (errno.EMFILE, errno.ENFILE):
            return _open_files(of_system=number == errno.ENFILE)
        if number == errno.EFBIG:
            return file_size()
        text = str(one) if isinstance(one, RuntimeError) else ""
        if isinstance(one, MemoryError) or number == errno.ENOMEM or _NO_MEMORY.search(text):
            return _memory()
        if _NO_THREAD in text:
            return (
                f"cannot start another thread: this user may have {_shown(resource.RLIMIT_NPROC)} processes and "
                f"threads (ulimit -u), this process {_shown(resource.RLIMIT_AS, 'bytes of memory')} (ulimit -v); "
                f"raise the "
                "limit that is reached"
            )
    return None


def file_size() -> str:
    """The largest file that may be written, as a sentence."""
    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY:
        return "the file is too large for this file system: put the data on another one"
    largest = _shown(resource.RLIMIT_FSIZE, "bytes")
    return f"this process may write files of at most {largest} (ulimit -f): raise that limit and run it again"


def _open_files(of_system: bool) -> str:
    if of_system:
        return "cannot open another file: the limit of this machine is reached (fs.file-max)"
    return (
        f"cannot open another file: this process may have {_shown(resource.RLIMIT_NOFILE)} open (ulimit -n); "
        f"raise that "
        "limit and run it again"
    )


def _memory() -> str:
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return "out of memory: close other programs, or use a machine with more"
    return (
        f"out of memory: this process may have {_shown(resource.RLIMIT_AS, 'bytes')} (ulimit -v); raise that limit "
        "and run it again"
    )


def _shown(limit: int, unit: str = "") -> str:
    value = resource.getrlimit(limit)[0]
    number = "any number of" if value == resource.RLIM_INFINITY else f"{value:,}"
    return f"{number} {unit}".rstrip()


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, its cause, and so on."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    match = _BY_TEXT.search(str(error))
    return int(match[1]) if match else None
