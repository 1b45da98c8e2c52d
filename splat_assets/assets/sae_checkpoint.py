"""The SAE: trained on base activations, or imported ready-made, with its scorecard and the limits it must meet."""

from typing import Any

import numpy as np

from splat_assets.assets.asset import (
    WHAT_TO_DO,
    Asset,
    AssetResult,
    Check,
    Fact,
    Facts,
    Outcome,
    inputs_of,
    recipe_hash,
)
from splat_assets.assets.opened import base_activations_of, base_model_of, hook_of, items_of, sae_of
from splat_assets.assets.pictures import training_curves
from splat_assets.compute.encode import is_same_row
from splat_assets.compute.fit import NOT_COMPUTED, SampleSplits, fit_sae, mismatched_figures, write_scorecard
from splat_assets.compute.provenance import hook_for, refuse_other_model
from splat_assets.model.device import requested_device
from splat_assets.runs import Run
from splat_assets.sae.training.schedule import evenly_spaced_rows
from splat_assets.store.documents import WRONG_CONTENT, read_json
from splat_assets.store.errors import CorruptStoreError, FingerprintMismatchError
from splat_assets.store.receipts import read_receipt
from splat_assets.store.scorecard import SCORECARD
from splat_assets.store.tables import read_table
from splat_assets.text.progress import Progress, SilentProgress
from splat_assets.text.wording import counted

_FOR_LESS_ERROR = "a new run with more --epochs, a larger --k (or a lower --l1-coeff) or more features (--d-sae)"
_AGAINST_DEAD = "a new run with a lower --lr, fewer features (--d-sae, --expansion-factor) or more --epochs"
_LIVE_ROWS = 32_768
"""Most training samples used to tell which features are active."""
_REPORTED = ("d_in", "d_sae", "fvu", "l0_mean", "dead_percent", "dense_percent", "fidelity", "gamma", "cosine")


def _own_inputs(run: Run) -> dict[str, str]:
    ready_made, its_config = run.config.inputs.sae_checkpoint, run.config.inputs.sae_config
    how = {"sae_checkpoint": ready_made.sha256} if ready_made else {"recipe": recipe_hash(run.config.sae)}
    how |= {"sae_config": its_config.sha256} if its_config else {}
    recipe = run.config.activations
    items = recipe_hash(recipe.masked_variants, recipe.seed, recipe.shard_items, recipe.batch_size)
    return {"hook": recipe_hash(run.config.hook), "items": items, **how}


def _make(run: Run, progress: Progress) -> AssetResult:
    from splat_assets.sae import load_sae, save_sae

    items, model, folder = items_of(run), base_model_of(run), run.layout.sae
    hook = hook_of(run).in_model(model.dimensions.num_layers)
    base = base_activations_of(run, items, progress)
    device = requested_device()
    outputs = [folder / name for name in ("cfg.json", "sae_weights.safetensors", "sae_model_final.pth", SCORECARD)]
    if run.config.inputs.sae_checkpoint is not None:
        checkpoint = run.config.inputs.sae_checkpoint.checked("SAE checkpoint")
        if run.config.inputs.sae_config is not None:
            run.config.inputs.sae_config.checked("SAE configuration")
        sae = load_sae(checkpoint)
        refuse_other_model(sae, checkpoint, model, hook_for(sae, hook, model.dimensions.num_layers))
        save_sae(sae, folder)
        splits = SampleSplits.of(items, hook.per_token)
        card = write_scorecard(sae, items, base, hook, model, splits, folder, training={})
        return AssetResult(outputs, _facts(card))
    try:
        card = fit_sae(
            items, base, run.config.sae, hook, model, folder, progress, resume=_may_resume(run), device=device
        )
    except FingerprintMismatchError:
        # The training state is that of an earlier make, from other inputs.
        card = fit_sae(items, base, run.config.sae, hook, model, folder, progress, resume=False, device=device)
    metrics = folder / "metrics.parquet"
    return AssetResult(
        [*outputs, metrics], _facts(card) | {"device": device}, picture=training_curves(read_table(metrics))
    )


