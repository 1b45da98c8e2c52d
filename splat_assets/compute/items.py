"""The inputs of the base model, in order: every build whole, one `<NULL>` per weapon, then masked variants.

An item is one token set in one context. A sample is one row of the store: the item itself for a pooled hook, or one of its
token positions for `token_ff`. No model and no files here.

Equal sets of a weapon are in one split, so that nothing that trains also judges. A masked variant that equals a build is in that
build's split; one that only other variants equal is in the first of train, validation and test that one of their builds is in;
and what equals a `<NULL>` row trains, as that does.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from splat_assets.data.builds import SPLITS, Builds
from splat_assets.data.splits import group_hashes
from splat_assets.domain.tokens import NULL
from splat_assets.errors import InputError
from splat_assets.store.activations import offsets_of
from splat_assets.store.samples import KINDS, SAMPLE_SCHEMA
from splat_assets.store.samples import SPLITS as SPLIT_NAMES
from splat_assets.store.vocabulary import Contexts, Vocabulary

BUILD, NULL_ROW, MASKED = 0, 1, 2
_MASKING_BLOCK = 65_536
_PLACE_OF_KIND = np.array([1, 0, 2], dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Items:
    """Token sets in the order in which they are run.

    builds: the sets themselves; source_row is -1 for `<NULL>` rows. kind: uint8, shape (n_items,): BUILD, NULL_ROW, MASKED.
    """

    builds: Builds
    kind: npt.NDArray[np.uint8]

    @property
    def n_items(self) -> int:
        """The number of token sets."""
        return int(self.kind.size)

    def n_tokens(self) -> npt.NDArray[np.int64]:
        """The size of each set: int64, shape (n_items,)."""
        return np.diff(self.builds.offsets)

    def first_samples(self, per_token: bool) -> npt.NDArray[np.int64]:
        """The first sample of each item and, last, the number of samples: int64, shape (n_items + 1,)."""
        if per_token:
            return self.builds.offsets.astype(np.int64) - int(self.builds.offsets[0])
        return np.arange(self.n_items + 1, dtype=np.int64)

    def split_names(self) -> npt.NDArray[np.uint8]:
        """Index into SPLIT_NAMES per item; `<NULL>` rows belong to no split."""
        return np.where(self.kind == NULL_ROW, np.uint8(3), self.builds.split).astype(np.uint8)


def make_items(builds: Builds, vocabulary: Vocabulary, contexts: Contexts, masked_variants: int, seed: int) -> Items:
    """All items of a dataset; raises InputError when the vocabulary lacks the `<NULL>` token."""
    if vocabulary.null_id is None:
        raise InputError(f"the vocabulary lacks the {NULL} token, which stands for an empty build; add it and retrain")
    parts = [builds, _null_rows(len(contexts), vocabulary.null_id)]
    parts += [_masked(builds, vocabulary.null_id, seed, variant) for variant in range(masked_variants)]
    kinds = [BUILD, NULL_ROW] + [MASKED] * masked_variants
    kind = np.concatenate([np.full(part.n_builds, k, dtype=np.uint8) for part, k in zip(parts, kinds, strict=True)])
    joined = _concatenated(parts)
    sets = np.concatenate([group_hashes(part, seed=0) for part in parts])
    return Items(joined.with_split(_one_split_per_set(sets, kind, joined.split)), kind)


def sample_table(items: Items, contexts: Contexts, first_item: int, last_item: int, per_token: bool) -> pl.DataFrame:
    """The metadata of the samples of items first_item..last_item - 1, in the columns of a raw shard."""
    n_tokens = items.n_tokens()[first_item:last_item]
    repeats = n_tokens if per_token else np.ones_like(n_tokens)
    first_sample = int(items.first_samples(per_token)[first_item])
    n_samples = int(repeats.sum())
    chosen = np.arange(first_item, last_item)
    offsets = items.builds.offsets[first_item : last_item + 1].astype(np.int64)
    flat = items.builds.tokens[offsets[0] : offsets[-1]].astype(np.int32)
    tokens = pl.Series(pa.LargeListArray.from_arrays(offsets - offsets[0], flat))
    weapons = items.builds.weapons[chosen].astype(np.int32)
    names = np.array([context.name for context in contexts.items], dtype=object)
    table = pl.DataFrame(
        {
            "source_row": items.builds.source_row[chosen].astype(np.int64),
            "kind": pl.Series(np.array(KINDS, dtype=object)[items.kind[chosen]], dtype=pl.String),
            "is_null": items.kind[chosen] == NULL_ROW,
            "split": pl.Series(np.array(SPLIT_NAMES, dtype=object)[items.split_names()[chosen]], dtype=pl.String),
            "weapon_id_token": weapons,
            "weapon_name": pl.Series(names[weapons], dtype=pl.String),
            "tokens": tokens,
        }
    )
    positions = np.concatenate([np.arange(n) for n in n_tokens]) if per_token else np.full(n_samples, -1)
    expanded = table[np.repeat(np.arange(chosen.size), repeats)] if per_token else table
    return expanded.with_columns(
        pl.Series("token_position", positions.astype(np.int32)),
        pl.Series("sample_id", np.arange(n_samples, dtype=np.int64)),
        pl.Series("global_index", np.arange(first_sample, first_sample + n_samples, dtype=np.int64)),
    ).select(SAMPLE_SCHEMA.names())


def _null_rows(n_contexts: int, null_id: int) -> Builds:
    return Builds(
        tokens=np.full(n_contexts, null_id, dtype=np.int32),
        offsets=np.arange(n_contexts + 1, dtype=np.int64),
        weapons=np.arange(n_contexts, dtype=np.int32),
        split=np.zeros(n_contexts, dtype=np.uint8),
        source_row=np.full(n_contexts, -1, dtype=np.int64),
    )


def _one_split_per_set(
    sets: npt.NDArray[np.uint64], kind: npt.NDArray[np.uint8], split: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """The split of each item: that of the foremost item with the same set, by kind (`<NULL>`, build, masked), then by split."""
    distinct, set_of = np.unique(sets, return_inverse=True)
    place = _PLACE_OF_KIND[kind] * len(SPLITS) + split
    foremost = np.full(distinct.size, place.max(), dtype=np.uint8)
    np.minimum.at(foremost, set_of, place)
    splits: npt.NDArray[np.uint8] = foremost[set_of] % len(SPLITS)
    return splits


def _masked(builds: Builds, null_id: int, seed: int, variant: int) -> Builds:
    """Each build less 1 to n - 1 of its tokens, the number uniform; a build of one token becomes `<NULL>`.

    Drawn block by block from (seed, variant, block), so that the result does not depend on how work is divided.
    """
    blocks = range(0, builds.n_builds, _MASKING_BLOCK)
    kept = [_masked_block(builds, start, null_id, [seed, variant, start // _MASKING_BLOCK]) for start in blocks]
    lengths = np.concatenate([lengths for _, lengths in kept]) if kept else np.zeros(0, dtype=np.int64)
    tokens = np.concatenate([tokens for tokens, _ in kept]) if kept else np.zeros(0, dtype=np.int32)
    return Builds(tokens, offsets_of(lengths), builds.weapons, builds.split, builds.source_row)


def _masked_block(
    builds: Builds, start: int, null_id: int, entropy: list[int]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    rng = np.random.default_rng(entropy)
    stop = min(start + _MASKING_BLOCK, builds.n_builds)
    offsets = builds.offsets[start : stop + 1]
    tokens = builds.tokens[offsets[0] : offsets[-1]].copy()
    lengths = np.diff(offsets)
    n_kept = np.where(lengths > 1, rng.integers(1, np.maximum(lengths, 2)), 1)
    owner = np.repeat(np.arange(lengths.size), lengths)
    order = np.lexsort((rng.random(tokens.size), owner))
    rank = np.empty(tokens.size, dtype=np.int64)
    rank[order] = np.arange(tokens.size) - np.repeat(offsets[:-1] - offsets[0], lengths)
    tokens[np.repeat(lengths == 1, lengths)] = null_id
    return tokens[rank < n_kept[owner]], n_kept.astype(np.int64)


def _concatenated(parts: list[Builds]) -> Builds:
    return Builds(
        tokens=np.concatenate([part.tokens for part in parts]),
        offsets=offsets_of(np.concatenate([part.lengths for part in parts])),
        weapons=np.concatenate([part.weapons for part in parts]),
        split=np.concatenate([part.split for part in parts]),
        source_row=np.concatenate([part.source_row for part in parts]),
    )
