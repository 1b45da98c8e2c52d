"""`AsyncActivationClient`: what `ActivationClient` asks, for programs that must not block while they wait."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import httpx2
import polars as pl
import pyarrow as pa

from splat_assets.domain.concepts import Rule
from splat_serving.client.arrow_reading import BatchDecoder
from splat_serving.client.sync import DEFAULT_URL
from splat_serving.client.wire import (
    STREAM_FAULTS,
    Answer,
    Failure,
    Pause,
    Questions,
    Reading,
    Request,
    Steps,
    answer_of,
    broken_stream,
    connection,
    end_of_stream,
    failure_of,
)
from splat_serving.database.protocol import (
    About,
    Associations,
    FeatureActivations,
    FeatureSummary,
    Query,
    QueryResult,
    Sample,
)
from splat_serving.database.published_version import Published
from splat_serving.database.selection import Selection

Value = TypeVar("Value")


class AsyncActivationClient:
    """`ActivationClient` with awaitable methods: same questions, values and errors. For the tasks of one event loop."""

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
        """As `ActivationClient`."""
        self._questions = Questions(url, run, version, expect, retries)
        self._http = httpx2.AsyncClient(**connection(url, token, timeout))

    async def __aenter__(self) -> "AsyncActivationClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def about(self) -> About:
        """What the server's run holds, and its fingerprints."""
        return await self._run(self._questions.about())

    async def activations(
        self, feature_id: int, selection: Selection | None = None, columns: Sequence[str] | None = None
    ) -> FeatureActivations:
        """Activations of one feature. columns: names of `sample_columns.COLUMNS`; the guide's where none are named."""
        return await self._run(self._questions.activations(feature_id, selection, columns))

    async def activations_of_many(
        self, feature_ids: Sequence[int], selection: Selection | None = None, columns: Sequence[str] | None = None
    ) -> dict[int, FeatureActivations]:
        """The same selection of each of these features, all from one version, in few requests; in the order given."""
        return await self._run(self._questions.activations_of_many(feature_ids, selection, columns))

    async def stream_activations(
        self, feature_id: int, selection: Selection | None = None, columns: Sequence[str] | None = None
    ) -> AsyncIterator[pa.RecordBatch]:
        """As `activations`, batch by batch as they arrive; no more than one batch is held.

        Version and totals are in the metadata of each batch's schema (`splat.version`, `splat.n_active`, …). A stream that breaks
        off raises ServerError after the batches that came whole.
        """
        answer = await self._run(self._questions.stream(feature_id, selection, columns))
        response = answer.open_response
        decoder = BatchDecoder()
        try:
            async for piece in response.aiter_raw():
                for batch in decoder.feed(piece):
                    yield batch
            end_of_stream(decoder)
        except STREAM_FAULTS as error:
            raise broken_stream(error, self._questions.url) from error
        finally:
            await response.aclose()

    async def feature(self, feature_id: int) -> FeatureSummary:
        """Statistics, histogram, influences, neighbours and examples of one feature."""
        return await self._run(self._questions.feature(feature_id))

    async def features(self) -> pl.DataFrame:
        """Statistics of all features, one row each."""
        return await self._run(self._questions.features())

    async def suggestions(self) -> pl.DataFrame:
        """The best rule for each feature with its held-out scores, one row each; see `compute.suggested_labels`."""
        return await self._run(self._questions.suggestions())

    async def feature_map(self) -> pl.DataFrame:
        """Place and cluster of each feature by decoder and by co-activation, one row each; see `compute.feature_map`."""
        return await self._run(self._questions.feature_map())

    async def sample(self, sample_id: int) -> Sample:
        """One sample and the features that fire on it."""
        return await self._run(self._questions.sample(sample_id))

    async def samples(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All samples, in the order of their ids. columns: names of `sample_columns.OF_SAMPLES`; `OF_BUILDS` if left out."""
        return await self._run(self._questions.samples(columns))

    async def tokens(self) -> pl.DataFrame:
        """The vocabulary: `token_id, token, group, level`, and `doc_freq, idf` where they were computed."""
        return await self._run(self._questions.tokens())

    async def weapons(self) -> pl.DataFrame:
        """The weapons: `weapon_id, key, name` and one column per attribute."""
        return await self._run(self._questions.weapons())

    async def features_of_token(self, token: str) -> Associations:
        """How each feature goes together with a token, named by id or name."""
        return await self._run(self._questions.features_of_token(token))

    async def influences_on(self, token: str) -> pl.DataFrame:
        """What a unit of each feature does to an output token's logit, by feature id; null where a guide table does not say."""
        return await self._run(self._questions.influences_on(token))

    async def features_of_weapon(self, weapon: str) -> Associations:
        """How each feature goes together with a weapon, named by id, key or name."""
        return await self._run(self._questions.features_of_weapon(weapon))

    async def features_of_rule(self, rule: Rule) -> Associations:
        """How each feature goes together with the builds on which a rule holds; InputError for a rule of what is not there."""
        return await self._run(self._questions.features_of_rule(rule))

    async def coactivation(self, feature_id: int) -> Associations:
        """How each other feature goes together with this one."""
        return await self._run(self._questions.coactivation(feature_id))

    async def query(self, query: Query) -> QueryResult:
        """Samples that fulfil conditions on several features."""
        return await self._run(self._questions.query(query))

    async def scorecard(self) -> dict[str, Any]:
        """How good the SAE is, in figures; NotComputedError where the server has only a store."""
        return await self._run(self._questions.scorecard())

    async def published(self) -> list[Published]:
        """All versions of all runs of the server's data root; NotComputedError where it has only a store."""
        return await self._run(self._questions.published())

    async def label_events(self, new: Mapping[str, Any] | None = None, read: Reading[Any] = dict) -> Any:
        """What `read` makes of all events of the labels, or of what became of a new one; see `labels.remote.RemoteEvents`.

        NotAllowedError where the server takes no labels, LabelConflictError where somebody else was faster.
        """
        return await self._run(self._questions.label_events(new, read))

    async def live(self, path: str, body: Mapping[str, Any], read: Reading[Any] = dict) -> Any:
        """What `read` makes of the model's answer to a body sent to a path below /live; the server's OpenAPI document lists both.

        `model_runner.RemoteRunner` makes questions with names of it.
        """
        return await self._run(self._questions.live(path, body, read))

    async def _run(self, steps: Steps[Value]) -> Value:
        got: Answer | Failure | None = None
        while True:
            try:
                step = steps.send(got)
            except StopIteration as done:
                value: Value = done.value
                return value
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                got = None
            else:
                got = await self._send(step)

    async def _send(self, request: Request) -> Answer | Failure:
        arguments: dict[str, Any] = request.arguments()
        try:
            response = await self._http.send(self._http.build_request(**arguments), stream=request.streamed)
            left_open = request.streamed and response.status_code == 200
            if not left_open:
                await response.aread()
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            return failure_of(error, self._questions.url)
        return answer_of(response, left_open)
