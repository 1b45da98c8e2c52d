import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from splat_assets.assets.opened import contexts_of, items_of, model_files_of, sae_of, vocabulary_of
from splat_assets.compute.encode import EncodedShards, encode, is_same_row, rows_differing_from_recompute
from splat_assets.compute.harvest import BaseActivations, harvest, shards_of
from splat_assets.compute.items import Items
from splat_assets.compute.shards import ShardRunner
from splat_assets.model.hooks import HookPoint
from splat_assets.runs import Run, open_run
from splat_assets.sae import Sae, save_sae
from splat_assets.store.layout import DataRoot
from splat_assets.store.raw import RawActivations
from splat_assets.store.vocabulary import Contexts
from tests.store.making import bytes_below

POOLED, TOKENS = HookPoint("masked_mean"), HookPoint("token_ff")


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_rows_that_differ_by_rounding_are_the_same_at_any_scale_of_activations(scale: float) -> None:
    rng = np.random.default_rng(0)
    decoder = rng.standard_normal((300, 16)).astype(np.float32)
    weights = torch.from_numpy(decoder / np.linalg.norm(decoder, axis=1, keepdims=True))
    x = (rng.standard_normal((200, 16)) * scale).astype(np.float32)
    rounded = x * (1 + np.float32(3e-7) * rng.choice([-1, 1], x.shape).astype(np.float32))
    sae = Sae(weights, torch.zeros(300), weights, torch.zeros(16), torch.zeros(300), "relu")

    stored, fresh = sae.encode_rows(x), sae.encode_rows(rounded)

    assert all(is_same_row(stored.row(i), fresh.row(i), sae, x[i]) for i in range(200))
    other = sae.encode_rows(x + np.float32(0.01 * scale))
    assert not any(is_same_row(stored.row(i), other.row(i), sae, x[i]) for i in range(200))


@pytest.fixture(scope="module")
def run(finished_root: DataRoot) -> Run:
    return open_run(finished_root, "small")


@pytest.fixture(scope="module")
def items(run: Run) -> Items:
    """The last 100 builds of a run, and its null rows."""
    whole = items_of(run)
    chosen = np.arange(800, whole.n_items)
    return Items(whole.builds.take(chosen), whole.kind[chosen])


@pytest.fixture(scope="module")
def base(run: Run, items: Items, tmp_path_factory: pytest.TempPathFactory) -> BaseActivations:
    return harvest(tmp_path_factory.mktemp("base"), items, model_files_of(run), POOLED, 64, 32)


def encoded(
    target: Path,
    run: Run,
    items: Items,
    base: BaseActivations,
    *,
    hook: HookPoint = POOLED,
    sae: Path | None = None,
    contexts: Contexts | None = None,
    embeddings: bool = True,
    shard_items: int = 64,
    runner: ShardRunner | None = None,
) -> EncodedShards:
    return encode(
        target,
        items,
        vocabulary_of(run),
        contexts or contexts_of(run),
        shards_of(items, shard_items, hook.per_token),
        base,
        sae or run.layout.sae,
        per_token=hook.per_token,
        embeddings=embeddings,
        runner=runner,
    )


def test_rows_are_what_the_sae_makes_of_the_base_activations(
    run: Run, items: Items, base: BaseActivations, tmp_path: Path
) -> None:
    done = encoded(tmp_path, run, items, base)

    raw, sae = RawActivations(tmp_path), sae_of(run)
    expected = sae.encode_rows(np.array(base.values))
    result = next(raw.rows(raw.n_samples))
    np.testing.assert_array_equal(result.indptr, expected.indptr)
    np.testing.assert_array_equal(result.feature_ids, expected.feature_ids)
    np.testing.assert_allclose(result.values, expected.values, rtol=1e-5)
    assert (done.n_done, done.n_skipped, raw.n_shards) == (3, 0, 3)
    assert raw.problems() == []


def test_embeddings_are_input_reconstruction_and_logits(
    run: Run, items: Items, base: BaseActivations, tmp_path: Path
) -> None:
    encoded(tmp_path, run, items, base)

    raw = RawActivations(tmp_path)
    kept = {name: np.concatenate(list(raw.embeddings(name))) for name in raw.embedding_names}
    assert kept.keys() == {"sae_input", "sae_recon", "model_logits"}
    np.testing.assert_array_equal(kept["sae_input"], base.values)
    np.testing.assert_array_equal(kept["model_logits"], base.logits)
    np.testing.assert_allclose(kept["sae_recon"], sae_of(run).decode_rows(next(raw.rows(raw.n_samples))), atol=1e-5)


def test_samples_run_on_from_shard_to_shard(run: Run, items: Items, base: BaseActivations, tmp_path: Path) -> None:
    encoded(tmp_path, run, items, base)

    samples = RawActivations(tmp_path).samples()
    assert samples["global_index"].to_list() == list(range(180))
    assert samples["kind"].to_list() == ["build"] * 100 + ["null"] * 80
    assert samples["source_row"].to_list() == [*range(800, 900), *[-1] * 80]


