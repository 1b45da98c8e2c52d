"""Base model and SAE of a run, run on builds from a request. The only module of the server that imports torch.

It is imported at the first such request. A base model is trained with binary cross entropy on each token by itself
(`splat_assets.model.epochs`), so the probability of a token is the sigmoid of its logit, and they do not add up to 1.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from splat_assets.compute.provenance import hook_for, refuse_other_model
from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
from splat_assets.errors import InputError
from splat_assets.model import SplatGPT, load_base_model
from splat_assets.model.hooks import HookPoint
from splat_assets.runs import HookRecipe, Run, open_run
from splat_assets.sae import Sae, load_sae
from splat_assets.store.activations import SparseRows
from splat_assets.store.errors import FeatureNotFoundError, FingerprintMismatchError
from splat_assets.store.layout import DataRoot, RunLayout
from splat_assets.store.origin import NotThereError, Origin
from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_assets.text.wording import counted
from splat_serving.database.errors import NotComputedError, ParameterError
from splat_serving.database.home import Home
from splat_serving.model.answers import (
    BuildFeatures,
    BuildIntervention,
    ChangedPrediction,
    Edit,
    EditedFeature,
    Prediction,
    TopFeatures,
)
from splat_serving.model.typed_builds import SeenBuild, TypedBuild, seen_builds

Floats = npt.NDArray[np.float32]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass. values: float32, (n, d), at the hook. logits: float32, (B, O). offsets: start of each build's values."""

    tokens: torch.Tensor
    weapons: torch.Tensor
    values: Floats
    logits: Floats
    offsets: npt.NDArray[np.int64]


