"""The threshold of a BatchTopK SAE: at it, k features of a row are active on average."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from splat_assets.sae.training.calibration import calibrated_threshold
from tests.sae.test_autoencoder import an_sae, rows_of


@pytest.mark.parametrize("k", [1, 4, 20])
def test_at_the_threshold_k_features_are_active_on_average(k: int) -> None:
    sae, activations = an_sae(threshold=0.0), rows_of(300)
    rows = np.arange(0, 300, 2)

    threshold = calibrated_threshold(sae, activations, rows, k)

    calibrated = replace(sae, threshold=torch.full_like(sae.threshold, threshold), architecture="jumprelu")
    hidden = calibrated.encode(activations[rows]).numpy()
    assert int((hidden > 0).sum()) == k * rows.size
    before = sae.encode(activations[rows]).numpy()
    ranked = np.sort(before[before > 0])[::-1]
    assert ranked[k * rows.size] < threshold < ranked[k * rows.size - 1], "between two pre-activations, not on one"


def test_where_fewer_are_positive_the_threshold_is_zero() -> None:
    assert calibrated_threshold(an_sae(threshold=0.0), rows_of(50), np.arange(50), k=149) == 0.0
