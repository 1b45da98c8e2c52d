"""Answers of an activation server as values. No I/O here.

What these functions raise of Python's own errors (`OTHER_SHAPE`) means that an answer has another shape.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from splat_assets.store.activations import SampleFeatures
from splat_assets.text.wording import counted
from splat_serving.database.protocol import About, Associations, FeatureActivations, FeatureSummary, Sample

OTHER_SHAPE = (
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    pa.ArrowException,
    pl.exceptions.PolarsError,
)
_PREFIX = b"splat."


def record_batches(pieces: Iterator[bytes]) -> Iterator[pa.RecordBatch]:
    """The record batches of an Arrow stream, each as soon as its bytes are there; one is held at a time.

    pieces: the bytes of the stream in order, however they are cut. Raises pyarrow.ArrowInvalid for bytes that are not an Arrow
    stream, and for one that breaks off: that ends before its end mark, or with fewer rows than its head says.
    """
    source = _Bytes(pieces)
    reader = pa.ipc.open_stream(pa.PythonFile(source, mode="r"))
    n_rows = 0
    for batch in reader:
        n_rows += batch.num_rows
        yield batch
    if source.ended:
        raise pa.ArrowInvalid(f"the Arrow stream breaks off after {counted(n_rows, 'rows')}")
    _check_n_rows(reader.schema, n_rows)
    missing = sorted({"version", "n_active", "n_matching"} - set(facts_of(reader.schema)[0]))
    if missing:
        raise pa.ArrowInvalid(f"its head does not say {', '.join(missing)}")


class _Bytes(io.RawIOBase):
    """A file of pieces that arrive. ended: whether more was read than there was."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.ended = False
        self._pieces = pieces
        self._held = b""

    def read(self, n_bytes: int = -1) -> bytes:
        parts, size = [self._held], len(self._held)
        while size < n_bytes or n_bytes < 0:
            piece = next(self._pieces, None)
            if piece is None:
                self.ended = True
                break
            parts.append(piece)
            size += len(piece)
        whole = b"".join(parts)
        cut = size if n_bytes < 0 else n_bytes
        self._held = whole[cut:]
        return whole[:cut]

    def readable(self) -> bool:
        return True


def table_of(content: bytes, needed: Sequence[str] = ()) -> tuple[pa.Table, dict[str, str]]:
    """The table of a whole Arrow stream, which has the columns that are needed, and the facts of its head."""
    table = pa.ipc.open_stream(content).read_all()
    _check_n_rows(table.schema, table.num_rows)
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        raise ValueError(f"no column {', '.join(missing)}")
    facts, others = facts_of(table.schema)
    return table.replace_schema_metadata(others), facts


def facts_of(schema: pa.Schema) -> tuple[dict[str, str], dict[bytes, bytes] | None]:
    """What the server says of a whole answer in the metadata of its schema, by name; and the other metadata."""
    metadata = schema.metadata or {}
    facts = {
        key.removeprefix(_PREFIX).decode(errors="replace"): value.decode(errors="replace")
        for key, value in metadata.items()
        if key.startswith(_PREFIX)
    }
    return facts, {key: value for key, value in metadata.items() if not key.startswith(_PREFIX)} or None


def _check_n_rows(schema: pa.Schema, n_rows: int) -> None:
    stated = facts_of(schema)[0].get("n_rows")
    if stated != str(n_rows):
        raise pa.ArrowInvalid(f"{counted(n_rows, 'rows')} instead of {stated}")


def members_of(content: bytes) -> Mapping[str, Any]:
    """The members of a JSON object."""
    members = orjson.loads(content)
    if not isinstance(members, dict):
        raise TypeError(f"{type(members).__name__} instead of an object")
    return members


def about_of(content: bytes) -> About:
    """The answer of /version."""
    members = members_of(content)
    return About(
        name=_text(members["run"]),
        version=_text(members["version"]),
        layout=_text(members["layout"]),
        n_samples=_count(members["n_samples"]),
        n_features=_count(members["n_features"]),
        n_activations=None if members["n_activations"] is None else _count(members["n_activations"]),
        provenance=dict(members["provenance"]),
        computed=tuple(_text(one) for one in members["computed"]),
    )


def activations_of(content: bytes, feature_id: int, columns: Sequence[str]) -> FeatureActivations:
    """The answer of /activations/{feature_id}."""
    table, facts = table_of(content, columns)
    return FeatureActivations(feature_id, facts["version"], int(facts["n_active"]), int(facts["n_matching"]), table)


def activations_by_feature(content: bytes, feature_ids: Sequence[int]) -> dict[int, FeatureActivations]:
    """The answer of /activations on many features: one table, cut into those of each without copying."""
    table, facts = table_of(content)
    by_feature: dict[int, FeatureActivations] = {}
    columns, at = table.drop_columns("feature_id"), 0
    for one in orjson.loads(facts["features"]):
        rows = columns.slice(at, _count(one["n_rows"]))
        at += one["n_rows"]
        feature_id = _count(one["feature_id"])
        n_active, n_matching = _count(one["n_active"]), _count(one["n_matching"])
        by_feature[feature_id] = FeatureActivations(feature_id, facts["version"], n_active, n_matching, rows)
    if at != table.num_rows:
        raise ValueError(f"{table.num_rows} rows instead of {at}")
    if list(by_feature) != list(feature_ids):
        raise ValueError("other features than were asked for")
    return by_feature


def summary_of(content: bytes, feature_id: int) -> FeatureSummary:
    """The answer of /features/{feature_id}."""
    members = members_of(content)
    if members["feature_id"] != feature_id:
        raise ValueError(f"feature {members['feature_id']} instead of {feature_id}")
    return FeatureSummary(**{name: members[name] for name in FeatureSummary.__slots__})


def sample_of(content: bytes, sample_id: int) -> Sample:
    """The answer of /samples/{sample_id}; feature ids are int64."""
    members = dict(members_of(content))
    stated, version, features, n_active = (
        members.pop(name) for name in ("sample_id", "version", "features", "n_active")
    )
    ids, values = np.asarray(features["feature_id"], dtype=np.int64), np.asarray(features["activation"], np.float32)
    if stated != sample_id:
        raise ValueError(f"sample {stated} instead of {sample_id}")
    if not ids.shape == values.shape == (n_active,):
        raise ValueError(f"{ids.size} features and {values.size} activations, of {n_active}")
    return Sample(sample_id, _text(version), members, SampleFeatures(ids, values))


def associations_of(content: bytes) -> Associations:
    """The answer of the paths that end with /features, and of /coactivation."""
    table, facts = table_of(content, ("feature_id", "n_both", "n_active"))
    return Associations(facts["version"], facts["of"], int(facts["n_set"]), int(facts["n_samples"]), table)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} instead of a text")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{value!r} instead of a count")
    return value