class LiveModel:
    """A base model with its SAE. The same builds give the same answer; one call at a time uses all threads of torch.

    Examples:
        >>> from pathlib import Path
        >>> from splat_assets.store.layout import DataRoot
        >>> from splat_serving.model.live import LiveModel
        >>> from splat_serving.model.typed_builds import TypedBuild
        >>> live = LiveModel.of(DataRoot(Path("data")).run("demo"))
        >>> (answer,) = live.features([TypedBuild(0, abilities={"swim_speed_up": 12})], top_k=3, predictions=5)
        >>> (answer.build.abilities, len(answer.predictions))
        (('swim_speed_up_3', 'swim_speed_up_6', 'swim_speed_up_12'), 5)
    """

    def __init__(self, model: SplatGPT, sae: Sae, hook: HookPoint, vocabulary: Vocabulary, contexts: Contexts) -> None:
        """hook: the hook point of the SAE."""
        self._model = model
        self._sae = sae
        self.hook = hook
        self.vocabulary = vocabulary
        self.contexts = contexts
        self._hook_names: dict[str, Any] = {
            "hook_target": hook.target,
            "layer_index": hook.layer_index,
            "ff_module_index": hook.ff_module_index,
        }
        self._ordinary = np.ones(len(vocabulary), dtype=np.bool_)
        self._ordinary[[i for i in (vocabulary.pad_id, vocabulary.null_id) if i is not None]] = False

    @classmethod
    def of(cls, home: Home, provenance: Mapping[str, Any] | None = None) -> "LiveModel":
        """The base model and SAE of a run, or of a folder that records them; see `of_run` and `of_folder`."""
        return cls.of_run(home, provenance) if isinstance(home, RunLayout) else cls.of_folder(home)

    @classmethod
    def of_run(cls, layout: RunLayout, provenance: Mapping[str, Any] | None = None) -> "LiveModel":
        """The base model and SAE of a run.

        Args:
            provenance: Of a published version, which model, SAE and vocabularies must be those of.

        Raises:
            NotComputedError: If the run or one of its files is missing.
            FingerprintMismatchError: If a file differs from the one that the run was made from, or from the version's.
        """
        began = time.perf_counter()
        try:
            run = _run_of(layout)
            inputs = run.config.inputs
            if inputs.model_params is not None:
                inputs.model_params.checked("model parameters")
            live = cls._loaded(
                inputs.model_checkpoint.checked("base model checkpoint"),
                inputs.vocab.checked("vocabulary"),
                inputs.weapon_vocab.checked("weapon vocabulary"),
                run.layout.sae,
                run.config.hook,
            )
        except InputError as error:
            raise NotComputedError(f"the model of run {layout.name} cannot be run: {error}") from error
        if provenance is not None:
            live._refuse_other_version(f"run {layout.name}", provenance)
        _log.info("run %s: base model and SAE loaded in %.2f s", layout.name, time.perf_counter() - began)
        return live

    @classmethod
    def of_folder(cls, origin: Origin) -> "LiveModel":
        """The base model and SAE that a folder records, where those files are still the same.

        Raises:
            NotComputedError: With the remedy, if one is missing or has changed.
        """
        try:
            if "model_params" in origin.files:
                origin.checked_file("model_params")
            sae = origin.checked_file("sae_checkpoint")
            if "sae_config" in origin.files:
                sae = origin.checked_file("sae_config").parent
            target, layer, module = origin.provenance["hook"]
            live = cls._loaded(
                origin.checked_file("model_checkpoint"),
                origin.checked_file("vocab"),
                origin.checked_file("weapon_vocab"),
                sae,
                HookRecipe(target, layer, module),
            )
        except (InputError, NotThereError) as error:
            raise NotComputedError(f"the model cannot be run: {error}") from error
        live._refuse_other_version(str(origin.folder), origin.provenance)
        return live

    @classmethod
    def _loaded(
        cls, checkpoint: Path, vocab: Path, weapon_vocab: Path, sae_path: Path, hook: HookRecipe
    ) -> "LiveModel":
        model = load_base_model(checkpoint, vocab_path=vocab, weapon_vocab_path=weapon_vocab)
        sae = load_sae(sae_path)
        requested = HookPoint(hook.hook_target, hook.layer_index, hook.ff_module_index)
        place = hook_for(sae, requested, model.dimensions.num_layers)
        refuse_other_model(sae, sae_path, model, place)
        vocabulary = read_vocabulary(vocab)
        if model.dimensions.output_dim != len(vocabulary):
            raise InputError(
                f"it predicts {counted(model.dimensions.output_dim, 'tokens')}, {vocab} holds {len(vocabulary)}"
            )
        return cls(model, sae, place, vocabulary, read_contexts(weapon_vocab))

    def _refuse_other_version(self, source: str, provenance: Mapping[str, Any]) -> None:
        fingerprints = {
            "base_model": self._model.fingerprint,
            "sae": self._sae.fingerprint,
            "vocabulary": self.vocabulary.fingerprint,
            "contexts": self.contexts.fingerprint,
        }
        for name, fingerprint in fingerprints.items():
            stated = provenance.get(name)
            if not isinstance(stated, str):
                raise NotComputedError(f"the served version of {source} does not record which {name} it was made from")
            if stated != fingerprint:
                raise FingerprintMismatchError(
                    f"the {name} of {source} is not what the served version was made from",
                    stated,
                    fingerprint,
                    "publish the run again, or put back what was there",
                )

    def features(
        self,
        builds: Sequence[TypedBuild],
        top_k: int | None = 20,
        predictions: int = 10,
        unseen: Set[int] | None = None,
    ) -> tuple[BuildFeatures, ...]:
        """For each build its strongest features and its most probable further tokens, in the order of the builds.

        Args:
            top_k: Number of features per build; all if None.
            predictions: Number of tokens per build.
            unseen: Ids of the tokens that never occur in the data, which come last; None if that was not counted.

        Raises:
            UnknownNameError: As `seen_builds`.
            ParameterError: As `seen_builds`.
        """
        seen = seen_builds(builds, self.vocabulary, self.contexts)
        if not seen:
            return ()
        passed = self._pass(seen)
        encoded = self._sae.encode_rows(passed.values)
        rebuilt = self._sae.decode_rows(encoded)
        answers = []
        for at, build in enumerate(seen):
            rows = slice(int(passed.offsets[at]), int(passed.offsets[at + 1]))
            likeliest, own = self._predictions(build, passed.logits[at], predictions, unseen)
            answers.append(
                BuildFeatures(
                    build=build,
                    n_active=int(encoded.indptr[rows.stop] - encoded.indptr[rows.start]),
                    features=self._top_features(encoded, rows, top_k),
                    reconstruction=_relative_error(passed.values[rows], rebuilt[rows]),
                    predictions=likeliest,
                    of_build=own,
                )
            )
        return tuple(answers)

    def intervene(
        self,
        builds: Sequence[TypedBuild],
        edits: Sequence[Edit],
        keep_error: bool = True,
        predictions: int = 20,
        unseen: Set[int] | None = None,
    ) -> tuple[BuildIntervention, ...]:
        """For each build the predictions with features edited, at each of its tokens for a hook per token.

        keep_error: keep the reconstruction error of the SAE; without it, the reconstruction replaces the values at the hook,
        edited or not. unseen: as `features`. Raises FeatureNotFoundError, UnknownNameError, ParameterError.
        """
        features = self.checked_edits(edits)
        seen = seen_builds(builds, self.vocabulary, self.contexts)
        if not seen:
            return ()
        passed = self._pass(seen)
        encoded = self._sae.encode_rows(passed.values)
        before = columns_of(encoded, features, self._sae.d_sae)
        after = np.empty_like(before)
        for column, edit in enumerate(edits):
            after[:, column] = [edit.of(value) for value in before[:, column].tolist()]
        # Decoding is linear: adding the change alone keeps the error term, and no change is then exactly none.
        base = passed.values if keep_error else self._sae.decode_rows(encoded)
        edited = base + (after - before) @ self._sae.W_dec[features].numpy()
        logits = self.logits_with(passed, edited)
        return tuple(
            BuildIntervention(
                build=build,
                edited=self._edited(features, before, after, passed.offsets[at : at + 2].tolist()),
                predictions=self._changed(build, passed.logits[at], logits[at], predictions, unseen),
                mean_abs_logit_change=float(np.abs(logits[at].astype(np.float64) - passed.logits[at]).mean()),
                kl_nats=float(kl_nats(passed.logits[at], logits[at])),
            )
            for at, build in enumerate(seen)
        )

    @property
    def output_weight(self) -> Floats:
        """W_out, float32, shape (n_outputs, d_model)."""
        weight: Floats = self._model.output_weight.detach().numpy()
        return weight

    def decoder_rows(self, features: Sequence[int]) -> Floats:
        """Rows of W_dec: float32, shape (len(features), d); FeatureNotFoundError."""
        for feature in features:
            if not 0 <= feature < self._sae.d_sae:
                raise FeatureNotFoundError(feature, self._sae.d_sae, "this SAE")
        rows: Floats = self._sae.W_dec[list(features)].detach().numpy()
        return rows

    def activations(self, values: Floats, features: Sequence[int]) -> Floats:
        """These features alone on values at the hook: float32, shape (n, len(features)); FeatureNotFoundError."""
        self.decoder_rows(features)
        chosen, sae = list(features), self._sae
        part = replace(
            sae,
            encoder=sae.encoder[chosen],
            b_enc=sae.b_enc[chosen],
            W_dec=sae.W_dec[chosen],
            threshold=sae.threshold[chosen],
        )
        return columns_of(part.encode_rows(values), list(range(len(chosen))), len(chosen))

    def encoded(self, passed: Pass) -> SparseRows:
        """The features on the values of a pass."""
        return self._sae.encode_rows(passed.values)

    def decoded(self, rows: SparseRows) -> Floats:
        """Decoded features: float32, (n, d)."""
        values: Floats = self._sae.decode_rows(rows)
        return values

    def _pass(self, seen: Sequence[SeenBuild]) -> Pass:
        return self.passed([(build.weapon_id, build.ability_input_tokens) for build in seen])

    def passed(self, builds: Sequence[tuple[int, Sequence[int]]]) -> Pass:
        """One forward pass over builds, each a weapon and at least one token of the model's vocabularies, not validated."""
        lengths = np.array([len(tokens) for _, tokens in builds], dtype=np.int64)
        ids = np.full((len(builds), int(lengths.max())), self.vocabulary.pad_id, dtype=np.int64)
        for row, (_, held) in zip(ids, builds, strict=True):
            row[: len(held)] = held
        tokens = torch.from_numpy(ids)
        weapons = torch.tensor([[weapon] for weapon, _ in builds], dtype=torch.int64)
        captured: list[torch.Tensor] = []

        def capture(values: torch.Tensor) -> torch.Tensor:
            captured.append(values)
            return values

        with torch.inference_mode():
            logits = self._model.logits_with(tokens, weapons, capture, **self._hook_names)
        per_build = lengths if self.hook.per_token else np.ones_like(lengths)
        offsets = np.concatenate([[0], np.cumsum(per_build)]).astype(np.int64)
        return Pass(tokens, weapons, captured[0].numpy(), logits.numpy(), offsets)

    def logits_with(self, passed: Pass, values: Floats) -> Floats:
        """The logits with other values at the hook: float32, shape (B, O)."""
        with torch.inference_mode():
            if not self.hook.per_token:  # only a linear map follows: the model need not be run again
                moved: Floats = ((values - passed.values) @ self.output_weight.T).astype(np.float32)
                return passed.logits + moved
            logits: Floats = self._model.logits_with(
                passed.tokens, passed.weapons, lambda _: torch.from_numpy(values), **self._hook_names
            ).numpy()
        return logits

    def checked_edits(self, edits: Sequence[Edit]) -> list[int]:
        """The features that are edited, each once."""
        features = [edit.feature for edit in edits]
        self.decoder_rows(features)
        for at, feature in enumerate(features):
            if feature in features[:at]:
                raise ParameterError("edits", f"feature {feature} is edited twice; edit each feature once")
        return features

    def _top_features(self, encoded: SparseRows, rows: slice, top_k: int | None) -> TopFeatures:
        offsets = encoded.indptr[rows.start : rows.stop + 1]
        ids, values = encoded.feature_ids[offsets[0] : offsets[-1]], encoded.values[offsets[0] : offsets[-1]]
        order = np.argsort(-values, kind="stable")[:top_k]
        positions = np.repeat(np.arange(offsets.size - 1), np.diff(offsets))
        return TopFeatures(
            tuple(ids[order].tolist()),
            tuple(values[order].tolist()),
            tuple(positions[order].tolist()) if self.hook.per_token else None,
        )

    def _predictions(
        self, build: SeenBuild, logits: Floats, n: int, unseen: Set[int] | None
    ) -> tuple[tuple[Prediction, ...], tuple[Prediction, ...]]:
        """The n likeliest tokens that the build does not have, those that never occur in the data last, and those it has."""
        probabilities = sigmoid(logits)

        def predictions_of(ids: Sequence[int]) -> Iterator[Prediction]:
            for token_id in ids:
                name = self.vocabulary.tokens[token_id].name
                in_data = None if unseen is None else token_id not in unseen
                yield Prediction(token_id, name, float(logits[token_id]), float(probabilities[token_id]), in_data)

        missing = self._ordinary.copy()
        missing[list(build.ability_input_tokens)] = False
        likeliest = [i for i in np.argsort(-logits, kind="stable").tolist() if missing[i]]
        likeliest.sort(key=lambda i: unseen is not None and i in unseen)
        own = [i for i in build.ability_input_tokens if self._ordinary[i]]
        return tuple(predictions_of(likeliest[:n])), tuple(predictions_of(own))

    def _edited(
        self, features: Sequence[int], before: Floats, after: Floats, bounds: Sequence[int]
    ) -> tuple[EditedFeature, ...]:
        first, last = bounds
        return tuple(
            EditedFeature(
                feature, row - first if self.hook.per_token else None, float(before[row, at]), float(after[row, at])
            )
            for at, feature in enumerate(features)
            for row in range(first, last)
        )

    def _changed(
        self, build: SeenBuild, before: Floats, after: Floats, n: int, unseen: Set[int] | None
    ) -> tuple[ChangedPrediction, ...]:
        change = after.astype(np.float64) - before
        order = [i for i in np.argsort(-np.abs(change), kind="stable").tolist() if self._ordinary[i]]
        order.sort(key=lambda i: unseen is not None and i in unseen)
        was, is_now, own = sigmoid(before), sigmoid(after), set(build.ability_input_tokens)
        return tuple(
            ChangedPrediction(
                i,
                self.vocabulary.tokens[i].name,
                i in own,
                float(was[i]),
                float(is_now[i]),
                float(change[i]),
                None if unseen is None else i not in unseen,
            )
            for i in order[:n]
        )