def test_finished_shards_are_left_alone(run: Run, items: Items, base: BaseActivations, tmp_path: Path) -> None:
    encoded(tmp_path, run, items, base)
    before = bytes_below(tmp_path)
    shutil.rmtree(tmp_path / "shard-00001")

    done = encoded(tmp_path, run, items, base)

    assert (done.n_done, done.n_skipped) == (1, 2)
    assert bytes_below(tmp_path) == before


def test_a_shard_cut_short_is_written_again(run: Run, items: Items, base: BaseActivations, tmp_path: Path) -> None:
    encoded(tmp_path, run, items, base)
    before = bytes_below(tmp_path)
    (tmp_path / "shard-00000" / "values.npy").write_bytes(b"")

    assert encoded(tmp_path, run, items, base).n_done == 1
    assert bytes_below(tmp_path) == before


def test_whatever_decides_the_bytes_makes_shards_anew(
    run: Run, items: Items, base: BaseActivations, tmp_path: Path
) -> None:
    target, other_sae = tmp_path / "raw", tmp_path / "sae"
    sae = sae_of(run)
    save_sae(replace(sae, b_enc=sae.b_enc + 0.1), other_sae)
    contexts = contexts_of(run)
    renamed = Contexts((replace(contexts.items[0], name="another name"), *contexts.items[1:]))
    encoded(target, run, items, base)

    assert encoded(target, run, items, base, sae=other_sae).n_skipped == 0
    assert encoded(target, run, items, base, sae=other_sae, embeddings=False).n_skipped == 0
    assert RawActivations(target).embedding_names == []
    assert encoded(target, run, items, base, sae=other_sae, embeddings=False, contexts=renamed).n_skipped == 0
    assert "another name" in RawActivations(target).samples()["weapon_name"].to_list()
    assert encoded(target, run, items, base, sae=other_sae, embeddings=False, contexts=renamed).n_done == 0


def test_an_sae_replaced_by_another_of_the_same_size_and_time_is_loaded_anew(
    run: Run, items: Items, base: BaseActivations, tmp_path: Path
) -> None:
    folder, sae, values = tmp_path / "sae", sae_of(run), []
    for target, more in (("first", 0.0), ("second", 0.1)):
        save_sae(replace(sae, b_enc=sae.b_enc + more), folder)
        os.utime(folder / "sae_weights.safetensors", (1e9, 1e9))
        encoded(tmp_path / target, run, items, base, sae=folder, embeddings=False)
        values.append(next(RawActivations(tmp_path / target).rows(1_000)).values.tolist())

    assert values[0] != values[1]


def test_shards_of_an_earlier_longer_cut_are_removed(
    run: Run, items: Items, base: BaseActivations, tmp_path: Path
) -> None:
    encoded(tmp_path, run, items, base, shard_items=16)
    assert RawActivations(tmp_path).n_shards == 12

    encoded(tmp_path, run, items, base, shard_items=100)

    assert RawActivations(tmp_path).n_shards == 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["shard-00000", "shard-00001"]


@pytest.mark.slow
def test_processes_give_the_same_bytes(run: Run, items: Items, base: BaseActivations, tmp_path: Path) -> None:
    encoded(tmp_path / "local", run, items, base)

    done = encoded(tmp_path / "process", run, items, base, runner=ShardRunner("process", 2))

    assert done.n_done == 3
    assert bytes_below(tmp_path / "process") == bytes_below(tmp_path / "local")


def test_every_token_position_is_a_sample(run: Run, items: Items, tmp_path: Path) -> None:
    base = harvest(tmp_path / "base", items, model_files_of(run), TOKENS, 64, 32)

    encoded(tmp_path / "raw", run, items, base, hook=TOKENS)

    raw = RawActivations(tmp_path / "raw")
    assert raw.n_samples == items.builds.tokens.size == len(base.values)
    logits = np.concatenate(list(raw.embeddings("model_logits")))
    np.testing.assert_array_equal(logits, np.repeat(base.logits, items.n_tokens(), axis=0))
    assert raw.samples()["token_position"].to_list()[: items.n_tokens()[0]] == list(range(items.n_tokens()[0]))
    assert rows_differing_from_recompute(raw, items, model_files_of(run), TOKENS, sae_of(run), n_sampled=20) == []


def test_rows_that_are_not_those_of_today_are_named(
    run: Run, items: Items, base: BaseActivations, tmp_path: Path
) -> None:
    encoded(tmp_path, run, items, base)
    raw, sae, files = RawActivations(tmp_path), sae_of(run), model_files_of(run)
    whole = items.n_items

    def wrong(result: Sae) -> list[int]:
        return rows_differing_from_recompute(raw, items, files, POOLED, result, n_sampled=whole)

    assert wrong(sae) == []
    assert len(wrong(replace(sae, b_enc=sae.b_enc + 0.5))) > whole / 2
    nudged = sae.b_enc.clone()
    nudged[0] += 5.0
    assert wrong(replace(sae, b_enc=nudged)) != []
