"""What an asset of the pipeline is: a name, what it is made from, how, and the checks that guard it.

Plain Python, so that the shell, the checks of `splat verify` and Dagster all run the same thing;
`orchestration/as_dagster.py` turns each asset into a Dagster one. The status of an asset follows from its receipt and
the outcomes of its checks (`status_of`).
"""

import logging
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from splat_assets.distribution import extra_of
from splat_assets.errors import InputError, SplatError
from splat_assets.runs import Run
from splat_assets.store.disk import explaining_write_errors
from splat_assets.store.documents import WRONG_CONTENT, read_json
from splat_assets.store.files import locked, remove_leftovers, replacing_file, sha256_of_json, write_json
from splat_assets.store.receipts import Receipt, read_receipt, write_receipt
from splat_assets.text.progress import Progress

logger = logging.getLogger(__name__)

Fact = int | float | str | bool
Facts = dict[str, Fact]
Row = Mapping[str, Fact | None]
WHAT_TO_DO = "what_to_do"
"""The fact in which a check names its remedy; without it, the remedy is the one for changed files."""


@dataclass(frozen=True, slots=True)
class AssetResult:
    """What making an asset produced.

    outputs: the files and folders it consists of. facts: figures to report. table: a few rows to report. picture: a PNG.
    """

    outputs: Sequence[Path]
    facts: Mapping[str, Fact]
    table: Sequence[Row] = ()
    picture: bytes | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a check passed, with the figures or offenders."""

    passed: bool
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """A check of an asset's bytes: named for what it asserts; `test` opens the bytes again."""

    name: str
    promise: str
    test: Callable[[Run], Outcome]
    blocking: bool = True


@dataclass(frozen=True, slots=True)
class Asset:
    """One artifact of a run.

    Args:
        name: Unique; receipt, picture and outcomes of checks are files of this name.
        group: Where the Dagster UI shows it; so does `kinds`.
        deps: Names of the assets it is made from.
        own_inputs: Fingerprints of its other inputs (files, slices of the recipe), by name. They contain no time and no path.
        make: Writes the outputs below the run's folder: each whole or not at all, the same bytes for the same inputs. It may
            resume what an interrupted call left, and raises a SplatError for what a user can mend.
        checks: They open the bytes again and change nothing. One more is put before them: the bytes are those that were written.
        code_version: Raised by hand when the same inputs give other bytes.

    Examples:
        >>> sizes = Asset("sizes", "Size of each build.", "inputs", ("json",), ("dataset",),
        ...               make=lambda run, progress: AssetResult([], {}), checks=())
        >>> [check.name for check in sizes.checks]
        ['sizes_is_intact']
    """

    name: str
    description: str
    group: str
    kinds: tuple[str, ...]
    deps: tuple[str, ...]
    make: Callable[[Run, Progress], AssetResult]
    checks: tuple[Check, ...]
    code_version: str = "1"
    own_inputs: Callable[[Run], dict[str, str]] = lambda run: {}

    def __post_init__(self) -> None:
        intact = _intact_check(self)
        others = (check for check in self.checks if check.name != intact.name)
        object.__setattr__(self, "checks", (intact, *others))


class Status(StrEnum):
    """The status of an asset: what is left to do before others may use it."""

    MISSING = "not made"
    STALE = "out of date"
    """Made by older code, or from inputs that have changed."""
    DAMAGED = "damaged"
    """An output is missing or has changed."""
    FAILED = "failed a check"
    """A check failed on the current bytes."""
    UNCHECKED = "not checked"
    """A check was not run on the current bytes."""
    SETTLED = "settled"

    @property
    def is_up_to_date(self) -> bool:
        """Whether there is nothing to make, checked or not."""
        return self in (Status.FAILED, Status.UNCHECKED, Status.SETTLED)


def recipe_hash(*parts: Any) -> str:
    """The fingerprint of slices of a recipe: dataclasses and plain values."""
    return sha256_of_json([asdict(part) if hasattr(part, "__dataclass_fields__") else part for part in parts])


def inputs_of(asset: Asset, run: Run) -> dict[str, str]:
    """The fingerprints of everything an asset is made from; InputError when a dependency was never made."""
    inputs = asset.own_inputs(run)
    for dep in asset.deps:
        receipt = read_receipt(run.layout.receipts, dep)
        if receipt is None:
            raise InputError(
                f"{asset.name} of run {run.name!r} needs {dep}, which was not made yet: "
                f"`splat materialize {run.name} --select {dep}`, or the whole run without --select"
            )
        inputs[dep] = receipt.fingerprint
    return inputs


