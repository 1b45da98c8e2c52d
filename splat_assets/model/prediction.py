"""How well a base model predicts hidden abilities, compared with two baselines that ignore the other abilities.

The rules are frequencies in the training split: of a token over all builds, and of a token on the weapon at hand. A model
that has learned how abilities go together beats both.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from splat_assets.data.builds import Builds
from splat_assets.errors import InputError
from splat_assets.model.masking import MaskedBatch, mask_builds
from splat_assets.model.protocol import BaseModel
from splat_assets.store.vocabulary import Vocabulary

Floats = npt.NDArray[np.float64]

_BATCH_SIZE = 1024
_LEAST_PROBABILITY = 1e-6
_WEAPON_PRIOR_BUILDS = 10.0


@dataclass(frozen=True, slots=True)
class Scores:
    """How good probabilities for the tokens of masked builds are.

    bce: binary cross entropy, nats per token of the vocabulary, answer the full set. recall: of the h hidden tokens of a
    build, the share that is among its h most probable tokens that were not shown. f1: of "hidden" against probability > 0.5,
    over tokens not shown. Shares are over all hidden tokens, not averaged by build.
    """

    bce: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class PredictionMetrics:
    """Scores of a model and of the two frequency rules on the same masked builds."""

    n_builds: int
    n_hidden: int
    model: Scores
    frequency: Scores
    weapon_frequency: Scores


def prediction_metrics(
    model: BaseModel,
    builds: Builds,
    rows: npt.NDArray[np.int64],
    vocabulary: Vocabulary,
    *,
    seed: int = 0,
    skew: float = 1.2,
) -> PredictionMetrics:
    """Scores on one seeded mask of each of these builds; frequencies come from the training split of builds.

    Raises InputError without builds to score on, or without builds to count frequencies in.
    """
    train = builds.rows_of("train")
    if not len(rows) or not len(train):
        raise InputError(
            f"predictions need builds to score on ({len(rows)}) and to count frequencies in ({len(train)})"
        )
    masked = mask_builds(builds.take(rows), vocabulary, np.random.default_rng([seed, 1]), skew=skew)
    frequency = token_frequency(builds.take(train), len(vocabulary))
    by_weapon = _frequency_by_weapon(builds.take(train), len(vocabulary), int(builds.weapons.max()) + 1, frequency)
    special = np.array([vocabulary.pad_id, vocabulary.null_id])
    rules: dict[str, Callable[[MaskedBatch], Floats]] = {
        "model": lambda batch: _probabilities(model, batch),
        "frequency": lambda batch: np.broadcast_to(frequency, batch.full.shape),
        "weapon_frequency": lambda batch: by_weapon[batch.weapon_token[:, 0]],
    }
    tallies = {name: _Tally(special) for name in rules}
    for batch in masked.batches(_BATCH_SIZE):
        for name, rule in rules.items():
            tallies[name].add(rule(batch), batch)
    scores = {name: tally.scores() for name, tally in tallies.items()}
    return PredictionMetrics(n_builds=len(rows), n_hidden=tallies["model"].n_hidden, **scores)


def token_frequency(builds: Builds, n_tokens: int) -> Floats:
    """The share of builds that hold each token, shape (vocabulary,)."""
    return np.bincount(builds.tokens, minlength=n_tokens) / builds.n_builds


class _Tally:
    def __init__(self, special: npt.NDArray[np.int64]) -> None:
        self._special = special
        self._bce = self._n_cells = 0.0
        self._n_recalled = self._n_predicted = self._n_right = 0
        self.n_hidden = 0

    def add(self, probabilities: Floats, batch: MaskedBatch) -> None:
        p = np.clip(probabilities, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
        self._bce -= float(np.where(batch.full > 0, np.log(p), np.log1p(-p)).sum())
        self._n_cells += p.size
        open_tokens = (batch.full == 0) | batch.hidden
        open_tokens[:, self._special] = False
        hidden = batch.hidden & open_tokens
        best = np.argsort(np.where(open_tokens, -p, 1.0), axis=1, kind="stable")
        within = np.arange(p.shape[1]) < hidden.sum(axis=1, keepdims=True)
        self._n_recalled += int((np.take_along_axis(hidden, best, axis=1) & within).sum())
        predicted = (p > 0.5) & open_tokens
        self._n_predicted += int(predicted.sum())
        self._n_right += int((predicted & hidden).sum())
        self.n_hidden += int(hidden.sum())

    def scores(self) -> Scores:
        return Scores(
            bce=self._bce / self._n_cells,
            recall=self._n_recalled / max(1, self.n_hidden),
            f1=2 * self._n_right / max(1, self._n_predicted + self.n_hidden),
        )


def _probabilities(model: BaseModel, batch: MaskedBatch) -> Floats:
    with torch.no_grad():
        logits = model(torch.from_numpy(batch.ability_tokens), torch.from_numpy(batch.weapon_token))
    probabilities: Floats = torch.sigmoid(logits.double()).cpu().numpy()
    return probabilities


def _frequency_by_weapon(builds: Builds, n_tokens: int, n_weapons: int, frequency: Floats) -> Floats:
    """The same within each weapon's builds, shape (weapons, vocabulary), drawn towards the overall share where few."""
    cells = builds.weapons[builds.build_of_token].astype(np.int64) * n_tokens + builds.tokens
    counts = np.bincount(cells, minlength=n_weapons * n_tokens).reshape(n_weapons, n_tokens)
    n_builds = np.bincount(builds.weapons, minlength=n_weapons)[:, None]
    frequencies: Floats = (counts + _WEAPON_PRIOR_BUILDS * frequency) / (n_builds + _WEAPON_PRIOR_BUILDS)
    return frequencies
