"""What somebody found out about a feature, as a file that people can read and edit: hypotheses, evidence, decisions, notes.

One TOML file per feature beside the labels of its SAE. It is written whole or not at all; one that cannot be read is refused
and never written over.
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
from splat_serving.labels.event import now
from splat_serving.labels.written import check_all_texts, checked_line, checked_lines

HypothesisStatus = Literal["proposed", "testing", "supported", "refuted", "superseded"]
Strength = Literal["weak", "moderate", "strong"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Hypothesis(_Part):
    """Something that may be true of a feature."""

    id: str
    statement: Annotated[str, Field(min_length=10, max_length=1_000)]
    status: HypothesisStatus = "proposed"
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    updated: str


class Evidence(_Part):
    """A result file, and what it says of hypotheses."""

    id: str
    path: str
    sha256: str
    summary: Annotated[str, Field(min_length=1, max_length=2_000)]
    strength: Strength
    supports: list[str] = []
    refutes: list[str] = []
    at: str


class Decision(_Part):
    """Something that was settled, and why."""

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
        raise InputError(f"feature {self.feature_id} has no hypothesis {name!r}; there are {there}")


class Notebook:
    """The research files of one SAE. folder: where its labels are."""

    def __init__(self, folder: Path, sae: str) -> None:
        self._folder = folder / "research"
        self._sae = sae

    def path(self, feature_id: int) -> Path:
        """The file of a feature."""
        return self._folder / f"feature_{feature_id:05d}.toml"

    def read(self, feature_id: int) -> Research:
        """What is known of a feature; an empty one where nothing was written. InputError for a file that cannot be read."""
        path = self.path(feature_id)
        try:
            found = Research.model_validate(read_toml(path))
        except FileNotFoundError:
            return Research(feature_id=feature_id, sae=self._sae)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise InputError(f"{path}: {place}: {first['msg']}; mend it, nothing was written") from error
        except ValueError as error:
            raise InputError(f"{path} cannot be read: {error}; mend it or move it away, nothing was written") from error
        if found.feature_id != feature_id or found.sae != self._sae:
            raise InputError(
                f"{path} is of feature {found.feature_id} of SAE {found.sae[:12]}, not of {self._sae[:12]}"
            )
        return found

    def write(self, found: Research) -> None:
        """Write what is known of a feature."""
        with replacing_file(self.path(found.feature_id)) as aside:
            aside.write_text(tomli_w.dumps(_plain(found.model_dump(mode="json"))), encoding="utf-8")


def _next_id(letter: str, there: Sequence[Hypothesis | Evidence]) -> str:
    """`h003` after `h002`, whatever was taken out by hand."""
    numbers = [int(one.id[1:]) for one in there if re.fullmatch("[0-9]{1,9}", one.id[1:])]
    return f"{letter}{max(numbers, default=0) + 1:03d}"


def add_hypothesis(found: Research, statement: str, confidence: float | None) -> Hypothesis:
    """A new hypothesis, h001 and on."""
    made = _checked(
        Hypothesis, id=_next_id("h", found.hypotheses), statement=statement, confidence=confidence, updated=now()
    )
    found.hypotheses.append(made)
    return made  # type: ignore[no-any-return]


def change_hypothesis(found: Research, name: str, status: str | None, confidence: float | None) -> Hypothesis:
    """Another status or confidence of a hypothesis."""
    before = found.hypothesis(name)
    changes = {key: value for key, value in (("status", status), ("confidence", confidence)) if value is not None}
    after: Hypothesis = _checked(Hypothesis, **{**before.model_dump(), **changes, "updated": now()})
    found.hypotheses[found.hypotheses.index(before)] = after
    return after


def add_evidence(
    found: Research, path: Path, summary: str, strength: str, supports: tuple[str, ...], refutes: tuple[str, ...]
) -> Evidence:
    """A result file as evidence, e001 and on; InputError where it cannot be read or a hypothesis is not there."""
    for name in (*supports, *refutes):
        found.hypothesis(name)
    try:
        digest = hashlib.sha256(read_bytes(path)).hexdigest()
    except (OSError, ValueError) as error:
        raise InputError(f"the result {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    made = _checked(
        Evidence, id=_next_id("e", found.evidence), path=str(path), sha256=digest, summary=summary, strength=strength,
        supports=list(supports), refutes=list(refutes), at=now(),
    )  # fmt: skip
    found.evidence.append(made)
    return made  # type: ignore[no-any-return]


def add_text(texts: list[Decision], text: str, author: str) -> Decision:
    """A decision or a note."""
    made = _checked(Decision, text=text, at=now(), author=author)
    texts.append(made)
    return made  # type: ignore[no-any-return]


def as_text(found: Research) -> str:
    """What is known, for people."""
    lines = [f"Feature {found.feature_id}"]
    for one in found.hypotheses:
        sure = "" if one.confidence is None else f", confidence {one.confidence:.0%}"
        lines.append(f"  {one.id} [{one.status}{sure}] {one.statement}")
        for evidence in found.evidence:
            if one.id in evidence.supports:
                lines.append(f"      + {evidence.id} ({evidence.strength}) {evidence.summary}: {evidence.path}")
            if one.id in evidence.refutes:
                lines.append(f"      - {evidence.id} ({evidence.strength}) {evidence.summary}: {evidence.path}")
    loose = [one for one in found.evidence if not one.supports and not one.refutes]
    lines += [f"  {one.id} ({one.strength}) {one.summary}: {one.path}" for one in loose]
    lines += [f"  decided {one.at[:10]} by {one.author}: {one.text}" for one in found.decisions]
    lines += [f"  note {one.at[:10]} by {one.author}: {one.text}" for one in found.notes]
    return "\n".join(lines if len(lines) > 1 else [*lines, "  nothing was written yet"])


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
    """Without what is None, which TOML cannot say."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if one is not None}
    return [_plain(one) for one in value] if isinstance(value, list) else value
