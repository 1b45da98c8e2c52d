"""The run under investigation: its database, its builds, its model. The same for a local store and a server."""

import threading
from collections.abc import Callable
from functools import lru_cache
from types import TracebackType
from typing import Any, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.analysis.builds.edits import RealBuilds
from splat_assets.automation.activity import ActivityEvent
from splat_assets.domain.tokens import NULL, PAD
from splat_assets.store.activations import Activations
from splat_assets.store.vocabulary import Context, Contexts, Token, Vocabulary
from splat_serving.database.arrow_arrays import numpy_of
from splat_serving.database.errors import NotComputedError
from splat_serving.database.home import NO_HOME
from splat_serving.database.protocol import About, ActivationDatabase, Published
from splat_serving.database.sample_columns import OF_BUILDS
from splat_serving.labels.book import Events, LabelBook
from splat_serving.model.runner import ModelRunner

_KEPT_FEATURES = 64
Value = TypeVar("Value")


class _Kept(Generic[Value]):
    """A property computed at first use and cached: once per subject, in whichever thread is first.

    `functools.cached_property` has one lock for all instances up to Python 3.11, and none since.
    """

    def __init__(self, make: Callable[[Any], Value]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, subject: None, kind: type) -> "_Kept[Value]": ...
    @overload
    def __get__(self, subject: "Subject", kind: type) -> Value: ...
    def __get__(self, subject: "Subject | None", kind: type) -> "_Kept[Value] | Value":
        if subject is None:
            return self
        name = self._make.__name__
        with subject.lock:
            if name not in subject.__dict__:
                subject.__dict__[name] = self._make(subject)  # from now on Python looks no further
            made: Value = subject.__dict__[name]
        return made