def status_of(asset: Asset, run: Run) -> Status:
    """The status of the asset, without reading its outputs; CorruptStoreError when a receipt cannot be read."""
    receipt = read_receipt(run.layout.receipts, asset.name)
    if receipt is None:
        return Status.MISSING
    if not _is_from_what_is_there(asset, receipt, run):
        return Status.STALE
    if receipt.missing_outputs(run.layout.root):
        return Status.DAMAGED
    outcomes = recorded_outcomes(asset, run)
    if not all(outcome.passed for outcome in outcomes.values()):
        return Status.FAILED
    return Status.SETTLED if all(check.name in outcomes for check in asset.checks) else Status.UNCHECKED


def _is_from_what_is_there(asset: Asset, receipt: Receipt, run: Run) -> bool:
    """Whether today's code would make the asset from the same inputs."""
    if any(read_receipt(run.layout.receipts, dep) is None for dep in asset.deps):
        return False
    return receipt.is_for(asset.code_version, inputs_of(asset, run))


def require_checked(source: Asset, run: Run) -> None:
    """InputError unless the asset is up to date and passed its blocking checks."""
    again = f"`splat materialize {run.name} --select {source.name}`"
    status = status_of(source, run)
    if not status.is_up_to_date:
        raise InputError(f"not made, because {source.name} is {status}: {again}, or the whole run without --select")
    outcomes = recorded_outcomes(source, run)
    for check in source.checks:
        if check.blocking and check.name not in outcomes:
            raise InputError(
                f"not made, because {check.name} of {source.name} was not run on its current bytes: {again}"
            )
        if check.blocking and not outcomes[check.name].passed:
            raise InputError(f"not made, because of {source.name}: {failures(source, run, check.name)[0]}")


def bring_up_to_date(asset: Asset, run: Run, progress: Progress) -> Receipt:
    """Make the asset unless it is up to date, and return its receipt; one process at a time is at work on a run."""
    receipt = _current_receipt(asset, run)
    if receipt is not None:
        logger.info("%s is up to date", asset.name)
        return receipt
    with explaining_write_errors(asset.name, run.layout.root), locked(run.layout.root / ".lock"):
        # While this process waited, another may have made it.
        return _current_receipt(asset, run) or _made(asset, run, progress)


def _current_receipt(asset: Asset, run: Run) -> Receipt | None:
    return read_receipt(run.layout.receipts, asset.name) if status_of(asset, run).is_up_to_date else None


def _made(asset: Asset, run: Run, progress: Progress) -> Receipt:
    inputs = inputs_of(asset, run)
    with _recording_outcomes(run):
        for folder in run.layout.written:
            remove_leftovers(folder)
    began = time.monotonic()
    made = asset.make(run, progress)
    facts = {**made.facts, "table": [dict(row) for row in made.table]} if made.table else dict(made.facts)
    if made.picture is not None:
        with replacing_file(picture_of(asset.name, run)) as aside:
            aside.write_bytes(made.picture)
    seconds = time.monotonic() - began
    receipt = write_receipt(
        run.layout.receipts, run.layout.root, asset.name, asset.code_version, inputs, made.outputs, facts, seconds
    )
    logger.info("%s: %d bytes in %.1f s", asset.name, receipt.size_bytes, seconds)
    return receipt


def was_made(asset: Asset, run: Run) -> bool:
    """Whether the asset was ever made, whatever its status is now."""
    return (run.layout.receipts / f"{asset.name}.json").is_file()


def run_check(asset: Asset, check: Check, run: Run) -> Outcome:
    """Run a check, record the outcome beside the receipt, and return it.

    Returns:
        What the check says. It failed, too, where the asset was never made (fact `error`), and where the check raised: a
        SplatError is its fact `error`, anything else, as damaged bytes cause, its fact `broken`.

    Raises:
        DiskFullError: The outcome cannot be recorded.
        ModuleNotFoundError: An extra that reads the bytes is not installed.
    """
    try:
        receipt = read_receipt(run.layout.receipts, asset.name)
    except SplatError as error:
        return Outcome(False, {"error": str(error)})
    if receipt is None:
        return Outcome(False, {"error": f"{asset.name} was never made"})
    outcome = _tested(check, run)
    with explaining_write_errors(f"the outcome of {check.name}", run.layout.receipts), _recording_outcomes(run):
        if read_receipt(run.layout.receipts, asset.name) == receipt:  # otherwise made anew meanwhile
            recorded = {**recorded_outcomes(asset, run), check.name: outcome}
            checks = {name: {"passed": o.passed, "facts": dict(o.facts)} for name, o in recorded.items()}
            write_json(_outcomes_file(asset, run), {**_checked(receipt, run), "checks": checks})
    return outcome


