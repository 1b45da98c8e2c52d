"""The base model's checkpoint, loaded and fingerprinted."""

from dataclasses import asdict
from typing import Any

from splat_assets.assets.asset import Asset, AssetResult, Check, Facts, Outcome
from splat_assets.assets.opened import base_model_of, contexts_of, hook_of, model_files_of, vocabulary_of
from splat_assets.runs import Run
from splat_assets.store.documents import WRONG_CONTENT, read_json
from splat_assets.store.errors import CorruptStoreError, FingerprintMismatchError
from splat_assets.store.files import write_json
from splat_assets.text.progress import Progress

_DESCRIPTION = "base_model.json"


def _own_inputs(run: Run) -> dict[str, str]:
    inputs = run.config.inputs
    params = {"model_params": inputs.model_params.sha256} if inputs.model_params else {}
    return {"model_checkpoint": inputs.model_checkpoint.sha256, **inputs.vocabularies(), **params}


def _described(run: Run) -> dict[str, Any]:
    model = base_model_of(run)
    return {
        "fingerprint": model.fingerprint,
        "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "hook_width": model.hook_width(hook_of(run).target, hook_of(run).ff_module_index),
        "dimensions": asdict(model.dimensions),
    }


def _make(run: Run, progress: Progress) -> AssetResult:
    described = _described(run)
    target = run.layout.base_model / _DESCRIPTION
    write_json(target, described)
    facts: Facts = {name: described[name] for name in ("n_parameters", "hook_width")}
    shape = f"{described['n_parameters']:,} parameters"
    return AssetResult([target], {"shape": shape, **facts, "base_model_sha256": described["fingerprint"]})


def _matches_its_vocabularies(run: Run) -> Outcome:
    dimensions = base_model_of(run).dimensions
    n_tokens, n_contexts = len(vocabulary_of(run)), len(contexts_of(run))
    same = dimensions.vocab_size == n_tokens and dimensions.weapon_vocab_size == n_contexts
    return Outcome(same, {"n_tokens": n_tokens, "n_weapons": n_contexts})


def _weights_are_finite(run: Run) -> Outcome:
    import torch

    parameters = dict(base_model_of(run).named_parameters())
    bad = [name for name, parameter in parameters.items() if not torch.isfinite(parameter).all()]
    return Outcome(not bad, {"n_tensors": len(parameters), "not_finite": ", ".join(bad)})


def _accepts_null(run: Run) -> Outcome:
    import torch

    model, null_id = base_model_of(run), vocabulary_of(run).null_id
    weapons = torch.arange(model.dimensions.weapon_vocab_size).reshape(-1, 1)
    with torch.inference_mode():
        logits = model(torch.full_like(weapons, null_id if null_id is not None else -1), weapons)
    return Outcome(bool(torch.isfinite(logits).all()), {"n_weapons": len(weapons)})


def _is_still_the_same(run: Run) -> Outcome:
    path = run.layout.base_model / _DESCRIPTION
    try:
        stored = dict(read_json(path))
    except (FileNotFoundError, *WRONG_CONTENT) as error:
        raise CorruptStoreError(f"{path} cannot be read: {error}; make the asset again") from error
    current = _described(run)
    wrong = [name for name, value in current.items() if stored.get(name) != value]
    if "fingerprint" in wrong:
        checkpoint = model_files_of(run).checkpoint
        raise FingerprintMismatchError(
            f"base model {checkpoint}",
            str(stored.get("fingerprint")),
            current["fingerprint"],
            "restore the old checkpoint",
        )
    return Outcome(not wrong, {"base_model_sha256": current["fingerprint"], "wrong": ", ".join(wrong)})


BASE_MODEL = Asset(
    name="base_model",
    description="The trained SplatGPT to be explained: its dimensions and the fingerprint of its weights.",
    group="inputs",
    kinds=("pytorch",),
    deps=(),
    own_inputs=_own_inputs,
    make=_make,
    checks=(
        Check("base_model_is_still_the_same", "The checkpoint has the recorded fingerprint.", _is_still_the_same),
        Check("base_model_matches_its_vocabularies", "One embedding per token and weapon.", _matches_its_vocabularies),
        Check("base_model_weights_are_finite", "No weight is NaN or infinite.", _weights_are_finite),
        Check("base_model_accepts_null", "Every weapon gives finite logits for the empty build.", _accepts_null),
    ),
)
