"""Labels moved to another SAE: where two old features claim a new one, and where somebody was there before."""

from pathlib import Path

import numpy as np
import pytest

from splat_assets.store.published.publishing import publish
from splat_serving.database.local import LocalDatabase
from splat_serving.investigations.carry_labels import carry_labels, match_labels
from splat_serving.investigations.subject import Subject
from splat_serving.labels.log import LabelLog
from tests.contracts.reader import Dense
from tests.contracts.sources import sparse_random
from tests.store.making import staged_parts

DENSE = sparse_random(200, 3, 0.3)


def subject_of(root: Path, dense: Dense, digit: str) -> Subject:
    """A store whose SAE has the fingerprint of that digit, with a place for its labels."""
    sae = digit * 64
    publish(root / digit, staged_parts(root / f"staged-{digit}", dense), {"sae": sae})
    return Subject(LocalDatabase.open(root / digit), digit, labels=lambda: LabelLog(root / "labels", sae))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Subject, Subject]:
    """Old features 0 and 1 are the same, and are new feature 2; old feature 2 is new feature 0 with noise."""
    rng = np.random.default_rng(0)
    old = np.stack([DENSE[:, 0], DENSE[:, 0], DENSE[:, 1]], axis=1)
    noisy = np.where(rng.random(200) < 0.1, 0, DENSE[:, 1])
    new = np.stack([noisy, DENSE[:, 2], DENSE[:, 0]], axis=1).astype(np.float32)
    return subject_of(tmp_path, old, "a"), subject_of(tmp_path, new, "b")


def test_of_features_that_are_equally_near_one_is_carried_and_the_other_reported(pair: tuple[Subject, Subject]) -> None:
    old, new = pair
    for feature in range(3):
        old.labels.set(feature, {"text": f"was {feature}"}, "ann")

    matches = match_labels(old, new)
    written = carry_labels(old, new, matches, "bob")

    assert [match.new for match in matches] == [2, None, 0]
    assert matches[1].why == "feature 2 is as near to old feature 0"
    assert written == 2
    assert {feature: event.label.text for feature, event in new.labels.current().items() if event.label} == {
        2: "was 0",
        0: "was 2",
    }


def test_a_label_that_somebody_gave_the_new_feature_stays(pair: tuple[Subject, Subject]) -> None:
    old, new = pair
    old.labels.set(0, {"text": "old"}, "ann")
    new.labels.set(2, {"text": "mine"}, "bob")

    matches = match_labels(old, new)

    assert (matches[0].new, matches[0].nearest) == (None, 2)
    assert "already has a label" in matches[0].why
    assert carry_labels(old, new, matches, "eve") == 0
    label = new.labels.label(2)
    assert label is not None and label.label is not None and label.label.text == "mine"


def test_a_label_that_was_carried_follows_its_old_one(pair: tuple[Subject, Subject]) -> None:
    old, new = pair
    old.labels.set(0, {"text": "first"}, "ann")
    carry_labels(old, new, match_labels(old, new), "eve")

    old.labels.set(0, {"text": "second", "status": "accepted"}, "ann")
    again = match_labels(old, new)

    assert again[0].new == 2
    carry_labels(old, new, again, "eve")
    label = new.labels.label(2)
    assert label is not None and label.label is not None and label.label.text == "second"