def _tested(check: Check, run: Run) -> Outcome:
    """The outcome of a check: damaged bytes may raise anything in the libraries that read them."""
    try:
        outcome = check.test(run)
    except SplatError as error:
        return Outcome(False, {"error": str(error)})
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and extra_of(error.name):
            raise  # nothing is wrong with the bytes: what reads them is not installed
        logger.info("%s broke", check.name, exc_info=True)
        return Outcome(False, {"broken": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"})
    # JSON holds neither NaN nor infinity.
    facts = {name: str(v) if isinstance(v, float) and not math.isfinite(v) else v for name, v in outcome.facts.items()}
    return Outcome(outcome.passed, facts)


def recorded_outcomes(asset: Asset, run: Run) -> dict[str, Outcome]:
    """The outcomes of the checks on the current bytes; those of an earlier make, or of other limits, do not count."""
    path = _outcomes_file(asset, run)
    receipt = read_receipt(run.layout.receipts, asset.name)
    if receipt is None:
        return {}
    try:
        recorded = read_json(path)
        if any(recorded[name] != value for name, value in _checked(receipt, run).items()):
            return {}
        outcomes = {name: Outcome(**outcome) for name, outcome in recorded["checks"].items()}
        if not all(type(one.passed) is bool and isinstance(one.facts, dict) for one in outcomes.values()):
            raise TypeError("passed or facts have another type")
        return outcomes
    except FileNotFoundError:
        return {}
    except WRONG_CONTENT as error:
        logger.info("%s cannot be read (%s): the checks count as not run", path, error)
        return {}


def failures(asset: Asset, run: Run, only: str = "") -> list[str]:
    """For each check that failed on the current bytes: its name, figures and a remedy. only: this check alone."""
    receipt = read_receipt(run.layout.receipts, asset.name)
    if receipt is None:
        return []
    outputs = ", ".join(output.path for output in receipt.outputs) or "them"
    usual = f"if files of it were changed, delete {outputs} below the run's folder and "
    usual += f"`splat materialize {run.name}` makes it again"
    lines = []
    for name, outcome in recorded_outcomes(asset, run).items():
        if not outcome.passed and only in ("", name):
            figures = shown_facts({each: value for each, value in outcome.facts.items() if each != WHAT_TO_DO})
            remedy = outcome.facts.get(WHAT_TO_DO) or usual
            lines.append(f"{name} failed{f' ({figures})' if figures else ''}: {remedy}")
    return lines


def shown_facts(facts: Mapping[str, Any]) -> str:
    """Figures and offenders, shortened: no empty ones, four digits of a fraction, the first twelve of a sha256."""
    return "; ".join(f"{name}: {_shown(value)}" for name, value in facts.items() if value != "")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value):
        return value[:12]
    return str(value)


def offenders(wrong: Sequence[object], what: str, **facts: Fact) -> Outcome:
    """The outcome of a check that names what fails it: `wrong_<what>` holds the first twenty, separated by commas."""
    return Outcome(not wrong, {**facts, f"wrong_{what}": ", ".join(map(str, wrong[:20]))})


def _recording_outcomes(run: Run) -> AbstractContextManager[None]:
    """Wait until no other process records an outcome or sweeps; not the lock of the run, which a make holds."""
    return locked(run.layout.receipts / ".lock")


def _checked(receipt: Receipt, run: Run) -> dict[str, str]:
    """What an outcome is of: these bytes and these limits."""
    return {"fingerprint": receipt.fingerprint, "limits": recipe_hash(run.config.limits)}


def _outcomes_file(asset: Asset, run: Run) -> Path:
    return run.layout.receipts / f"{asset.name}.checks.json"


def picture_of(name: str, run: Run) -> Path:
    """Path of an asset's plot, if it has one."""
    return run.layout.receipts / f"{name}.png"


def _intact_check(asset: Asset) -> Check:
    def test(run: Run) -> Outcome:
        receipt = read_receipt(run.layout.receipts, asset.name)
        if receipt is None:
            return Outcome(False, {"missing": f"{asset.name} was never made"})
        changed = receipt.changed_outputs(run.layout.root)
        inputs = inputs_of(asset, run)
        stale = [name for name in inputs | receipt.inputs if inputs.get(name) != receipt.inputs.get(name)]
        facts: dict[str, Fact] = {"n_outputs": len(receipt.outputs), "size_bytes": receipt.size_bytes}
        if changed:
            facts["changed"] = ", ".join(changed)
        if stale:
            facts["made_from_other"] = ", ".join(stale)
        return Outcome(not changed and not stale, facts)

    promise = "The bytes on disk are those that were written, and come from the current inputs."
    return Check(f"{asset.name}_is_intact", promise, test)
