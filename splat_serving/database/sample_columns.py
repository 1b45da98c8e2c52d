"""Columns of samples, gathered only for the requested rows, and look-up of tokens and weapons by id or name."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from splat_assets.domain.abilities import ability_of
from splat_assets.store.samples import SampleTable
from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_serving.database.arrow_arrays import arrow_of, coded, numpy_of
from splat_serving.database.errors import NotComputedError, ParameterError, UnknownNameError

Ids = npt.NDArray[np.integer[Any]]

DEFAULT = ("activation", "weapon_id", "ability_input_tokens", "global_index")
"""The guide's columns in the guide's order, and which sample each row is."""
OF_ACTIVATIONS = ("global_index", "activation")
OF_SAMPLES = (
    "weapon_id",
    "weapon_name",
    "ability_input_tokens",
    "abilities",
    "split",
    "kind",
    "is_null",
    "source_row",
    "token_position",
)
COLUMNS = (*OF_ACTIVATIONS, *OF_SAMPLES)
OF_BUILDS = ("weapon_id", "ability_input_tokens", "kind", "split", "token_position")
"""What an investigation needs of every sample."""
_FEW_ROWS = 4_096
"""Answers of fewer rows are put together without compiled loops, whose compiler takes 100 MB and half a second to load."""
_AS_STORED = {"is_null": pa.bool_(), "source_row": pa.int64(), "token_position": pa.int32()}


def checked_columns(columns: Sequence[str] | None, include_abilities: bool = True) -> tuple[str, ...]:
    """The requested columns, in order; default: the guide's. ParameterError for invalid ones."""
    named = _checked(columns, DEFAULT, COLUMNS, "unknown column {}")
    without = ("ability_input_tokens", "abilities")
    kept = named if include_abilities else tuple(name for name in named if name not in without)
    if not kept:
        raise ParameterError("include_abilities", "false removes all requested columns; add another one")
    return kept


def checked_sample_columns(columns: Sequence[str] | None) -> tuple[str, ...]:
    """The requested columns of samples, in order; default: OF_BUILDS. ParameterError."""
    return _checked(columns, OF_BUILDS, OF_SAMPLES, "samples do not have the column {}")


def _checked(
    columns: Sequence[str] | None, default: tuple[str, ...], known: tuple[str, ...], problem: str
) -> tuple[str, ...]:
    named = tuple(columns) if columns is not None else default
    for name in named:
        if name not in known:
            raise ParameterError("columns", f"{problem.format(repr(name))}; choose from {', '.join(known)}")
    if not named:
        raise ParameterError("columns", f"name at least one of {', '.join(known)}")
    check_each_once(named)
    return named


def check_each_once(columns: Sequence[str]) -> None:
    """Raise ParameterError for a column that is named more than once."""
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise ParameterError("columns", f"{twice} is named {columns.count(twice)} times; name each column once")


def token_id(name: str, vocabulary: Vocabulary | None) -> int:
    """The id of a token named by id or name.

    UnknownNameError names the valid range; NotComputedError for a name without a vocabulary.
    """
    if name.isascii() and name.isdigit():
        n_tokens = len(vocabulary) if vocabulary else None
        if len(name) < 10 and (n_tokens is None or int(name) < n_tokens):
            return int(name)
        raise UnknownNameError(f"token {name[:20]} does not exist: ids are 0 to {(n_tokens or 1) - 1}")
    if vocabulary is None:
        raise NotComputedError("this folder does not record its vocabulary: use token ids")
    token = vocabulary.by_name.get(name) or vocabulary.by_name.get(ability_of(name))
    if token is None:
        raise UnknownNameError(f"unknown token {name[:60]!r}; /tokens lists all")
    return token.id


def weapon_id(name: str, contexts: Contexts | None) -> int:
    """The id of a weapon named by id, key or name; errors as `token_id`."""
    known = contexts.items if contexts else ()
    if name.isascii() and name.isdigit():
        if len(name) < 10 and (not known or int(name) < len(known)):
            return int(name)
        raise UnknownNameError(f"weapon {name[:20]} does not exist: ids are 0 to {len(known) - 1}")
    if contexts is None:
        raise NotComputedError("this folder does not record its weapons: use weapon ids")
    named = next((item for item in known if name in (item.key, item.name)), None) or next(
        (item for item in known if name.casefold() == item.name.casefold()), None
    )
    if named is not None:
        return named.id
    raise UnknownNameError(f"unknown weapon {name[:60]!r}; /weapons lists all")


