"""The database at the other end of a connection: `ActivationClient` asks a server what `LocalDatabase` reads from disk.

Same methods, same values, same errors: what is written against `ActivationDatabase` cannot tell which of the two it has.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, TypeVar
from uuid import uuid4

import httpx2
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from splat_assets.domain.concepts import Rule
from splat_assets.errors import InputError, SplatError
from splat_assets.store.activations import SampleFeatures, checked_id, feature_id_dtype
from splat_assets.store.errors import FeatureNotFoundError, FingerprintMismatchError
from splat_serving.client import answers
from splat_serving.client.failures import (
    STREAM_FAULTS,
    broken_stream,
    error_of_response,
    error_without_response,
    seconds_before_retry,
)
from splat_serving.client.requests import (
    ALL_ROWS,
    STREAM,
    Request,
    connection,
    for_feature,
    query_fields,
    segment,
    selection_fields,
)
from splat_serving.database.errors import ParameterError, ServerError, UnknownNameError
from splat_serving.database.protocol import (
    About,
    Associations,
    FeatureActivations,
    FeatureSummary,
    Published,
    Query,
    QueryResult,
    Sample,
)
from splat_serving.database.sample_columns import checked_columns, checked_sample_columns
from splat_serving.database.selection import Selection

DEFAULT_URL = "http://127.0.0.1:8765"
Value = TypeVar("Value")
Reading = Callable[[Mapping[str, Any]], Value]
"""Makes a value of the members of an answer."""
_VERSION_HEADER = "x-store-version"
_QUERY_ROWS = 1_000_000  # the most that the server gives of one query
_MANY_FEATURES = 1_024  # the most that the server takes in one request
_TABLES = {
    "/features": ("feature_id", "n_active"),
    "/suggestions": ("feature_id", "suggested"),
    "/feature-map": ("feature_id", "decoder_x", "decoder_y", "decoder_cluster", "coactivation_cluster"),
    "/tokens": ("token_id", "token"),
    "/weapons": ("weapon_id", "key", "name"),
}


class ActivationClient:
    """Activations of one run from an activation server, behind the protocol `ActivationDatabase`. Safe to use from threads.

    Every method raises what the local database raises for the same question, and ServerError where the server cannot be
    reached, does not answer in time, refuses, or has a fault. Nothing is ever answered from anywhere else. Close it, or use it
    as a context manager: it keeps its connections open. In a program with an event loop, call it by `asyncio.to_thread`.

    Examples:
        >>> from splat_serving.client import ActivationClient
        >>> with ActivationClient(url, run="demo") as client:
        ...     about, swimmers = client.about(), client.features_of_token("swim_speed_up_3")
        >>> (about.name, swimmers.n_samples == about.n_samples)
        ('demo', True)
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        run: str | None = None,
        version: str | None = None,
        token: str | None = None,
        expect: Mapping[str, str] | str | None = None,
        timeout: float = 30.0,
        retries: int = 2,
    ) -> None:
        """Nothing is sent before the first question.

        Args:
            url: Of the server, http:// or https://.
            run: By name; the server's default run if left out.
            version: The only version to be asked; else the current one, whichever that is at each question.
            token: The secret of a server that wants one.
            expect: What the version must have been made from: fingerprints by name as `about().provenance` has them (or
                `version`), or the id of a version; checked at the first question and whenever the server has a new version.
            timeout: Seconds in which nothing comes or goes, not those of a whole answer.
            retries: How often a request is sent again after a broken connection, 429 or 503. Every request may be: it only
                asks, or it is a label event with an id by which the server knows it.

        Raises:
            InputError: For an invalid URL, token or name.
        """
        for what, name in (("run", run), ("version", version)):
            if name is not None and not (name and name.isprintable()):
                raise InputError(f"{name!r} cannot be the name of a {what}; leave it out for the server's own choice")
        self._url = url
        self._prefix = "" if run is None else f"/runs/{segment(run)}"
        self._pinned = version
        self._expected = {"version": expect} if isinstance(expect, str) else dict(expect or {})
        self._retries = retries
        self._checked: str | None = None
        self._n_features: dict[str, int] = {}
        self._http = connection(url, token, timeout)

    def __enter__(self) -> "ActivationClient":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def about(self) -> About:
        """What the server's run holds, and its fingerprints."""
        return self._ask(Request("/version"), answers.about_of)

    def activations(
        self, feature_id: int, selection: Selection | None = None, columns: Sequence[str] | None = None
    ) -> FeatureActivations:
        """Activations of one feature. columns: names of `sample_columns.COLUMNS`; the guide's where none are named."""
        feature_id = checked_id("feature", feature_id)
        request = for_feature(feature_id, selection, columns)
        if not request.fits_a_url:
            return self.activations_of_many([feature_id], selection, columns)[feature_id]
        needed = checked_columns(columns)
        return self._ask(request, lambda content: answers.activations_of(content, feature_id, needed))

    def activations_of_many(
        self, feature_ids: Sequence[int], selection: Selection | None = None, columns: Sequence[str] | None = None
    ) -> dict[int, FeatureActivations]:
        """The same selection of each of these features, all from one version, in the order named; few requests."""
        named = None if columns is None else list(checked_columns(columns))
        body = {**selection_fields(selection), "columns": named}
        ids = list(dict.fromkeys(checked_id("feature", feature_id) for feature_id in feature_ids))
        self._refuse_beyond_64_bits(ids)
        groups = [ids[at : at + _MANY_FEATURES] for at in range(0, len(ids), _MANY_FEATURES)][::-1]
        by_feature: dict[int, FeatureActivations] = {}
        version: str | None = None
        while groups:
            group = groups.pop()
            request = Request("/activations", "POST", body={**body, "feature_ids": group}, accept=STREAM)
            try:
                part = self._ask(request, partial(answers.activations_by_feature, feature_ids=group), version)
            except ServerError as error:
                if error.status != 413 or len(group) == 1:
                    raise
                groups += [group[len(group) // 2 :], group[: len(group) // 2]]
                continue
            version = part[group[0]].version
            by_feature |= part
        return by_feature

    def stream_activations(
        self, feature_id: int, selection: Selection | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """As `activations`, batch by batch as they arrive; no more than one batch is held.

        Version and totals are in the metadata of each batch's schema (`splat.version`, `splat.n_active`, …). With
        fingerprints to expect, the version is checked before and the stream pinned to it.

        Raises:
            ServerError: After the batches that came whole, for a stream that breaks off.
            ParameterError: For more names than fit into a URL.
        """
        request = for_feature(checked_id("feature", feature_id), selection, columns)
        if not request.fits_a_url:
            raise ParameterError("weapon", "too many names for a stream: use `activations`, or fewer names")
        if self._expected:
            self._check(self._pinned)
        response = self._send(replace(request, streamed=True), self._checked)
        try:
            yield from answers.record_batches(response.iter_raw())
        except STREAM_FAULTS as error:
            raise broken_stream(error, self._url) from error
        finally:
            response.close()

    def feature(self, feature_id: int) -> FeatureSummary:
        """Statistics, histogram, influences, neighbours and examples of one feature."""
        feature_id = checked_id("feature", feature_id)
        return self._ask(Request(f"/features/{feature_id}"), partial(answers.summary_of, feature_id=feature_id))

    def features(self) -> pl.DataFrame:
        """Statistics of all features, one row each."""
        return self._frame("/features")

    def suggestions(self) -> pl.DataFrame:
        """The best rule for each feature with its held-out scores, one row each; see `compute.suggested_labels`."""
        return self._frame("/suggestions")

    def feature_map(self) -> pl.DataFrame:
        """Place and cluster of each feature by decoder and by co-activation, one row each; see `compute.feature_map`."""
        return self._frame("/feature-map")

    def sample(self, sample_id: int) -> Sample:
        """One sample and the features that fire on it."""
        request = Request(f"/samples/{checked_id('sample', sample_id)}", params=(("order", "feature"),))
        sample = self._ask(request, partial(answers.sample_of, sample_id=sample_id))
        if sample.version not in self._n_features:
            about = self._ask(Request("/version"), answers.about_of, sample.version)
            self._n_features = {sample.version: about.n_features}
        dtype = feature_id_dtype(self._n_features[sample.version])
        ids: npt.NDArray[np.integer[Any]] = sample.features.feature_ids.astype(dtype)
        return replace(sample, features=SampleFeatures(ids, sample.features.values))

    def samples(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All samples, in the order of their ids. columns: names of `sample_columns.OF_SAMPLES`; `OF_BUILDS` if left out."""
        named = checked_sample_columns(columns)
        request = Request("/samples", params=(("columns", ",".join(named)),), accept=STREAM)
        return self._ask(request, lambda content: answers.table_of(content, named)[0])

    def tokens(self) -> pl.DataFrame:
        """The vocabulary: `token_id, token, group, level`, and `doc_freq, idf` where they were computed."""
        return self._frame("/tokens")

    def weapons(self) -> pl.DataFrame:
        """The weapons: `weapon_id, key, name` and one column per attribute."""
        return self._frame("/weapons")

    def features_of_token(self, token: str) -> Associations:
        """How each feature co-occurs with a token, named by id or name."""
        return self._associations(f"/tokens/{self._segment('tokens', token)}/features")

    def influences_on(self, token: str) -> pl.DataFrame:
        """What a unit of each feature does to an output token's logit, by feature id; null where a guide table does not say."""
        return self._frame(f"/tokens/{self._segment('tokens', token)}/influences", ("feature_id", "influence"))

    def features_of_weapon(self, weapon: str) -> Associations:
        """How each feature co-occurs with a weapon, named by id, key or name."""
        return self._associations(f"/weapons/{self._segment('weapons', weapon)}/features")

    def features_of_rule(self, rule: Rule) -> Associations:
        """How each feature co-occurs with the builds on which a rule holds; InputError for a rule with an unknown name."""
        body = {"rule": rule.as_json()}
        request = Request("/rules/features", "POST", params=ALL_ROWS, body=body, accept=STREAM)
        return self._ask(request, answers.associations_of)

    def coactivation(self, feature_id: int) -> Associations:
        """How each other feature co-occurs with this one."""
        return self._associations(f"/coactivation/{checked_id('feature', feature_id)}")

    def query(self, query: Query) -> QueryResult:
        """Samples that fulfil conditions on several features. Pages of one version follow each other until all rows are there."""
        self._refuse_beyond_64_bits(query.features)
        body = query_fields(query)
        needed = ("global_index", *(f"feature_{one}" for one in query.features))
        pages: list[pa.Table] = []
        offset, left = query.offset, query.limit
        version: str | None = None
        while True:
            limit = _QUERY_ROWS if left is None else min(left, _QUERY_ROWS)
            request = Request("/query", "POST", body={**body, "offset": offset, "limit": limit}, accept=STREAM)
            page, facts = self._ask(request, partial(answers.table_of, needed=needed), version)
            pages.append(page)
            version, offset = facts["version"], offset + page.num_rows
            left = None if left is None else left - page.num_rows
            if page.num_rows < _QUERY_ROWS:
                return QueryResult(version, int(facts["n_matching"]), pa.concat_tables(pages))

    def scorecard(self) -> dict[str, Any]:
        """How good the SAE is, in figures; NotComputedError where the server has only a store."""
        return self._ask(Request("/scorecard"), lambda content: dict(answers.members_of(content)))

    def published(self) -> list[Published]:
        """All versions of all runs of the server's data root; NotComputedError where it has only a store."""
        return self._ask(
            Request("/published"),
            lambda content: [Published.of_json(row) for row in answers.members_of(content)["published"]],
        )

    def label_events(self, new: Mapping[str, Any] | None = None, read: Reading[Any] = dict) -> Any:
        """What `read` makes of all events of the labels, or of what became of a new one; see `labels.remote.RemoteEvents`.

        A new one without an `event_id` gets one, so that sending it again adds nothing when only the answer was lost.
        NotAllowedError where the server takes no labels, LabelConflictError where the label has changed meanwhile.
        """
        body = None if new is None else {**new, "event_id": new.get("event_id") or uuid4().hex}
        request = Request("/label-events", "GET" if body is None else "POST", body=body)
        return self._ask(request, lambda content: read(answers.members_of(content)))

    def live(self, path: str, body: Mapping[str, Any], read: Reading[Any] = dict) -> Any:
        """What `read` makes of the model's answer to a body sent to a path below /live; the server's OpenAPI document lists both.

        `model.runner.RemoteRunner` has a method for each.
        """
        return self._ask(Request(f"/live/{path}", "POST", body=body), lambda content: read(answers.members_of(content)))

    def _refuse_beyond_64_bits(self, feature_ids: Sequence[int]) -> None:
        """Raise FeatureNotFoundError for an id that JSON's readers cannot hold, as the server would for a smaller one."""
        for feature_id in feature_ids:
            if not -(2**63) <= feature_id < 2**63:
                about = self.about()
                raise FeatureNotFoundError(feature_id, about.n_features, about.name or "this store")

    def _segment(self, kind: str, name: str) -> str:
        """A token or weapon as a part of a path: by its id, where its name cannot be one."""
        if name and "/" not in name and name.isprintable():
            return segment(name)
        texts = ("token",) if kind == "tokens" else ("key", "name")
        rows = self._frame(f"/{kind}").filter(pl.any_horizontal(pl.col(column) == name for column in texts))
        if rows.is_empty():
            raise UnknownNameError(f"there is no {kind[:-1]} {name[:60]!r}; /{kind} lists all")
        return str(rows[0, 0])

    def _associations(self, path: str) -> Associations:
        return self._ask(Request(path, params=ALL_ROWS, accept=STREAM), answers.associations_of)

    def _frame(self, path: str, needed: Sequence[str] = ()) -> pl.DataFrame:
        """needed: columns that the table has, where they are not those of a path that is always the same."""
        columns = needed or _TABLES[path]
        return self._ask(
            Request(path, accept=STREAM), lambda content: pl.DataFrame(answers.table_of(content, columns)[0])
        )

    def _ask(self, request: Request, read: Callable[[bytes], Value], version: str | None = None) -> Value:
        """What `read` makes of the answer to a request, which is from a version that has the expected fingerprints."""
        if self._expected and self._checked is None:
            self._check(version or self._pinned)
        response = self._send(request, version)
        served = response.headers.get(_VERSION_HEADER)
        if served is None:
            text = f"what answers at {self._url} is not an activation server: its answer has no X-Store-Version"
            raise ServerError(text, response.status_code)
        if self._expected and served != self._checked:
            self._check(served)
        return self._understood(request, read, response)

    def _understood(self, request: Request, read: Callable[[bytes], Value], response: httpx2.Response) -> Value:
        """What `read` makes of an answer; ServerError when it is of another shape than a server of this release gives."""
        try:
            return read(response.content)
        except OSError as error:
            raise broken_stream(error, self._url) from error
        except answers.OTHER_SHAPE as error:
            if request.accept == STREAM and isinstance(error, pa.ArrowException):
                raise broken_stream(error, self._url) from error
            raise ServerError(
                f"the answer of {self._url}{request.path} is not one of an activation server of this release "
                f"({type(error).__name__}: {' '.join(str(error).split())[:200]})",
                response.status_code,
            ) from error

    def _check(self, version: str | None) -> None:
        """Raise FingerprintMismatchError unless the version (None: the current one) is the expected one."""
        request = Request("/version")
        about = self._understood(request, answers.about_of, self._send(request, version))
        made_from = {**about.provenance, "version": about.version}
        for name, fingerprint in self._expected.items():
            if made_from.get(name) != fingerprint:
                served = str(made_from.get(name, "none"))
                what = f"{self._url}, version {about.version}: {name}"
                raise FingerprintMismatchError(what, fingerprint, served, "use another server, run or version")
        self._checked = about.version

    def _send(self, request: Request, version: str | None = None) -> httpx2.Response:
        """The response with status 200; sent again where that may help. Any other response is raised as an error."""
        pinned = version or self._pinned
        prefix = self._prefix + (f"/v/{segment(pinned)}" if pinned else "")
        request = replace(request, path=prefix + request.path)
        attempt = 0
        while True:
            failure: httpx2.Response | Exception
            error: SplatError
            try:
                response = self._http.send(request.build(self._http), stream=request.streamed)
                if response.status_code == 200:
                    return response
                response.read()
                failure, error = response, error_of_response(response, f"{self._url}{request.path}")
            except (httpx2.RequestError, httpx2.InvalidURL) as cause:
                failure, error = cause, error_without_response(cause, self._url)
            seconds = seconds_before_retry(failure, attempt) if attempt < self._retries else None
            if seconds is None:
                raise error from (failure if isinstance(failure, Exception) else None)
            time.sleep(seconds)
            attempt += 1
