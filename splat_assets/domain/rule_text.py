"""Rules over builds as people write them: `ssu>=21 and (ninja_squid or not class=charger)`, and rules as such text.

ability                    it is worn                 ssu, swim_speed_up, "swim speed up"
ability>=AP                its highest rung is at least that; > < <= = too, on rungs
class=roller               the weapon's class; sub=..., special=..., weapon=... (its name)
class in (roller, brush)   one of several
not, and, or, ( )          not before and before or
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from splat_assets.domain.abilities import ability_of
from splat_assets.domain.concepts import NAME, All, AnyOf, Not, Rule, WeaponIs, Wears
from splat_assets.errors import InputError
from splat_assets.store.vocabulary import Contexts, Vocabulary
from splat_assets.text.wording import unknown_name

LONGEST_RULE = 2_000
"""Characters of a rule as text."""
_PIECES = re.compile(
    r"\s*(?:(?P<text>\"[^\"]*\")|(?P<sign>>=|<=|!=|==|=|<|>|\(|\)|,)|(?P<word>[^\s()<>=!,\"]+)|(?P<bad>\S))"
)
_DEEPEST = 32
_MOST_WORDS = 4
"""Of an ability's name."""
_SIGNS = (">=", "<=", "=", "==", "!=", "<", ">")
_WORDS = ("and", "or", "not", "in", "(", ")", ",", *_SIGNS)
_ATTRIBUTES = {"class": "class", "sub": "sub", "special": "special", "weapon": NAME}


class RuleTextError(InputError):
    """A text that is not a rule; the message shows the place with a caret. `at` is its position in the text."""

    def __init__(self, text: str, at: int, why: str) -> None:
        self.at = at
        super().__init__(f"not a rule: {why}\n  {text}\n  {' ' * at}^")


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    at: int
    quoted: bool = False


class Names:
    """What rules may speak of: abilities with their rungs, and values of the weapons' attributes."""

    def __init__(self, vocabulary: Vocabulary, contexts: Contexts) -> None:
        self.rungs: dict[str, tuple[int, ...]] = {
            group: tuple(token.level for token in tokens if token.level is not None)
            for group, tokens in vocabulary.groups.items()
        }
        self.values: dict[str, dict[str, str]] = {NAME: {}}
        for item in contexts.items:
            self.values[NAME][_plain(item.name)] = item.name
            for attribute, value in item.attributes.items():
                self.values.setdefault(attribute, {})[_plain(value)] = value


def parse_rule_text(text: str, names: Names) -> Rule:
    """The rule that a text describes.

    Args:
        text: at most LONGEST_RULE characters, in the grammar of this module's docstring.
        names: what the rule may speak of; short names of abilities are understood too.

    Raises:
        RuleTextError: points at what cannot be read or does not exist, and says what could be there.

    Examples:
        >>> from splat_assets.store.vocabulary import Token
        >>> tokens = (Token(0, "haunt", "haunt", None), Token(1, "swim_speed_up_3", "swim_speed_up", 3))
        >>> names = Names(Vocabulary(tokens, pad_id=-1, null_id=None), Contexts(()))
        >>> rule_as_text(parse_rule_text("ssu>=3 and not haunt", names))
        'swim_speed_up>=3 and not haunt'
    """
    return _Parser(text, names).rule()


def rule_as_text(rule: Rule) -> str:
    """The rule as text, which `parse_rule_text` reads as the same rule.

    Examples:
        >>> rule_as_text(AnyOf((Wears("ninja_squid"), Not(WeaponIs("class", ("charger", "splatling"))))))
        'ninja_squid or not class in (charger, splatling)'
    """
    match rule:
        case Wears(ability, None):
            return ability
        case Wears(ability, at_least):
            return f"{ability}>={at_least}"
        case WeaponIs(attribute, one_of):
            name = "weapon" if attribute == NAME else attribute
            values = [
                value if re.fullmatch(r"[\w.-]+", value) and value.lower() not in _WORDS else f'"{value}"'
                for value in one_of
            ]
            return f"{name}={values[0]}" if len(values) == 1 else f"{name} in ({', '.join(values)})"
        case Not(part):
            return f"not {_bracketed(part, (All, AnyOf))}"
        case All(parts):
            return " and ".join(_bracketed(part, (All, AnyOf)) for part in parts)
        case AnyOf(parts):
            return " or ".join(_bracketed(part, (AnyOf,)) for part in parts)


def _bracketed(rule: Rule, kinds: tuple[type, ...]) -> str:
    single = isinstance(rule, All | AnyOf) and len(rule.rules) == 1
    return f"({rule_as_text(rule)})" if isinstance(rule, kinds) or single else rule_as_text(rule)


