"""A causal sweep of every family: `python -m benchmarks.causal_sweep CHECKPOINT_FOLDER`. 14 families x 10 levels on 200 builds.

CHECKPOINT_FOLDER holds a base model and an SAE of the upstream architecture (model.pth, sae_model_final.pth, vocab.json,
weapon_vocab.json). The sweep edits each build once per family and level, and measures one feature. The baseline is the bare
forward passes of the model on the same builds.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch

from splat_assets.analysis.builds.build_table import Group
from splat_assets.analysis.builds.edits import with_rung
from splat_assets.domain.tokens import tokens_of_ap
from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
from splat_assets.model import load_base_model
from splat_assets.model.hooks import HookPoint
from splat_assets.sae import load_sae
from splat_serving.model.live import LiveModel
from splat_serving.model.local_runner import LiveRunner
from splat_serving.model.runner import TokenSet

N_BUILDS = 200


def main(folder: Path) -> None:
    """Print seconds, edits a second, and the ratio to bare forward passes."""
    vocabulary, contexts = read_vocabulary(folder / "vocab.json"), read_contexts(folder / "weapon_vocab.json")
    model = load_base_model(
        folder / "model.pth", vocab_path=folder / "vocab.json", weapon_vocab_path=folder / "weapon_vocab.json"
    )
    sae = load_sae(folder / "sae_model_final.pth")
    live = LiveModel(model, sae, HookPoint("masked_mean", -1, 2), vocabulary, contexts)
    runner = LiveRunner(lambda: live)
    groups = [Group(name, tokens) for name, tokens in vocabulary.groups.items() if tokens[0].level is not None]
    rng = np.random.default_rng(0)
    sets = []
    for _ in range(N_BUILDS):
        ap = {group.name: int(rng.choice([3, 6, 12])) for group in rng.permutation(np.array(groups, dtype=object))[:4]}
        tokens = tuple(vocabulary.by_name[name].id for name in tokens_of_ap(ap))
        sets.append(TokenSet(int(rng.integers(len(contexts))), tokens))
    edited = [TokenSet(one.weapon_id, with_rung(one.tokens, group, rung)) for one in sets for group in groups
              for rung in range(group.n_rungs)]  # fmt: skip
    runner.activations(edited[:500], [0])
    began = time.perf_counter()
    runner.activations(edited, [0])
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    _bare(model, edited, vocabulary.pad_id, vocabulary.null_id or 0)
    bare = time.perf_counter() - began
    print(
        f"{len(groups)} families, {len(edited):,} edited builds: {seconds:.2f} s, {len(edited) / seconds:,.0f} a second"
    )
    print(f"bare forward passes: {bare:.2f} s; the sweep takes {seconds / bare:.2f} times as long")


def _bare(model: torch.nn.Module, builds: list[TokenSet], pad_id: int, null_id: int) -> None:
    ordered = sorted(builds, key=lambda one: len(one.tokens))
    with torch.inference_mode():
        for start in range(0, len(ordered), 1_024):
            part = ordered[start : start + 1_024]
            width = max(len(one.tokens) or 1 for one in part)
            tokens = torch.full((len(part), width), pad_id)
            for row, one in zip(tokens, part, strict=True):
                held = one.tokens or (null_id,)
                row[: len(held)] = torch.tensor(held)
            model(tokens, torch.tensor([[one.weapon_id] for one in part]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