class Subject:
    """One version of one run, with a cache of what was read. Safe to use from threads; `open_subject` makes one.

    Every number comes from `database` or from `model`; what was read is cached for the life of the subject and computed once:
    other threads wait for it. Close it, or use it in `with`: a subject of a server holds connections.

    Examples:
        >>> subject.dense(1).shape == (subject.n_samples,)
        True
        >>> subject.builds.n_samples == subject.n_samples
        True
    """

    def __init__(
        self,
        database: ActivationDatabase,
        source: str,
        model: Callable[[], ModelRunner] | None = None,
        close: Callable[[], None] = lambda: None,
        labels: Callable[[], Events] | None = None,
        scorecard: Callable[[], dict[str, Any]] | None = None,
        latest: Callable[[], str] | None = None,
        published: Callable[[], list[Published]] | None = None,
        again: Callable[[], "Subject"] | None = None,
        activity: Callable[[], list[ActivityEvent]] | None = None,
        no_model: str = "",
    ) -> None:
        """source: the name from the user (run, path or URL). model: makes the model runner at first use, None where it cannot
        be run. close: closes connections. labels: opens the labels of its SAE, None where they cannot
        be stored. scorecard: reads the SAE's scorecard, None without a run's folder.
        latest: the id of the current version, None where there is only one. published: the versions of all runs of
        its data root, None outside a data root. again: opens the current version, None where there is only one.
        activity: the recent activity in its data root, None for another machine. no_model: why there is no model.
        """
        self.lock = threading.RLock()
        self.close = close
        self.database = database
        self.source = source
        self._published = published
        self._model = model
        self._labels = labels
        self._scorecard = scorecard
        self._latest = latest
        self._again = again
        self._activity = activity
        self.no_model = no_model or f"base model and SAE are not beside {source}: {NO_HOME}"
        self._feature = lru_cache(maxsize=_KEPT_FEATURES)(self._read_feature)

    def __enter__(self) -> "Subject":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @_Kept
    def about(self) -> About:
        """The description of the database."""
        return self.database.about()

    def latest(self) -> str:
        """The id of the current version; this subject does not change. NotPublishedError, ServerError."""
        return self.about.version if self._latest is None else self._latest()

    def again(self) -> "Subject":
        """The current version, newly opened, to be closed by the caller; itself where there is only one."""
        return self if self._again is None else self._again()

    def published(self) -> list[Published] | None:
        """The versions of all runs of its data root; None outside a data root."""
        if self._published is None:
            return None
        try:
            return self._published()
        except NotComputedError:
            return None

    def activity(self) -> list[ActivityEvent]:
        """The recent activity in its data root, the newest first; empty for another machine."""
        return self._activity() if self._activity else []

    @property
    def n_samples(self) -> int:
        """Samples in the store."""
        return self.about.n_samples

    @property
    def n_features(self) -> int:
        """Features of the SAE."""
        return self.about.n_features

    @property
    def has_model(self) -> bool:
        """Whether there is a model to run."""
        return self._model is not None

    @_Kept
    def model(self) -> ModelRunner:
        """Base model and SAE; NotComputedError where they cannot be run."""
        if self._model is None:
            raise NotComputedError(f"causal evidence needs base model and SAE: {self.no_model}")
        return self._model()

    @_Kept
    def scorecard(self) -> dict[str, Any]:
        """The quality metrics of the SAE (`splat scorecard` explains each); NotComputedError where they are not known."""
        if self._scorecard is None:
            raise NotComputedError(f"the scorecard of the SAE is not known for {self.source}: {NO_HOME}")
        return self._scorecard()

    @property
    def has_labels(self) -> bool:
        """Whether labels can be stored."""
        return self._labels is not None

    @_Kept
    def label_log(self) -> Events:
        """The label events; NotComputedError where labels cannot be stored."""
        if self._labels is None:
            raise NotComputedError(f"labels, which belong to an SAE, cannot be stored for {self.source}: {NO_HOME}")
        return self._labels()

    @_Kept
    def labels(self) -> LabelBook:
        """The labels of the SAE's features; NotComputedError where labels cannot be stored."""
        return LabelBook(self.label_log, self.n_features)

    @_Kept
    def rules(self) -> dict[int, str]:
        """By feature, the text of the suggested rule that is good enough to be a label; none where they were not computed."""
        try:
            frame = self.database.suggestions()
        except NotComputedError:
            return {}
        good = frame.filter(pl.col("suggested").fill_null(False) & pl.col("text").is_not_null())
        return dict(good.select("feature_id", "text").iter_rows())

    @_Kept
    def vocabulary(self) -> Vocabulary:
        """The tokens of the base model."""
        rows = self.database.tokens().rows(named=True)
        tokens = tuple(Token(row["token_id"], row["token"], row["group"], row["level"]) for row in rows)
        ids = {token.name: token.id for token in tokens}
        return Vocabulary(tokens, ids.get(PAD, -1), ids.get(NULL))

    @_Kept
    def contexts(self) -> Contexts:
        """The weapons of the base model."""
        rows = self.database.weapons().rows(named=True)
        fixed = ("weapon_id", "key", "name")
        return Contexts(
            tuple(
                Context(
                    row["weapon_id"],
                    row["key"],
                    row["name"],
                    {name: value for name, value in row.items() if name not in fixed and value is not None},
                )
                for row in rows
            )
        )

    @_Kept
    def samples(self) -> pl.DataFrame:
        """`kind`, `split` and `token_position` of every sample."""
        frame = pl.from_arrow(self._samples.select(["kind", "split", "token_position"]))
        assert isinstance(frame, pl.DataFrame)
        return frame

    @_Kept
    def builds(self) -> BuildTable:
        """The builds of all samples as a table."""
        table = self._samples
        lists = table["ability_input_tokens"].combine_chunks()
        weapons = table["weapon_id"].combine_chunks()
        return BuildTable(
            numpy_of(lists.values),
            numpy_of(lists.offsets).astype(np.int64),
            numpy_of(weapons).astype(np.int32),
            self.vocabulary,
            self.contexts,
        )

    @_Kept
    def real_builds(self) -> RealBuilds:
        """The builds of all samples, for the distance to the nearest one."""
        return RealBuilds(self.builds)

    @_Kept
    def _samples(self) -> pa.Table:
        return self.database.samples(OF_BUILDS)

    def feature(self, feature_id: int) -> Activations:
        """All activations of a feature, by sample id; FeatureNotFoundError."""
        return self._feature(feature_id)

    def dense(self, feature_id: int) -> npt.NDArray[np.float32]:
        """The activation of a feature on every sample, zeros included: float32, shape (n_samples,)."""
        activations = self.feature(feature_id)
        whole = np.zeros(self.n_samples, dtype=np.float32)
        whole[activations.sample_ids] = activations.values
        return whole

    def _read_feature(self, feature_id: int) -> Activations:
        stored = self.database.activations(feature_id, columns=("global_index", "activation"))
        return Activations(stored.sample_ids, stored.values)