def _run_of(layout: RunLayout) -> Run:
    root = DataRoot(layout.root.absolute().parent.parent)
    if root.run(layout.name).root != layout.root.absolute():
        raise InputError(f"a run is a folder of DATA_ROOT/runs, and {layout.root} is not")
    return open_run(root, layout.name)


def columns_of(rows: SparseRows, features: list[int], n_features: int) -> Floats:
    """The values of these features on all rows: float32, shape (n_rows, len(features))."""
    whole = sp.csr_array((rows.values, rows.feature_ids.astype(np.int64), rows.indptr), shape=(rows.n_rows, n_features))
    columns: Floats = whole[:, features].toarray()
    return columns


def _relative_error(x: Floats, rebuilt: Floats) -> float | None:
    """||x - x_hat||^2 / ||x||^2 over all rows together."""
    square = float(np.square(x.astype(np.float64)).sum())
    return float(np.square(x.astype(np.float64) - rebuilt).sum()) / square if square > 0 else None


def sigmoid(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Probabilities of logits, in float64."""
    probabilities: npt.NDArray[np.float64] = torch.from_numpy(logits.astype(np.float64)).sigmoid().numpy()
    return probabilities


def kl_nats(before: Floats, after: Floats) -> npt.NDArray[np.float64]:
    """Mean KL of Bernoullis given by logits, over the last axis, nats: p (l - l') + softplus(l') - softplus(l)."""
    old, new = before.astype(np.float64), after.astype(np.float64)
    gap = sigmoid(before) * (old - new) + np.logaddexp(0, new) - np.logaddexp(0, old)
    means: npt.NDArray[np.float64] = np.maximum(gap, 0).mean(axis=-1)
    return means
