"""Masked builds: what a base model is shown in training, and what it has to fill in.

Of a build with n tokens, k in 1..max(1, n - 1) are hidden, with P(k) proportional to k ** skew; the answer is the full set.
An input is never empty: where nothing is left it is the single token `<NULL>`. Drawn for all builds at once, from a seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from splat_assets.data.builds import Builds
from splat_assets.errors import InputError
from splat_assets.store.activations import offsets_of
from splat_assets.store.vocabulary import Vocabulary


@dataclass(frozen=True)
class MaskedBatch:
    """Some masked builds, padded, with their answers.

    ability_tokens: int64, shape (B, S). weapon_token: int64, shape (B, 1).
    full: float32, shape (B, vocabulary), 1 where the build has the token. hidden: bool, same shape, 1 where it was hidden.
    """

    ability_tokens: npt.NDArray[np.int64]
    weapon_token: npt.NDArray[np.int64]
    full: npt.NDArray[np.float32]
    hidden: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MaskedBuilds:
    """One masked instance of each of some builds.

    builds: the full ones, one per instance. kept: bool, shape (total tokens,), False where a token is hidden.
    """

    builds: Builds
    kept: npt.NDArray[np.bool_]
    vocabulary: Vocabulary

    @cached_property
    def n_kept(self) -> npt.NDArray[np.int64]:
        """int64, shape (n,): how many tokens of each instance are shown."""
        return np.add.reduceat(self.kept, self.builds.offsets[:-1], dtype=np.int64)

    @cached_property
    def _inputs(self) -> Builds:
        """The instances as builds of shown tokens, `<NULL>` where none is."""
        if self.vocabulary.null_id is None:
            raise InputError("builds cannot be masked: the vocabulary has no <NULL> token to stand for an empty build")
        lengths = np.maximum(self.n_kept, 1)
        offsets = offsets_of(lengths)
        tokens = np.full(offsets[-1], self.vocabulary.null_id, dtype=np.int32)
        tokens[np.repeat(self.n_kept > 0, lengths)] = self.builds.tokens[self.kept]
        return Builds(tokens, offsets, self.builds.weapons, self.builds.split, self.builds.source_row)

    def batch(self, rows: npt.NDArray[np.int64]) -> MaskedBatch:
        """These instances, as a model takes them."""
        ability_tokens, weapon_token = self._inputs.batch(rows, self.vocabulary.pad_id)
        chosen = self.builds.take(rows)
        full = np.zeros((len(rows), len(self.vocabulary)), dtype=np.float32)
        full[chosen.build_of_token, chosen.tokens] = 1
        shown = np.zeros(full.shape, dtype=np.bool_)
        shown[np.arange(len(rows))[:, None], ability_tokens] = True
        return MaskedBatch(ability_tokens, weapon_token, full, (full > 0) & ~shown)

    def batches(self, batch_size: int, rng: np.random.Generator | None = None) -> Iterator[MaskedBatch]:
        """Every instance once, in batches of like length; with an rng in random order, without one shortest first."""
        n = self.builds.n_builds
        order = np.arange(n) if rng is None else rng.permutation(n)
        order = order[np.argsort(self.n_kept[order], kind="stable")]
        cuts = np.split(order, np.arange(batch_size, n, batch_size))
        for i in range(len(cuts)) if rng is None else rng.permutation(len(cuts)):
            yield self.batch(cuts[i])


def mask_builds(
    builds: Builds, vocabulary: Vocabulary, rng: np.random.Generator, *, skew: float, null_share: float = 0.0
) -> MaskedBuilds:
    """One masked instance per build; a share `null_share` of them hides everything.

    A build that is the single token `<NULL>` already is left as it is.
    """
    lengths = builds.lengths
    n_hidden = _n_hidden(lengths, rng, skew)
    n_hidden[rng.random(builds.n_builds) < null_share] = np.iinfo(np.int64).max
    n_hidden[builds.tokens[builds.offsets[:-1]] == vocabulary.null_id] = 0
    place = _random_places(builds, rng)
    return MaskedBuilds(builds, place >= np.repeat(n_hidden, lengths), vocabulary)


def _n_hidden(lengths: npt.NDArray[np.int64], rng: np.random.Generator, skew: float) -> npt.NDArray[np.int64]:
    """How many tokens to hide of builds of these lengths: k in 1..max(1, length - 1), P(k) proportional to k ** skew."""
    most = np.maximum(1, lengths - 1)
    below = np.cumsum(np.arange(1, most.max(initial=1) + 1, dtype=np.float64) ** skew)
    drawn = rng.random(lengths.size) * below[most - 1]
    n_hidden: npt.NDArray[np.int64] = np.minimum(np.searchsorted(below, drawn, side="right") + 1, most)
    return n_hidden


def _random_places(builds: Builds, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """For each token, its place in a random order of its build's tokens: 0..length - 1."""
    order = np.argsort(builds.build_of_token + rng.random(builds.tokens.size))
    places = np.empty(builds.tokens.size, dtype=np.int64)
    places[order] = np.arange(builds.tokens.size) - np.repeat(builds.offsets[:-1], builds.lengths)
    return places
