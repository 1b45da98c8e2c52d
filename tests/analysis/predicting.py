"""A tiny model made by hand, with gear of its own and with the game's, for tests of what is read off predictions."""

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.builds.build_space import BuildSpace
from splat_assets.domain.tokens import ABILITY_TOKENS, NULL, PAD, parse_token
from splat_assets.store.vocabulary import Token, Vocabulary


def vocabulary(*names: str) -> Vocabulary:
    """These tokens, then NULL and PAD; a name `x_3` is level 3 of x."""
    tokens = []
    for at, name in enumerate((*names, NULL, PAD)):
        group, _, level = name.rpartition("_")
        tokens.append(Token(at, name, group, int(level)) if level.isdigit() and group else Token(at, name, name))
    return Vocabulary(tuple(tokens), pad_id=len(names) + 1, null_id=len(names))


def game_vocabulary() -> Vocabulary:
    """All tokens of the game."""
    names = (*ABILITY_TOKENS, NULL, PAD)
    tokens = tuple(Token(at, name, *parse_token(name)) for at, name in enumerate(names))
    return Vocabulary(tokens, pad_id=len(names) - 1, null_id=len(names) - 2)


TOY = vocabulary("a_3", "a_6", "b_3", "c", "d")
"""Two abilities with rungs, two without; any set of them counts as wearable."""


class Model:
    """Logits that are a bias for each token and weapon, and what each token of the set adds. It counts what it is asked."""

    def __init__(self, n_tokens: int, seed: int = 0, scale: float = 1.0, bias: float = 0.0) -> None:
        rng = np.random.default_rng(seed)
        self.bias = bias + scale * rng.standard_normal((3, n_tokens))
        self.adds = scale * rng.standard_normal((n_tokens, n_tokens))
        self.n_asked = 0

    def __call__(self, sets: list[tuple[int, tuple[int, ...]]]) -> npt.NDArray[np.float32]:
        self.n_asked += len(sets)
        logits = [self.bias[weapon] + self.adds[list(tokens)].sum(axis=0) for weapon, tokens in sets]
        return np.asarray(1 / (1 + np.exp(-np.array(logits))), dtype=np.float32)


def toy_model(seed: int = 0, scale: float = 1.0, bias: float = 0.0) -> Model:
    """A model of the toy vocabulary."""
    return Model(len(TOY), seed, scale, bias)


def toy_space() -> BuildSpace:
    """All sets of the toy vocabulary."""
    return BuildSpace(TOY)
