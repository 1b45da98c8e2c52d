"""What is said of a check that failed: its figures, and a remedy that fits the run."""

from dataclasses import replace

import pytest
import torch

from splat_assets.assets import asset_named
from splat_assets.assets.asset import Check, Outcome, failures, run_check
from splat_assets.assets.opened import sae_of
from splat_assets.runs import InputFile, Run, open_run
from splat_assets.sae.training.state import initial_decoder
from splat_assets.store.layout import DataRoot
from tests.assets.faults.planting import change_json, save_changed_sae

SAE = asset_named("sae_checkpoint")
CHECKS = {check.name: check for check in SAE.checks}


@pytest.fixture
def own_run(own_root: DataRoot) -> Run:
    return open_run(own_root, "small")


def with_figure(run: Run, **figures: float | None) -> Run:
    change_json(run.layout.scorecard, **figures)
    return run


def ready_made(run: Run) -> Run:
    weights = InputFile.of(run.layout.sae / "sae_weights.safetensors", "SAE")
    return replace(run, config=replace(run.config, inputs=replace(run.config.inputs, sae_checkpoint=weights)))


def said(run: Run, check: str) -> str:
    assert not run_check(SAE, CHECKS[check], run).passed
    (words,) = failures(SAE, run, check)
    return words


def test_a_limit_that_is_passed_names_its_figures_what_trains_better_and_what_accepts_it(own_run: Run) -> None:
    words = said(with_figure(own_run, fvu=0.6), "fvu_is_within_limits")

    assert words.startswith("fvu_is_within_limits failed (fvu: 0.6; limit: 0.5): a new run with more --epochs")
    assert words.endswith("or one that accepts the figure by its --max-fvu")


@pytest.mark.parametrize(
    ("check", "figure"),
    [
        ("fvu_is_within_limits", {"fvu": 0.6}),
        ("enough_features_live", {"dead_percent": 60.0}),
        ("predictions_survive", {"fidelity": 0.4}),
        ("sparsity_is_as_asked", {"l0_mean": 0.0}),
    ],
)
def test_a_ready_made_sae_is_never_to_be_trained_longer(check: str, figure: dict[str, float], own_run: Run) -> None:
    words = said(ready_made(with_figure(own_run, **figure)), check)

    assert "the SAE is ready-made" in words and "another --sae-checkpoint" in words
    assert not any(option in words for option in ("--epochs", "--lr", "--k ", "--d-sae", "--l1-coeff"))


def test_a_check_without_a_remedy_of_its_own_says_how_its_artifact_is_made_again(own_run: Run) -> None:
    idf = asset_named("idf")
    run_check(idf, Check("idf_is_exact", "A promise.", lambda run: Outcome(False, {"wrong_tokens": "haunt"})), own_run)

    (words,) = failures(idf, own_run)
    assert words.startswith("idf_is_exact failed (wrong_tokens: haunt): if files of it were changed, delete ")
    assert "idf.parquet" in words and words.endswith("`splat materialize small` makes it again")


def test_features_that_never_fire_do_not_make_a_decoder_untrained(own_run: Run) -> None:
    """Dead features stay where they began; here they are most, and the live ones have moved."""
    sae = sae_of(own_run)
    began = initial_decoder(sae.d_sae, sae.d_in, own_run.config.sae.seed)
    dead = torch.arange(sae.d_sae) < 0.7 * sae.d_sae
    b_enc = sae.b_enc.where(~dead, torch.tensor(-1e6))
    save_changed_sae(own_run, W_dec=sae.W_dec.where(~dead[:, None], began), b_enc=b_enc)

    outcome = run_check(SAE, CHECKS["decoder_was_trained"], own_run)

    assert outcome.passed
    assert outcome.facts["n_dead_features"] >= int(dead.sum())


def test_where_no_feature_fires_that_is_named_as_the_cause_and_not_the_number_of_steps(own_run: Run) -> None:
    sae = sae_of(own_run)
    save_changed_sae(own_run, b_enc=torch.full_like(sae.b_enc, -1e6))

    words = said(own_run, "decoder_was_trained")

    assert f"none of its {sae.d_sae} features fires" in words and "lower --lr" in words
    assert "steps were too few" not in words


def test_live_features_that_have_not_moved_are_counted_with_the_steps_that_were_too_few(own_run: Run) -> None:
    sae = sae_of(own_run)
    save_changed_sae(own_run, W_dec=initial_decoder(sae.d_sae, sae.d_in, own_run.config.sae.seed))

    words = said(own_run, "decoder_was_trained")

    assert "live features have hardly moved, since" in words and "more --epochs" in words
