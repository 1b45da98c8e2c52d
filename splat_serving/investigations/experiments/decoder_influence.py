"""What a feature does to the model's outputs, read off the weights: tokens it raises and lowers, by family and by rung."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field

from splat_assets.errors import InputError
from splat_assets.wording import unknown_name
from splat_serving.database.errors import NotComputedError
from splat_serving.database.home import how_to_compute
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.results.outputs import IN_DATA, INFLUENCE, marked, outputs_frame
from splat_serving.investigations.results.result import Answer, LinesOrBars, ResultTable, Series, finite
from splat_serving.investigations.spec import Ability, FeatureSpec
from splat_serving.investigations.subject import Subject


class DecoderInfluence(FeatureSpec):
    """Which outputs a feature raises and lowers, read off the weights: by token, by ability and by rung.

    The product of the decoder direction with the output layer. For a hook behind which nothing but the output layer follows
    (masked_mean) this is the whole effect; for token_ff it is the direct path, and `ablation` measures the rest.
    """

    experiment: Literal["decoder-influence"] = "decoder-influence"
    top_k: Annotated[int, Field(ge=1, le=1_000, description="So many outputs of each sign.")] = 15
    exclude_family: Annotated[tuple[Ability, ...], Field(description="Leave out the tokens of these abilities.")] = ()


def _answer(subject: Subject, spec: DecoderInfluence) -> Answer:
    summary = subject.database.feature(spec.feature_id)
    if summary.influences is None:
        raise NotComputedError(
            f"influences were not computed for version {summary.version}: {how_to_compute('influences', subject.about.layout)}"
        )
    groups = subject.vocabulary.groups
    for name in spec.exclude_family:
        if name not in groups:
            raise InputError(unknown_name("ability", name, list(groups)))
    left_out = {token.name for name in spec.exclude_family for token in groups[name]}
    found = {
        key: [one for one in summary.influences[key] if one["token"] not in left_out] for key in ("raised", "lowered")
    }
    by_token = {one["token"]: float(one["value"]) for rows in found.values() for one in rows}
    tables = [_tokens(key, title, found[key][: spec.top_k]) for key, title in _TITLES.items()]
    whole = set(by_token) >= {token.name for members in groups.values() for token in members} - left_out
    families, rungs = _by_family(subject, by_token), _by_rung(subject, by_token)
    if whole:  # the guide's own table keeps only the strongest tokens, of which no mean can be made
        tables += [families, rungs]
    return Answer(
        title=f"What feature {spec.feature_id} does to the outputs",
        findings=[_in_a_sentence(found)],
        tables=tables,
        figures=[_figure(found, spec.top_k)],
        warnings=[] if whole else ["only the strongest outputs were kept here: means by ability are not known"],
    )


_TITLES = {"raised": "Outputs it raises", "lowered": "Outputs it lowers"}


def _in_a_sentence(found: dict[str, list[Mapping[str, Any]]]) -> str:
    """The strongest of each sign that occurs in the data."""
    parts = []
    for verb, rows in (("raises", found["raised"]), ("lowers", found["lowered"])):
        if rows and rows[0].get("in_data") is not False:  # those that never occur are last
            parts.append(f"{verb} {rows[0]['token']} most ({rows[0]['value']:+.3g} per unit of activation)")
    return f"It {' and '.join(parts)}." if parts else "It moves no output that occurs in the data."


def _tokens(name: str, title: str, rows: list[Mapping[str, Any]]) -> ResultTable:
    described = {"token": "The output.", "influence": INFLUENCE, "in_data": IN_DATA}
    return ResultTable.of(name, title, "weights", outputs_frame(rows), described)


def _by_family(subject: Subject, by_token: dict[str, float]) -> ResultTable:
    rows = [
        (name, len(values), sum(values) / len(values), min(values), max(values))
        for name, members in subject.vocabulary.groups.items()
        if (values := [by_token[token.name] for token in members if token.name in by_token])
    ]
    schema = {"ability": pl.String, "n": pl.Int64, "mean": pl.Float64, "least": pl.Float64, "most": pl.Float64}
    frame = pl.DataFrame(rows, schema, orient="row").sort(pl.col("mean").abs(), descending=True)
    described = {
        "ability": "The ability.",
        "n": "Its tokens.",
        "mean": "Mean influence over them.",
        "least": "Smallest of them.",
        "most": "Largest of them.",
    }
    return ResultTable.of("families", "By ability", "weights", frame, described)


def _by_rung(subject: Subject, by_token: dict[str, float]) -> ResultTable:
    values: dict[int, list[float]] = defaultdict(list)
    for members in subject.vocabulary.groups.values():
        for token in members:
            if token.name in by_token and token.level is not None:
                values[token.level].append(by_token[token.name])
    rows = [(level, len(found), sum(found) / len(found)) for level, found in sorted(values.items())]
    frame = pl.DataFrame(rows, {"rung": pl.Int64, "n": pl.Int64, "mean": pl.Float64}, orient="row")
    described = {"rung": "AP.", "n": "Tokens on this rung.", "mean": "Mean influence over them."}
    return ResultTable.of("rungs", "By rung", "weights", frame, described)


def _figure(found: dict[str, list[Mapping[str, Any]]], top_k: int) -> LinesOrBars:
    rows = [*found["raised"][:top_k], *reversed(found["lowered"][:top_k])]
    names = [marked(one["token"], one.get("in_data")) for one in rows]
    bars = Series(name="influence", x=[*names], y=finite(one["value"] for one in rows))
    return LinesOrBars(
        kind="bars",
        name="influence",
        title="Outputs it moves",
        x_label="output",
        y_label="logit per unit",
        series=[bars],
    )


EXPERIMENT = Experiment(DecoderInfluence, _answer)
