"""The protocol of activation databases, implemented by the local store and the HTTP client, and the values in its answers.

Everything that investigates features is written against `ActivationDatabase` and cannot tell which of the two it has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, NotRequired, Protocol, TypedDict

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from splat_assets.domain.concepts import Rule
from splat_assets.store.activations import SampleFeatures, checked_id
from splat_serving.database.arrow_arrays import numpy_of
from splat_serving.database.selection import Selection, check_count, check_finite, check_names


@dataclass(frozen=True, slots=True)
class About:
    """Content and provenance of a database.

    version: the id of the published version, or a fingerprint of the folder. layout: the format that is read. provenance:
    fingerprints (sha256) of base model, SAE, data and vocabularies, as in the manifest; empty for a folder of guide formats.
    computed: the available tables.
    """

    name: str
    version: str
    layout: str
    n_samples: int
    n_features: int
    n_activations: int | None
    provenance: Mapping[str, Any]
    computed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FeatureActivations:
    """Selected activations of one feature.

    n_active: number of activations of the feature. n_matching: number that match the filters, before the draw and the page.
    table: the requested columns, one row per returned activation.
    """

    feature_id: int
    version: str
    n_active: int
    n_matching: int
    table: pa.Table

    @property
    def n_rows(self) -> int:
        """The number of rows returned."""
        return int(self.table.num_rows)

    @property
    def sample_ids(self) -> npt.NDArray[np.integer[Any]]:
        """The samples, in the order of the rows; requires the column `global_index`."""
        return self._numpy("global_index")

    @property
    def values(self) -> npt.NDArray[np.float32]:
        """The activations, float32, in the order of the rows; requires the column `activation`."""
        return self._numpy("activation")

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table."""
        return self.table

    def to_polars(self) -> pl.DataFrame:
        """The rows as a polars frame."""
        frame = pl.from_arrow(self.table)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def _numpy(self, name: str) -> npt.NDArray[Any]:
        column = self.table[name]
        return numpy_of(column.chunk(0) if column.num_chunks == 1 else column.combine_chunks())


@dataclass(frozen=True, slots=True)
class Condition:
    """A feature that fires with a value from `min` (above 0 if left out) to `max`."""

    feature: int
    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        """InputError or ParameterError for an invalid condition."""
        checked_id("feature", self.feature)
        check_finite("min", self.min)
        check_finite("max", self.max)


@dataclass(frozen=True, slots=True)
class Query:
    """Samples on which every condition of `all`, at least one of `any` (if there are any) and none of `none` holds.

    weapon: the sample has one of these. token: it has every one of these. Named by id or name.
    """

    all: tuple[Condition, ...] = ()
    any: tuple[Condition, ...] = ()
    none: tuple[Condition, ...] = ()
    weapon: tuple[str, ...] = ()
    token: tuple[str, ...] = ()
    offset: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        """ParameterError for an invalid page or names."""
        check_count("offset", self.offset)
        if self.limit is not None:
            check_count("limit", self.limit)
        check_names("weapon", self.weapon)
        check_names("token", self.token)

    @property
    def features(self) -> tuple[int, ...]:
        """The features of the conditions, each once, in order."""
        return tuple(dict.fromkeys(one.feature for one in (*self.all, *self.any, *self.none)))


