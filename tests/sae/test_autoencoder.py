from pathlib import Path

import numpy as np
import pytest
import torch

from splat_assets.errors import InputError
from splat_assets.sae import Sae, load_sae


def an_sae(d_in: int = 24, d_sae: int = 150, threshold: float = 0.4, clamp_max: float | None = None) -> Sae:
    rng = np.random.default_rng(1)
    decoder = rng.standard_normal((d_sae, d_in)).astype(np.float32)
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    return Sae(
        encoder=torch.from_numpy(decoder * 0.8),
        b_enc=torch.from_numpy(rng.standard_normal(d_sae).astype(np.float32) * 0.1),
        W_dec=torch.from_numpy(decoder),
        b_dec=torch.from_numpy(rng.standard_normal(d_in).astype(np.float32)),
        threshold=torch.full((d_sae,), threshold),
        clamp_max=clamp_max,
    )


def rows_of(n: int, d: int = 24) -> np.ndarray:
    return np.random.default_rng(2).standard_normal((n, d)).astype(np.float32)


def test_an_upstream_checkpoint_computes_what_upstream_computes(shared_dir: Path) -> None:
    folder = shared_dir / "fixtures" / "upstream_checkpoint"
    expected = np.load(folder / "expected.npz")
    output_weight = torch.load(folder / "model.pth", weights_only=True)["output_layer.weight"]

    sae = load_sae(folder / "sae_model_final.pth")

    hidden, rows = sae.encode(expected["masked_mean"]), sae.encode_rows(expected["masked_mean"])
    np.testing.assert_allclose(hidden.numpy(), expected["sae_hidden"], atol=1e-5)
    np.testing.assert_allclose(rows.to_dense(sae.d_sae), expected["sae_hidden"], atol=1e-5)
    np.testing.assert_allclose(sae.decode_rows(rows), expected["sae_reconstruction"], atol=1e-5)
    np.testing.assert_allclose(sae.decode(hidden).numpy(), expected["sae_reconstruction"], atol=1e-5)
    np.testing.assert_allclose(
        sae.reconstruct(expected["masked_mean"]).numpy(), expected["sae_reconstruction"], atol=1e-5
    )
    np.testing.assert_allclose((output_weight @ sae.W_dec.T).numpy(), expected["influence"], atol=1e-5)
    assert sae.clamp_max == 6.0


@pytest.mark.parametrize("n_rows", [1, 3, 64, 65, 700])
@pytest.mark.parametrize("clamp_max", [None, 1.1])
@pytest.mark.parametrize("threshold", [0.0, 0.4, 5.0])
def test_sparse_rows_hold_what_the_dense_encoding_holds(n_rows: int, clamp_max: float | None, threshold: float) -> None:
    sae, x = an_sae(threshold=threshold, clamp_max=clamp_max), rows_of(n_rows) * 1.5

    rows = sae.encode_rows(x)

    rows.validate(sae.d_sae, "encoded")
    np.testing.assert_allclose(rows.to_dense(sae.d_sae), sae.encode(x).numpy(), atol=1e-5)
    np.testing.assert_allclose(sae.decode_rows(rows), sae.decode(sae.encode(x)).numpy(), atol=1e-5)
    assert rows.feature_ids.dtype == np.uint16


def test_more_rows_than_a_block_are_encoded_in_order() -> None:
    sae, x = an_sae(), rows_of(9000)

    rows = sae.encode_rows(x)

    assert rows.n_rows == 9000
    np.testing.assert_allclose(rows.slice(8190, 8195).to_dense(150), sae.encode(x[8190:8195]).numpy(), atol=1e-5)


def test_no_rows_give_no_rows() -> None:
    assert an_sae().encode_rows(rows_of(0)).n_rows == 0


def test_the_same_block_gives_the_same_bytes_however_it_lies_in_memory() -> None:
    sae, x = an_sae(), rows_of(500)
    shifted = np.empty(x.size + 1, dtype=np.float32)[1:].reshape(x.shape)
    shifted[:] = x

    first, second = sae.encode_rows(x), sae.encode_rows(shifted)

    assert first.values.tobytes() == second.values.tobytes()
    assert first.feature_ids.tobytes() == second.feature_ids.tobytes()


def test_a_value_at_the_threshold_does_not_fire() -> None:
    sae = Sae(torch.eye(2), torch.zeros(2), torch.eye(2), torch.zeros(2), torch.tensor([0.5, 0.5]))

    rows = sae.encode_rows(np.array([[0.5, 0.75], [-1.0, 0.25]], dtype=np.float32))

    assert rows.indptr.tolist() == [0, 1, 1]
    assert rows.feature_ids.tolist() == [1]
    assert rows.values.tolist() == [0.75]


def test_b_dec_is_left_in_the_input_where_the_sae_says_so() -> None:
    sae = Sae(torch.eye(1), torch.zeros(1), torch.eye(1), torch.ones(1), torch.zeros(1), "relu", None, False)

    assert sae.encode(torch.tensor([[3.0]])).tolist() == [[3.0]]
    assert sae.reconstruct(torch.tensor([[3.0]])).tolist() == [[4.0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_refused_by_number(bad: float) -> None:
    x = rows_of(5)
    x[3, 2] = bad

    with pytest.raises(InputError, match="row 3 of the activations to encode holds a NaN or an infinity"):
        an_sae().encode_rows(x)


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(InputError, match=r"rows of width 24, not an array of shape \(2, 25\)"):
        an_sae().encode_rows(rows_of(2, 25))


def test_the_fingerprint_follows_what_is_computed_and_nothing_else() -> None:
    sae = an_sae()

    assert sae.fingerprint == an_sae().fingerprint
    assert sae.fingerprint != an_sae(threshold=0.5).fingerprint
    assert sae.fingerprint != an_sae(clamp_max=6.0).fingerprint
    assert Sae(**{**vars_of(sae), "metadata": {"name": "other"}}).fingerprint == sae.fingerprint


def test_a_bad_row_far_down_is_named_by_its_own_number() -> None:
    x = rows_of(5000)
    x[4500, 0] = np.nan

    with pytest.raises(InputError, match="row 4500 of the activations to encode holds a NaN"):
        an_sae().encode_rows(x)


def vars_of(sae: Sae) -> dict:
    names = ("encoder", "b_enc", "W_dec", "b_dec", "threshold", "architecture", "clamp_max", "apply_b_dec_to_input")
    return {name: getattr(sae, name) for name in names}
