"""`splat investigate`: a full investigation of one feature, from triage to a proposed label, as one report.

Each section is an experiment that can be run by itself with the spec in the report. Results choose the next experiments: the
abilities that explain most of the activation are swept, the strongest two against each other.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field

from splat_assets.errors import InputError, SplatError
from splat_assets.text.wording import counted
from splat_serving.database.errors import NotComputedError
from splat_serving.investigations.build_text import token_in_words
from splat_serving.investigations.edited_builds import draw_builds
from splat_serving.investigations.experiment import run, spec_of
from splat_serving.investigations.experiments.family_sweep import NumberOfBuilds
from splat_serving.investigations.overview import Overview, overview
from splat_serving.investigations.results.rendering import as_markdown, in_markdown
from splat_serving.investigations.results.result import Result
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject
from splat_serving.investigations.suggest import Suggest, suggest

_EXPLAINS_AT_LEAST = 0.005
"""An ability is swept if its rungs explain this share of the variance of the activation, or if it is the first."""
_HEATMAP_CELLS = 12
_FEWEST_BUILDS = 8
_TRIED = 16


class Investigate(FeatureSpec):
    """A full investigation of one feature: triage, overview, sweeps, weapons, effect, checks, and a proposed label."""

    experiment: Literal["investigate"] = "investigate"
    n_families: Annotated[
        int, Field(ge=0, le=26, description="How many abilities to sweep: those that explain most variance.")
    ] = 3
    n_builds: NumberOfBuilds = 64
    causal_seconds: Annotated[
        float | None,
        Field(
            gt=0,
            description="Approximate time limit in seconds for all causal sweeps together: on a slow machine fewer "
            "builds are edited. If not given: no limit.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Part:
    """A section of a report: its heading, the question, and the result; None where it could not be run."""

    heading: str
    reason: str
    result: Result | None
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """A feature's report. findings: the conclusions, each with its section. spec: the specification as JSON, with the number of
    builds that were edited."""

    feature_id: int
    findings: list[str]
    warnings: list[str]
    parts: list[Part]
    spec: dict[str, Any]

    @property
    def results(self) -> list[Result]:
        """The results, in order."""
        return [part.result for part in self.parts if part.result is not None]


def investigate(
    subject: Subject, spec: Investigate, command: str = "", step: Callable[[str], None] = lambda text: None
) -> Report:
    """Run all experiments that suit a feature, each chosen by the results before it.

    Args:
        step: Called with the heading of each part before it runs.

    Returns:
        A report; parts that could not be run say why in `refused`, and the rest goes on. A dead feature has the overview only.

    Raises:
        FeatureNotFoundError: For a feature that the SAE does not have.

    Examples:
        >>> report = investigate(subject, Investigate(feature_id=1, n_families=0, n_builds=2))
        >>> report.parts[0].heading, report.spec["n_builds"]
        ('Overview', 2)
    """
    parts: list[Part] = []

    def ask(heading: str, reason: str, name: str, **settings: Any) -> Result | None:
        step(heading)
        try:
            section = spec_of({"experiment": name, "feature_id": spec.feature_id, "seed": spec.seed, **settings})
            result = run(subject, section, command)
        except (NotComputedError, InputError) as error:
            parts.append(Part(heading, reason, None, str(error)))
            return None
        parts.append(Part(heading, reason, result))
        return result

    step("overview")
    page = overview(subject, Overview(feature_id=spec.feature_id, seed=spec.seed), command)
    parts.append(
        Part("Overview", "How often and how strongly does it fire, on which builds, and with which effect?", page)
    )
    n_builds = spec.n_builds
    if page.facts["n_active"]:
        families = _families(page, spec.n_families)
        if spec.causal_seconds is not None:
            n_builds = min(n_builds, _affordable(subject, spec, families, spec.causal_seconds))
        _ask_further(ask, families, n_builds)
        parts.append(_suggested(subject, spec, command))
    warnings = list(dict.fromkeys(text for part in parts if part.result for text in part.result.warnings))
    if n_builds < spec.n_builds:
        warnings.append(
            f"within {spec.causal_seconds:g} s this machine edits {counted(n_builds, 'builds')} per causal sweep, not "
            f"{spec.n_builds}: --n-builds {n_builds} without --causal-seconds gives the same report anywhere"
        )
    taken = spec.model_copy(update={"n_builds": n_builds})
    return Report(spec.feature_id, list(_conclusions(parts)), warnings, parts, taken.model_dump(mode="json"))


def _ask_further(ask: Callable[..., Result | None], families: list[str], n_builds: int) -> None:
    for name in families:
        reason = "Its rungs explain more of the activation than those of most abilities: is the effect causal?"
        ask(f"Sweep of {token_in_words(name)}", reason, "family-sweep", family=name, n_builds=n_builds)
    if len(families) > 1:
        ask(
            f"{token_in_words(families[0])} with {token_in_words(families[1])}",
            "Do the effects of the two strongest abilities add up, or do they interact?",
            "heatmap",
            family_x=families[0],
            family_y=families[1],
            n_builds=max(2, n_builds // 2),
            max_cells=_HEATMAP_CELLS,
        )
    held = {"primary_family": families[0]} if families else {}
    ask("Weapons", "Is it the weapon rather than the abilities?", "weapon-sweep")
    ask("Kits", "Is it a sub or special?", "kit-sweep")
    ask("Main-only abilities", "Does a main-only ability matter, adjusted for the strongest ability?", "binary", **held)
    ask(
        "Smallest core",
        "Which smallest set of abilities predicts where it fires, on held-out builds?",
        "minimal-core",
    )
    ask("Effect on the outputs", "Which outputs does it change on the direct path?", "decoder-influence")
    ask(
        "Ablation",
        "Is its effect larger than that of random directions and of features as frequent?",
        "ablation",
        n_builds=32,
    )
    ask("Stability", "Do two halves of the builds agree?", "split-half")
    ask("Chance", "Are the associations stronger than those of shuffled activations?", "shuffle-null")


def _suggested(subject: Subject, spec: Investigate, command: str) -> Part:
    suggestion = suggest(subject, Suggest(feature_id=spec.feature_id, seed=spec.seed), command)
    return Part("Proposed label", "Which rule over builds describes it best, scored on held-out builds?", suggestion)


def _affordable(subject: Subject, spec: Investigate, families: list[str], seconds: float) -> int:
    """How many builds each sweep can edit within the time, from a measurement of the model's speed."""
    if not subject.has_model or not families:
        return spec.n_builds
    try:
        draw = draw_builds(subject, spec.feature_id, _TRIED, spec.seed)
    except InputError:  # the experiments that edit builds report it
        return spec.n_builds
    if not draw.sets:
        return spec.n_builds
    draw.activations(draw.sets[:2], range(2))  # loads the model
    began = time.perf_counter()
    draw.activations(draw.sets, range(len(draw.sets)))
    per_build = (time.perf_counter() - began) / len(draw.sets)
    edits = sum(subject.builds.group(name).n_rungs + 1 for name in families) + (
        _HEATMAP_CELLS / 2 if len(families) > 1 else 0
    )
    return max(_FEWEST_BUILDS, int(seconds / per_build / edits))


