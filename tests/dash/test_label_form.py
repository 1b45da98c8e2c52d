"""The form of a label as a browser sends it: of one feature, or refused."""

from types import SimpleNamespace
from typing import Any

import pytest

from splat_assets.errors import InputError
from splat_assets.store.layout import DataRoot
from splat_dash.pages.label_form import Form, _saved, _skipped
from splat_dash.sent import value_of
from splat_dash.source import Source
from splat_serving.investigations.opening import open_subject

WITHOUT_SAE: Any = SimpleNamespace(sae=None)


def sent(**changes: Any) -> dict[str, Any]:
    """A form of feature 3 in the page of feature 3."""
    made = {"feature": 3, "based_on": 0, "sae": None}
    return {"feature": 3, "address": "/f/3", "made": made, "text": "swims", "status": "draft", **changes}


def form(what: Any) -> Form:
    """A form, as a callback takes it."""
    result: Form = value_of(Form, what, "form")
    return result


@pytest.mark.parametrize("address", ["/f/3", "/f/3/", "/f/003", "/f/%33"])
def test_a_form_in_the_page_of_its_feature_is_taken(address: str) -> None:
    form(sent(address=address)).check_origin(WITHOUT_SAE)


@pytest.mark.parametrize(
    "changes",
    [
        {"address": "/f/4"},
        {"address": "/features"},
        {"address": "/"},
        {"address": "/f/" + "3" * 5000},
        {"feature": 4},
        {"feature": 4, "address": "/f/4"},
        {"made": {"feature": 4, "based_on": 0, "sae": None}},
    ],
)
def test_form_page_and_address_are_of_one_feature_or_nothing_is_saved(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="this form belongs to feature"):
        form(sent(**changes)).check_origin(WITHOUT_SAE)


@pytest.mark.parametrize(
    "forged",
    [
        None,
        7,
        [],
        {},
        sent(feature="3"),
        sent(feature=-1),
        sent(feature=2**64),
        sent(feature=True),
        sent(made=None),
        sent(made={"feature": 3, "based_on": 2**64, "sae": None}),
        sent(address=["/f/3"]),
        sent(text={"a": 1}),
        sent(text="a" * 100_000),
        sent(confidence=[1]),
        sent(author=5),
    ],
)
def test_what_is_not_a_form_is_refused_in_a_sentence(forged: Any) -> None:
    with pytest.raises(InputError, match="invalid request from the page: form"):
        form(forged)


def test_a_label_goes_to_the_feature_of_its_form_or_nowhere(own_root: DataRoot) -> None:
    with open_subject("small", root=own_root) as subject:
        source = Source(subject)
        made = {"feature": 3, "based_on": 0, "sae": source.sae}

        for write in (_saved, _skipped):
            assert "this form belongs to feature 3" in write(source, form(sent(made=made, address="/f/4")))["notice"]
        assert subject.label_log.events() == []
        assert "Saved, revision 1" in _saved(source, form(sent(made=made)))["notice"]

        assert {feature: event.label and event.label.text for feature, event in source.labels().items()} == {3: "swims"}
