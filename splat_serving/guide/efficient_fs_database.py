"""The guide's `EfficientFSDatabase`: upstream's method names and columns over a store or a folder of the guide's formats.

A thin layer over `LocalDatabase`. Everything is read or computed from the activations and the sample table; nothing is
estimated, and random draws are seeded. Samples are addressed by position (`global_index`), never by a stored index.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from splat_assets.analysis.histogram import histogram_of
from splat_assets.analysis.inference.similarity import association_table
from splat_assets.errors import InputError
from splat_assets.store.activations import Activations
from splat_assets.store.errors import CorruptStoreError, LayoutError
from splat_assets.store.importing.samples import metadata_tables, read_metadata
from splat_assets.store.opening import Layout, layouts_in, open_fastest
from splat_assets.store.published.publishing import open_store
from splat_assets.store.published.version import Store
from splat_assets.store.sparse.reader import SparseReader
from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_assets.text.wording import counted
from splat_serving.database.errors import ParameterError
from splat_serving.database.folder import Folder, recorded
from splat_serving.database.local import LocalDatabase, statistics_of
from splat_serving.database.sample_columns import DEFAULT, checked_columns
from splat_serving.database.selection import Selection, page
from splat_serving.guide.storage_backends import LoadersReader, ReaderLoader, name_of, own_loaders
from splat_serving.guide.storage_config import ActivationLoader, StorageConfig

_BLOCK_SAMPLES = 16_384


class FeatureStats(TypedDict):
    """Statistics of one feature. None, never zero, where a statistic is undefined."""

    min: float | None
    max: float | None
    mean: float | None
    median: float | None
    std: float | None
    q25: float | None
    q75: float | None
    n_zeros: int
    n_total: int
    sparsity: float | None


class WeaponCount(TypedDict):
    """Number of samples with a weapon on which a feature fires, and the mean activation on those.

    weapon_id: -1 where the weapon is unknown. weapon_name: None where no name is recorded.
    """

    weapon_id: int
    weapon_name: str | None
    n: int
    mean_activation: float


class FeatureSummary(FeatureStats):
    """Statistics over active samples, and the weapons on which a feature fires most often.

    n_examples: number of samples on which it fires. top_weapons: most samples first; None without sample metadata.
    """

    feature_id: int
    n_examples: int
    top_weapons: list[WeaponCount] | None


class EfficientFSDatabase:
    """Activations of one model by feature and by sample, from Python. Safe to use from threads, if own loaders are.

    Every method raises FeatureNotFoundError or SampleNotFoundError (naming the valid range) for an id outside, ParameterError
    for an invalid parameter, NotComputedError for what the folder does not hold, CorruptStoreError for damaged bytes,
    InvalidActivationsError or LoaderError for a custom backend that returns invalid data or fails.

    Examples:
        >>> from splat_serving.efficient_fs_database import EfficientFSDatabase
        >>> database = EfficientFSDatabase("data/runs/demo/activations_efficient")
        >>> database.get_top_examples(1, limit=3).columns[:3]
        ['index', 'activation', 'ability_input_tokens']
        >>> database.get_feature_stats(1)["n_total"] == database.n_samples
        True
    """

    def __init__(
        self,
        data_dir: Path | str | None = None,
        examples_dir: Path | str | None = None,
        num_bins: int = 20,
        transposed_dir: Path | str | None = None,
        neuron_acts_dir: Path | str | None = None,
        config: StorageConfig | None = None,
    ) -> None:
        """Open the folders of a configuration, or the folders passed; see `StorageConfig` for what each may be.

        Args:
            num_bins: Bins of `get_feature_histogram`.
            config: Instead of the folders; further formats and custom backends need one.

        Raises:
            LayoutError: When a folder is missing, holds nothing, or holds another run's activations than the others.
            InputError: When folders are passed twice or not at all.
        """
        if num_bins < 1:
            raise ParameterError("num_bins", f"must be 1 or more, not {num_bins}")
        self.config = _configured(config, data_dir, examples_dir, transposed_dir, neuron_acts_dir)
        self.num_bins = num_bins
        self._own = own_loaders(self.config)
        self._source = _opened(self.config, self._own)
        self._reader = self._init_storage_backends()
        # Rows are read from the folder, features from the first backend that has them.
        self._by_sample = LocalDatabase(self._source, self.config.model_type)
        self._by_feature = LocalDatabase(self._source, self.config.model_type)
        self._by_feature.reader = self._reader

    def _init_storage_backends(self) -> LoadersReader:
        """Own backends first, then the fastest layout that the folders offer."""
        source = self._source
        if isinstance(source.reader, LoadersReader):
            return source.reader
        layout = source.layout if isinstance(source, Folder) else Layout.STORE.title
        loaders = [*self._own, ReaderLoader(source.reader, layout)]
        return LoadersReader(loaders, source.reader.n_features, source.reader.n_samples, self.config.model_type)

    @property
    def loaders(self) -> tuple[str, ...]:
        """The names of the backends, in the order in which they are tried for a feature."""
        return tuple(name_of(loader) for loader in self._reader.loaders)

    @property
    def n_samples(self) -> int:
        """The number of samples, those without any activation included."""
        return self._reader.n_samples

    @property
    def n_features(self) -> int:
        """The number of features, dead ones included."""
        return self._reader.n_features

    def get_all_feature_ids(self) -> list[int]:
        """Every feature, dead ones included."""
        return list(range(self.n_features))

    def get_feature_histogram(self, feature_id: int) -> pl.DataFrame:
        """Exact counts of the values > 0 in num_bins equal bins from 0 to the largest: highest bin first; no rows if it is dead.

        Columns: bin_idx (0 is the lowest bin), lower_bound, upper_bound, count. A bin holds its lower bound and not its upper
        one, except the highest, which holds both.
        """
        histogram = histogram_of(self._reader.read(feature_id).values, self.num_bins)
        edges = histogram.edges
        counts = histogram.counts if edges.size else histogram.counts[:0]
        rows = {
            "bin_idx": np.arange(counts.size, dtype=np.int64),
            "lower_bound": edges[:-1],
            "upper_bound": edges[1:],
            "count": counts.astype(np.int64),
        }
        return pl.DataFrame(rows).reverse()

    def get_feature_activations(self, feature_id: int, limit: int | None = None) -> pl.DataFrame:
        """The strongest activations, strongest first, equal ones by sample; all without a limit.

        Columns: index (the sample's `global_index`), activation, ability_input_tokens, weapon_id_token, weapon_id (both the index
        in the weapon vocabulary), batch_id and sample_id (the row in that batch; in a published store batches are the shards it
        was made in), is_null.
        """
        return self._strongest(feature_id, limit)

    def get_feature_stats(self, feature_id: int, with_zeros: bool = False) -> FeatureStats:
        """Exact statistics over the active samples, or over all samples with_zeros.

        n_zeros, n_total and sparsity (n_zeros / n_total) are of all samples either way. A dead feature has None for every
        statistic over its active samples. Quantiles interpolate linearly; std divides by n. They come from the table
        `features.parquet` where there is one and no own backend stands before it, else from the activations.
        """
        if not self._own and self._source.has("features.parquet"):
            row = self._by_sample.features().row(self._by_sample.checked_feature(feature_id), named=True)
        else:
            row = dict(statistics_of(self._reader.read(feature_id), feature_id, self.n_samples))
        suffix = "_all" if with_zeros else ""
        stats = {name: row[f"{name}{suffix}"] for name in ("min", "max", "mean", "median", "std", "q25", "q75")}
        counts = {"n_zeros": row["n_samples"] - row["n_active"], "n_total": row["n_samples"]}
        return cast(FeatureStats, {**stats, **counts, "sparsity": row["sparsity"]})

    def get_single_token_examples(self, feature_id: int, limit: int = 50) -> pl.DataFrame:
        """The strongest activations among samples of one token, as `get_feature_activations`. Upstream returns pandas."""
        return self._strongest(feature_id, limit, n_tokens=1)

    def get_pair_examples(self, feature_id: int, limit: int = 50) -> pl.DataFrame:
        """The strongest activations among samples of two tokens, as `get_feature_activations`."""
        return self._strongest(feature_id, limit, n_tokens=2)

    def get_triple_examples(self, feature_id: int, limit: int = 50) -> pl.DataFrame:
        """The strongest activations among samples of three tokens, as `get_feature_activations`. Upstream returns pandas."""
        return self._strongest(feature_id, limit, n_tokens=3)

    def get_top_examples(self, feature_id: int, limit: int = 50) -> pl.DataFrame:
        """The strongest activations, as `get_feature_activations`. Upstream returns pandas."""
        return self._strongest(feature_id, limit)

    def get_example_activations_by_batch(
        self, batch_id: int, sample_id: int, top_k: int | None = 20
    ) -> list[tuple[int, float]]:
        """The strongest features of the sample at this row of this batch; see `get_example_activations`.

        batch_id and sample_id are those of `get_feature_activations`. ParameterError names the valid range.
        """
        starts = self._batch_starts
        if not 0 <= batch_id < starts.size - 1:
            raise ParameterError("batch_id", f"batch {batch_id} does not exist; batches are 0 to {starts.size - 2}")
        height = int(starts[batch_id + 1] - starts[batch_id])
        if not 0 <= sample_id < height:
            raise ParameterError(
                "sample_id", f"row {sample_id} of batch {batch_id} does not exist; rows are 0 to {height - 1}"
            )
        return self.get_example_activations(int(starts[batch_id]) + sample_id, top_k)

    def get_example_activations(self, global_idx: int, top_k: int | None = 20) -> list[tuple[int, float]]:
        """The strongest features of a sample, as (feature, value), strongest first, equal ones by feature; all for top_k None.

        NotComputedError for a folder without a layout that can be read by sample (a transposed array or neuron_acts alone).
        """
        fired = self._by_sample.sample(global_idx).features
        kept = page(Selection(order="activation", limit=top_k), fired.values, 0)
        return list(zip(fired.feature_ids[kept].tolist(), fired.values[kept].tolist(), strict=True))

    def search_features_by_weapon(self, weapon: str | int, limit: int | None = 100) -> pl.DataFrame:
        """Features that fire on samples with a weapon (named by id, key or name), most associated first.

        Columns: feature_id, n_both (samples of the weapon on which it fires), n_active, share_of_set, share_of_feature, lift,
        phi; see `association_table`. Without an index by sample, all activations are read for it, which takes a while.
        """
        bound = Selection(limit=limit).limit
        if isinstance(self._source.reader, SparseReader):
            table = pl.from_arrow(self._by_sample.features_of_weapon(str(weapon)).table)
            assert isinstance(table, pl.DataFrame)
        else:
            columns = self._by_sample.columns
            table = self._scanned_associations(columns.weapons == columns.weapon_id(str(weapon)))
        return table if bound is None else table.head(bound)

    def get_feature_summary(self, feature_id: int, n_weapons: int = 10) -> FeatureSummary:
        """Statistics over active samples, their number, and the n_weapons most frequent weapons among all of them."""
        n_top = Selection(limit=n_weapons).limit
        stats = self.get_feature_stats(feature_id)
        return FeatureSummary(
            feature_id=feature_id,
            n_examples=stats["n_total"] - stats["n_zeros"],
            top_weapons=self._weapon_counts(feature_id)[:n_top] if self._source.has_samples else None,
            **stats,
        )

    def get_all_feature_activations_for_pagerank(
        self,
        feature_id: int,
        include_negative: bool = True,
        limit: int | None = None,
        sample_frac: float | None = None,
        include_abilities: bool = True,
        seed: int = 0,
    ) -> pl.DataFrame:
        """All activations in data order: activation (float32), weapon_id (int64), ability_input_tokens, global_index.

        limit: number of rows, after sample_frac has drawn its share without replacement; the same seed draws the same.
        include_negative: ignored, because activations are never negative. include_abilities: leave the tokens out or not.
        """
        selection = Selection(sample_frac=sample_frac, seed=seed, limit=limit)
        columns = checked_columns(DEFAULT, include_abilities)
        return self._by_feature.activations(feature_id, selection, columns).to_polars()

    def _strongest(self, feature_id: int, limit: int | None, n_tokens: int | None = None) -> pl.DataFrame:
        """The strongest activations, of all samples or of those of n_tokens tokens, with upstream's columns."""
        selection = Selection(order="activation", limit=limit)
        activations = self._reader.read(feature_id)
        if n_tokens is not None:
            offsets = self._by_feature.columns.token_offsets
            kept = offsets[activations.sample_ids + 1] - offsets[activations.sample_ids] == n_tokens
            activations = Activations(activations.sample_ids[kept], activations.values[kept])
        rows = page(selection, activations.values, feature_id)
        return self._as_examples(Activations(activations.sample_ids[rows], activations.values[rows]))

    def _as_examples(self, activations: Activations) -> pl.DataFrame:
        names = ("global_index", "activation", "ability_input_tokens", "weapon_id", "is_null")
        frame = pl.from_arrow(
            pa.Table.from_batches([self._by_feature.batch(names, activations.sample_ids, activations.values)])
        )
        assert isinstance(frame, pl.DataFrame)
        starts = self._batch_starts
        batches = np.searchsorted(starts, activations.sample_ids, side="right") - 1
        return frame.select(
            pl.col("global_index").cast(pl.Int64).alias("index"),
            "activation",
            "ability_input_tokens",
            pl.col("weapon_id").alias("weapon_id_token"),
            "weapon_id",
            pl.Series("batch_id", batches, pl.Int64),
            pl.Series("sample_id", activations.sample_ids - starts[batches], pl.Int64),
            "is_null",
        )

    @cached_property
    def _batch_starts(self) -> npt.NDArray[np.int64]:
        """The first sample of each batch, and n_samples: int64, shape (n_batches + 1,)."""
        if isinstance(self._source, Folder) and self._source.by_sample is not None:
            return np.asarray(self._source.by_sample.starts, dtype=np.int64)
        rows = np.asarray(self._source.sample_table.arrow["sample_id"])
        starts = np.flatnonzero(rows == 0)
        ends = np.append(starts, rows.size)
        begins = not rows.size or rows[0] == 0
        if not begins or not np.array_equal(rows, np.arange(rows.size) - np.repeat(starts, np.diff(ends))):
            raise CorruptStoreError(f"{self.config.data_dir}: sample_id does not number the rows of batches from 0 on")
        return ends.astype(np.int64)

    def _weapon_counts(self, feature_id: int) -> list[WeaponCount]:
        """Over all active samples, most samples first, equal ones by weapon."""
        rows = self._by_feature.activations(feature_id, columns=("activation", "weapon_id", "weapon_name")).to_polars()
        name = pl.col("weapon_name").cast(pl.String)
        counts = (
            rows.group_by("weapon_id")
            .agg(
                name.filter(name != "").first(),
                pl.len().cast(pl.Int64).alias("n"),
                pl.col("activation").cast(pl.Float64).mean().alias("mean_activation"),
            )
            .sort(["n", "weapon_id"], descending=[True, False])
        )
        return [WeaponCount(**row) for row in counts.iter_rows(named=True)]  # type: ignore[typeddict-item]

    def _scanned_associations(self, in_set: npt.NDArray[np.bool_]) -> pl.DataFrame:
        """`association_table` of a set of samples (bool, shape (n_samples,)), counted over all activations."""
        n_both, n_active = (np.zeros(self.n_features, dtype=np.int64) for _ in range(2))
        rows = self._source.by_sample if isinstance(self._source, Folder) else None
        if rows is None:
            for feature_id in range(self.n_features):
                activations = self._reader.read(feature_id)
                n_active[feature_id] = activations.n_active
                n_both[feature_id] = np.count_nonzero(in_set[activations.sample_ids])
        else:
            first = 0
            for block in rows.rows(_BLOCK_SAMPLES):
                chosen = np.repeat(in_set[first : first + block.n_rows], np.diff(block.indptr))
                n_active += np.bincount(block.feature_ids, minlength=self.n_features)
                n_both += np.bincount(block.feature_ids[chosen], minlength=self.n_features)
                first += block.n_rows
        return association_table(n_both, n_active, int(in_set.sum()), self.n_samples)


