from concurrent.futures import ThreadPoolExecutor

import torch

from splat_assets.model.blocks import Batch, blocks_of, map_blocks
from tests.model.conftest import PAD, tiny_model

# Wide enough that a block holds four tokens.
_FOUR_TOKENS_WIDE = (1 << 20) // 4 // 4 // 4


def test_every_row_is_in_one_block_whole_and_short_rows_come_together() -> None:
    tokens = torch.tensor([[0, 1, 2, 3], [4, PAD, PAD, PAD], [PAD, 2, PAD, PAD], [0, PAD, PAD, PAD]])
    batch = Batch(tokens, torch.arange(4)[:, None], tokens != PAD)

    blocks = list(blocks_of(batch, _FOUR_TOKENS_WIDE))

    assert torch.cat([block.rows for block in blocks]).tolist() == [1, 3, 2, 0]
    assert len(blocks) > 1 and blocks[0].batch.ability_tokens.shape[1] < 4
    for block in blocks:
        n_kept = block.batch.ability_tokens.shape[1]
        assert block.batch.ability_tokens.equal(tokens[block.rows, :n_kept])
        assert block.batch.real.sum() == (tokens[block.rows] != PAD).sum()
        assert block.batch.weapon_token[:, 0].equal(block.rows)


def test_a_batch_of_many_blocks_gives_what_its_rows_give_alone() -> None:
    model = tiny_model(hidden_dim=128)  # so wide that these rows make several blocks
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 5, (240, 9), generator=generator)
    tokens[torch.arange(9) > torch.randint(0, 9, (240, 1), generator=generator)] = PAD
    weapons = torch.randint(0, 3, (240, 1), generator=generator)
    assert len(list(blocks_of(Batch(tokens, weapons, tokens != PAD), 128))) > 1
    hook = {"hook_target": "token_ff", "layer_index": 0}
    scale = torch.linspace(0, 1, int((tokens != PAD).sum()))[:, None]
    some = torch.tensor([3, 57, 119])

    pooled = model.activations(tokens, weapons).values
    fed = model.activations(tokens, weapons, **hook)
    replaced = model.logits_with(tokens, weapons, lambda values: values * scale, **hook)

    few = model.activations(tokens[some], weapons[some], **hook)
    of_some = torch.isin(fed.rows, some)
    replaced_few = model.logits_with(tokens[some], weapons[some], lambda values: values * scale[of_some], **hook)
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(pooled[some], model.activations(tokens[some], weapons[some]).values, **close)
    torch.testing.assert_close(fed.values[of_some], few.values, **close)
    assert fed.positions[of_some].equal(few.positions)
    torch.testing.assert_close(replaced[some], replaced_few, **close)


def test_threads_change_no_bit_and_leave_the_settings_of_torch_as_they_were() -> None:
    model = tiny_model(hidden_dim=128)
    tokens = torch.randint(0, 5, (400, 6), generator=torch.Generator().manual_seed(2))
    batch = Batch(tokens, torch.zeros(400, 1, dtype=torch.int64), tokens != PAD)
    n_before = torch.get_num_threads()

    def computed(n_threads: int) -> torch.Tensor:
        found = map_blocks(batch, 128, lambda block: (model._pooled(block), torch.is_grad_enabled()), n_threads)
        assert len(found) > 2 and not any(with_gradients for _, (_, with_gradients) in found)
        return torch.cat([values for _, (values, _) in found])

    torch.set_num_threads(2)
    try:
        with torch.no_grad():
            one, three = computed(1), computed(3)

        assert one.equal(three)
        assert torch.get_num_threads() == 2
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(n_before)
