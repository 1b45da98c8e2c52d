"""Vocabularies of tokens and contexts, independent of the game: names, groups, levels, attributes.

A store carries these two tables, so readers, statistics and pages need no constants. How Splatoon's own vocabulary files
become these tables is in `splat_assets.domain`.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from splat_assets.store.documents import WRONG_CONTENT, json_of, read_json
from splat_assets.store.errors import LayoutError
from splat_assets.store.files import sha256_of_json, write_json


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a base model. `swim_speed_up_21` has group `swim_speed_up` and level 21; `comeback` has level None."""

    id: int
    name: str
    group: str
    level: int | None = None


@dataclass(frozen=True)
class Vocabulary:
    """All tokens in id order (ids 0..n-1), and which of them mean padding and the empty set.

    pad_id: the token that fills up a batch. null_id: the token that stands for an empty set, or None if there is none.
    """

    tokens: tuple[Token, ...]
    pad_id: int
    null_id: int | None

    def names(self, token_ids: Iterable[int]) -> list[str]:
        """The names of these token ids, in their order."""
        return [self.tokens[token_id].name for token_id in token_ids]

    @cached_property
    def by_name(self) -> dict[str, Token]:
        """Tokens by name."""
        return {token.name: token for token in self.tokens}

    @cached_property
    def groups(self) -> dict[str, tuple[Token, ...]]:
        """The ordinary tokens (no padding, no null) of each group, by rising level."""
        groups: dict[str, list[Token]] = {}
        for token in self.tokens:
            if token.id not in (self.pad_id, self.null_id):
                groups.setdefault(token.group, []).append(token)
        return {group: tuple(sorted(members, key=lambda t: (t.level or 0, t.id))) for group, members in groups.items()}

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the table's content."""
        return sha256_of_json(self._as_json())

    def _as_json(self) -> dict[str, object]:
        return {"pad_id": self.pad_id, "null_id": self.null_id, "tokens": [asdict(token) for token in self.tokens]}

    def save(self, path: Path) -> None:
        """Write the table as JSON."""
        write_json(path, self._as_json())

    @classmethod
    def load(cls, path: Path, content: bytes | None = None) -> "Vocabulary":
        """Read a table that `save` wrote; raises LayoutError when path holds something else.

        content: the bytes of the file at path, where they were read already.
        """
        try:
            raw = read_json(path) if content is None else json_of(content)
            return cls(tuple(Token(**token) for token in raw["tokens"]), raw["pad_id"], raw["null_id"])
        except (FileNotFoundError, *WRONG_CONTENT) as error:
            raise LayoutError(f"{path} is not a vocabulary table of a store: {error}") from error


@dataclass(frozen=True, slots=True)
class Context:
    """One context (a weapon): its id in the model, the key in the user's file, a readable name, and attributes."""

    id: int
    key: str
    name: str
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contexts:
    """All contexts in id order (ids 0..n-1)."""

    items: tuple[Context, ...]

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the table's content."""
        return sha256_of_json([asdict(item) for item in self.items])

    def save(self, path: Path) -> None:
        """Write the table as JSON."""
        write_json(path, {"contexts": [asdict(item) for item in self.items]})

    @classmethod
    def load(cls, path: Path, content: bytes | None = None) -> "Contexts":
        """Read a table that `save` wrote; content and error as those of `Vocabulary.load`."""
        try:
            raw = read_json(path) if content is None else json_of(content)
            return cls(tuple(Context(**item) for item in raw["contexts"]))
        except (FileNotFoundError, *WRONG_CONTENT) as error:
            raise LayoutError(f"{path} is not a context table of a store: {error}") from error
