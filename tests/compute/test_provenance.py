import re
from dataclasses import replace
from pathlib import Path

import pytest

from splat_assets.assets.opened import base_model_of, sae_of
from splat_assets.compute.provenance import hook_for, refuse_other_model
from splat_assets.errors import InputError
from splat_assets.model import SplatGPT
from splat_assets.model.hooks import HookPoint
from splat_assets.runs import open_run
from splat_assets.sae import Sae
from splat_assets.store.errors import FingerprintMismatchError
from splat_assets.store.layout import DataRoot

POOLED = HookPoint("masked_mean")


@pytest.fixture(scope="module")
def sae(finished_root: DataRoot) -> Sae:
    return sae_of(open_run(finished_root, "small"))


@pytest.fixture(scope="module")
def model(finished_root: DataRoot) -> SplatGPT:
    return base_model_of(open_run(finished_root, "small"))


def recorded(sae: Sae, **provenance: object) -> Sae:
    return replace(sae, metadata={**sae.metadata, "provenance": {**sae.metadata["provenance"], **provenance}})


def test_the_hook_that_the_sae_records_is_used(sae: Sae) -> None:
    tokens = recorded(sae, hook_target="token_ff", layer_index=0, ff_module_index=1)

    assert hook_for(sae, None, 4) == POOLED
    assert hook_for(tokens, None, 4) == HookPoint("token_ff", 0, 1)
    assert hook_for(tokens, HookPoint("token_ff", 0, 1), 4) == HookPoint("token_ff", 0, 1)


def test_an_sae_that_records_no_hook_takes_the_requested_one(sae: Sae) -> None:
    silent = replace(sae, metadata={})

    assert hook_for(silent, None, 4) == POOLED
    assert hook_for(silent, HookPoint("token_ff"), 4) == HookPoint("token_ff", 3)


def test_layer_and_module_do_not_matter_to_the_pooled_hook(sae: Sae) -> None:
    assert hook_for(sae, HookPoint("masked_mean", 3, 1), 4).target == "masked_mean"


def test_the_last_layer_is_the_same_place_by_either_name(sae: Sae) -> None:
    by_number, from_the_end = (recorded(sae, hook_target="token_ff", layer_index=i, ff_module_index=2) for i in (3, -1))

    for trained in (by_number, from_the_end):
        for requested in (None, HookPoint("token_ff", 3), HookPoint("token_ff", -1)):
            assert hook_for(trained, requested, 4) == HookPoint("token_ff", 3)
    assert HookPoint("masked_mean", 3, 1).in_model(4) == POOLED


@pytest.mark.parametrize(
    "provenance",
    [{"hook_target": "token_ff", "layer_index": None}, {"hook_target": 3}, {"hook_target": "mean"}],
)
def test_a_record_that_names_no_place_is_refused(sae: Sae, provenance: dict[str, object]) -> None:
    with pytest.raises(InputError, match="hook"):
        hook_for(recorded(sae, **provenance), None, 4)


@pytest.mark.parametrize(
    "requested", [HookPoint("masked_mean"), HookPoint("token_ff", 1, 1), HookPoint("token_ff", 0, 2)]
)
def test_another_hook_is_refused(requested: HookPoint, sae: Sae) -> None:
    tokens = recorded(sae, hook_target="token_ff", layer_index=0, ff_module_index=1)

    with pytest.raises(InputError, match=r"trained at token_ff \(layer 0, module 1\), not at "):
        hook_for(tokens, requested, 4)


def test_an_sae_and_its_model_go_together(sae: Sae, model: SplatGPT) -> None:
    refuse_other_model(sae, Path("sae"), model, POOLED)
    refuse_other_model(replace(sae, metadata={}), Path("sae"), model, POOLED)


def test_an_sae_of_another_model_is_refused_with_both_fingerprints(sae: Sae, model: SplatGPT) -> None:
    other = recorded(sae, base_model="0" * 64)

    with pytest.raises(FingerprintMismatchError, match="mine was trained on another base model") as caught:
        refuse_other_model(other, Path("mine"), model, POOLED)

    assert re.findall("[0-9a-f]{64}", str(caught.value)) == ["0" * 64, model.fingerprint]


def test_an_sae_of_another_width_is_refused(sae: Sae, model: SplatGPT) -> None:
    with pytest.raises(InputError, match="reads vectors of width 16, but token_ff of this base model gives 64"):
        refuse_other_model(sae, Path("mine"), model, HookPoint("token_ff", 0, 1))
