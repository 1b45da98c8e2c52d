"""Content negotiation: the `Accept` header against the available formats (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from splat_serving.http.arrow_stream import FILE, STREAM

JSON = "application/json"
PARQUET = "application/vnd.apache.parquet"
CSV = "text/csv"
TABLE_FORMS = (JSON, STREAM, FILE, PARQUET, CSV)
FormName = Literal["json", "arrow", "arrow-file", "parquet", "csv"]
SHORT_NAMES: dict[FormName, str] = {"json": JSON, "arrow": STREAM, "arrow-file": FILE, "parquet": PARQUET, "csv": CSV}
_CODECS = ("zstd", "lz4")
_MOST_RANGES = 64
_RANGE = re.compile(r'(?:[^,"]|"[^"]*"?)+')
"""Text up to a comma that is not within quotes."""


@dataclass(frozen=True, slots=True)
class Form:
    """A media type; codec: how buffers inside an Arrow stream are compressed; named: the client named exactly this type."""

    media_type: str
    codec: str | None = None
    named: bool = False

    @property
    def content_type(self) -> str:
        """The value of the Content-Type header."""
        if self.media_type == CSV:
            return f"{CSV}; charset=utf-8; header=present"
        return f'{self.media_type}; codecs="{self.codec}"' if self.codec else self.media_type


class NotAcceptableError(Exception):
    """The client accepts none of the available formats."""

    def __init__(self, accept: str, forms: Sequence[str]) -> None:
        self.forms = tuple(forms)
        super().__init__(f"no acceptable format for {accept[:200]}; available: {', '.join(forms)}")


def chosen_form(accept: str | None, forms: Sequence[str] = TABLE_FORMS) -> Form:
    """The format that the client prefers, the first of forms in a tie; NotAcceptableError."""
    texts = (best_form[0] for best_form in islice(_RANGE.finditer(accept or ""), _MOST_RANGES))
    ranges = [one for text in texts if (one := _media_range(text))]
    if not (accept or "").strip():
        ranges = [_Range("*/*", {}, 1.0)]
    best: tuple[float, int] | None = None
    best_form: Form | None = None
    for rank, media_type in enumerate(forms):
        quality, codec, named = _quality(media_type, ranges)
        if quality > 0 and (best is None or (quality, -rank) > best):
            best, best_form = (quality, -rank), Form(media_type, codec, named)
    if best_form is None:
        raise NotAcceptableError(accept or "", forms)
    return best_form


@dataclass(frozen=True, slots=True)
class _Range:
    media_type: str
    parameters: dict[str, str]
    quality: float


def _media_range(text: str) -> _Range | None:
    """One range of the header; None for an invalid one, such as a quality outside 0 to 1."""
    media_type, *rest = [part.strip() for part in text.split(";")]
    pairs = (part.lower().replace('"', "").split("=", 1) for part in rest if "=" in part)
    parameters = {name.strip(): value.strip() for name, value in pairs}
    try:
        quality = float(parameters.pop("q", "1"))
    except ValueError:
        return None
    if not media_type or not 0 <= quality <= 1:  # also where it is NaN
        return None
    return _Range(media_type.lower(), parameters, quality)


def _quality(media_type: str, ranges: list[_Range]) -> tuple[float, str | None, bool]:
    """The quality of a type: that of the most specific matching range."""
    main = media_type.split("/")[0]
    for pattern in (media_type, f"{main}/*", "*/*"):
        for one in ranges:
            if one.media_type == pattern:
                named = pattern == media_type
                return one.quality, _codec(one, media_type) if named else None, named
    return 0.0, None, False


def _codec(one: _Range, media_type: str) -> str | None:
    if media_type != STREAM:
        return None
    codecs = [name.strip() for name in one.parameters.get("codecs", "").split(",")]
    return next((name for name in codecs if name in _CODECS), None)
