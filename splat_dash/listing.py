"""The list of features: its rows in the order of a query, the selection of a map, and the position of a feature in it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from splat_dash.query import ListQuery, MapQuery
from splat_serving.database.errors import NotComputedError
from splat_serving.database.protocol import ActivationDatabase
from splat_serving.investigations.subject import Subject


@dataclass(frozen=True, slots=True)
class Place:
    """Position of a feature in a list. number: from 1, None if it is not in the list. other: a random one of the list, always
    the same."""

    number: int | None
    n_rows: int
    before: int | None
    after: int | None
    other: int | None


def place_in(ids: pl.Series, feature_id: int) -> Place:
    """Position of the feature in a list of ids, and its neighbours there; of a feature outside it, `after` is the first."""
    at = ids.index_of(feature_id)
    before, after = (None, 0) if at is None else (at - 1, at + 1)

    def id_at(place: int | None) -> int | None:
        return int(ids[place]) if place is not None and 0 <= place < ids.len() else None

    other = id_at(random.Random(feature_id).randrange(max(ids.len(), 1)))
    return Place(None if at is None else at + 1, ids.len(), id_at(before), id_at(after), other)


def all_features(database: ActivationDatabase) -> pl.DataFrame:
    """Statistics and suggestions of all features, in the order of their ids."""
    frame = database.features().select(
        pl.col("feature_id").cast(pl.UInt32),
        "n_active",
        (1 - pl.col("sparsity")).alias("density"),
        "max",
        "mean",
        "effect",
    )
    try:
        rules = database.suggestions()
    except NotComputedError:
        texts = (pl.lit(None, pl.String).alias(name) for name in ("text", "token"))
        return frame.with_columns(pl.lit(False).alias("suggested"), *texts, pl.lit(None, pl.Float64).alias("f1"))
    chosen = rules.select(
        pl.col("feature_id").cast(pl.UInt32), pl.col("suggested").fill_null(False), "text", "token", "f1"
    )
    return frame.join(chosen, on="feature_id", how="left", maintain_order="left")


def matching(features: pl.DataFrame, subject: Subject, query: ListQuery) -> pl.DataFrame:
    """Those of `all_features` that match a query, with their labels, in its order."""
    labels = subject.labels.current() if subject.has_labels else {}
    texts = {feature: event.label.text for feature, event in labels.items() if event.label}
    frame = _with(features, "label", list(texts), list(texts.values()), pl.String)
    by = query.sort.removeprefix("-")
    if query.state == "queued" or by == "queue":
        waiting = [event.feature_id for event in subject.labels.queue()] if subject.has_labels else []
        frame = _with(frame, "queue", waiting, range(len(waiting)), pl.UInt32)
    match query.state:
        case "labelled":
            frame = frame.filter(pl.col("label").is_not_null())
        case "unlabelled":
            skipped = subject.labels.skipped() if subject.has_labels else []
            frame = frame.filter(pl.col("label").is_null() & (pl.col("n_active") > 0))
            frame = frame.filter(~pl.col("feature_id").is_in(skipped))
        case "queued":
            frame = frame.filter(pl.col("queue").is_not_null())
        case "suggested":
            frame = frame.filter("suggested")
        case "dead":
            frame = frame.filter(pl.col("n_active") == 0)
    text = pl.concat_str(
        ["label", "text", "token", pl.col("feature_id").cast(pl.String)], separator=" ", ignore_nulls=True
    )
    words = query.q.lower().split()
    frame = frame.filter(_holds(words, text)).with_columns(best=_best(words))
    descending = [query.sort.startswith("-"), False]
    return frame.sort([by, "feature_id"], descending=descending, nulls_last=True).drop("best")


def selected(query: MapQuery, matches: Sequence[int]) -> pl.Expr:
    """Whether the query of a map selects a feature. matches: features that match its words."""
    chosen = pl.lit(query.chooses) & pl.col("x").is_not_null()
    if query.q:
        chosen &= pl.col("feature_id").is_in(matches)
    if query.cluster:
        chosen &= pl.col("cluster") == int(query.cluster)
    if query.corners:
        left, right, bottom, top = query.corners
        chosen &= pl.col("x").is_between(left, right) & pl.col("y").is_between(bottom, top)
    return chosen


def _with(
    frame: pl.DataFrame, name: str, ids: Sequence[int], values: Sequence[object], kind: type[pl.DataType]
) -> pl.DataFrame:
    known = pl.DataFrame({"feature_id": ids, name: values}, {"feature_id": pl.UInt32, name: kind})
    return frame.join(known, on="feature_id", how="left", maintain_order="left")


def _holds(words: Sequence[str], text: pl.Expr) -> pl.Expr:
    """Whether a text contains every word, ignoring case."""
    return pl.all_horizontal(
        pl.lit(True), *(text.str.to_lowercase().str.contains(word, literal=True) for word in words)
    )


def _best(words: Sequence[str]) -> pl.Expr:
    """The lower, the better a feature matches the words: by label, by best single token, by anything else; then by F1."""
    if not words:
        return pl.col("feature_id").cast(pl.Float64)
    named, token = (_holds(words, pl.col(name)).fill_null(False) for name in ("label", "token"))
    return pl.when(named).then(0.0).when(token).then(2.0).otherwise(4.0) - pl.col("f1").fill_null(0.0)
