"""The database of a store, or of a folder of guide formats, on this machine: every answer is read or computed from its bytes.

What a published version has tables of is read from them. From a folder without tables statistics and histogram of a feature
are computed from its activations; the rest (influences, neighbours) is "not computed".
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.analysis.histogram import EDGES_RULE, bin_edges, histogram_of
from splat_assets.analysis.inference.similarity import association_table
from splat_assets.analysis.statistics import feature_statistics
from splat_assets.domain.concepts import Rule
from splat_assets.domain.rule_text import rule_as_text
from splat_assets.store.activations import ActivationReader, Activations, checked_id
from splat_assets.store.errors import FeatureNotFoundError, LayoutError, SampleNotFoundError
from splat_assets.store.published.publishing import open_store
from splat_assets.store.sparse.reader import SparseReader
from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_assets.text.wording import counted
from splat_serving.database.arrow_arrays import arrow_of
from splat_serving.database.errors import NotComputedError, ParameterError
from splat_serving.database.folder import Folder, Source
from splat_serving.database.home import PUBLISHED, how_to_compute
from splat_serving.database.protocol import (
    About,
    Associations,
    Condition,
    FeatureActivations,
    FeatureSummary,
    HistogramValues,
    Influences,
    Query,
    QueryResult,
    Sample,
    Statistics,
    Suggestion,
)
from splat_serving.database.sample_columns import (
    OF_SAMPLES,
    Ids,
    SampleColumns,
    checked_columns,
    checked_sample_columns,
    token_id,
)
from splat_serving.database.selection import Selection, matching_values, page
from splat_serving.database.summary import (
    drawn_examples,
    examples_of,
    influences_of,
    influences_on,
    largest_influences,
    neighbours_of,
)

_BLOCK_SAMPLES = 16_384
_FEW_IN_A_BLOCK = 512  # reading so many samples one by one costs as much as reading and checking the whole block
_MOST_CONDITIONS = 64


class LocalDatabase:
    """Activations on this machine behind the protocol `ActivationDatabase`. Safe to use from threads."""

    def __init__(self, source: Source, name: str = "") -> None:
        """source: an opened version of a store, or an opened folder. name: of the run, if it is one."""
        self._source = source
        self.name = name
        self.reader: ActivationReader = source.reader
        self.version = source.version
        self.state = source.state if isinstance(source, Folder) else ""
        """State that can change within a version: empty for a sealed store, marks of the files for a folder."""
        self._kept: dict[str, pl.DataFrame] = {}

    @classmethod
    def open(cls, *folders: Path | str, name: str = "") -> "LocalDatabase":
        """The published store at the folder (a run's, a store's or a version's), else the fastest guide format of the folders.

        Args:
            folders: One folder, or several with formats of the same activations.
            name: Of the run, for `about()` and for messages.

        Raises:
            LayoutError: When the folders hold neither.
            NotPublishedError: For a run without a published version.
            CorruptStoreError: When a file is damaged or missing.

        Examples:
            >>> from splat_serving.database.local import LocalDatabase
            >>> LocalDatabase.open("data/runs/demo").about().layout
            'published store'
            >>> LocalDatabase.open("data/runs/demo/activations_efficient").about().layout
            'batch tree'
        """
        if len(folders) == 1 and Folder.is_published(Path(folders[0])):
            return cls(open_store(folders[0]), name)
        return cls(Folder.open(*folders), name)

    def about(self) -> About:
        """What this database holds, and its fingerprints."""
        source = self._source
        return About(
            name=self.name,
            version=self.version,
            layout=self._layout,
            n_samples=self.reader.n_samples,
            n_features=self.reader.n_features,
            n_activations=self.reader.nnz if isinstance(self.reader, SparseReader) else None,
            provenance=source.provenance if isinstance(source, Folder) else source.manifest.provenance,
            computed=tuple(name for name in _TABLES if source.has(f"{name}.parquet")),
        )

    @property
    def _layout(self) -> str:
        return self._source.layout if isinstance(self._source, Folder) else PUBLISHED

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The tokens of the base model, None where the folder does not record them."""
        source = self._source
        return source.vocabulary if isinstance(source, Folder) or source.has("vocabulary.json") else None

    @property
    def contexts(self) -> Contexts | None:
        """The weapons of the base model, None where the folder does not record them."""
        source = self._source
        return source.contexts if isinstance(source, Folder) or source.has("contexts.json") else None

    @cached_property
    def vocabularies(self) -> str:
        """The fingerprints of vocabularies that lie beside what is opened; empty for a version, which holds its own."""
        if not isinstance(self._source, Folder):
            return ""
        return " ".join(one.fingerprint for one in (self._source.vocabulary, self._source.contexts) if one is not None)

    @cached_property
    def columns(self) -> SampleColumns:
        """The samples by column; NotComputedError without sample metadata."""
        return SampleColumns(self._source.sample_table, self.vocabulary, self.contexts)

    def checked_feature(self, feature_id: int) -> int:
        """The id itself; FeatureNotFoundError names the valid range, InputError if it is not a whole number."""
        feature_id = checked_id("feature", feature_id)
        if not 0 <= feature_id < self.reader.n_features:
            raise FeatureNotFoundError(feature_id, self.reader.n_features, self.name or "this store")
        return feature_id

    def select(self, feature_id: int, selection: Selection) -> tuple[Activations, int, int]:
        """The selected activations, in order; their total number; the number that match the filters."""
        whole = self.reader.read(self.checked_feature(feature_id))
        kept = self._matching(selection, whole)
        matching = whole if kept is None else Activations(whole.sample_ids[kept], whole.values[kept])
        rows = page(selection, matching.values, feature_id)
        sample_ids, values = matching.sample_ids[rows], matching.values[rows]
        if isinstance(rows, slice) and values.size < matching.n_active:  # a view would keep the whole feature in memory
            sample_ids, values = sample_ids.copy(), values.copy()
        return Activations(sample_ids, values), whole.n_active, matching.n_active

    def most_rows(self, feature_id: int, selection: Selection) -> int:
        """Upper bound of the number of selected activations, without reading anything."""
        offsets = self.reader.by_feature.indptr if isinstance(self.reader, SparseReader) else None
        known = self.reader.n_samples if offsets is None else int(offsets[feature_id + 1] - offsets[feature_id])
        return known if selection.limit is None else min(known, selection.limit)

    def activations(
        self, feature_id: int, selection: Selection | None = None, columns: Sequence[str] | None = None
    ) -> FeatureActivations:
        """Activations of one feature. columns: names of `sample_columns.COLUMNS`; the guide's where none are named."""
        names = checked_columns(columns)
        selected, n_active, n_matching = self.select(feature_id, selection or Selection())
        table = pa.Table.from_batches([self.batch(names, selected.sample_ids, selected.values)])
        return FeatureActivations(feature_id, self.version, n_active, n_matching, table)

    def batch(self, columns: Sequence[str], sample_ids: Ids, values: npt.NDArray[Any] | None = None) -> pa.RecordBatch:
        """The named columns of these samples, one row each. values: their activations, for the column of that name."""
        own: dict[str, Any] = {"global_index": sample_ids, "activation": values}
        arrays = [arrow_of(own[name]) if name in own else self.columns.take(name, sample_ids) for name in columns]
        return pa.RecordBatch.from_arrays(arrays, names=list(columns))

    def feature(self, feature_id: int) -> FeatureSummary:
        """Statistics, histogram, influences, neighbours and examples of one feature."""
        feature_id = self.checked_feature(feature_id)
        source = self._source
        if source.has("features.parquet") and source.has("histograms.parquet"):
            statistics = cast(Statistics, self._by_feature("features").row(feature_id, named=True))
            row = self._by_feature("histograms").row(feature_id, named=True)
            counts = np.asarray(row["counts"], dtype=np.uint64)
            histogram = _histogram(row["lower"], row["upper"], counts, row["n_zero"])
        else:
            activations = self.reader.read(feature_id)
            statistics = statistics_of(activations, feature_id, self.reader.n_samples)
            own = histogram_of(activations.values)
            n_zero = self.reader.n_samples - activations.n_active
            histogram = _histogram(own.lower, own.upper, own.counts, n_zero)
        suggested = source.has("suggested_labels.parquet")
        return FeatureSummary(
            feature_id=feature_id,
            version=self.version,
            statistics=statistics,
            histogram=histogram,
            influences=self._influences_of(feature_id),
            neighbours=neighbours_of(source, feature_id),
            examples=self._examples_of(feature_id),
            suggestion=cast(Suggestion, self.suggestions().row(feature_id, named=True)) if suggested else None,
        )

    def features(self) -> pl.DataFrame:
        """Statistics of all features, and `effect`; NotComputedError for a folder without that table."""
        if not self._source.has("features.parquet"):
            raise NotComputedError(
                "statistics of all features were not computed here: `splat histograms --data-dir … --output-dir …/precomputed`"
            )
        return self._features_with_effect

    def suggestions(self) -> pl.DataFrame:
        """The best rule for each feature; NotComputedError for a version or folder without that table."""
        return self._computed("suggested_labels", "suggested labels were", "suggested labels")

    def feature_map(self) -> pl.DataFrame:
        """Position and cluster of each feature; NotComputedError for a version or folder without that table."""
        return self._computed("feature_map", "a map of the features was", "the map")

    def _computed(self, name: str, missing: str, what: str) -> pl.DataFrame:
        if not self._source.has(f"{name}.parquet"):
            raise NotComputedError(
                f"{missing} not computed for {self.name or 'this store'}, version {self.version}: "
                f"{how_to_compute(what, self._layout)}"
            )
        return self._by_feature(name)

    def sample(self, sample_id: int) -> Sample:
        """One sample and the features that fire on it."""
        sample_id = self._checked_sample(sample_id)
        in_batches = self._source.by_sample if isinstance(self._source, Folder) else None
        features = (in_batches or self._rows_reader()).sample(sample_id)
        return Sample(sample_id, self.version, self._described([sample_id])[0], features)

    def samples(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All samples, in the order of their ids. columns: names of `sample_columns.OF_SAMPLES`; `OF_BUILDS` if left out."""
        batches = list(self.sample_batches(checked_sample_columns(columns), 0, self.reader.n_samples))
        return pa.Table.from_batches(batches).combine_chunks()

    def sample_batches(
        self, columns: Sequence[str], first: int, stop: int, block_rows: int = 2**18
    ) -> Iterator[pa.RecordBatch]:
        """Samples first to stop - 1, one batch per block, at least one batch; NotComputedError without sample metadata."""
        for start in range(first, max(stop, first + 1), block_rows):
            ids = np.arange(start, max(start, min(start + block_rows, stop)), dtype=np.int64)
            yield self.batch(columns, ids)

    def tokens(self) -> pl.DataFrame:
        """The vocabulary: `token_id, token, group, level`, and `doc_freq, idf` where they were computed."""
        if self.vocabulary is None:
            raise NotComputedError("this folder does not record its vocabulary: pass --vocab-path")
        frame = pl.DataFrame(
            [(token.id, token.name, token.group, token.level) for token in self.vocabulary.tokens],
            schema={"token_id": pl.Int32, "token": pl.String, "group": pl.String, "level": pl.Int32},
            orient="row",
        )
        if not self._source.has("idf.parquet"):
            return frame
        idf = self._source.table("idf").select(
            pl.col("ability_input_tokens").cast(pl.Int32).alias("token_id"), "doc_freq", "idf"
        )
        return frame.join(idf, on="token_id", how="left", maintain_order="left")

    def weapons(self) -> pl.DataFrame:
        """The weapons: `weapon_id, key, name` and one column per attribute."""
        if self.contexts is None:
            raise NotComputedError("this folder does not record its weapons: pass --weapon-vocab-path")
        items = self.contexts.items
        attributes = list(dict.fromkeys(name for item in items for name in item.attributes))
        return pl.DataFrame(
            [(item.id, item.key, item.name, *(item.attributes.get(name) for name in attributes)) for item in items],
            schema={
                "weapon_id": pl.Int32,
                "key": pl.String,
                "name": pl.String,
                **dict.fromkeys(attributes, pl.String),
            },
            orient="row",
        )

    def features_of_token(self, token: str) -> Associations:
        """Association of each feature with a token, named by id or name."""
        token_id = self.columns.token_id(token)
        return self._associations(f"token {token_id}", np.flatnonzero(self.columns.with_token(token_id)))

    def influences_on(self, token: str) -> pl.DataFrame:
        """Change of an output token's logit per unit of each feature, by feature id; null if a guide table lacks it."""
        if not self._source.has("influences.parquet"):
            raise NotComputedError(
                "influences were not computed for this version: effects of features on a token are unknown"
            )
        known = self.vocabulary
        name = token if known is None else known.tokens[token_id(token, known)].name
        return influences_on(*self._influences, name)

    def features_of_weapon(self, weapon: str) -> Associations:
        """Association of each feature with a weapon, named by id, key or name."""
        weapon_id = self.columns.weapon_id(weapon)
        return self._associations(f"weapon {weapon_id}", np.flatnonzero(self.columns.weapons == weapon_id))

    def features_of_rule(self, rule: Rule) -> Associations:
        """Association of each feature with the builds on which a rule holds; InputError for a rule with unknown names."""
        return self._associations(f"rule {rule_as_text(rule)}", np.flatnonzero(self.builds.holds(rule)))

    @cached_property
    def builds(self) -> BuildTable:
        """The build of every sample; NotComputedError if vocabulary, weapons or sample metadata are missing."""
        if self.vocabulary is None or self.contexts is None:
            raise NotComputedError(
                "this folder does not record its vocabularies: pass --vocab-path and --weapon-vocab-path"
            )
        columns = self.columns
        return BuildTable(columns.token_values, columns.token_offsets, columns.weapons, self.vocabulary, self.contexts)

    def coactivation(self, feature_id: int) -> Associations:
        """Co-activation of each other feature with this one."""
        feature_id = self.checked_feature(feature_id)
        activations = self.reader.read(feature_id)
        return self._associations(f"feature {feature_id}", activations.sample_ids, without=feature_id)

    def query(self, query: Query) -> QueryResult:
        """Samples that match conditions on several features."""
        fits = self._fitting(query)
        ids = np.flatnonzero(fits)
        stop = None if query.limit is None else query.offset + query.limit
        shown = ids[query.offset : stop]
        arrays = {"global_index": arrow_of(shown)}
        if self._source.has_samples:
            arrays |= {name: self.columns.take(name, shown) for name in self._known_of_samples}
        for feature_id in query.features:
            arrays[f"feature_{feature_id}"] = arrow_of(self._values_on(feature_id, shown))
        return QueryResult(self.version, int(ids.size), pa.table(arrays))

    def _fitting(self, query: Query) -> npt.NDArray[np.bool_]:
        """Which samples match the query: bool, shape (n_samples,)."""
        if len(query.all) + len(query.any) + len(query.none) > _MOST_CONDITIONS:
            raise ParameterError("conditions", f"at most {_MOST_CONDITIONS} in one query")
        fits = np.ones(self.reader.n_samples, dtype=np.bool_)
        if query.any:
            fits[:] = False
            for condition in query.any:
                fits[self._samples_of(condition)] = True
        for condition in query.all:
            here = np.zeros_like(fits)
            here[self._samples_of(condition)] = True
            fits &= here
        for condition in query.none:
            fits[self._samples_of(condition)] = False
        if query.weapon or query.token:
            fits &= np.logical_and.reduce(self.columns.holding(query.weapon, query.token))
        return fits

    def _samples_of(self, condition: Condition) -> Ids:
        activations = self.reader.read(condition.feature)
        kept = matching_values(
            Selection(min_activation=condition.min, max_activation=condition.max), activations.values
        )
        return activations.sample_ids if kept is None else activations.sample_ids[kept]

    def _values_on(self, feature_id: int, sample_ids: Ids) -> npt.NDArray[np.float32]:
        activations = self.reader.read(feature_id)
        at = np.searchsorted(activations.sample_ids, sample_ids)
        values = np.zeros(sample_ids.size, dtype=np.float32)
        there = at < activations.sample_ids.size
        there[there] = activations.sample_ids[at[there]] == sample_ids[there]
        values[there] = activations.values[at[there]]
        return values

    def _matching(self, selection: Selection, activations: Activations) -> npt.NDArray[np.bool_] | None:
        if selection.keeps_all:
            return None
        kept = matching_values(selection, activations.values)
        conditions = [] if kept is None else [kept]
        if selection.weapon or selection.token:
            conditions += self.columns.holding(selection.weapon, selection.token, activations.sample_ids)
        return np.asarray(np.logical_and.reduce(conditions))

    def _associations(self, what: str, sample_ids: Ids, without: int | None = None) -> Associations:
        n_both = self._counts_over(sample_ids)
        if without is not None:
            n_both[without] = 0
        reader = self._rows_reader()
        table = association_table(n_both, reader.feature_n_active, int(sample_ids.size), reader.n_samples)
        return Associations(self.version, what, int(sample_ids.size), reader.n_samples, table.to_arrow())

    def _counts_over(self, sample_ids: Ids) -> npt.NDArray[np.int64]:
        """On how many of these samples (rising ids) each feature fires: int64, shape (n_features,)."""
        from splat_serving.database.kernels import count_features

        reader = self._rows_reader()
        counts = np.zeros(reader.n_features, dtype=np.int64)
        starts = np.arange(0, reader.n_samples + _BLOCK_SAMPLES, _BLOCK_SAMPLES)
        cuts = np.searchsorted(sample_ids, starts)
        for first, lo, hi in zip(starts.tolist(), cuts.tolist(), cuts[1:].tolist(), strict=False):
            rows = sample_ids[lo:hi].astype(np.int64)
            if 0 < rows.size < _FEW_IN_A_BLOCK:
                for row in rows.tolist():
                    counts[reader.sample(row).feature_ids] += 1
            elif rows.size:
                block = reader.block(first, min(first + _BLOCK_SAMPLES, reader.n_samples))
                count_features(first, rows, block.indptr, block.feature_ids, counts)
        return counts

    def _rows_reader(self) -> SparseReader:
        if isinstance(self.reader, SparseReader):
            return self.reader
        raise NotComputedError(
            f"{self._layout}: no layout here is indexed by sample; convert it with `splat import FOLDER --run NAME`, or "
            "--out DIR"
        )

    def _checked_sample(self, sample_id: int) -> int:
        sample_id = checked_id("sample", sample_id)
        if not 0 <= sample_id < self.reader.n_samples:
            raise SampleNotFoundError(sample_id, self.reader.n_samples, self.name or "this store")
        return sample_id

    def _described(self, sample_ids: Sequence[int]) -> list[dict[str, Any]]:
        """The columns of samples as JSON values, names included where they are known."""
        for sample_id in sample_ids:
            self._checked_sample(sample_id)
        ids = np.asarray(sample_ids, dtype=np.int64)
        rows: list[dict[str, Any]] = self.batch(["global_index", *self._known_of_samples], ids).to_pylist()
        return rows

    @property
    def _known_of_samples(self) -> list[str]:
        """The available columns of samples: the names of tokens need a vocabulary."""
        return [name for name in OF_SAMPLES if name != "abilities" or self.vocabulary is not None]

    def _by_feature(self, name: str) -> pl.DataFrame:
        """A table with one row per feature, row number = feature id, read once; LayoutError for one of other features or samples.

        A published version was validated; a folder may hold anything.
        """
        if name in self._kept:
            return self._kept[name]
        table = self._source.table(name)
        n_samples = self.reader.n_samples
        of_these = {"feature_id", *_NEEDED.get(name, ())} <= set(table.columns) and table[
            "feature_id"
        ].dtype.is_integer()
        if of_these:
            table = table.sort("feature_id")
            of_these = np.array_equal(table["feature_id"].to_numpy(), np.arange(self.reader.n_features))
        if of_these and "n_samples" in table.columns:
            of_these = bool((table["n_samples"] == n_samples).all())
        if not of_these:
            raise LayoutError(
                f"{name}.parquet of {self.name or 'this folder'} does not match the "
                f"{counted(self.reader.n_features, 'features')} on {counted(n_samples, 'samples')}: recompute or remove it"
            )
        self._kept[name] = table
        return table

    @cached_property
    def _features_with_effect(self) -> pl.DataFrame:
        """`effect` beside the statistics: the mean activation times the largest |influence| on an output that occurs in the data,
        null if influences were not computed.

        That is the change of the most affected logit on the direct path at the mean activation.
        """
        features = self._by_feature("features")
        if not self._source.has("influences.parquet"):
            return features.with_columns(effect=pl.lit(None, pl.Float64))
        largest = pl.Series("effect", largest_influences(*self._influences, self._in_data))
        return features.with_columns((largest * features["mean"].cast(pl.Float64)).alias("effect"))

    @cached_property
    def _influences(self) -> tuple[pl.DataFrame, dict[str, Any]]:
        """Cached, because reading one row decodes the whole table."""
        return self._by_feature("influences"), self._source.facts("influences")

    def _influences_of(self, feature_id: int) -> Influences | None:
        if not self._source.has("influences.parquet"):
            return None
        return influences_of(*self._influences, feature_id, self._in_data)

    @cached_property
    def _in_data(self) -> dict[str, bool] | None:
        """Whether each token occurs in the data; None if that was not counted."""
        if not self._source.has("idf.parquet"):
            return None
        idf = self._source.table("idf")
        return dict(zip(idf["token"].to_list(), (idf["doc_freq"] > 0).to_list(), strict=True))

    def _examples_of(self, feature_id: int) -> dict[str, Any] | None:
        """The examples of the table, else drawn in the same way; None for a folder without sample metadata."""
        source = self._source
        if isinstance(source, Folder):
            if not source.has_samples:
                return None
            if not source.has("examples.parquet"):
                return drawn_examples(self.reader, feature_id, self._described)
            facts = source.facts("examples")
            stated = (facts.get("n_samples"), facts.get("n_features"))
            if stated != (self.reader.n_samples, self.reader.n_features):
                raise LayoutError(
                    f"examples.parquet of {self.name or 'this folder'} is for {stated[0]} samples x {stated[1]} features, "
                    f"not the {self.reader.n_samples:,} x {self.reader.n_features:,} here: run `splat examples` again, or "
                    "remove it"
                )
        return examples_of(source, feature_id, self._described)


_TABLES = ("features", "histograms", "idf", "influences", "examples", "neighbours", "feature_map", "suggested_labels")
_SUMMARIES = ("min", "q25", "median", "q75", "q90", "q95", "q99", "max", "mean", "std")
_STATISTICS = ("n_active", "n_samples", "sparsity", *_SUMMARIES, *(f"{name}_all" for name in _SUMMARIES))
_NEEDED: Mapping[str, Sequence[str]] = {
    "features": _STATISTICS,
    "histograms": ("lower", "upper", "counts", "n_zero"),
    "feature_map": ("decoder_x", "decoder_y", "decoder_cluster", "coactivation_x"),
}
"""Required columns of tables."""


def statistics_of(activations: Activations, feature_id: int, n_samples: int) -> Statistics:
    """Statistics of a feature from its activations themselves, with the names that the tables use."""
    facts = feature_statistics(activations.values, n_samples)
    row: dict[str, Any] = {
        "feature_id": feature_id,
        "n_active": facts.n_active,
        "n_samples": n_samples,
        "sparsity": facts.sparsity,
        "effective_max": facts.effective_max,
    }
    for suffix, distribution in (("", facts.over_active), ("_all", facts.over_all)):
        for name in _SUMMARIES:
            row[f"{name}{suffix}"] = getattr(distribution, name) if distribution else None
    row["first_sample"] = int(activations.sample_ids[0]) if activations.n_active else None
    row["last_sample"] = int(activations.sample_ids[-1]) if activations.n_active else None
    row["crc32c"] = None
    return cast(Statistics, row)


def _histogram(
    lower: float | None, upper: float | None, counts: npt.NDArray[np.uint64], n_zero: int
) -> HistogramValues:
    edges = bin_edges(lower, upper, counts.size).tolist() if lower is not None and upper is not None else []
    return {"rule": EDGES_RULE, "n_zero": n_zero, "edges": edges, "counts": counts.tolist() if edges else []}