@dataclass(frozen=True, slots=True)
class QueryResult:
    """n_matching: samples that match the query. table: those of the page, by rising id, with the samples' columns and one
    column `feature_<id>` per feature of the query (0 where it does not fire)."""

    version: str
    n_matching: int
    table: pa.Table


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample: its columns by name, and the features that fire on it (in feature order)."""

    sample_id: int
    version: str
    columns: Mapping[str, Any]
    features: SampleFeatures


@dataclass(frozen=True, slots=True)
class Associations:
    """Association of features with a set of samples: those with a token, with a weapon, or on which a feature fires.

    n_set: samples in the set. n_samples: all. table: one row per feature that fires in the set, strongest association
    first, with `feature_id, n_both, n_active, share_of_set, share_of_feature, lift, phi` (see `association_table`).
    """

    version: str
    what: str
    n_set: int
    n_samples: int
    table: pa.Table


class Statistics(TypedDict):
    """A feature's row of `features.parquet`. Summaries are over its active samples, those that end with `_all` over all samples,
    zeros included; None without active samples."""

    feature_id: int
    n_active: int
    n_samples: int
    sparsity: float
    effective_max: float | None
    min: float | None
    q25: float | None
    median: float | None
    q75: float | None
    q90: float | None
    q95: float | None
    q99: float | None
    max: float | None
    mean: float | None
    std: float | None
    min_all: float | None
    q25_all: float | None
    median_all: float | None
    q75_all: float | None
    q90_all: float | None
    q95_all: float | None
    q99_all: float | None
    max_all: float | None
    mean_all: float | None
    std_all: float | None
    first_sample: int | None
    last_sample: int | None
    crc32c: int | None


class HistogramValues(TypedDict):
    """Activations above zero in bins of equal width. edges: n_bins + 1, empty like counts for a feature that never fires. n_zero:
    samples on which it does not fire; they are in no bin. rule: how the edges are made."""

    rule: str
    n_zero: int
    edges: list[float]
    counts: list[int]


class Influence(TypedDict):
    """A feature's effect on one output. value: change of its logit per unit of activation, `W_dec @ W_out^T`. in_data: whether
    the output occurs in the data; left out where that was not counted, as token_id where a guide table has names only."""

    token: str
    value: float
    token_id: NotRequired[int]
    in_data: NotRequired[bool]


class Influences(TypedDict):
    """Outputs that a feature raises, and those that it lowers; the strongest first, outputs that never occur last."""

    raised: list[Influence]
    lowered: list[Influence]


NO_INFLUENCES: Influences = {"raised": [], "lowered": []}


class Neighbour(TypedDict):
    """A feature near another one. n_both: samples on which both fire."""

    feature_id: int
    score: float
    n_both: int


class Suggestion(TypedDict):
    """The best rule over builds for a feature, chosen on training builds; its scores are on held-out builds. suggested: if it is
    good enough to be a label. text and what follows are None where no rule was chosen."""

    feature_id: int
    n_active: int
    suggested: bool | None
    text: str | None
    rule: str | None
    precision: float | None
    recall: float | None
    f1: float | None
    f1_low: float | None
    f1_high: float | None
    auroc: float | None
    n: int | None
    n_rule: int | None
    n_active_held_out: int | None
    n_both: int | None
    train_f1: float | None
    token: str | None
    token_f1: float | None
    threshold: float | None
    n_null: int | None
    p: float | None
    q: float | None


@dataclass(frozen=True, slots=True)
class FeatureSummary:
    """The record of one feature, as JSON values. None means "not computed", never zero.

    neighbours: by kind (decoder_cosine, jaccard, pearson), nearest first. examples: by group (top, bands, random); each has rank,
    activation and the columns of its sample. suggestion: not reviewed by a person; labels are in `splat_serving.labels`.
    """

    feature_id: int
    version: str
    statistics: Statistics
    histogram: HistogramValues
    influences: Influences | None
    neighbours: Mapping[str, list[Neighbour]] | None
    examples: Mapping[str, list[dict[str, Any]]] | None
    suggestion: Suggestion | None = field(default=None)


@dataclass(frozen=True, slots=True)
class Published:
    """One version of a run, or a run without any, as a data root or a server lists it.

    published: time, UTC. scorecard: metrics of its SAE; empty if unknown, and then `said` is the reason, as for an unreadable
    version.
    """

    run: str
    version: str | None
    current: bool = False
    published: datetime | None = None
    n_samples: int | None = None
    n_features: int | None = None
    n_activations: int | None = None
    scorecard: Mapping[str, Any] = field(default_factory=dict)
    said: str = ""

    @classmethod
    def of_json(cls, row: Mapping[str, Any]) -> "Published":
        """From the output of `as_json`; KeyError, TypeError or ValueError for anything else."""
        fields = {name: row[name] for name in cls.__slots__}
        published = datetime.fromisoformat(row["published"]) if row["published"] is not None else None
        return cls(**{**fields, "published": published})

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "published": self.published.isoformat() if self.published else None}


class ActivationDatabase(Protocol):
    """Activations of one run, by feature and by sample, and what was computed from them.

    An implementation guarantees:

    - Each answer is of one version, which it names where it has a `version`; two calls may be answered from two versions.
    - The same question about the same version has the same answer, in the documented order, whichever implementation answers.
    - Methods may be called from several threads at once. Tables and frames may be shared between callers: change a copy.
    - Nothing needs to be picklable: another process opens the database again.

    Every method raises FeatureNotFoundError or SampleNotFoundError (naming the valid range) for an id outside,
    ParameterError for an invalid parameter, UnknownNameError for an unknown token or weapon, NotComputedError
    or LayoutError for data that this database does not hold, CorruptStoreError for damaged bytes. One behind a connection
    raises ServerError where the other end cannot answer. Each is a SplatError, and each text names the remedy.
    """

    def about(self) -> About:
        """What this database holds, and its fingerprints.

        Examples:
            >>> about = database.about()
            >>> (about.n_features, len(about.version), "influences" in about.computed)
            (96, 16, True)
        """
        ...

    def activations(
        self, feature_id: int, selection: Selection | None = None, columns: Sequence[str] | None = None
    ) -> FeatureActivations:
        """Activations of one feature.

        Args:
            feature_id: 0 to `about().n_features` - 1.
            selection: Which activations, and in which order; all, by rising sample id, if left out.
            columns: Names of `sample_columns.COLUMNS`; the guide's (`sample_columns.DEFAULT`) if left out.

        Returns:
            One row per activation: `activation` is float32 and above 0, `global_index` the sample. Rows are in the order of the
            selection, equal values by rising sample id; a random share depends on its seed and the feature alone.

        Raises:
            NotComputedError: For a column of samples in a folder without sample metadata.

        Examples:
            >>> from splat_serving.database.selection import Selection
            >>> strongest = database.activations(1, Selection(order="activation", limit=2), ("global_index", "activation"))
            >>> (strongest.n_rows, strongest.table.column_names, bool(strongest.values[0] >= strongest.values[1]))
            (2, ['global_index', 'activation'], True)
        """
        ...

    def feature(self, feature_id: int) -> FeatureSummary:
        """Statistics, histogram, influences, neighbours and examples of one feature.

        Returns:
            JSON values. Statistics and histogram are always there; any other part is None where it was not computed.

        Examples:
            >>> summary = database.feature(1)
            >>> summary.statistics["n_active"] == sum(summary.histogram["counts"])
            True
        """
        ...

    def features(self) -> pl.DataFrame:
        """Statistics of all features, one row each, and `effect`: mean activation x largest |influence|, null if not known.

        Returns:
            The columns of `Statistics`, by rising feature id, dead features included.

        Examples:
            >>> database.features().filter(n_active=0).get_column("mean").null_count() > 0
            True
        """
        ...

    def suggestions(self) -> pl.DataFrame:
        """The best rule for each feature with its held-out scores, one row each; see `compute.suggested_labels`.

        Returns:
            The columns of `Suggestion`, by rising feature id.
        """
        ...

    def feature_map(self) -> pl.DataFrame:
        """Position and cluster of each feature by decoder and by co-activation, one row each; see `compute.feature_map`.

        Returns:
            `feature_id`, `decoder_x`, `decoder_y`, `decoder_cluster`, and the same with `coactivation_`, by rising feature id; a
            feature without neighbours has null.
        """
        ...

    def sample(self, sample_id: int) -> Sample:
        """One sample and the features that fire on it.

        Args:
            sample_id: 0 to `about().n_samples` - 1.

        Returns:
            Its columns as JSON values, and the features by rising id with float32 values above 0.

        Raises:
            NotComputedError: Without sample metadata, or without a layout that can be read by sample.

        Examples:
            >>> sample = database.sample(1)
            >>> sample.columns["weapon_id"] == database.samples(["weapon_id"])["weapon_id"][1].as_py()
            True
        """
        ...

    def samples(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All samples, in the order of their ids: row number = sample id.

        Args:
            columns: Names of `sample_columns.OF_SAMPLES`; `OF_BUILDS` if left out.
        """
        ...

    def tokens(self) -> pl.DataFrame:
        """The vocabulary by rising id: `token_id, token, group, level`, and `doc_freq, idf` where they were computed."""
        ...

    def weapons(self) -> pl.DataFrame:
        """The weapons by rising id: `weapon_id, key, name` and one column per attribute."""
        ...

    def features_of_token(self, token: str) -> Associations:
        """Association of each feature with a token.

        Args:
            token: An id as text, or a name.
        """
        ...

    def influences_on(self, token: str) -> pl.DataFrame:
        """Change of an output token's logit per unit of each feature (`W_dec @ W_out^T`).

        Args:
            token: An id as text, or a name.

        Returns:
            `feature_id, influence` (float32), one row each, by rising id. A guide table holds only the most affected tokens: null
            for the others.

        Raises:
            NotComputedError: Without influences.
            UnknownNameError: For a token that is not an output.
        """
        ...

    def features_of_weapon(self, weapon: str) -> Associations:
        """Association of each feature with a weapon.

        Args:
            weapon: An id as text, a key or a name.

        Examples:
            >>> of_weapon = database.features_of_weapon("3")
            >>> (of_weapon.what, of_weapon.table.column_names[:2])
            ('weapon 3', ['feature_id', 'n_both'])
        """
        ...

    def features_of_rule(self, rule: Rule) -> Associations:
        """Association of each feature with the builds on which a rule holds.

        Raises:
            InputError: For a rule with unknown names.

        Examples:
            >>> from splat_assets.domain.concepts import parse_rule
            >>> swimmers = database.features_of_rule(parse_rule({"ability": "swim_speed_up", "at_least": 3}))
            >>> 0 <= swimmers.n_set <= swimmers.n_samples
            True
        """
        ...

    def coactivation(self, feature_id: int) -> Associations:
        """Co-activation of each other feature with this one, which is not among the rows."""
        ...

    def query(self, query: Query) -> QueryResult:
        """Samples that match conditions on several features, by rising id.

        Raises:
            ParameterError: For more than 64 conditions.

        Examples:
            >>> from splat_serving.database.protocol import Condition, Query
            >>> both = database.query(Query(all=(Condition(1, min=0.1), Condition(2)), limit=10))
            >>> both.table.num_rows == min(both.n_matching, 10)
            True
        """
        ...
