"""Research notes on a feature, as a file that people can read and edit: hypotheses, evidence, decisions, notes.

One TOML file per feature beside the labels of its SAE. It is written whole or not at all; one that cannot be read is refused
and never overwritten.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from splat_assets.errors import InputError
from splat_assets.store.documents import read_bytes, read_toml
from splat_assets.store.files import replacing_file
from splat_assets.text.wording import percent
from splat_serving.labels.event import utc_timestamp
from splat_serving.labels.written import check_all_texts, checked_line, checked_lines

HypothesisStatus = Literal["proposed", "testing", "supported", "refuted", "superseded"]
Strength = Literal["weak", "moderate", "strong"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Hypothesis(_Part):
    """A hypothesis about a feature."""

    id: str
    statement: Annotated[str, Field(min_length=10, max_length=1_000)]
    status: HypothesisStatus = "proposed"
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    updated: str


class Evidence(_Part):
    """A result file, and the hypotheses that it supports or refutes."""

    id: str
    path: str
    sha256: str
    summary: Annotated[str, Field(min_length=1, max_length=2_000)]
    strength: Strength
    supports: list[str] = []
    refutes: list[str] = []
    at: str


class Decision(_Part):
    """A decision with its reason, or a note."""

    text: Annotated[str, Field(min_length=1, max_length=2_000)]
    at: str
    author: str


class Research(_Part):
    """Everything about one feature."""

    feature_id: int
    sae: str
    hypotheses: list[Hypothesis] = []
    evidence: list[Evidence] = []
    decisions: list[Decision] = []
    notes: list[Decision] = []

    def hypothesis(self, name: str) -> Hypothesis:
        """The hypothesis of that id; InputError says which there are."""
        for one in self.hypotheses:
            if one.id == name:
                return one
        there = ", ".join(one.id for one in self.hypotheses) or "none yet"
        raise InputError(f"{name!r} is not a hypothesis on feature {self.feature_id}; its hypotheses: {there}")


class Notebook:
    """The research files of one SAE. folder: where its labels are."""

    def __init__(self, folder: Path, sae: str) -> None:
        self._folder = folder / "research"
        self._sae = sae

    def path(self, feature_id: int) -> Path:
        """The file of a feature."""
        return self._folder / f"feature_{feature_id:05d}.toml"

    def read(self, feature_id: int) -> Research:
        """The notes on a feature; empty ones where nothing was written. InputError for a file that cannot be read."""
        path = self.path(feature_id)
        try:
            research = Research.model_validate(read_toml(path))
        except FileNotFoundError:
            return Research(feature_id=feature_id, sae=self._sae)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise InputError(f"{path}: {place}: {first['msg']}; correct the file; nothing was written") from error
        except ValueError as error:
            raise InputError(
                f"{path} cannot be read: {error}; correct the file or move it away; nothing was written"
            ) from error
        if research.feature_id != feature_id or research.sae != self._sae:
            raise InputError(
                f"{path} is for feature {research.feature_id} of SAE {research.sae[:12]}, not for SAE {self._sae[:12]}"
            )
        return research

    def write(self, research: Research) -> None:
        """Write the notes on a feature."""
        with replacing_file(self.path(research.feature_id)) as aside:
            aside.write_text(tomli_w.dumps(_plain(research.model_dump(mode="json"))), encoding="utf-8")


def _next_id(letter: str, there: Sequence[Hypothesis | Evidence]) -> str:
    """`h003` after `h002`, whatever was taken out by hand."""
    numbers = [int(one.id[1:]) for one in there if re.fullmatch("[0-9]{1,9}", one.id[1:])]
    return f"{letter}{max(numbers, default=0) + 1:03d}"


def add_hypothesis(research: Research, statement: str, confidence: float | None) -> Hypothesis:
    """A new hypothesis, h001 and on."""
    added = _checked(
        Hypothesis,
        id=_next_id("h", research.hypotheses),
        statement=statement,
        confidence=confidence,
        updated=utc_timestamp(),
    )
    research.hypotheses.append(added)
    return added  # type: ignore[no-any-return]


def change_hypothesis(research: Research, name: str, status: str | None, confidence: float | None) -> Hypothesis:
    """Another status or confidence of a hypothesis."""
    before = research.hypothesis(name)
    changes = {key: value for key, value in (("status", status), ("confidence", confidence)) if value is not None}
    after: Hypothesis = _checked(Hypothesis, **{**before.model_dump(), **changes, "updated": utc_timestamp()})
    research.hypotheses[research.hypotheses.index(before)] = after
    return after


def add_evidence(
    research: Research, path: Path, summary: str, strength: str, supports: tuple[str, ...], refutes: tuple[str, ...]
) -> Evidence:
    """A result file as evidence, e001 and on; InputError where it cannot be read or a hypothesis is not there."""
    for name in (*supports, *refutes):
        research.hypothesis(name)
    try:
        digest = hashlib.sha256(read_bytes(path)).hexdigest()
    except (OSError, ValueError) as error:
        raise InputError(f"the result {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    added = _checked(
        Evidence, id=_next_id("e", research.evidence), path=str(path), sha256=digest, summary=summary, strength=strength,
        supports=list(supports), refutes=list(refutes), at=utc_timestamp(),
    )  # fmt: skip
    research.evidence.append(added)
    return added  # type: ignore[no-any-return]


def add_text(texts: list[Decision], text: str, author: str) -> Decision:
    """A decision or a note."""
    added = _checked(Decision, text=text, at=utc_timestamp(), author=author)
    texts.append(added)
    return added  # type: ignore[no-any-return]


def as_text(research: Research) -> str:
    """The notes as text."""
    lines = [f"Feature {research.feature_id}"]
    for one in research.hypotheses:
        sure = "" if one.confidence is None else f", confidence {percent(one.confidence)}"
        lines.append(f"  {one.id} [{one.status}{sure}] {one.statement}")
        for evidence in research.evidence:
            if one.id in evidence.supports:
                lines.append(f"      + {evidence.id} ({evidence.strength}) {evidence.summary}: {evidence.path}")
            if one.id in evidence.refutes:
                lines.append(f"      - {evidence.id} ({evidence.strength}) {evidence.summary}: {evidence.path}")
    loose = [one for one in research.evidence if not one.supports and not one.refutes]
    lines += [f"  {one.id} ({one.strength}) {one.summary}: {one.path}" for one in loose]
    lines += [f"  decided {one.at[:10]} by {one.author}: {one.text}" for one in research.decisions]
    lines += [f"  note {one.at[:10]} by {one.author}: {one.text}" for one in research.notes]
    return "\n".join(lines if len(lines) > 1 else [*lines, "  no notes yet"])


def _checked(kind: Any, **fields: Any) -> Any:
    for name in ("statement", "summary", "text"):
        if name in fields:
            checked_lines(fields[name], name)
    if "author" in fields:
        checked_line(fields["author"], "author")
    check_all_texts(fields.get("path", ""), "path")
    try:
        return kind(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}, not {first['input']!r:.80}"
        ) from error


def _plain(value: Any) -> Any:
    """Without None, which TOML does not have."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if one is not None}
    return [_plain(one) for one in value] if isinstance(value, list) else value