class _Parser:
    def __init__(self, text: str, names: Names) -> None:
        if len(text) > LONGEST_RULE:
            raise RuleTextError(
                f"{text[:60]}…", 0, f"it has {len(text):,} characters, and at most {LONGEST_RULE:,} are read"
            )
        self._text = text.replace("\n", " ").rstrip()
        self._names = names
        self._pieces = list(self._cut())
        self._next = 0
        self._depth = 0

    def rule(self) -> Rule:
        if not self._pieces:
            raise RuleTextError(self._text, 0, "it is empty; an example is ssu>=21 and ninja_squid")
        parsed = self._any()
        if self._next < len(self._pieces):
            self._fail("expected `and`, `or` or the end")
        return parsed

    def _cut(self) -> Sequence[_Piece]:
        pieces = []
        for piece in _PIECES.finditer(self._text):
            kind = piece.lastgroup or "bad"
            held = piece.group(kind)
            if kind == "bad":
                raise RuleTextError(self._text, piece.start(kind), f"{held!r} is not understood here")
            pieces.append(_Piece(held.strip('"'), piece.start(kind), kind == "text"))
        return pieces

    def _any(self) -> Rule:
        parts = [self._all()]
        while self._take("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all(self) -> Rule:
        parts = [self._one()]
        while self._take("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _one(self) -> Rule:
        self._depth += 1
        if self._depth > _DEEPEST:
            self._fail(f"conditions lie within `not` and `(` {_DEEPEST} deep at most")
        rule: Rule
        if self._take("not"):
            rule = Not(self._one())
        elif self._take("("):
            rule = self._any()
            if not self._take(")"):
                self._fail("expected `)`")
        else:
            rule = self._condition()
        self._depth -= 1
        return rule

    def _condition(self) -> Rule:
        piece = self._word("an ability, class, sub, special, weapon, `not` or `(`")
        if not piece.quoted and piece.text.lower() in _ATTRIBUTES:
            return self._attribute(piece)
        ability = self._ability(piece)
        if ability not in self._names.rungs:
            self._fail(unknown_name("ability", ability, self._names.rungs), piece)
        sign = next((sign for sign in _SIGNS if self._take(sign)), None)
        return Wears(ability) if sign is None else self._compared(ability, sign)

    def _ability(self, piece: _Piece) -> str:
        """The ability that a word names, or several (`swim speed up`), as many as can be; else what the first word means."""
        began, words = self._next, [piece.text]
        while len(words) < _MOST_WORDS and not piece.quoted and (more := self._plain_word()) is not None:
            words.append(more)
        for n in range(len(words), 0, -1):
            ability = ability_of(" ".join(words[:n]))
            self._next = began + n - 1
            if ability in self._names.rungs:
                break
        return ability

    def _compared(self, ability: str, sign: str) -> Rule:
        piece = self._word("a number of AP")
        rungs = self._names.rungs[ability]
        if not rungs:
            self._fail(f"{ability} is worn or not, without rungs", piece)
        if not re.fullmatch(r"[0-9]{1,9}", piece.text) or int(piece.text) not in rungs:
            self._fail(
                f"{piece.text[:60]} is not a rung of {ability}; its rungs are {', '.join(map(str, rungs))}", piece
            )
        level = int(piece.text)
        above = next((rung for rung in rungs if rung > level), None)
        at_least: Rule = Wears(ability, level)
        more: Rule | None = None if above is None else Wears(ability, above)
        match sign:
            case ">=":
                return at_least
            case "<":
                return Not(at_least)
            case ">" if more is not None:
                return more
            case ">":
                self._fail(f"{level} is the highest rung of {ability}", piece)
            case "<=" if more is not None:
                return Not(more)
            case "<=":
                self._fail(f"every build has at most {level} AP of {ability}", piece)
            case "!=":
                return Not(at_least if more is None else All((at_least, Not(more))))
        return at_least if more is None else All((at_least, Not(more)))

    def _attribute(self, name: _Piece) -> Rule:
        attribute = _ATTRIBUTES[name.text.lower()]
        if self._take("in"):
            if not self._take("("):
                self._fail("expected `(` and a list")
            values = [self._value(attribute)]
            while self._take(","):
                values.append(self._value(attribute))
            if not self._take(")"):
                self._fail("expected `,` or `)`")
            return WeaponIs(attribute, tuple(values))
        unequal = self._take("!=")
        if not unequal and not self._take("=") and not self._take("=="):
            self._fail(f"expected `=` or `in` after {name.text}")
        condition = WeaponIs(attribute, (self._value(attribute),))
        return Not(condition) if unequal else condition

    def _value(self, attribute: str) -> str:
        piece = self._word("a name")
        words = [piece.text]
        while not piece.quoted and (more := self._plain_word()) is not None:
            words.append(more)
        known = self._names.values.get(attribute, {})
        value = known.get(_plain(" ".join(words)))
        if value is None:
            what = "weapon" if attribute == NAME else f"{attribute} of weapons"
            self._fail(unknown_name(what, " ".join(words), known.values()), piece)
        return value

    def _plain_word(self) -> str | None:
        """The next word of a name of several, taken."""
        here = self._here
        if here is None or here.quoted or here.text.lower() in _WORDS:
            return None
        self._next += 1
        return here.text

    @property
    def _here(self) -> _Piece | None:
        return self._pieces[self._next] if self._next < len(self._pieces) else None

    def _take(self, text: str) -> bool:
        here = self._here
        if here is None or here.quoted or here.text.lower() != text:
            return False
        self._next += 1
        return True

    def _word(self, expected: str) -> _Piece:
        here = self._here
        if here is None or (not here.quoted and here.text.lower() in _WORDS):
            self._fail(f"expected {expected}")
        self._next += 1
        return here

    def _fail(self, why: str, piece: _Piece | None = None) -> NoReturn:
        here = piece or self._here
        raise RuleTextError(self._text, len(self._text) if here is None else here.at, why)


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", " ", name.strip().lower())
