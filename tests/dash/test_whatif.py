"""What if: gear in an address, edits as text, and a page that follows what is chosen with the numbers of the model itself."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splat_assets.domain.abilities import SLOTS
from splat_assets.domain.builds import Build, Gear, why_illegal
from splat_assets.errors import InputError
from splat_dash import gear
from splat_dash.pages import whatif
from splat_dash.query import ListQuery
from splat_dash.source import Source
from splat_serving.investigations.results.rendering import shown
from splat_serving.investigations.what_if import what_if
from splat_serving.model.answers import Edit
from splat_serving.model.runner import TokenSet
from tests.dash.conftest import Watched


def pieces(slot: str) -> st.SearchStrategy[Gear]:
    main = st.sampled_from([None, *gear.fitting(slot, True)])
    subs = st.lists(st.sampled_from(gear.fitting(slot, False)), max_size=3)
    return st.builds(lambda one, others: Gear(one, tuple(others)), main, subs)


BUILDS = st.builds(Build, *(pieces(slot) for slot in SLOTS))


@given(BUILDS, st.integers(0, 79))
def test_gear_reads_as_it_was_written_and_is_always_legal(build: Build, weapon: int) -> None:
    assert gear.parse(gear.as_text(weapon, build), 80) == (weapon, build)
    assert why_illegal(build.ap) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x._-_-_-_._-_-_-_._-_-_-_", "'x' is not a weapon"),
        ("80._-_-_-_._-_-_-_._-_-_-_", "weapons are 0 to 79"),
        ("3._-_-_-_._-_-_-_", "2 pieces of gear instead of 3"),
        ("3._-_-_._-_-_-_._-_-_-_", "the head has 3 slots instead of 4"),
        ("3.NS-_-_-_._-_-_-_._-_-_-_", "'NS' does not fit the main slot of the head"),
        ("3._-CB-_-_._-_-_-_._-_-_-_", "'CB' does not fit the sub slot of the head"),
        ("3._-XX-_-_._-_-_-_._-_-_-_", "'XX' does not fit"),
    ],
)
def test_gear_that_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        gear.parse(text, 80)


def test_edits_as_text() -> None:
    assert whatif.parse_edits(" 12=0, 845 = -3.5,7*2e-1,") == (
        Edit(12, "set", 0.0), Edit(845, "set", -3.5), Edit(7, "scale", 0.2),
    )  # fmt: skip
    for text in ("12", "a=1", "12=", "12=1;13=2", "12=nan", "1=1e999"):
        with pytest.raises(InputError):
            whatif.parse_edits(text)


def test_a_sample_becomes_gear_that_gives_its_tokens(source: Source) -> None:
    kinds = source.subject.samples["kind"].to_list()
    sample = kinds.index("build")
    view = whatif.view_of(source, {"sample": str(sample)})

    result = source.subject.database.sample(sample)
    null = source.subject.vocabulary.null_id
    worn = {token for token in result.columns["ability_input_tokens"] if token != null}
    assert set(gear.token_set(view.weapon, view.base, source.subject).tokens) == worn
    assert view.weapon == result.columns["weapon_id"]


def sets(source: Source) -> tuple[TokenSet, TokenSet]:
    base = gear.parse("3.SSU-SSU-_-_._-_-_-_._-_-_-_", 80)
    changed = gear.parse("3.SSU-SSU-ISS-_.NS-_-_-_._-_-_-_", 80)
    return gear.token_set(*base, source.subject), gear.token_set(*changed, source.subject)


@pytest.mark.slow
def test_the_numbers_are_those_of_the_model(source: Source) -> None:
    base, changed = sets(source)
    model = source.subject.model
    edit = Edit(model.trace(changed, 1).features[0], "scale", 2.0)
    result = what_if(source.subject, base, changed, (edit,), top_k=500)
    features, predictions, abilities = (table.frame for table in result.tables)

    values = model.activations([base, changed], features["feature"].to_list())
    np.testing.assert_allclose(values[0], features["base"], atol=1e-5)
    np.testing.assert_allclose(values[1], features["changed"], atol=1e-5)
    np.testing.assert_allclose(values[1] - values[0], features["difference"], atol=1e-5)
    ids = [source.subject.vocabulary.by_name[name].id for name in predictions["token"].to_list()]
    np.testing.assert_allclose(model.probabilities([changed])[0][ids], predictions["changed"], atol=1e-6)
    strength = values[1][features["feature"].to_list().index(edit.feature)]
    logits = model.trace(changed, 0).logits + strength * _effect(source, edit.feature)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits[ids])), predictions["edited"], atol=1e-5)
    drops = dict(abilities.select("ability", "drop").iter_rows())
    assert list(drops) == sorted(("swim_speed_up", "ink_saver_sub", "ninja_squid"), key=lambda one: -drops[one])
    without = model.activations(
        [TokenSet(3, tuple(t for t in changed.tokens if t not in _squid(source)))], [edit.feature]
    )
    assert drops["ninja_squid"] == pytest.approx(strength - without[0, 0], abs=1e-5)
    assert result.figures[0].z[0][0] is not None  # type: ignore[union-attr]


def _squid(source: Source) -> set[int]:
    return {source.subject.vocabulary.by_name["ninja_squid"].id}


def _effect(source: Source, feature: int) -> np.ndarray:
    """W_dec[feature] @ W_out^T, which the store has as influences."""
    influences = source.feature(feature).influences or {}
    result = np.zeros(len(source.subject.vocabulary), dtype=np.float64)
    for row in (*influences["raised"], *influences["lowered"]):
        result[row["token_id"]] = row["value"]
    return result


@pytest.fixture(scope="session")
def expect() -> Any:
    from playwright.sync_api import expect

    return expect


def choose(page: Any, expect: Any, slot: str, label: str) -> None:
    page.locator(f"#whatif-{slot}").click()
    page.get_by_role("option", name=label).locator("visible=true").first.click()


@pytest.mark.slow
def test_a_build_is_changed_by_clicks_and_everything_follows(watched: Watched, expect: Any, source: Source) -> None:
    page = watched.open("/whatif?b=3.SSU-SSU-_-_._-_-_-_._-_-_-_")
    answer = page.locator("#whatif-answer")
    expect(answer.locator("table").first).to_be_visible()
    choose(page, expect, "head-2", "Ink saver sub")
    choose(page, expect, "clothes-0", "Ninja squid")
    expect(answer.locator("table").nth(2)).to_contain_text("ninja_squid")
    page.wait_for_function("location.search.includes('b2=')")
    base, changed = sets(source)
    whole = source.what_if(base, changed, (), None)
    rows = answer.locator("table").first.locator("tbody tr")
    first = whole.tables[0].rows[0]
    expect(rows.first.locator("td").nth(1)).to_have_text(shown(first[1]))
    assert rows.first.locator("td").nth(3).inner_text() == shown(first[3])
    assert rows.count() == len(whole.tables[0].rows)

    again = watched.open(page.evaluate("location.pathname + location.search"))
    expect(again.locator("#whatif-answer table").nth(2)).to_contain_text("ninja_squid")
    assert again.locator("#whatif-answer").inner_text() == answer.inner_text()

    feature = int(first[0] or 0)
    page.get_by_label("Feature edits").fill(f"{feature}=0")
    expect(answer.locator("table").nth(1).locator("th", has_text="edited")).to_be_visible()
    edited = source.what_if(base, changed, (Edit(feature, "set", 0.0),), None).tables[1].rows[0]
    cells = answer.locator("table").nth(1).locator("tbody tr").first.locator("td").all_inner_texts()
    assert cells[5] == shown(edited[5])
    page.get_by_role("button", name="reset to the base").click()
    expect(answer.locator("p").first).to_contain_text("features fire on the base")
    expect(page.locator("#whatif-clothes-0")).to_have_value("")
    page.wait_for_function("!location.search.includes('b2=') && !location.search.includes('e=')")


@pytest.mark.slow
def test_what_cannot_be_is_one_sentence(watched: Watched, expect: Any, source: Source) -> None:
    page = watched.open("/whatif?b=3.NS-_-_-_._-_-_-_._-_-_-_")
    expect(page.get_by_role("alert")).to_contain_text("does not fit the main slot of the head")
    page.goto(f"{watched.url}/whatif?b=3._-_-_-_._-_-_-_._-_-_-_&f=96")
    expect(page.get_by_role("alert")).to_contain_text("feature '96' does not exist")
    page.goto(f"{watched.url}/whatif")
    expect(page.locator("#whatif-answer table").first).to_be_visible()
    page.get_by_label("Feature edits").fill("12")
    expect(page.get_by_role("alert")).to_contain_text("'12' is not an edit")
    options = page.locator("#whatif-head-1")
    options.click()
    assert page.get_by_role("option", name="Comeback").locator("visible=true").count() == 0
    busy = int(source.rows(ListQuery(sort="-density"))["feature_id"][0])
    page.goto(f"{watched.url}/f/{busy}")
    page.locator("table.examples tbody td a").first.click()
    expect(page.locator("h1")).to_have_text("What if")
