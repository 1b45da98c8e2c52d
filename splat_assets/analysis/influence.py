"""Direct effect of a feature on the model's outputs: its decoder direction times the output layer."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splat_assets.store.vocabulary import Token, Vocabulary


@dataclass(frozen=True, slots=True)
class StrongestTokens:
    """Per feature the k outputs it raises most and the k it lowers most.

    columns: int64, shape (n_features, k), positions among the outputs, -1 where there are fewer than k of that sign.
    values: float32, shape (n_features, k), NaN there.
    """

    columns: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]


def influenced_tokens(vocabulary: Vocabulary) -> tuple[Token, ...]:
    """The tokens whose influences are kept, in id order: all but padding and null."""
    return tuple(token for token in vocabulary.tokens if token.id not in (vocabulary.pad_id, vocabulary.null_id))


def influences(decoder: npt.NDArray[np.float32], output_weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Change of each output per unit of activation: float32, shape (n_features, n_outputs).

    Without the bias. Computed in float64, so that the result does not depend on how the product is cut up.

    Args:
        decoder: W_dec, shape (n_features, d).
        output_weight: W_out, shape (n_outputs, d).

    Examples:
        >>> decoder, output_weight = np.eye(2, dtype=np.float32), np.float32([[1, 0], [2, -3]])
        >>> influences(decoder, output_weight).tolist()
        [[1.0, 2.0], [0.0, -3.0]]
    """
    product = decoder.astype(np.float64) @ output_weight.astype(np.float64).T
    return product.astype(np.float32)


def most_raised(values: npt.NDArray[np.float32], k: int, last: npt.NDArray[np.bool_] | None = None) -> StrongestTokens:
    """The k largest values > 0 of each row, largest first; equal ones in column order.

    Args:
        values: float32, shape (n_features, n_outputs).
        last: bool, shape (n_outputs,), outputs that come after all others, whatever their value.

    Examples:
        >>> most_raised(np.float32([[1, 0, 4]]), 2).columns.tolist()
        [[2, 0]]
    """
    return _k_largest(values, k, last)


def most_lowered(values: npt.NDArray[np.float32], k: int, last: npt.NDArray[np.bool_] | None = None) -> StrongestTokens:
    """The k smallest values < 0 of each row, most negative first, with their sign; otherwise as `most_raised`."""
    strongest = _k_largest(-values, k, last)
    return StrongestTokens(strongest.columns, -strongest.values)


def _k_largest(values: npt.NDArray[np.float32], k: int, last: npt.NDArray[np.bool_] | None) -> StrongestTokens:
    positive = values > 0
    rank = np.where(positive, 0 if last is None else last, 2)
    columns = np.lexsort((-values, rank), axis=1)[:, :k].astype(np.int64)
    kept = np.take_along_axis(positive, columns, axis=1)
    strongest = np.take_along_axis(values, columns, axis=1)
    return StrongestTokens(np.where(kept, columns, -1), np.where(kept, strongest, np.float32(np.nan)))