def _may_resume(run: Run) -> bool:
    """Not if this SAE was finished before: then its files were lost, or the code changed."""
    receipt = read_receipt(run.layout.receipts, SAE_CHECKPOINT.name)
    if receipt is None:
        return True
    return receipt.code_version == SAE_CHECKPOINT.code_version and receipt.inputs != inputs_of(SAE_CHECKPOINT, run)


def _facts(card: dict[str, Any]) -> dict[str, Fact]:
    figures = {name: NOT_COMPUTED if card[name] is None else card[name] for name in _REPORTED}
    return {"shape": f"{card['d_in']:,} -> {card['d_sae']:,}", **figures}


def _card(run: Run) -> dict[str, Any]:
    path = run.layout.scorecard
    try:
        card: dict[str, Any] = dict(read_json(path))
    except (FileNotFoundError, *WRONG_CONTENT) as error:
        raise CorruptStoreError(f"{path} cannot be read as a scorecard: {error}; make the SAE again") from error
    missing = [name for name in (*_REPORTED, "sae_sha256", "training") if name not in card]
    if missing:
        raise CorruptStoreError(f"{path} lacks {', '.join(missing)}; make the SAE again")
    return card


def _weights_are_those_of_the_scorecard(run: Run) -> Outcome:
    sae, stated = sae_of(run), str(_card(run)["sae_sha256"])
    finite = bool(np.isfinite(sae.W_enc.numpy()).all() and np.isfinite(sae.W_dec.numpy()).all())
    return Outcome(finite and sae.fingerprint == stated, {"sae_sha256": sae.fingerprint, "scorecard_sha256": stated})


def _both_formats_agree(run: Run) -> Outcome:
    from splat_assets.sae import load_sae

    ours, guide = sae_of(run), load_sae(run.layout.sae / "sae_model_final.pth")
    x = np.random.default_rng(0).standard_normal((64, ours.d_in)).astype(np.float32) + ours.b_dec.numpy()
    a, b = ours.encode_rows(x), guide.encode_rows(x)
    largest = float(np.abs(a.to_dense(ours.d_sae) - b.to_dense(ours.d_sae)).max(initial=0.0))
    same = all(is_same_row(a.row(at), b.row(at), ours, x[at]) for at in range(len(x)))
    return Outcome(same, {"largest_difference": largest})


def _decoder_was_trained(run: Run) -> Outcome:
    from splat_assets.sae.evaluate import live_features
    from splat_assets.sae.training.monitoring import MOVED_COSINE, decoder_movement

    if run.config.inputs.sae_checkpoint is not None:
        return Outcome(True, {"not_known": "the SAE is ready-made, so its initial decoder is unknown"})
    items, sae = items_of(run), sae_of(run)
    base = base_activations_of(run, items, SilentProgress())
    train = SampleSplits.of(items, hook_of(run).per_token).train
    live = live_features(sae, base.values, evenly_spaced_rows(train, _LIVE_ROWS))
    moved, n_dead = decoder_movement(sae, live), int((~live).sum())
    facts: Facts = {
        "median_cosine_to_its_beginning": moved.median,
        "limit": MOVED_COSINE,
        "n_live_features": moved.n_features,
        "n_dead_features": n_dead,
    }
    if moved.trained:
        return Outcome(True, facts)
    n_steps = int(_card(run)["training"]["n_steps"])
    if not moved.n_features:
        facts[WHAT_TO_DO] = (
            f"none of its {counted(n_dead, 'features')} fires, so none could be trained: {_AGAINST_DEAD}"
        )
    else:
        facts[WHAT_TO_DO] = (
            f"its {counted(moved.n_features, 'live features', 'have')} hardly moved, since {counted(n_steps, 'steps', 'were')} "
            "too few: a new run with more --epochs or a smaller --sae-batch-size"
        )
    return Outcome(False, facts)


def _scorecard_is_exact(run: Run) -> Outcome:
    items = items_of(run)
    base = base_activations_of(run, items, SilentProgress())
    wrong = mismatched_figures(_card(run), sae_of(run), items, base, hook_of(run), base_model_of(run))
    return Outcome(not wrong, {"mismatched_figures": ", ".join(wrong)})


