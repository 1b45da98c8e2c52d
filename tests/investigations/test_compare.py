"""Two features side by side, and the weights of one, against the dense matrix and the model's own weights."""

import json
import re

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.model import load_base_model
from splat_assets.sae import load_sae
from splat_assets.store.layout import DataRoot
from splat_serving.investigations.compare import Compare, compare
from splat_serving.investigations.experiment import run, spec_of
from splat_serving.investigations.results.plotting import as_html
from splat_serving.investigations.results.rendering import as_markdown, cells
from splat_serving.investigations.subject import Subject


@pytest.fixture(scope="module")
def pair(local: Subject) -> tuple[int, int]:
    """Two features that fire often, of which neither fires everywhere."""
    often = local.database.features().filter(pl.col("n_active") < local.n_samples).sort("n_active", descending=True)
    return int(often["feature_id"][0]), int(often["feature_id"][1])


def test_how_two_features_go_together_is_exact(local: Subject, pair: tuple[int, int]) -> None:
    result = compare(local, Compare(left=pair[0], right=pair[1]))

    left, right = (local.dense(feature).astype(np.float64) for feature in pair)
    row = result.table("agreement").frame.row(0, named=True)
    both, either = ((left > 0) & (right > 0)).sum(), ((left > 0) | (right > 0)).sum()
    assert (row["n_both"], row["only_left"]) == (both, (left > 0).sum() - both)
    assert row["jaccard"] == pytest.approx(both / either)
    assert row["pearson"] == pytest.approx(np.corrcoef(left, right)[0, 1])
    assert row["phi"] == pytest.approx(np.corrcoef(left > 0, right > 0)[0, 1])


def test_shares_of_tokens_are_those_of_the_activations(local: Subject, pair: tuple[int, int]) -> None:
    result = compare(local, Compare(left=pair[0], right=pair[1], top_k=500)).table("tokens").frame

    builds = local.builds
    for row in result.head(4).iter_rows(named=True):
        token = local.vocabulary.by_name[row["token"]].id
        having = np.array(
            [token in builds.tokens[a:b] for a, b in zip(builds.offsets, builds.offsets[1:], strict=False)]
        )
        for side, feature in zip(("share_left", "share_right"), pair, strict=True):
            assert row[side] == pytest.approx(having[local.dense(feature) > 0].mean())
        assert row["difference_low"] < row["difference"] < row["difference_high"]


def test_a_feature_is_the_same_as_itself(local: Subject, busy: int) -> None:
    result = compare(local, Compare(left=busy, right=busy))

    n_active = result.table("statistics").frame["left"][0]
    assert result.table("agreement").frame.row(0)[:5] == pytest.approx((n_active, 0, 0, 1, 1))
    assert set(result.table("tokens").frame["difference"]) == {0.0}


def test_influences_are_the_product_of_the_weights(local: Subject, busy: int, finished_root: DataRoot) -> None:
    result = run(local, spec_of({"experiment": "decoder-influence", "feature_id": busy, "top_k": 1_000}))

    layout = finished_root.run("small")
    sae, model = load_sae(layout.sae), load_base_model(finished_root.models / "small")
    product = model.output_weight.detach().numpy().astype(np.float64) @ sae.W_dec[busy].detach().numpy()
    names = [token.name for token in local.vocabulary.tokens]
    for key in ("raised", "lowered"):
        for token, influence in result.table(key).frame.select("token", "influence").rows():
            assert influence == pytest.approx(product[names.index(token)], rel=1e-4, abs=1e-6)
    families = result.table("families").frame
    squid = families.row(by_predicate=pl.col("ability") == "ninja_squid", named=True)
    assert squid["mean"] == pytest.approx(product[names.index("ninja_squid")], rel=1e-4, abs=1e-6)


def test_abilities_can_be_left_out(local: Subject, busy: int) -> None:
    asked = {"experiment": "decoder-influence", "feature_id": busy, "top_k": 1_000, "exclude_family": ["swim_speed_up"]}

    result = run(local, spec_of(asked))

    named = [*result.table("raised").frame["token"], *result.table("lowered").frame["token"]]
    assert named
    assert not any(token.startswith("swim_speed_up") for token in named)
    assert "swim_speed_up" not in result.table("families").frame["ability"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["decoder", "--feature-id", "{busy}", "--model", "small", "--top-k", "5"],
        ["decoder", "influence", "{busy}", "--top-k", "5"],
        ["decoder", "similar", "{busy}", "--top-k", "5"],
        ["compare", "{busy}", "0"],
    ],
    ids=["the guide's form", "influence", "similar", "compare"],
)
def test_commands_answer_from_a_server_as_from_the_store(
    arguments: list[str], busy: int, finished_root: DataRoot, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(finished_root.path))
    named = [argument.format(busy=busy) for argument in arguments]
    elsewhere = [argument if argument != "small" else server_url for argument in named]
    if "--model" not in elsewhere:
        elsewhere += ["--run", server_url]

    here, there = (CliRunner().invoke(main, [*line, "--format", "json"]) for line in (named, elsewhere))

    assert (here.exit_code, there.exit_code) == (0, 0), here.output + there.output
    assert json.loads(here.stdout)["tables"] == json.loads(there.stdout)["tables"]


def test_columns_of_a_comparison_are_headed_by_its_features(local: Subject, pair: tuple[int, int]) -> None:
    result = compare(local, Compare(left=pair[0], right=pair[1]))

    one, other = (f"feature {feature}" for feature in pair)
    headings = {table.name: cells(table)[0] for table in result.tables}
    assert headings["statistics"] == ["statistic", one, "difference", other]
    assert {f"only {one}", f"only {other}"} <= set(headings["agreement"])
    assert {f"share of {one}", f"share of {other}"} <= set(headings["tokens"]) & set(headings["weapons"])
    assert {one, other} <= set(headings["examples"]) & set(headings["influences"])
    page = as_html([result]).partition("<pre>")[0]  # what follows is the JSON, whose columns keep their names
    for text in (as_markdown(result), re.sub(r"(?s)<style.*?</style>", "", page)):
        assert not re.search(r">\s*(only_|share_)?(left|right)\b|\| (only_|share_)?(left|right)\b", text)