class SampleColumns:
    """The samples of one store by column. Safe to use from threads."""

    def __init__(self, samples: SampleTable, vocabulary: Vocabulary | None, contexts: Contexts | None) -> None:
        """vocabulary, contexts: None where the folder does not record them; then names are errors, never invented."""
        self.samples = samples
        self._vocabulary = vocabulary
        self._contexts = contexts

    @cached_property
    def weapons(self) -> npt.NDArray[np.int32]:
        """The weapon of each sample, as the model's vocabulary numbers it, -1 if unknown."""
        return self._numpy("weapon_id_token")

    @cached_property
    def token_offsets(self) -> npt.NDArray[np.int64]:
        """Where each sample's tokens lie in token_values: int64, shape (n_samples + 1,)."""
        return numpy_of(self._lists.offsets).astype(np.int64, copy=False)

    @cached_property
    def token_values(self) -> npt.NDArray[np.int32]:
        """The tokens of all samples, one after the other."""
        return numpy_of(self._lists.values)

    @property
    def _lists(self) -> pa.LargeListArray:
        return _one_chunk(self.samples.arrow["tokens"])

    def _numpy(self, name: str) -> npt.NDArray[Any]:
        return numpy_of(_one_chunk(self.samples.arrow[name]))

    def take(self, name: str, sample_ids: Ids) -> pa.Array:
        """One column (a name of OF_SAMPLES) for these samples, in their order; NotComputedError where names are unknown."""
        match name:
            case "weapon_id":
                return arrow_of(self.weapons[sample_ids].astype(np.int64))
            case "weapon_name":
                return self._weapon_names(sample_ids)
            case "ability_input_tokens":
                offsets, values = self.take_tokens(sample_ids)
                return _list_array(offsets, arrow_of(values))
            case "abilities":
                offsets, values = self.take_tokens(sample_ids)
                return _list_array(offsets, coded(values, self._token_names))
            case "split" | "kind":
                codes, texts = self._coded[name]
                return coded(codes[sample_ids], texts)
            case _:
                return self.samples.arrow[name].take(arrow_of(sample_ids)).combine_chunks().cast(_AS_STORED[name])

    def take_tokens(self, sample_ids: Ids) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """The tokens of these samples, one list after the other: offsets, shape (n + 1,), and values."""
        starts, ends = self.token_offsets[sample_ids], self.token_offsets[1:][sample_ids]
        offsets = np.zeros(sample_ids.size + 1, dtype=np.int64)
        np.cumsum(ends - starts, out=offsets[1:])
        if sample_ids.size < _FEW_ROWS:
            at = np.repeat(starts - offsets[:-1], ends - starts) + np.arange(offsets[-1])
            return offsets, self.token_values[at]
        from splat_serving.database.kernels import take_lists

        values = np.empty(int(offsets[-1]), dtype=np.int32)
        take_lists(starts, self.token_values, offsets, values)
        return offsets, values

    def with_token(self, token_id: int) -> npt.NDArray[np.bool_]:
        """Which samples hold the token: bool, shape (n_samples,)."""
        holds = np.zeros(self.samples.n_samples, dtype=np.bool_)
        at = np.flatnonzero(self.token_values == token_id)
        holds[np.searchsorted(self.token_offsets, at, side="right") - 1] = True
        return holds

    def holding(
        self, weapon: Sequence[str], token: Sequence[str], among: Ids | slice = slice(None)
    ) -> list[npt.NDArray[np.bool_]]:
        """Which samples have one of the weapons (if any is named), and which hold each of the tokens: bool, one array each."""
        masks = [np.isin(self.weapons[among], [self.weapon_id(name) for name in weapon])] if weapon else []
        return masks + [self.with_token(self.token_id(name))[among] for name in token]

    def token_id(self, name: str) -> int:
        """The id of a token named by id or name; errors as the function."""
        return token_id(name, self._vocabulary)

    def weapon_id(self, name: str) -> int:
        """The id of a weapon named by id, key or name; errors as the function."""
        return weapon_id(name, self._contexts)

    def _weapon_names(self, sample_ids: Ids) -> pa.Array:
        if self._contexts is None:
            return self.samples.arrow["weapon_name"].take(arrow_of(sample_ids)).combine_chunks().cast(pa.string())
        ids = self.weapons[sample_ids]
        return coded(ids, self._names_of_weapons, ids >= 0)

    @cached_property
    def _names_of_weapons(self) -> pa.Array:
        return pa.array([item.name for item in self._contexts.items] if self._contexts else [], pa.string())

    @cached_property
    def _token_names(self) -> pa.Array:
        if self._vocabulary is None:
            raise NotComputedError(
                "this folder does not record its vocabulary: use the column ability_input_tokens, the ids"
            )
        return pa.array([token.name for token in self._vocabulary.tokens], pa.string())

    @cached_property
    def _coded(self) -> dict[str, tuple[npt.NDArray[np.int8], pa.Array]]:
        """split and kind as small codes, so that responses need not encode a million texts."""
        columns = {}
        for name in ("split", "kind"):
            codes = _one_chunk(self.samples.arrow[name]).dictionary_encode()
            columns[name] = (numpy_of(codes.indices).astype(np.int8), codes.dictionary.cast(pa.string()))
        return columns


def _list_array(offsets: npt.NDArray[np.int64], values: pa.Array) -> pa.Array:
    """Lists with 32-bit offsets if possible, which every Arrow reader supports."""
    if offsets[-1] < 2**31:
        return pa.ListArray.from_arrays(arrow_of(offsets.astype(np.int32)), values)
    return pa.LargeListArray.from_arrays(arrow_of(offsets), values)


def _one_chunk(column: pa.ChunkedArray) -> Any:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