def _error_is_within_limits(run: Run) -> Outcome:
    fvu, limit = float(_card(run)["fvu"]), run.config.limits.max_fvu
    return _within(run, fvu <= limit, {"fvu": fvu, "limit": limit}, _FOR_LESS_ERROR, "--max-fvu")


def _enough_features_live(run: Run) -> Outcome:
    dead, limit = float(_card(run)["dead_percent"]), run.config.limits.max_dead_percent
    return _within(run, dead <= limit, {"dead_percent": dead, "limit": limit}, _AGAINST_DEAD, "--max-dead-percent")


def _sparsity_is_as_asked(run: Run) -> Outcome:
    card, recipe = _card(run), run.config.sae
    if recipe.architecture != "batch_topk" or run.config.inputs.sae_checkpoint is not None:
        facts: Facts = {"l0_test": card["l0_mean"]}
        return _within(run, card["l0_mean"] > 0, facts, "a new run with a lower --l1-coeff", "")
    calibrated = float(card["training"]["held_out"]["l0_mean"])
    facts = {"l0_validation": calibrated, "l0_test": card["l0_mean"], "k": recipe.k}
    # The threshold is calibrated on validation rows; the test rows differ from them by sampling, more so when they are few.
    held = abs(calibrated - recipe.k) <= 0.02 * recipe.k and abs(card["l0_mean"] - recipe.k) <= 0.25 * recipe.k
    to_do = "a new run with more builds, so that validation and test samples are alike, or with a smaller --k"
    return _within(run, held, facts, to_do, "")


def _predictions_survive(run: Run) -> Outcome:
    fidelity, limit = _card(run)["fidelity"], run.config.limits.min_fidelity
    if fidelity is None:
        return Outcome(
            False,
            {
                "fidelity": f"{NOT_COMPUTED}: ablating the hook changes no prediction",
                "limit": limit,
                WHAT_TO_DO: "the base model does not use the hooked activations: a new run with another "
                "--hook-target, or with a "
                "base model that was trained",
            },
        )
    facts: Facts = {"fidelity": fidelity, "limit": limit}
    return _within(run, fidelity >= limit, facts, _FOR_LESS_ERROR, "--min-fidelity")


def _within(run: Run, passed: bool, facts: Facts, to_do: str, limit_option: str) -> Outcome:
    """The outcome of a limit. to_do: the remedy for an SAE that the run trains; a ready-made one can only be replaced."""
    if passed:
        return Outcome(True, facts)
    if run.config.inputs.sae_checkpoint is not None:
        to_do = "the SAE is ready-made, so this run cannot train it further: a new run with another --sae-checkpoint"
    accept = f", or one that accepts the figure by its {limit_option}" if limit_option else ""
    return Outcome(False, {**facts, WHAT_TO_DO: to_do + accept})


SAE_CHECKPOINT = Asset(
    name="sae_checkpoint",
    description="The sparse autoencoder of the base model's activations, with metrics and scorecard.",
    group="sae",
    kinds=("pytorch", "safetensors"),
    deps=("dataset", "base_model"),
    own_inputs=_own_inputs,
    make=_make,
    checks=(
        Check(
            "sae_weights_fit_the_scorecard",
            "All figures are finite, and equal the measured ones.",
            _weights_are_those_of_the_scorecard,
        ),
        Check("scorecard_is_exact", "Measured again, every split gives the same figures.", _scorecard_is_exact),
        Check("sae_formats_agree", "Both saved forms encode alike.", _both_formats_agree),
        Check(
            "decoder_was_trained",
            "The decoder of live features has moved from its initialisation.",
            _decoder_was_trained,
        ),
        Check("fvu_is_within_limits", "Held-out error is at most the run's limit.", _error_is_within_limits),
        Check("enough_features_live", "Dead features are at most the run's limit.", _enough_features_live),
        Check("sparsity_is_as_asked", "Validation L0 is k to 2 %, test L0 to 25 %.", _sparsity_is_as_asked),
        Check("predictions_survive", "Fidelity is at least the run's limit.", _predictions_survive),
    ),
    code_version="2",
)
