"""Faults of what a run starts from: dataset, base model, SAE."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import torch

from splat_assets.assets.opened import sae_of
from splat_assets.compute.fit import SCORECARD
from splat_assets.runs import Run
from splat_assets.sae.training.state import initial_decoder
from tests.assets.faults.planting import (
    NAN,
    Faults,
    Plant,
    change_json,
    describe_inputs_anew,
    flip_a_byte,
    save_changed_sae,
    set_cell,
    swap_rows,
)


def builds(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Plant:
    return lambda run: change(pl.read_parquet(run.layout.builds)).write_parquet(run.layout.builds)


def straddle(table: pl.DataFrame) -> pl.DataFrame:
    """Move one of two equal builds to another split."""
    key = pl.concat_str(pl.col("tokens").list.sort().cast(pl.List(pl.String)).list.join(" "), "weapon", separator="/")
    twice = table.select(key.is_duplicated()).to_series().arg_true()[0]
    return set_cell(twice, "split", 2 if table["split"][twice] != 2 else 0)(table)


def replace_dataset(run: Run) -> None:
    path = Path(run.config.inputs.data.path)
    path.write_text(path.read_text(encoding="utf-8") + "[4]\t1\n", encoding="utf-8")


DATASET: Faults = {
    "every_token_is_known": {
        "an unknown token": builds(set_cell(3, "tokens", [999])),
        "an unknown weapon": builds(set_cell(3, "weapon", 80)),
        "a damaged file": lambda run: flip_a_byte(run.layout.builds, 1.0),
    },
    "no_build_is_empty": {
        "an empty build": builds(set_cell(3, "tokens", [])),
        "no builds": builds(lambda table: table.head(0)),
        "a missing weapon": builds(set_cell(3, "weapon", None)),
    },
    "builds_equal_the_source": {
        "a lost row": builds(lambda table: table.head(899)),
        "swapped rows": builds(swap_rows(3, 700, "source_row")),
        "a replaced file": replace_dataset,
    },
    "no_build_is_in_two_splits": {"equal builds in two splits": builds(straddle)},
}


def change_model(change: Callable[[dict[str, torch.Tensor]], object]) -> Plant:
    """Another checkpoint in the place of the run's."""

    def plant(run: Run) -> None:
        path = Path(run.config.inputs.model_checkpoint.path)
        tensors = torch.load(path, weights_only=True)
        change(tensors)
        torch.save(tensors, path)

    return plant


def described(plant: Plant) -> Plant:
    """run.toml says that the run was made from what is there after planting."""

    def plant_and_describe(run: Run) -> None:
        plant(run)
        describe_inputs_anew(run)

    return plant_and_describe


def nudge(tensors: dict[str, torch.Tensor]) -> None:
    tensors["output_layer.bias"].add_(1.0)


def spoil(tensors: dict[str, torch.Tensor]) -> None:
    tensors["output_layer.bias"][3] = NAN


def overflow(tensors: dict[str, torch.Tensor]) -> None:
    tensors["output_layer.weight"].fill_(3e38)


def one_more_token(run: Run) -> None:
    path = Path(run.config.inputs.vocab.path)
    path.write_text(path.read_text(encoding="utf-8").rstrip().rstrip("}") + ', "one_more": 140}', encoding="utf-8")


BASE_MODEL: Faults = {
    "base_model_is_still_the_same": {
        "a replaced file": change_model(nudge),
        "another model": described(change_model(nudge)),
        "another description": lambda run: change_json(run.layout.base_model / "base_model.json", hook_width=17),
        "no description": lambda run: (run.layout.base_model / "base_model.json").unlink(),
    },
    "base_model_weights_are_finite": {"a NaN weight": described(change_model(spoil))},
    "base_model_accepts_null": {"logits that overflow": described(change_model(overflow))},
    "base_model_matches_its_vocabularies": {"another vocabulary": described(one_more_token)},
}


def tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor], measured: bool = True) -> Plant:
    """The SAE with another tensor, in both formats; measured: the scorecard says that it speaks of that one."""
    return lambda run: save_changed_sae(run, measured, **{name: change(getattr(sae_of(run), name).clone())})


def with_nan(values: torch.Tensor) -> torch.Tensor:
    values.view(-1)[5] = NAN
    return values


def untrained_decoder(run: Run) -> None:
    sae = sae_of(run)
    save_changed_sae(run, W_dec=initial_decoder(sae.d_sae, sae.d_in, run.config.sae.seed))


def other_guide_file(run: Run) -> None:
    ours = (run.layout.sae / WEIGHTS).read_bytes()
    save_changed_sae(run, measured=False, b_enc=sae_of(run).b_enc + 0.5)
    (run.layout.sae / WEIGHTS).write_bytes(ours)


def file(name: str, change: Callable[[Path], object]) -> Plant:
    return lambda run: change(run.layout.sae / name)


def figure(**values: float | None) -> Plant:
    return lambda run: change_json(run.layout.sae / SCORECARD, **values)


WEIGHTS = "sae_weights.safetensors"
SAE_CHECKPOINT: Faults = {
    "sae_weights_fit_the_scorecard": {
        "a flipped byte": file(WEIGHTS, flip_a_byte),
        "lost weights": file(WEIGHTS, Path.unlink),
        "a NaN weight": tensor("encoder", with_nan),
        "other weights than were measured": tensor("b_enc", lambda b: b + 1, measured=False),
    },
    "scorecard_is_exact": {
        "swapped decoder rows": tensor("W_dec", lambda w: w.flip(0)),
        "a better FVU than is true": figure(fvu=0.001),
        "a better fidelity than is true": figure(fidelity=0.9999),
        "fewer dead features than is true": figure(dead_percent=-1.0),
        "an empty scorecard": file(SCORECARD, lambda path: path.write_text("{}")),
    },
    "sae_formats_agree": {
        "a guide file of another SAE": other_guide_file,
        "a lost guide file": file("sae_model_final.pth", Path.unlink),
    },
    "decoder_was_trained": {"a decoder that did not train": untrained_decoder},
    "fvu_is_within_limits": {
        "too large an error": figure(fvu=0.6),
        "no scorecard": file(SCORECARD, Path.unlink),
    },
    "enough_features_live": {"too many dead features": figure(dead_percent=60.0)},
    "sparsity_is_as_asked": {"another sparsity than k": figure(l0_mean=16.0)},
    "predictions_survive": {
        "predictions that do not survive": figure(fidelity=0.4),
        "predictions that tell nothing": figure(fidelity=None),
    },
}