def _families(page: Result, most: int) -> list[str]:
    responses = page.table("doses").frame
    ordered = responses.filter(pl.col("eta2").is_not_null()).sort("eta2", descending=True)
    strong = ordered.filter((pl.col("eta2") >= _EXPLAINS_AT_LEAST) | (pl.int_range(pl.len()) == 0))
    return list(strong["ability"][:most]) if not strong.is_empty() else []


def _conclusions(parts: list[Part]) -> Iterator[str]:
    for part in parts:
        if part.result is not None:
            for sentence in part.result.findings:
                yield f"{part.heading}: {sentence}"


def report_as_markdown(report: Report) -> str:
    """The report: findings first, then every section with its question, its tables and its specification in JSON."""
    lines = [f"# Feature {report.feature_id}: report\n", "## Findings\n"]
    lines += [f"- {in_markdown(sentence)}" for sentence in report.findings]
    lines += ["", *(f"> **Warning:** {in_markdown(warning)}\n" for warning in report.warnings)]
    lines.append(f"Specification: `{_spec_as_json(report.spec)}`\n")
    for part in report.parts:
        if part.result is None:
            lines.append(f"## {part.heading}\n\n*{part.reason}*\n\nNot run: {part.refused}\n")
            continue
        body = as_markdown(part.result).split("\n", 2)[2].replace("\n## ", "\n### ")
        lines.append(
            f"## {part.heading}\n\n*{part.reason}*\n\n{body}\n\nSpecification: `{_spec_as_json(part.result.spec)}`\n"
        )
    return "\n".join(lines)


def _spec_as_json(spec: dict[str, Any]) -> str:
    return json.dumps(spec, ensure_ascii=False)


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write the report as Markdown, and as one HTML file that holds each result as JSON, too; returns both paths.

    Raises SplatError when folder cannot be written.
    """
    from splat_serving.investigations.results.plotting import as_html

    try:
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / f"feature-{report.feature_id:05d}"
        markdown, page = stem.with_suffix(".md"), stem.with_suffix(".html")
        markdown.write_text(report_as_markdown(report), encoding="utf-8")
        page.write_text(
            as_html(
                report.results, f"Feature {report.feature_id}: report", f"Specification: {_spec_as_json(report.spec)}"
            ),
            encoding="utf-8",
        )
    except OSError as error:
        raise SplatError(f"the report cannot be written to {folder}: {error.strerror}") from error
    return [markdown, page]
