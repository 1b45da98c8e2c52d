"""The features that tell two sets of builds apart: against AUROC over the dense matrix."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.domain.rule_text import Names, parse_rule_text
from splat_assets.errors import InputError
from splat_assets.store.layout import DataRoot
from splat_serving.investigations.contrast import Contrast, contrast
from splat_serving.investigations.subject import Subject

PAIRS = (("ssu>=6", "iss>=6"), ("class=shooter", "class=roller"), ("ninja_squid", "not ninja_squid"))


def dense_ranking(subject: Subject, left: str, right: str) -> list[tuple[int, float]]:
    names = Names(subject.vocabulary, subject.contexts)
    of_left, of_right = (subject.builds.holds(parse_rule_text(one, names)) for one in (left, right))
    of_left, of_right = of_left & ~of_right, of_right & ~of_left
    result = []
    for feature_id in range(subject.n_features):
        values = subject.dense(feature_id)
        a, b = values[of_left], values[of_right]
        wins = (a[:, None] > b).mean() + (a[:, None] == b).mean() / 2
        result.append((feature_id, float(wins)))
    return sorted(result, key=lambda one: (-round(abs(one[1] - 0.5), 12), one[0]))


@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_the_order_is_that_of_the_dense_matrix(left: str, right: str, local: Subject, remote: Subject) -> None:
    expected = dense_ranking(local, left, right)

    for top_k in (1, 7, 96):
        result = contrast(local, Contrast(left=left, right=right, top_k=top_k))
        frame = result.table("features").frame
        assert frame["feature_id"].to_list() == [feature for feature, _ in expected[:top_k]]
        assert frame["auroc"].to_list() == pytest.approx([auroc for _, auroc in expected[:top_k]])
    assert result.tables == contrast(remote, Contrast(left=left, right=right, top_k=96)).tables
    for row in frame.iter_rows(named=True):
        assert row["auroc_low"] <= row["auroc"] <= row["auroc_high"]
        assert row["share_left"] == pytest.approx(row["n_left"] / result.facts["n_left"])
        assert row["difference"] == pytest.approx(row["share_left"] - row["share_right"])


def test_few_features_are_read_for_a_short_list(local: Subject) -> None:
    result = contrast(local, Contrast(left="ssu>=6", right="iss>=6", top_k=1))

    assert result.facts["n_read"] < 96


def test_samples_of_both_are_in_neither(local: Subject) -> None:
    result = contrast(local, Contrast(left="ssu>=6", right="ssu>=3"
                                     " and iss>=3", top_k=3))  # fmt: skip
    names = Names(local.vocabulary, local.contexts)
    left, right = (local.builds.holds(parse_rule_text(one, names)) for one in ("ssu>=6", "ssu>=3 and iss>=3"))

    assert result.facts["n_shared"] == int((left & right).sum()) > 0
    assert result.facts["n_left"] == int((left & ~right).sum())
    assert "in neither" in " ".join(result.findings)


def test_an_empty_set_is_an_error_with_its_rule(local: Subject) -> None:
    with pytest.raises(InputError, match="there is nothing to compare"):
        contrast(local, Contrast(left="ssu>=6", right="ssu>=6"))
    with pytest.raises(InputError, match="nonsense"):
        contrast(local, Contrast(left="ssu>=6", right="nonsense>=3"))


def test_it_is_a_command(finished_root: DataRoot, monkeypatch: pytest.MonkeyPatch, local: Subject) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(finished_root.path))
    done = CliRunner().invoke(main, ["contrast", "ssu>=6", "iss>=6", "--top-k", "2", "--format", "json"])

    assert done.exit_code == 0, done.output
    rows = json.loads(done.output)["tables"][0]["rows"]
    assert [row[0] for row in rows] == [feature for feature, _ in dense_ranking(local, "ssu>=6", "iss>=6")[:2]]
    assert not np.isnan(rows[0][2])
