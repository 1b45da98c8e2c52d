"""The base model's checkpoint, loaded and fingerprinted."""

import json

from splat_assets.assets.asset import Asset, Check, Facts, Made, Outcome, outputs_are_intact
from splat_assets.assets.opened import base_model_of, contexts_of, hook_of, model_files_of, vocabulary_of
from splat_assets.progress import Progress
from splat_assets.runs import Run
from splat_assets.store.errors import FingerprintMismatchError
from splat_assets.store.files import write_json


def _own_inputs(run: Run) -> dict[str, str]:
    inputs = run.config.inputs
    params = {"model_params": inputs.model_params.sha256} if inputs.model_params else {}
    return {
        "model_checkpoint": inputs.model_checkpoint.sha256,
        "vocab": inputs.vocab.sha256,
        "weapon_vocab": inputs.weapon_vocab.sha256,
        **params,
    }


def _make(run: Run, progress: Progress) -> Made:
    model = base_model_of(run)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    width = model.hook_width(hook_of(run).target, hook_of(run).ff_module_index)
    described = {
        "fingerprint": model.fingerprint,
        "n_parameters": n_parameters,
        "hook_width": width,
        "dimensions": {name: getattr(model.dimensions, name) for name in model.dimensions.__dataclass_fields__},
    }
    target = run.layout.base_model / "base_model.json"
    write_json(target, described)
    facts: Facts = {"shape": f"{n_parameters:,} parameters", "n_parameters": n_parameters}
    return Made([target], {**facts, "hook_width": width, "base_model_sha256": model.fingerprint})


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
    stored = json.loads((run.layout.base_model / "base_model.json").read_text(encoding="utf-8"))["fingerprint"]
    found = base_model_of(run).fingerprint
    if stored != found:
        checkpoint = model_files_of(run).checkpoint
        raise FingerprintMismatchError(f"base model {checkpoint}", stored, found, "put the old checkpoint back")
    return Outcome(True, {"base_model_sha256": found})


BASE_MODEL = Asset(
    name="base_model",
    description="The trained SplatGPT that is to be explained: its dimensions and the fingerprint of its weights.",
    group="inputs",
    kinds=("pytorch",),
    deps=(),
    own_inputs=_own_inputs,
    make=_make,
    checks=(
        outputs_are_intact("base_model"),
        Check("base_model_is_still_the_same", "The checkpoint has the recorded fingerprint.", _is_still_the_same),
        Check("base_model_matches_its_vocabularies", "One embedding per token and weapon.", _matches_its_vocabularies),
        Check("base_model_weights_are_finite", "No weight is NaN or infinite.", _weights_are_finite),
        Check("base_model_accepts_null", "Every weapon gives finite logits for the empty build.", _accepts_null),
    ),
)
