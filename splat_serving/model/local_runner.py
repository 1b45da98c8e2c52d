"""The model runner of this machine: `ModelRunner` over a `LiveModel`, in batches of bounded size."""

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_assets.text.wording import counted
from splat_serving.database.errors import ParameterError, UnknownNameError
from splat_serving.model.answers import Edit
from splat_serving.model.live import LiveModel, Pass, kl_nats, sigmoid
from splat_serving.model.runner import MOST_TOKENS, Effects, Floats, TokenSet, Trace

_BATCH_TOKENS = 16_384


class LiveRunner:
    """Base model and SAE of a run on this machine. Safe to use from threads: a forward pass changes nothing.

    load: loads the model at the first request, once.
    """

    def __init__(self, load: Callable[[], LiveModel]) -> None:
        self._load = load
        self._loaded: LiveModel | None = None
        self._loading = threading.Lock()

    @property
    def model(self) -> LiveModel:
        """The model, loaded."""
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def per_token(self) -> bool:
        """Whether the hook has a value at each token of a build."""
        return self.model.hook.per_token

    def activations(
        self, builds: Sequence[TokenSet], features: Sequence[int], positions: Sequence[int] | None = None
    ) -> Floats:
        """Activations of features on builds: float32, shape (n_builds, len(features))."""
        self.model.decoder_rows(features)
        if self.per_token() != (positions is not None):
            expected = "one position per build" if self.per_token() else "no positions, because it is per build"
            raise ParameterError("positions", f"the hook {self.model.hook.target} takes {expected}")
        values = np.zeros((len(builds), len(features)), dtype=np.float32)
        for rows, passed in self._passes(builds):
            at = self._rows_of(passed, rows, positions)
            values[rows] = self.model.activations(passed.values[at], features)
        return values

    def probabilities(self, builds: Sequence[TokenSet], edits: Sequence[Edit] = ()) -> Floats:
        """Probability of each token, with features edited: float32, shape (n_builds, n_tokens)."""
        features = self.model.checked_edits(edits)
        values = np.zeros((len(builds), len(self.model.vocabulary)), dtype=np.float32)
        for rows, passed in self._passes(builds):
            values[rows] = sigmoid(self._logits(passed, features, edits))
        return values

    def _logits(self, passed: Pass, features: Sequence[int], edits: Sequence[Edit]) -> Floats:
        """Decoding is linear: adding only the change keeps the reconstruction error."""
        if not edits:
            return passed.logits
        before = self.model.activations(passed.values, features)
        after = np.array([[edit.of(value) for edit, value in zip(edits, row, strict=True)] for row in before.tolist()])
        moved = passed.values + ((after - before) @ self.model.decoder_rows(features)).astype(np.float32)
        return self.model.logits_with(passed, moved)

    def effects(
        self,
        builds: Sequence[TokenSet],
        edit: Edit,
        n_random: int = 20,
        matched: Sequence[int] = (),
        seed: int = 0,
    ) -> Effects:
        """Effect of a feature edit on the outputs, with random directions and matched features as controls."""
        own = self.model.decoder_rows([edit.feature, *matched]).astype(np.float64)
        length = float(np.linalg.norm(own[0]))
        random = np.random.default_rng(seed).standard_normal((n_random, own.shape[1]))
        directions = np.concatenate([own[:1], random, own[1:]])
        directions *= length / np.linalg.norm(directions, axis=1, keepdims=True)
        n_tokens = len(self.model.vocabulary)
        shape = (len(directions), len(builds))
        size = np.zeros(len(builds), dtype=np.float32)
        mean_abs, kl = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
        changes = np.zeros((len(builds), n_tokens), dtype=np.float32)
        for rows, passed in self._passes(builds):
            before = self.model.activations(passed.values, [edit.feature])[:, 0]
            step = np.array([edit.of(value) for value in before.tolist()], dtype=np.float64) - before
            starts = passed.offsets[:-1]
            size[rows] = np.add.reduceat(step, starts) * length
            for at, direction in enumerate(directions):
                moved = passed.values + (step[:, None] * direction).astype(np.float32)
                after = self.model.logits_with(passed, moved)
                change = after.astype(np.float64) - passed.logits
                mean_abs[at, rows] = np.abs(change).mean(axis=1)
                kl[at, rows] = kl_nats(passed.logits, after)
                if at == 0:
                    changes[rows] = change
        kinds = ("feature", *["random"] * n_random, *["matched"] * len(matched))
        ids = (edit.feature, *[-1] * n_random, *matched)
        return Effects(size, mean_abs, kl, changes, kinds, ids)

    def trace(self, build: TokenSet, top_k: int = 20) -> Trace:
        """Decomposition of the logits of a build."""
        _, passed = next(self._passes([build]))
        encoded = self.model.encoded(passed)
        order = np.argsort(-encoded.values, kind="stable")
        kept = order[:top_k]
        features = encoded.feature_ids[kept].astype(np.int64)
        positions = np.repeat(np.arange(encoded.n_rows), np.diff(encoded.indptr))[kept]
        logits = passed.logits[0].astype(np.float64)
        steps = encoded.values[kept, None].astype(np.float64) * self.model.decoder_rows(features.tolist())
        if self.per_token():
            contributions = np.stack([self._ablation_drop(passed, at, step) for at, step in zip(positions, steps, strict=True)]) \
                if kept.size else np.zeros((0, logits.size))  # fmt: skip
            silent = np.zeros_like(passed.values) + self._nothing(passed)
        else:
            contributions = steps @ self.model.output_weight.T.astype(np.float64)
            silent = self._nothing(passed)
        bias = self.model.logits_with(passed, silent)[0].astype(np.float64)
        rest = logits - bias - contributions.sum(axis=0)
        return Trace(
            tuple(features.tolist()),
            tuple(encoded.values[kept].tolist()),
            tuple(positions.tolist()) if self.per_token() else None,
            contributions.astype(np.float32),
            bias.astype(np.float32),
            rest.astype(np.float32),
            passed.logits[0],
            exact=not self.per_token(),
        )

    def _ablation_drop(self, passed: Pass, position: int, step: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        without = passed.values.copy()
        without[position] -= step.astype(np.float32)
        change: npt.NDArray[np.float64] = (
            passed.logits[0].astype(np.float64) - self.model.logits_with(passed, without)[0]
        )
        return change

    def _nothing(self, passed: Pass) -> Floats:
        """The values at the hook if no feature fires: the bias of the SAE."""
        rows = self.model.encoded(passed)
        empty = type(rows)(np.zeros_like(rows.indptr), rows.feature_ids[:0], rows.values[:0])
        return self.model.decoded(empty)

    def _passes(self, builds: Sequence[TokenSet]) -> Iterator[tuple[npt.NDArray[np.int64], Pass]]:
        """Forward passes over builds of about the same length, and which builds are in each."""
        sets = [self._seen(at, build) for at, build in enumerate(builds)]
        order = sorted(range(len(sets)), key=lambda at: len(sets[at][1]))
        start = 0
        while start < len(order):
            stop = start + 1
            while stop < len(order) and (stop + 1 - start) * len(sets[order[stop]][1]) <= _BATCH_TOKENS:
                stop += 1
            rows = order[start:stop]
            yield np.array(rows, dtype=np.int64), self.model.passed([sets[at] for at in rows])
            start = stop

    def _seen(self, at: int, build: TokenSet) -> tuple[int, tuple[int, ...]]:
        vocabulary, contexts = self.model.vocabulary, self.model.contexts
        _refuse_unseen(at, build, vocabulary, contexts)
        if build.tokens:
            return build.weapon_id, build.tokens
        if vocabulary.null_id is None:
            raise ParameterError(f"builds.{at}", "this base model has no token for the empty build")
        return build.weapon_id, (vocabulary.null_id,)

    @staticmethod
    def _rows_of(passed: Pass, rows: npt.NDArray[np.int64], positions: Sequence[int] | None) -> npt.NDArray[np.int64]:
        """Which of the pass's values belong to the builds (at their positions)."""
        if positions is None:
            return passed.offsets[:-1]
        chosen = np.asarray(positions, dtype=np.int64)[rows]
        lengths = np.diff(passed.offsets)
        wrong = np.flatnonzero((chosen < 0) | (chosen >= lengths))
        if wrong.size:
            at = int(wrong[0])
            raise ParameterError(
                f"positions.{rows[at]}", f"{chosen[at]} is outside the {counted(lengths[at], 'tokens')} of that build"
            )
        return passed.offsets[:-1] + chosen


def _refuse_unseen(at: int, build: TokenSet, vocabulary: Vocabulary, contexts: Contexts) -> None:
    where = f"builds.{at}"
    if not 0 <= build.weapon_id < len(contexts):
        raise UnknownNameError(
            f"{where}: weapon {build.weapon_id} does not exist; weapons are 0 to {len(contexts) - 1}"
        )
    if len(build.tokens) > MOST_TOKENS or len(set(build.tokens)) < len(build.tokens):
        raise ParameterError(where, f"a build is a set of at most {MOST_TOKENS} tokens, each once")
    for token in build.tokens:
        if not 0 <= token < len(vocabulary):
            raise UnknownNameError(f"{where}: token {token} does not exist; tokens are 0 to {len(vocabulary) - 1}")
    special = {vocabulary.pad_id, vocabulary.null_id} & set(build.tokens)
    if special and (len(build.tokens) > 1 or vocabulary.pad_id in special):
        raise ParameterError(
            where, "padding cannot be part of a build, and the empty build's token must be the only one"
        )
