"""A trained sparse autoencoder, frozen: encode, decode, reconstruct. How it was trained is in `training`."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from splat_assets.compiled import compiled
from splat_assets.errors import InputError
from splat_assets.sae.products import by_row, collect_above, in_parallel, ranges
from splat_assets.store.activations import SparseRows, feature_id_dtype
from splat_assets.store.files import sha256_of_json

Floats = npt.NDArray[np.float32]
ARCHITECTURES = ("relu", "jumprelu")
_BLOCK_ROWS = 4096
_DENSE_BYTES = 2**29
"""Of the dense features of a block, on devices other than the processor; a few such are held at once."""


@dataclass(frozen=True, eq=False)
class Sae:
    """h = relu(pre) where pre > threshold, pre = (x - b_dec) @ W_enc + b_enc; x is rebuilt as h @ W_dec + b_dec.

    encoder: float32, shape (d_sae, d_in), the encoder by feature. b_enc: (d_sae,). W_dec: (d_sae, d_in), unit-norm rows.
    b_dec: (d_in,). threshold: (d_sae,), zeros for architecture `relu`; a feature fires where pre is strictly above it.
    clamp_max: the ceiling of h, or None. apply_b_dec_to_input: whether b_dec is subtracted before encoding.
    metadata: what the checkpoint says of itself (JSON values); not part of the function.

    Examples:
        >>> zeros = torch.zeros(2)
        >>> sae = Sae(encoder=torch.eye(2), b_enc=zeros, W_dec=torch.eye(2), b_dec=zeros, threshold=torch.tensor([0.5, 0.5]))
        >>> hidden = sae.encode(torch.tensor([[0.4, 2.0]]))
        >>> hidden.tolist(), sae.decode(hidden).tolist()
        ([[0.0, 2.0]], [[0.0, 2.0]])
    """

    encoder: torch.Tensor
    b_enc: torch.Tensor
    W_dec: torch.Tensor
    b_dec: torch.Tensor
    threshold: torch.Tensor
    architecture: str = "jumprelu"
    clamp_max: float | None = None
    apply_b_dec_to_input: bool = True
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("encoder", "b_enc", "W_dec", "b_dec", "threshold"):
            object.__setattr__(self, name, getattr(self, name).detach().to(torch.float32).contiguous())
        if self.architecture not in ARCHITECTURES:
            raise InputError(f"SAE architecture {self.architecture!r} is not one of {', '.join(ARCHITECTURES)}")

    @property
    def d_in(self) -> int:
        """The width of what is encoded."""
        return int(self.W_dec.shape[1])

    @property
    def d_sae(self) -> int:
        """The number of features."""
        return int(self.W_dec.shape[0])

    @property
    def W_enc(self) -> torch.Tensor:
        """The encoder, shape (d_in, d_sae); a view."""
        return self.encoder.t()

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of everything that decides what the SAE computes."""
        tensors = {}
        for name in ("encoder", "b_enc", "W_dec", "b_dec", "threshold"):
            value: torch.Tensor = getattr(self, name)
            tensors[name] = [list(value.shape), hashlib.sha256(value.cpu().numpy().tobytes()).hexdigest()]
        settings = {"clamp_max": self.clamp_max, "apply_b_dec_to_input": self.apply_b_dec_to_input}
        return sha256_of_json({"tensors": tensors, **settings})

    def to(self, device: str | torch.device) -> "Sae":
        """The same SAE on another device."""
        names = ("encoder", "b_enc", "W_dec", "b_dec", "threshold")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def centred(self, x: torch.Tensor | Floats, first_row: int = 0) -> torch.Tensor:
        """What the encoder multiplies: a fresh float32 copy of x, shape (n, d_in), less b_dec where that applies.

        first_row: the number of x's first row in the words of an error.
        """
        inputs = x if isinstance(x, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
        if inputs.ndim != 2 or inputs.shape[1] != self.d_in:
            raise InputError(f"the SAE encodes rows of width {self.d_in}, not an array of shape {tuple(inputs.shape)}")
        inputs = inputs.detach().to(self.b_dec.device, torch.float32)
        if not torch.isfinite(inputs).all():
            row = first_row + int((~torch.isfinite(inputs).all(dim=1)).nonzero()[0, 0])
            raise InputError(f"row {row} of the activations to encode holds a NaN or an infinity")
        return inputs - self.b_dec if self.apply_b_dec_to_input else inputs.clone()

    @torch.no_grad()
    def encode(self, x: torch.Tensor | Floats) -> torch.Tensor:
        """The features of a block, dense: float32, shape (n, d_sae). For blocks; `encode_rows` is for datasets.

        Args:
            x: shape (n, d_in), on any device.

        Raises:
            InputError: x has another width, or holds a NaN or an infinity.
        """
        return self._fired(self.centred(x))

    def _fired(self, centred: torch.Tensor) -> torch.Tensor:
        pre = torch.mm(centred, self.encoder.t()).add_(self.b_enc)
        hidden = pre.where(pre > self.threshold, torch.zeros((), device=pre.device)).clamp_(min=0)
        return hidden if self.clamp_max is None else hidden.clamp_(max=self.clamp_max)

    @torch.no_grad()
    def encode_rows(self, x: torch.Tensor | Floats) -> SparseRows:
        """The features of a block, sparse. Memory beyond x and the result: a band of 512 features of 4,096 rows.

        On other devices than the processor some GB there, and no more here: zeros stay where they are.

        Raises:
            InputError: as `encode`; the row is counted from the start of x.
        """
        n_rows = self._block_rows()
        if x.shape[0] <= n_rows:
            return self._encode_block(x)
        starts = range(0, x.shape[0], n_rows)
        return _stacked([self._encode_block(x[start : start + n_rows], start) for start in starts])

    def _block_rows(self) -> int:
        if self.b_dec.device.type == "cpu":
            return _BLOCK_ROWS
        return max(1, min(_BLOCK_ROWS, _DENSE_BYTES // (4 * self.d_sae)))

    def _encode_block(self, x: torch.Tensor | Floats, first_row: int = 0) -> SparseRows:
        centred = self.centred(x, first_row)
        if centred.device.type != "cpu":
            return self._sparse_where_it_is(self._fired(centred))
        lower = self.threshold.clamp(min=0).numpy()
        lists = collect_above(centred, self.encoder, self.b_enc, lower)
        indptr, features, positions = by_row(lists.indptr, lists.rows, centred.shape[0])
        values = lists.values[positions]
        if self.clamp_max is not None:
            np.minimum(values, np.float32(self.clamp_max), out=values)
        return SparseRows(indptr, features.astype(feature_id_dtype(self.d_sae)), values)

    def _sparse_where_it_is(self, hidden: torch.Tensor) -> SparseRows:
        """The entries of a dense block above 0, collected on its device."""
        rows, features = hidden.nonzero(as_tuple=True)
        indptr = np.zeros(hidden.shape[0] + 1, dtype=np.int64)
        np.cumsum(hidden.count_nonzero(dim=1).cpu().numpy(), out=indptr[1:])
        ids: npt.NDArray[np.integer[Any]] = features.cpu().numpy().astype(feature_id_dtype(self.d_sae))
        return SparseRows(indptr, ids, hidden[rows, features].cpu().numpy())

    @torch.no_grad()
    def decode(self, hidden: torch.Tensor) -> torch.Tensor:
        """The rows that dense features (n, d_sae) stand for: float32, shape (n, d_in)."""
        return torch.addmm(self.b_dec, hidden, self.W_dec)

    def decode_rows(self, rows: SparseRows) -> Floats:
        """The rows that sparse features stand for: float32, shape (n, d_in). Reads only the decoder rows that fire."""
        out: Floats = np.empty((rows.n_rows, self.d_in), dtype=np.float32)
        decoder, bias = self.W_dec.cpu().numpy(), self.b_dec.cpu().numpy()
        shared = (rows.indptr, rows.feature_ids, rows.values, decoder, bias, out)
        in_parallel(_decode, [(*shared, start, stop) for start, stop in ranges(rows.n_rows, torch.get_num_threads())])
        return out

    @torch.no_grad()
    def reconstruct(self, x: torch.Tensor | Floats) -> torch.Tensor:
        """x as the SAE rebuilds it: float32, shape (n, d_in). On the CPU it touches only the features that fire."""
        if self.b_dec.device.type == "cpu":
            return torch.from_numpy(self.decode_rows(self.encode_rows(x)))
        return self.decode(self.encode(x))


@compiled
def _decode(
    indptr: npt.NDArray[np.int64],
    feature_ids: npt.NDArray[np.integer[Any]],
    values: Floats,
    decoder: Floats,
    bias: Floats,
    out: Floats,
    start: int,
    stop: int,
) -> None:
    for row in range(start, stop):
        target = out[row]
        target[:] = bias
        for i in range(indptr[row], indptr[row + 1]):
            value = values[i]
            direction = decoder[feature_ids[i]]
            for j in range(target.size):
                target[j] += value * direction[j]


def _stacked(blocks: list[SparseRows]) -> SparseRows:
    starts = np.cumsum([0] + [block.nnz for block in blocks[:-1]])
    indptr = [blocks[0].indptr] + [block.indptr[1:] + at for block, at in zip(blocks[1:], starts[1:], strict=True)]
    return SparseRows(
        np.concatenate(indptr),
        np.concatenate([block.feature_ids for block in blocks]),
        np.concatenate([block.values for block in blocks]),
    )
