import numpy as np
import pytest
import torch

from splat_assets.errors import InputError
from splat_assets.sae import Sae
from splat_assets.sae.evaluate import reconstruction_metrics
from tests.sae.test_autoencoder import an_sae, rows_of


def test_every_figure_equals_its_formula_on_the_dense_arrays() -> None:
    sae, x = an_sae(), rows_of(9000) + 1.0
    rows = np.arange(4, 8700)

    found = reconstruction_metrics(sae, x, rows)

    given = x[rows].astype(np.float64)
    hidden = sae.encode(x[rows]).numpy()
    rebuilt = sae.decode(sae.encode(x[rows])).numpy().astype(np.float64)
    variance = np.square(given - given.mean(axis=0)).sum(axis=1).mean()
    norms, rebuilt_norms = np.linalg.norm(given, axis=1), np.linalg.norm(rebuilt, axis=1)
    active = (hidden > 0).sum(axis=1)
    expected = {
        "n_rows": rows.size,
        "fvu": np.square(given - rebuilt).sum(axis=1).mean() / variance,
        "l0_mean": active.mean(),
        "l0_q05": np.quantile(active, 0.05),
        "l0_q50": np.quantile(active, 0.5),
        "l0_q95": np.quantile(active, 0.95),
        "dead_percent": 100 * (~(hidden > 0).any(axis=0)).mean(),
        "dense_percent": 100 * ((hidden > 0).mean(axis=0) > 0.1).mean(),
        "dense_1_percent": 100 * ((hidden > 0).mean(axis=0) > 0.01).mean(),
        "cosine": ((given * rebuilt).sum(axis=1) / (norms * rebuilt_norms)).mean(),
        "l2_ratio": (rebuilt_norms / norms).mean(),
        "relative_bias": np.square(rebuilt).sum() / (given * rebuilt).sum(),
        "gamma": np.linalg.norm(given.mean(axis=0)) / np.sqrt(variance),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    assert found["explained_variance"] == 1 - found["fvu"]


def test_a_perfect_dictionary_leaves_nothing_unexplained() -> None:
    both_signs = torch.cat([torch.eye(3), -torch.eye(3)])
    sae = Sae(both_signs, torch.zeros(6), both_signs, torch.zeros(3), torch.zeros(6), "relu")

    found = reconstruction_metrics(sae, rows_of(100, 3), np.arange(100))

    assert found["fvu"] == pytest.approx(0, abs=1e-12)
    assert found["l0_mean"] == 3
    assert found["dead_percent"] == 0
    assert found["cosine"] == pytest.approx(1)


def test_features_that_never_fire_are_dead_and_explain_nothing() -> None:
    sae = an_sae(threshold=1e9)

    found = reconstruction_metrics(sae, rows_of(50), np.arange(50))

    assert found["dead_percent"] == 100
    assert found["l0_mean"] == 0
    assert found["fvu"] > 1


def test_cosine_and_length_are_means_over_the_rows_that_are_not_zero() -> None:
    sae, x = an_sae(), rows_of(100)
    x[:10] = 0

    whole, rest = (reconstruction_metrics(sae, x, rows) for rows in (np.arange(100), np.arange(10, 100)))

    assert whole["cosine"] == pytest.approx(rest["cosine"])
    assert whole["l2_ratio"] == pytest.approx(rest["l2_ratio"])


def test_rows_that_are_all_zero_have_neither_cosine_nor_length() -> None:
    found = reconstruction_metrics(an_sae(), np.zeros((5, 24), dtype=np.float32), np.arange(5))

    assert (found["cosine"], found["l2_ratio"]) == (0, 0)


def test_no_rows_cannot_be_measured() -> None:
    with pytest.raises(InputError, match="at least one row"):
        reconstruction_metrics(an_sae(), rows_of(5), np.arange(0))
