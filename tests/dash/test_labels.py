"""Labelling in a browser: by keyboard alone, by two at once, with a server that goes away, and what is exported of it."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import polars as pl
import pytest

from splat_assets.domain.rule_text import Names, parse_rule_text
from splat_assets.errors import InputError
from splat_assets.store.layout import DataRoot
from splat_dash.app import create_app
from splat_dash.query import ListQuery
from splat_dash.source import Source
from splat_serving.database.errors import LabelConflictError, ServerError
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.results.rendering import shown
from splat_serving.labels.event import Event, NewEvent
from tests.dash.conftest import Watched
from tests.serving.running import running


@pytest.fixture
def own_source(own_root: DataRoot) -> Iterator[Source]:
    with open_subject("small", root=own_root) as subject:
        yield Source(subject)


@pytest.fixture
def own_url(own_source: Source) -> Iterator[str]:
    with running(create_app(own_source).server) as result:
        yield result


@pytest.fixture
def labelling(browser: Any, own_url: str) -> Iterator[Watched]:
    result = Watched(browser, own_url)
    yield result
    result.context.close()
    assert result.complaints == []


@pytest.fixture(scope="session")
def expect() -> Any:
    from playwright.sync_api import expect

    return expect


def test_what_a_form_says_becomes_a_label(own_source: Source) -> None:
    form = {
        "text": " swims ",
        "category": "tactical",
        "status": "proposed",
        "confidence": 0.5,
        "notes": "",
        "rule": "ssu>=12",
    }

    event = own_source.write_label(3, form, "ann", 0)

    assert event.label is not None
    assert (event.label.text, event.label.confidence, event.author, event.revision) == ("swims", 0.5, "ann", 1)
    assert own_source.rule_of_label(3) == "swim_speed_up>=12"
    assert own_source.names()[3] == "swims"
    for wrong, author in (({"text": "\u200b"}, "ann"), ({"text": "a\u202eb"}, "ann"), ({"text": "x"}, " ")):
        with pytest.raises(InputError, match="is invisible|U\\+202E|author"):
            own_source.write_label(4, wrong, author, 0)
    with pytest.raises(LabelConflictError):
        own_source.write_label(3, {"text": "other"}, "bob", 0)


def test_a_rule_stands_beside_its_score_and_its_counterexamples(own_source: Source) -> None:
    subject = own_source.subject
    feature = int(own_source.rows(ListQuery(sort="-density"))["feature_id"][0])
    holds = subject.builds.holds(parse_rule_text("ssu>=6", Names(subject.vocabulary, subject.contexts)))
    fires = subject.dense(feature) > 0

    result = own_source.evidence(feature, "ssu>=6")

    assert (result.n_missed, result.n_silent) == (int((fires & ~holds).sum()), int((holds & ~fires).sum()))
    assert result.score.f1 == pytest.approx(2 * (fires & holds).sum() / (fires.sum() + holds.sum()))
    assert len(result.missed) == len(result.silent) == 5
    strongest = np.where(fires & ~holds, subject.dense(feature), 0).max()
    assert result.missed[0]["activation"] == pytest.approx(strongest)
    for row in (*result.missed, *result.silent):
        sample = row["global_index"]
        assert holds[sample] != fires[sample]
        assert row["activation"] == pytest.approx(subject.dense(feature)[sample])
    builds = [subject.builds.distinct[row["global_index"]] for row in result.missed]
    assert len(set(builds)) == 5
    with pytest.raises(InputError, match=r"\^"):
        own_source.evidence(feature, "ssu>=")


@pytest.mark.slow
def test_the_evidence_follows_the_rule_while_it_is_written(labelling: Watched, own_source: Source, expect: Any) -> None:
    page = labelling.open("/f/7")
    page.locator("#label-edit").click()
    for rule in ("ssu>=6", "ssu>=12 and not ninja_squid"):
        page.fill("#label-rule", rule)
        result = own_source.evidence(7, rule)
        expect(page.locator("#label-score")).to_contain_text(f"the rule holds on {result.score.n_rule:,} of")
        expect(page.locator("#label-score")).to_contain_text(f"F1 {shown(result.score.f1)}")
        expect(page.locator("#label-evidence summary")).to_contain_text(
            f"{result.n_missed + result.n_silent:,} samples"
        )
    page.fill("#label-rule", "ssu>=")
    expect(page.locator("#label-evidence [role=alert]")).to_contain_text("^")
    page.fill("#label-rule", "")
    expect(page.locator("#label-evidence")).to_be_empty()


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"text": "  "}, "has no text"),
        ({"text": "a", "rule": "ssu>="}, r"\^"),
        ({"text": "a", "confidence": 3}, "confidence"),
        ({"text": "a", "status": "loud"}, "status"),
    ],
)
def test_an_invalid_form_is_refused(own_source: Source, form: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        own_source.write_label(3, form, None, 0)

    assert own_source.labels() == {}


def test_lists_know_what_waits_and_what_was_skipped(own_source: Source) -> None:
    book = own_source.subject.labels
    book.enqueue(9, 0.2)
    book.enqueue(4, 0.9)
    alive = own_source.rows(ListQuery(state="unlabelled"))["feature_id"].to_list()
    book.skip(alive[0])

    assert own_source.rows(ListQuery(state="queued", sort="queue"))["feature_id"].to_list() == [4, 9]
    assert own_source.rows(ListQuery(state="unlabelled"))["feature_id"].to_list() == alive[1:]


@pytest.mark.slow
def test_twenty_features_are_labelled_by_keyboard_alone(labelling: Watched, own_source: Source, expect: Any) -> None:
    query = ListQuery(state="unlabelled", sort="-density")
    ids = own_source.rows(query)["feature_id"].to_list()[:20]
    page = labelling.open("/labels")
    page.get_by_role("link", name="unlabelled features that fire").click()
    for at, feature in enumerate(ids):
        expect(page.locator("h1")).to_contain_text(f"Feature {feature}")
        page.keyboard.press("e")
        expect(page.locator("#label-text")).to_be_focused()
        page.keyboard.type(f"label {at}, jkr")
        page.keyboard.press("Control+Enter")
        expect(page.locator("#label-message")).to_contain_text("Saved, revision 1")
        expect(page.locator("#feature-name")).to_have_text(f" label {at}, jkr")
        page.keyboard.press("j")

    events = own_source.subject.label_log.events()
    assert [(event.feature_id, event.label and event.label.text) for event in events] == [
        (feature, f"label {at}, jkr") for at, feature in enumerate(ids)
    ]
    lines = page.request.get(f"{labelling.url}/api/labels.jsonl").text().splitlines()
    assert [Event.model_validate_json(line) for line in lines] == events
    page.goto(f"{labelling.url}/labels")
    expect(page.locator("main h2", has_text="Labels (20)")).to_be_visible()


@pytest.mark.slow
def test_what_stands_in_the_form_is_saved_though_dash_has_not_heard_of_it_yet(
    labelling: Watched, own_source: Source, expect: Any
) -> None:
    page = labelling.open("/f/5")
    expect(page.locator("#label-edit")).to_be_visible()
    page.keyboard.press("e")
    page.fill("#label-text", "to the very last letter")
    page.fill("#label-notes", "all of it")
    page.fill("#label-confidence", "0.5")
    stale = ["to the ve", "tactical", "proposed", 0.2, "", "a", "ann"]

    form = page.evaluate("stale => dash_clientside.splat.typed(1, null, ...stale)", stale)

    assert (form["text"], form["notes"], form["confidence"]) == ("to the very last letter", "all of it", 0.5)
    assert (form["category"], form["status"]) == ("tactical", "proposed")
    assert (form["feature"], form["address"]) == (5, "/f/5")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#label-message")).to_contain_text("Saved, revision 1")
    event = own_source.subject.labels.label(5)
    assert event is not None and event.label is not None
    assert (event.label.text, event.label.notes, event.label.confidence) == (
        "to the very last letter",
        "all of it",
        0.5,
    )


@pytest.mark.slow
def test_two_who_label_at_once_see_each_other(browser: Any, own_url: str, own_source: Source, expect: Any) -> None:
    first, second = Watched(browser, own_url), Watched(browser, own_url)
    pages = [one.open("/f/5") for one in (first, second)]
    for page in pages:  # both see the feature before either says anything
        expect(page.locator("h1")).to_contain_text("Feature 5")
    for page, text in zip(pages, ("swims", "dives"), strict=True):
        page.keyboard.press("e")
        page.locator("#label-text").fill(text)
        page.locator("#label-notes").fill(f"why it {text}")
        page.locator("#label-save").click()
        expect(page.locator("#label-message")).to_contain_text("Saved" if text == "swims" else "Conflict")

    assert "swims" in pages[1].locator("#label-message").inner_text()
    assert pages[1].locator("#label-notes").input_value() == "why it dives"
    label = own_source.labels()[5].label
    assert label is not None and label.text == "swims"
    pages[1].locator("#label-save").click()
    expect(pages[1].locator("#label-message")).to_contain_text("Saved, revision 2")
    expect(pages[1].locator("#label-history > summary")).to_have_text("history (3)")
    pages[0].reload()
    expect(pages[0].locator("#feature-name")).to_have_text(" dives")
    pages[0].locator("summary", has_text="history (3)").click()
    expect(pages[0].locator("#label-history")).to_contain_text("swims")
    for one in (first, second):
        one.context.close()
        assert one.complaints == []


class _Gone:
    """Events of a server that goes away when something is to be written."""

    def events(self) -> list[Event]:
        return []

    def damaged_lines(self) -> list[int]:
        return []

    def append(self, event: NewEvent) -> Event:
        raise ServerError("no activation server answers at http://127.0.0.1:1")


@pytest.mark.slow
def test_what_was_typed_outlives_a_server_that_went_away(labelling: Watched, own_source: Source, expect: Any) -> None:
    own_source.subject.__dict__["label_log"] = _Gone()
    page = labelling.open("/f/6")
    expect(page.locator("h1")).to_contain_text("Feature 6")
    page.keyboard.press("e")
    page.locator("#label-text").fill("swims")
    page.locator("#label-save").click()

    expect(page.get_by_role("alert")).to_contain_text("Not saved: no activation server answers")
    assert page.locator("#label-text").input_value() == "swims"
    page.reload()
    expect(page.locator("h1")).to_contain_text("Feature 6")
    page.keyboard.press("e")
    expect(page.locator("#label-text")).to_have_value("swims")


@pytest.mark.slow
def test_a_page_that_did_not_follow_its_address_saves_nothing_and_says_that_the_dashboard_was_away(
    browser: Any, own_source: Source, expect: Any
) -> None:
    app = create_app(own_source).server
    with running(app) as url:
        watched = Watched(browser, url)
        page = watched.open("/f/3")
        page.wait_for_selector("#label-edit")
    page.keyboard.press("j")  # the address is that of feature 4 now, the page that of feature 3
    expect(page.locator("#connection")).to_contain_text("does not answer")
    page.keyboard.press("e")
    page.locator("#label-text").fill("typed at the address of feature 4")

    with running(app, urlsplit(url).port or 0):
        expect(page.locator("#connection")).to_contain_text("this page does not match its address")
        page.keyboard.press("Control+Enter")
        expect(page.locator("#label-message")).to_contain_text(
            "this form belongs to feature 3, but the address of the page is /f/4"
        )
        assert page.locator("#label-text").input_value() == "typed at the address of feature 4"
        page.click("#connection .reload")
        expect(page.locator("h1")).to_contain_text("Feature 4")
        expect(page.locator("#connection")).to_be_empty()
        expect(page.locator("#label-text")).to_have_value("")
        page.goto(f"{url}/f/3")
        expect(page.locator("#label-text")).to_have_value("typed at the address of feature 4")
        watched.context.close()
    assert own_source.labels() == {}


@pytest.mark.slow
def test_an_answer_that_arrives_on_the_page_of_another_feature_leaves_that_page_as_it_is(
    labelling: Watched, own_source: Source, expect: Any
) -> None:
    page = labelling.open("/f/5")
    page.wait_for_selector("#label-edit")

    kept = page.evaluate(
        """() => {
            const answer = { feature: 4, shown: "Saved", notice: "Saved, revision 1", based_on: 1, name: " of another" };
            return dash_clientside.splat.answered(answer, { feature: 5, based_on: 0, sae: null })
                .every((one) => one === dash_clientside.no_update);
        }"""
    )

    assert kept
    expect(page.locator("#message")).to_have_text("Feature 4: Saved, revision 1")


@pytest.mark.slow
def test_skipping_takes_a_feature_off_the_queue(labelling: Watched, own_source: Source, expect: Any) -> None:
    own_source.subject.labels.enqueue(7, 1.0, "looks odd")
    page = labelling.open("/labels")
    expect(page.locator("main")).to_contain_text("looks odd")
    page.get_by_role("link", name="the queue, in order").click()
    expect(page.locator("h1")).to_contain_text("Feature 7")
    page.keyboard.press("e")
    page.locator("#label-skip").click()

    expect(page.locator("#label-message")).to_contain_text("removed from the queue")
    assert own_source.subject.labels.queue() == []


def test_a_store_without_a_place_for_labels_says_so(own_root: DataRoot, tmp_path: Any) -> None:
    from splat_dash.pages import feature, labels

    store = own_root.path / "runs" / "small" / "store"
    moved = tmp_path / "alone"
    store.rename(moved)
    with open_subject(str(moved)) as subject:
        alone = Source(subject)
        assert "is not part of a run" in json.dumps(
            labels.layout(alone).to_plotly_json(), default=lambda one: one.to_plotly_json()
        )
        page = json.dumps(feature.layout(alone, fid="3").to_plotly_json(), default=lambda one: one.to_plotly_json())

    assert "label-save" not in page
    assert isinstance(alone.rows(ListQuery(state="queued")), pl.DataFrame)
