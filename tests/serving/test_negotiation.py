"""The `Accept` header against the forms there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splat_serving.http.arrow_stream import FILE, STREAM
from splat_serving.http.negotiation import CSV, JSON, PARQUET, SHORT_NAMES, TABLE_FORMS, NotAcceptableError, chosen_form

CHOSEN = {
    None: JSON,
    "": JSON,
    "*/*": JSON,
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": JSON,
    "text/*": CSV,
    "TEXT/CSV": CSV,
    f"{PARQUET}, */*;q=0.1": PARQUET,
    f"{JSON};q=0.5, {STREAM};q=0.6": STREAM,
    f"{JSON}; q = 0.5 , {FILE}": FILE,
    f"{JSON};q=0, */*": STREAM,
    f"*/*, {JSON};q=0": STREAM,
    "junk, text/csv": CSV,
    f"{JSON};q=nan, text/csv;q=0.1": CSV,
    f"{JSON};q=-1, text/csv;q=0.1": CSV,
    f"{JSON};q=inf, text/csv;q=0.1": CSV,
    'application/json;charset="a,b;c"': JSON,
}


@pytest.mark.parametrize("accept", CHOSEN)
def test_the_form_that_the_client_likes_best_is_chosen(accept: str | None) -> None:
    assert chosen_form(accept).media_type == CHOSEN[accept]


@pytest.mark.parametrize("accept", ["image/png", "*/*;q=0", "application/*;q=0, text/*;q=0", "/", ",", ";", '"', "q=1"])
def test_what_there_is_not_is_refused_with_what_there_is(accept: str) -> None:
    with pytest.raises(NotAcceptableError, match="available: application/json, ") as refused:
        chosen_form(accept)

    assert refused.value.forms == TABLE_FORMS


@pytest.mark.parametrize(
    ("codecs", "codec"), [("zstd", "zstd"), ("lz4,zstd", "lz4"), ("brotli, zstd", "zstd"), ("brotli", None)]
)
def test_a_stream_is_compressed_by_the_first_codec_that_is_known(codecs: str, codec: str | None) -> None:
    form = chosen_form(f'{STREAM}; codecs="{codecs}", */*;q=0.1')

    assert (form.media_type, form.codec, form.named) == (STREAM, codec, True)


def test_every_form_has_a_short_name() -> None:
    assert sorted(SHORT_NAMES.values()) == sorted(TABLE_FORMS)


@given(st.text(max_size=200))
def test_any_text_is_a_form_or_a_refusal(accept: str) -> None:
    try:
        assert chosen_form(accept).media_type in TABLE_FORMS
    except NotAcceptableError as refused:
        assert refused.forms == TABLE_FORMS
