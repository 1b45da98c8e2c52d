"""What we write, read by SAELens; where it is not installed, there is nothing to see."""

from pathlib import Path

import numpy as np
import pytest
import torch

from splat_assets.sae import Sae, load_sae, save_sae
from tests.sae.test_autoencoder import an_sae, rows_of, vars_of

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("architecture", ["jumprelu", "relu"])
def test_saelens_loads_what_we_save_and_computes_the_same(tmp_path: Path, architecture: str) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    ours = Sae(
        **{**vars_of(an_sae(threshold=0.4 if architecture == "jumprelu" else 0.0)), "architecture": architecture}
    )
    save_sae(ours, tmp_path)

    theirs = sae_lens.SAE.load_from_disk(tmp_path)

    x = rows_of(200)
    with torch.no_grad():
        hidden, rebuilt = theirs.encode(torch.from_numpy(x)), theirs(torch.from_numpy(x))
    np.testing.assert_allclose(ours.encode(x).numpy(), hidden.numpy(), atol=1e-5)
    np.testing.assert_allclose(ours.reconstruct(x).numpy(), rebuilt.numpy(), atol=1e-5)


def test_we_load_what_saelens_saves(tmp_path: Path) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    theirs = sae_lens.JumpReLUSAE(sae_lens.JumpReLUSAEConfig(d_in=24, d_sae=60))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator).abs() * 0.3)
    theirs.save_model(tmp_path)

    ours = load_sae(tmp_path)

    x = rows_of(100)
    with torch.no_grad():
        rebuilt = theirs(torch.from_numpy(x))
    np.testing.assert_allclose(ours.reconstruct(x).numpy(), rebuilt.numpy(), atol=1e-4)


def test_saelens_refuses_an_sae_with_a_ceiling(tmp_path: Path) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    save_sae(Sae(**{**vars_of(an_sae(threshold=0.0, clamp_max=6.0)), "architecture": "relu"}), tmp_path)

    with pytest.raises((KeyError, ValueError)):
        sae_lens.SAE.load_from_disk(tmp_path)