def _configured(
    config: StorageConfig | None,
    data_dir: Path | str | None,
    examples_dir: Path | str | None,
    transposed_dir: Path | str | None,
    neuron_acts_dir: Path | str | None,
) -> StorageConfig:
    if config is None:
        if data_dir is None:
            raise InputError("nothing to open: pass config=StorageConfig(…) or data_dir=…")
        return StorageConfig(Path(data_dir).resolve().name, data_dir, examples_dir, transposed_dir, neuron_acts_dir)
    if any(folder is not None for folder in (data_dir, examples_dir, transposed_dir, neuron_acts_dir)):
        raise InputError("folders are passed twice: put them all into config, or leave config out")
    return config


def _opened(config: StorageConfig, own: Sequence[ActivationLoader]) -> Store | Folder:
    """The published store at data_dir, else the fastest layout of the folders, else what own loaders hold."""
    if Folder.is_published(config.data_dir):
        if len(config.folders) > 1:
            open_fastest(*config.folders)  # rejects folders of different shapes
        source: Store | Folder = open_store(config.data_dir)
    elif own and not any(
        candidate.layout is not Layout.RAW for folder in config.folders for candidate in layouts_in(folder)
    ):
        return _folder_of_own(config, own)
    else:
        source = Folder.open(*config.folders)
    if config.n_features not in (None, source.reader.n_features):
        raise LayoutError(
            f"n_features is {config.n_features}, but {config.data_dir} holds "
            f"{counted(source.reader.n_features, 'features')}"
        )
    return source


def _folder_of_own(config: StorageConfig, own: Sequence[ActivationLoader]) -> Folder:
    """A folder of sample metadata alone, whose activations own loaders hold."""
    if config.n_features is None:
        raise InputError(
            f"{config.data_dir} holds no activations in a known layout, so the number of features of the custom "
            "loaders is unknown: pass n_features to StorageConfig"
        )
    n_samples = sum(read_metadata(path).height for path in metadata_tables(config.data_dir))
    reader = LoadersReader(own, config.n_features, n_samples, config.model_type)
    vocabulary = recorded((config.data_dir,), "vocabulary.json", Vocabulary)
    contexts = recorded((config.data_dir,), "contexts.json", Contexts)
    return Folder(config.folders, "custom loaders", reader, vocabulary, contexts)
