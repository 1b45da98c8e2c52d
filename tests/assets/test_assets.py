"""The list of artifacts."""

from splat_assets.assets import ASSETS, asset_named, sources_of


def test_the_sources_of_an_artifact_are_all_that_it_is_made_from_near_or_far() -> None:
    assert [source.name for source in sources_of(asset_named("influences"))] == [
        "dataset",
        "base_model",
        "sae_checkpoint",
    ]
    assert sources_of(asset_named("dataset")) == []


def test_every_artifact_comes_after_its_sources() -> None:
    for position, asset in enumerate(ASSETS):
        assert set(asset.deps) <= {earlier.name for earlier in ASSETS[:position]}, asset.name
