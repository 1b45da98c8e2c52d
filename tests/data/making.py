"""A tiny vocabulary, two weapons, and builds written out by hand."""

from collections.abc import Sequence

import numpy as np

from splat_assets.data.builds import Builds
from splat_assets.domain.tokens import parse_token
from splat_assets.domain.vocabulary import standard_vocabulary
from splat_assets.store.activations import offsets_of
from splat_assets.store.vocabulary import Context, Contexts, Token, Vocabulary

NAMES = standard_vocabulary()
VOCABULARY = Vocabulary(
    tuple(Token(token_id, name, *parse_token(name)) for name, token_id in NAMES.items()),
    pad_id=NAMES["<PAD>"],
    null_id=NAMES["<NULL>"],
)
CONTEXTS = Contexts((Context(0, "weapon_id_0", "Sploosh-o-matic"), Context(1, "weapon_id_50", ".52 Gal")))


def builds_of(*sets: tuple[Sequence[int], int]) -> Builds:
    """Builds from (token ids, weapon id) pairs, all in split 0."""
    n = len(sets)
    return Builds(
        tokens=np.array([token for tokens, _ in sets for token in tokens], dtype=np.int32),
        offsets=offsets_of(np.array([len(tokens) for tokens, _ in sets], dtype=np.int64)),
        weapons=np.array([weapon for _, weapon in sets], dtype=np.int32),
        split=np.zeros(n, dtype=np.uint8),
        source_row=np.arange(n, dtype=np.int64),
    )
