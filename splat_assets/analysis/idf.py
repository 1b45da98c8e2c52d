"""Inverse document frequency of tokens over samples."""

import numpy as np
import numpy.typing as npt


def document_frequency(
    tokens: npt.NDArray[np.integer], offsets: npt.NDArray[np.int64], n_tokens: int, cells_at_once: int = 2**22
) -> npt.NDArray[np.int64]:
    """In how many documents each token occurs at least once: int64, shape (n_tokens,).

    Args:
        tokens: all documents one after the other, ids within 0..n_tokens - 1.
        offsets: shape (n_documents + 1,), where each begins.
        cells_at_once: the size of the table of documents x tokens that is held at a time.

    Examples:
        >>> document_frequency(np.array([0, 1, 1, 1]), np.array([0, 3, 4]), 3).tolist()
        [1, 2, 0]
    """
    frequencies = np.zeros(n_tokens, dtype=np.int64)
    step = max(1, cells_at_once // max(n_tokens, 1))
    for start in range(0, offsets.size - 1, step):
        ends = offsets[start : start + step + 1]
        documents = np.repeat(np.arange(ends.size - 1), np.diff(ends))
        present = np.zeros((ends.size - 1, n_tokens), dtype=np.bool_)
        present[documents, tokens[ends[0] : ends[-1]]] = True
        frequencies += present.sum(axis=0)
    return frequencies


def inverse_document_frequency(doc_freq: npt.NDArray[np.integer], n_documents: int) -> npt.NDArray[np.float64]:
    """ln(n_documents + 1) - ln(doc_freq + 1): 0 for a token of every document, largest for one that never occurs.

    Examples:
        >>> inverse_document_frequency(np.array([1, 2, 0]), 2).round(3).tolist()
        [0.405, 0.0, 1.099]
    """
    return np.asarray(np.log(n_documents + 1.0) - np.log(doc_freq + 1.0), dtype=np.float64)
