"""A feature in the weights: the outputs it raises and lowers, and features with a similar decoder direction."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from splat_assets.errors import InputError
from splat_assets.text.wording import counted, unknown_name
from splat_serving.database.errors import NotComputedError
from splat_serving.database.home import how_to_compute
from splat_serving.database.protocol import Influence
from splat_serving.investigations.build_text import token_in_words
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.results.feature_names import LABEL, feature_names
from splat_serving.investigations.results.outputs import IN_DATA, INFLUENCE, marked, outputs_frame
from splat_serving.investigations.results.result import Answer, LinesOrBars, ResultTable, Series, finite
from splat_serving.investigations.spec import Ability, FeatureSpec
from splat_serving.investigations.subject import Subject


class DecoderInfluence(FeatureSpec):
    """Which outputs a feature raises and lowers, from the weights: by token, by ability and by rung.

    The product of the decoder direction with the output layer. For a hook that only the output layer follows (masked_mean)
    this is the whole effect; for token_ff it is the direct path, and `ablation` measures the rest.
    """

    experiment: Literal["decoder-influence"] = "decoder-influence"
    top_k: Annotated[int, Field(ge=1, le=1_000, description="How many outputs of each sign to show.")] = 15
    exclude_family: Annotated[tuple[Ability, ...], Field(description="Leave out the tokens of these abilities.")] = ()


def _decoder_influence_answer(subject: Subject, spec: DecoderInfluence) -> Answer:
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
    influences = {
        "raised": [one for one in summary.influences["raised"] if one["token"] not in left_out],
        "lowered": [one for one in summary.influences["lowered"] if one["token"] not in left_out],
    }
    by_token = {one["token"]: float(one["value"]) for rows in influences.values() for one in rows}
    tables = [_tokens(key, title, influences[key][: spec.top_k]) for key, title in _TITLES.items()]
    whole = set(by_token) >= {token.name for members in groups.values() for token in members} - left_out
    families, rungs = _by_family(subject, by_token), _by_rung(subject, by_token)
    if whole:  # the guide's own table keeps only the strongest tokens, too few for means
        tables += [families, rungs]
    return Answer(
        title=f"Effect of feature {spec.feature_id} on the outputs",
        findings=[_influence_sentence(influences)],
        tables=tables,
        figures=[_figure(influences, spec.top_k)],
        warnings=[] if whole else ["only the strongest outputs are stored here, so means by ability are unknown"],
    )


_TITLES = {"raised": "Outputs it raises", "lowered": "Outputs it lowers"}


def _influence_sentence(influences: Mapping[str, list[Influence]]) -> str:
    """The strongest of each sign that occurs in the data."""
    parts = []
    for verb, rows in (("raises", influences["raised"]), ("lowers", influences["lowered"])):
        if rows and rows[0].get("in_data") is not False:  # those that never occur are last
            name = token_in_words(rows[0]["token"])
            parts.append(f"{verb} {name} most ({rows[0]['value']:+.3g} logits per unit of activation)")
    return f"The feature {' and '.join(parts)}." if parts else "The feature affects no output that occurs in the data."


def _tokens(name: str, title: str, rows: list[Influence]) -> ResultTable:
    described = {"token": "The output.", "influence": INFLUENCE, "in_data": IN_DATA}
    return ResultTable.of(name, title, "weights", outputs_frame(rows), described)


def _by_family(subject: Subject, by_token: dict[str, float]) -> ResultTable:
    rows = [
        (name, len(values), sum(values) / len(values), min(values), max(values))
        for name, members in subject.vocabulary.groups.items()
        if (values := [by_token[token.name] for token in members if token.name in by_token])
    ]
    rows.sort(key=lambda row: abs(row[2]), reverse=True)
    described = {
        "ability": "The ability.",
        "n": "Number of its tokens.",
        "mean": "Mean influence over them.",
        "least": "Smallest influence.",
        "most": "Largest influence.",
    }
    return ResultTable.of("families", "By ability", "weights", rows, described)


def _by_rung(subject: Subject, by_token: dict[str, float]) -> ResultTable:
    values: dict[int, list[float]] = defaultdict(list)
    for members in subject.vocabulary.groups.values():
        for token in members:
            if token.name in by_token and token.level is not None:
                values[token.level].append(by_token[token.name])
    rows = [(level, len(own), sum(own) / len(own)) for level, own in sorted(values.items())]
    described = {"rung": "AP.", "n": "Number of tokens on this rung.", "mean": "Mean influence over them."}
    return ResultTable.of("rungs", "By rung", "weights", rows, described)


def _figure(influences: Mapping[str, list[Influence]], top_k: int) -> LinesOrBars:
    rows = [*influences["raised"][:top_k], *reversed(influences["lowered"][:top_k])]
    names = [marked(one["token"], one.get("in_data")) for one in rows]
    bars = Series(name="influence", x=[*names], y=finite(one["value"] for one in rows))
    return LinesOrBars(
        kind="bars",
        name="influence",
        title="Influence on the outputs",
        x_label="output",
        y_label="logit change per unit",
        series=[bars],
    )


class DecoderSimilar(FeatureSpec):
    """Features with a similar decoder direction (cosine), and whether they fire on the same samples.

    Similar directions that fire on different samples are alternatives; those that fire together share one concept.
    """

    experiment: Literal["decoder-similar"] = "decoder-similar"
    top_k: Annotated[
        int, Field(ge=1, le=1_000, description="How many features to show; a store keeps the nearest 20.")
    ] = 10


def _decoder_similar_answer(subject: Subject, spec: DecoderSimilar) -> Answer:
    summary = subject.database.feature(spec.feature_id)
    if summary.neighbours is None:
        raise NotComputedError(
            f"neighbours were not computed for version {summary.version}: {how_to_compute('neighbours', subject.about.layout)}"
        )
    counts = dict(subject.database.features().select("feature_id", "n_active").iter_rows())
    own, names = counts[spec.feature_id], feature_names(subject)
    rows = []
    for one in summary.neighbours.get("decoder_cosine", [])[: spec.top_k]:
        other, both = counts[one["feature_id"]], one["n_both"]
        either = own + other - both
        jaccard = both / either if either else None
        rows.append((one["feature_id"], names.get(one["feature_id"], ""), one["score"], other, both, jaccard))
    described = {
        "feature": "The other feature.",
        "label": LABEL,
        "cosine": "Cosine of the decoder directions.",
        "n_active": "Samples on which the other feature fires.",
        "n_both": "Samples on which both fire.",
        "jaccard": "n_both over samples on which at least one fires.",
    }
    table = ResultTable.of("similar", "Nearest decoder directions", "weights", rows, described)
    fewer = [f"only {counted(len(rows), 'neighbours')} per feature are stored"] if len(rows) < spec.top_k else []
    return Answer(
        title=f"Features with a decoder direction like feature {spec.feature_id}", tables=[table], warnings=fewer
    )


EXPERIMENTS = (
    Experiment(DecoderInfluence, _decoder_influence_answer),
    Experiment(DecoderSimilar, _decoder_similar_answer),
)
