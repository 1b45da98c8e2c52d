"""Inverse document frequency of every token: `idf.parquet`.

A document is a row of the dataset as the model saw it, null rows included. Where samples are token positions, each row is
counted once, at its first position.
"""

import logging
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from splat_assets.analysis.idf import document_frequency, inverse_document_frequency
from splat_assets.errors import InputError
from splat_assets.store.activations import offsets_of
from splat_assets.store.errors import LayoutError
from splat_assets.store.tables import explaining_damage, misplaced_ids, read_table, table_facts, write_table
from splat_assets.store.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

_BLOCK_ROWS = 500_000


@dataclass(frozen=True, slots=True)
class IdfWritten:
    """The summary of the count."""

    n_documents: int
    n_tokens: int
    n_unseen: int


def write_idf(samples: pl.DataFrame | Path, vocabulary: Vocabulary, path: Path) -> IdfWritten:
    """Write one row per token of the vocabulary, in id order; those that never occur have doc_freq 0.

    samples: a sample table, or the Parquet file of one; `tokens` (list of ids) and, if there is one, `token_position` are used.
    Raises InputError when a token is outside the vocabulary, LayoutError when the column `tokens` is missing.
    """
    table, n_documents = _idf_table(samples, vocabulary)
    write_table(path, table, {"n_documents": n_documents, "formula": "ln(n_documents + 1) - ln(doc_freq + 1)"})
    n_unseen = int((table["doc_freq"] == 0).sum())
    logger.info("idf of %d tokens over %d documents", table.height, n_documents)
    return IdfWritten(n_documents, table.height, n_unseen)


def mismatched_idf(samples: pl.DataFrame | Path, vocabulary: Vocabulary, path: Path) -> list[int]:
    """Tokens whose row is out of place or differs from a fresh count over all samples."""
    stored = read_table(path, ["ability_input_tokens", "token", "doc_freq", "idf"])
    wrong = misplaced_ids(stored["ability_input_tokens"], len(vocabulary))
    if wrong:
        return wrong
    fresh, n_documents = _idf_table(samples, vocabulary)
    if table_facts(path, "n_documents")["n_documents"] != n_documents:
        return list(range(len(vocabulary)))
    return [i for i, (a, b) in enumerate(zip(stored.rows(), fresh.rows(), strict=True)) if a != b]


def _idf_table(samples: pl.DataFrame | Path, vocabulary: Vocabulary) -> tuple[pl.DataFrame, int]:
    doc_freq = np.zeros(len(vocabulary), dtype=np.int64)
    n_documents = 0
    for tokens, offsets in _documents(samples):
        if tokens.size and not (0 <= tokens.min() and tokens.max() < len(vocabulary)):
            raise InputError(
                f"the samples hold tokens {tokens.min()} to {tokens.max()}, but the vocabulary has 0 to "
                f"{len(vocabulary) - 1}; use the vocabulary the samples were made with"
            )
        doc_freq += document_frequency(tokens, offsets, len(vocabulary))
        n_documents += offsets.size - 1
    table = pl.DataFrame(
        {
            "ability_input_tokens": pl.Series([token.id for token in vocabulary.tokens], dtype=pl.Int64),
            "token": pl.Series([token.name for token in vocabulary.tokens], dtype=pl.String),
            "doc_freq": doc_freq,
            "idf": inverse_document_frequency(doc_freq, n_documents),
        }
    )
    return table, n_documents


def _documents(samples: pl.DataFrame | Path) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Token ids and offsets, a block of documents at a time."""
    if isinstance(samples, Path) and not samples.is_file():
        raise LayoutError(f"the sample table {samples} does not exist")
    with explaining_damage(samples) if isinstance(samples, Path) else nullcontext():
        lazy = pl.scan_parquet(samples.absolute(), glob=False) if isinstance(samples, Path) else samples.lazy()
        columns = lazy.collect_schema().names()
    if "tokens" not in columns:
        raise LayoutError(f"the sample table lacks the column tokens; it has {', '.join(columns)}")
    first_only = "token_position" in columns
    n_rows = int(lazy.select(pl.len()).collect().item())
    for start in range(0, n_rows, _BLOCK_ROWS):
        block = lazy.slice(start, _BLOCK_ROWS)
        if first_only:
            block = block.filter(pl.col("token_position") <= 0)
        tokens = block.select("tokens").collect()["tokens"]
        offsets = offsets_of(tokens.list.len().fill_null(0).to_numpy())
        yield tokens.list.explode(empty_as_null=False, keep_nulls=False).cast(pl.Int64).to_numpy(), offsets
