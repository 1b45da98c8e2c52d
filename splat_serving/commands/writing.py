"""Shared parts of the commands that write labels: the run must be unambiguous, and the output names it."""

import os
from pathlib import Path

from splat_assets.errors import InputError
from splat_assets.store.layout import DataRoot, is_name
from splat_serving.investigations.opening import SOURCE_VARIABLE, open_subject
from splat_serving.investigations.subject import Subject

_N_DIGITS = 16


def subject_to_write(run: str | None, token_file: Path | None = None) -> Subject:
    """As `open_subject`, with InputError if no run is named and there are several.

    For a server with several runs, the URL names one: http://127.0.0.1:8765/runs/NAME.
    """
    named = run or os.environ.get(SOURCE_VARIABLE) or None
    if named is None:
        _refuse_several(_published(DataRoot.from_environment()), "--run NAME")
    subject = open_subject(named, token_file)
    if named is not None and named.startswith(("http://", "https://")) and "/runs/" not in named:
        try:
            versions = subject.published() or []
            _refuse_several(
                sorted({one.run for one in versions if one.version}), f"--run {named.rstrip('/')}/runs/NAME"
            )
        except BaseException:
            subject.close()
            raise
    return subject


def written_for(subject: Subject) -> str:
    """`run demo, SAE 0123456789abcdef`: the target of a write."""
    sae = str(subject.about.provenance.get("sae") or "")[:_N_DIGITS]
    return f"run {subject.about.name or subject.source}{f', SAE {sae}' if sae else ''}"


def _published(root: DataRoot) -> list[str]:
    """The published runs."""
    return [name for name in root.run_names() if is_name(name) and (root.run(name).store / "CURRENT").is_file()]


def _refuse_several(names: list[str], option: str) -> None:
    if len(names) > 1:
        shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        raise InputError(f"several runs are available, {shown}: choose one with {option}")
