"""Every observed experiment against a few lines over the dense matrix of the small run."""

from itertools import combinations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from splat_assets.analysis.builds.profile import dose_summary
from splat_assets.analysis.rules.library import RuleLibrary
from splat_assets.domain.rule_text import Names, parse_rule_text
from splat_assets.errors import InputError
from splat_serving.investigations.experiment import experiment, experiment_names, run, spec_of
from splat_serving.investigations.overview import Overview, overview
from splat_serving.investigations.results.result import Result
from splat_serving.investigations.subject import Subject

CAUSAL = {"dose-sweep", "ablation", "causal-effect", "leave-one-out", "heatmap", "family-sweep"}
OBSERVED = sorted(
    name
    for name in set(experiment_names()) - CAUSAL
    if {"feature_id", "features"} & experiment(name).spec.model_fields.keys()
)
"""Those that count builds; what the model predicts by itself is in test_predictions."""
NEEDS = {"within-family": {"family": "swim_speed_up"}, "cluster": {"features": [1, 2]}}


def ask(subject: Subject, name: str, feature: int, **settings: object) -> Result:
    asked: dict[str, object] = {"experiment": name, **settings}
    if "feature_id" in experiment(name).spec.model_fields:
        asked["feature_id"] = feature
    return run(subject, spec_of(asked))


@pytest.fixture(scope="module")
def dense(local: Subject, busy: int) -> np.ndarray:
    return local.dense(busy).astype(np.float64)


@pytest.fixture(scope="module")
def has(local: Subject) -> dict[str, np.ndarray]:
    """Which samples hold each token."""
    lists = local.database.samples(["ability_input_tokens"])[0].to_pylist()
    names = [token.name for token in local.vocabulary.tokens]
    table = np.zeros((len(names), len(lists)), dtype=bool)
    for sample, tokens in enumerate(lists):
        table[tokens, sample] = True
    return dict(zip(names, table, strict=True))


@pytest.fixture(scope="module")
def weapon(local: Subject) -> np.ndarray:
    names = np.array([item.name for item in local.contexts.items])
    return names[local.database.samples(["weapon_id"])[0].to_numpy()]


def high_of(dense: np.ndarray, percentile: float = 0.9) -> np.ndarray:
    return dense >= np.quantile(dense[dense > 0], percentile)


def row_of(result: Result, table: str, **where: object) -> dict[str, object]:
    frame = result.table(table).frame
    for name, value in where.items():
        frame = frame.filter(pl.col(name) == value)
    return frame.row(0, named=True)


def test_weapons_and_classes(local: Subject, busy: int, dense: np.ndarray, weapon: np.ndarray) -> None:
    found = ask(local, "weapon-sweep", busy, min_examples=1, top_k=1_000)

    classes = {item.name: item.attributes.get("class") for item in local.contexts.items}
    of_class = np.array([classes[name] for name in weapon])
    assert sum(found.table("weapons").frame["n"]) == dense.size
    for what, table, values in (("weapon", "weapons", weapon), ("class", "classes", of_class)):
        for row in found.table(table).frame.head(6).iter_rows(named=True):
            here = dense[values == row[what]]
            assert (row["n"], row["n_active"]) == (here.size, (here > 0).sum())
            assert row["mean"] == pytest.approx(here.mean(), rel=1e-6)
            assert row["lift"] == pytest.approx((here > 0).mean() / (dense > 0).mean())


def test_weapons_among_builds_with_an_ability(
    local: Subject, busy: int, dense: np.ndarray, weapon: np.ndarray, has: dict[str, np.ndarray]
) -> None:
    found = ask(local, "weapon-sweep", busy, min_examples=3, condition_family="swim_speed_up")

    worn = has["swim_speed_up_3"]
    row = found.table("weapons").frame.row(0, named=True)
    here = dense[worn & (weapon == row["weapon"])]
    assert (row["n"], row["mean"]) == (here.size, pytest.approx(here.mean(), rel=1e-6))
    assert row["lift"] == pytest.approx((here > 0).mean() / (dense[worn] > 0).mean())


def test_kits(local: Subject, busy: int, dense: np.ndarray, weapon: np.ndarray) -> None:
    found = ask(local, "kit-sweep", busy, min_examples=1, combinations=True, top_k=1_000)

    facts = {item.name: item.attributes for item in local.contexts.items}
    sub = np.array([facts[name]["sub"] for name in weapon])
    special = np.array([facts[name]["special"] for name in weapon])
    for table, values in (("sub", sub), ("special", special), ("pair", np.char.add(np.char.add(sub, " + "), special))):
        row = found.table(table).frame.row(0, named=True)
        here = dense[values == row[table]]
        assert (row["n"], row["mean"]) == (here.size, pytest.approx(here.mean(), rel=1e-6))


def test_groups_of_weapons_of_strong_samples(local: Subject, busy: int, dense: np.ndarray, weapon: np.ndarray) -> None:
    found = ask(local, "weapon-groups", busy, top_k=500)

    facts = {item.name: item.attributes for item in local.contexts.items}
    high = high_of(dense)
    for row in found.table("groups").frame.head(5).iter_rows(named=True):
        here = np.array([facts[name][row["kind"]] == row["value"] for name in weapon])
        assert (row["n"], row["n_strong"]) == (here.sum(), (here & high).sum())
        assert row["lift"] == pytest.approx(high[here].mean() / high.mean())


def test_enrichment_and_bands(local: Subject, busy: int, dense: np.ndarray, has: dict[str, np.ndarray]) -> None:
    high = high_of(dense, 0.8)
    for row in ask(local, "enrichment", busy, high_percentile=0.8).table("enhancers").frame.iter_rows(named=True):
        with_it = has[row["token"]]
        assert (row["n"], row["n_active"]) == (with_it.sum(), (with_it & high).sum())
        assert row["lift"] == pytest.approx(with_it[high].mean() / with_it.mean())

    top = np.quantile(dense[dense > 0], 0.995)
    borders = {"floor": (0, 0.01), "low": (0.01, 0.1), "below_core": (0.1, 0.25), "core": (0.25, 0.75), "high": (0.75, 0.9),
               "top": (0.9, np.inf)}  # fmt: skip
    found = ask(local, "bands", busy)
    for name, (low, upper) in borders.items():
        inside = (dense > low * top) & (dense <= upper * top) & (dense > 0)
        assert row_of(found, "sizes", band=name)["n"] == inside.sum()
        profile = found.table("profiles").frame.filter((pl.col("band") == name) & (pl.col("what") == "token"))
        for row in profile.iter_rows(named=True):
            assert row["lift"] == pytest.approx(has[row["name"]][inside].mean() / has[row["name"]].mean())


def test_enhancers_and_suppressors(local: Subject, busy: int, dense: np.ndarray, has: dict[str, np.ndarray]) -> None:
    found = ask(local, "token-influence", busy, min_samples=10)

    high = high_of(dense)
    frame = found.table("tokens").frame
    assert len({local.vocabulary.by_name[name].group for name in frame["token"]}) == frame.height
    for row in frame.iter_rows(named=True):
        with_it = has[row["token"]]
        assert row["lift"] == pytest.approx(with_it[high].mean() / with_it.mean())
        assert row["difference"] == pytest.approx(dense[with_it].mean() - dense[~with_it].mean(), abs=1e-9)
        pooled = np.sqrt(((with_it.sum() - 1) * dense[with_it].var(ddof=1) + ((~with_it).sum() - 1) * dense[~with_it].var(ddof=1))
                         / (dense.size - 2))  # fmt: skip
        assert row["d"] == pytest.approx(row["difference"] / pooled, abs=1e-9)


def test_with_and_without_plain_and_among_like_builds(
    local: Subject, busy: int, dense: np.ndarray, has: dict[str, np.ndarray]
) -> None:
    found = ask(local, "binary", busy, tokens=["comeback", "ninja_squid", "swim_speed_up_12"], primary_family="run_speed_up",
                min_samples=2)  # fmt: skip

    rungs = local.builds.rungs_of("run_speed_up")
    assert found.table("binary").frame.height == 3
    for row in found.table("binary").frame.iter_rows(named=True):
        with_it = has[row["token"]]
        assert row["difference"] == pytest.approx(dense[with_it].mean() - dense[~with_it].mean(), abs=1e-9)
        welch = stats.ttest_ind(dense[with_it], dense[~with_it], equal_var=False).confidence_interval(0.95)
        assert (row["difference_low"], row["difference_high"]) == pytest.approx((welch.low, welch.high), rel=1e-5)
        total = weights = 0.0
        for rung in np.unique(rungs):
            one, other = dense[with_it & (rungs == rung)], dense[~with_it & (rungs == rung)]
            if min(one.size, other.size) > 1:
                weight = one.size * other.size / (one.size + other.size)
                total, weights = total + weight * (one.mean() - other.mean()), weights + weight
        assert row["adjusted"] == pytest.approx(total / weights, abs=1e-9)


def test_coverage(local: Subject, busy: int, dense: np.ndarray, has: dict[str, np.ndarray]) -> None:
    found = ask(local, "coverage", busy, weapons=False)

    top = np.quantile(dense[dense > 0], 0.995)
    core, strongest = (dense > 0.25 * top) & (dense <= 0.75 * top), dense > 0.9 * top
    for row in found.table("coverage").frame.iter_rows(named=True):
        assert row["core"] == pytest.approx(has[row["name"]][core].mean())
        assert row["top"] == pytest.approx(has[row["name"]][strongest].mean())


def test_pairs_of_abilities(local: Subject, busy: int, dense: np.ndarray) -> None:
    found = ask(local, "interactions", busy, n_families=6, min_samples=5)

    assert found.table("pairs").frame.height > 3
    for row in found.table("pairs").frame.iter_rows(named=True):
        a, b = local.builds.rungs_of(row["first"]) > 0, local.builds.rungs_of(row["second"]) > 0
        contrast = dense[a & b].mean() - dense[a & ~b].mean() - dense[~a & b].mean() + dense[~a & ~b].mean()
        assert row["contrast"] == pytest.approx(contrast, abs=1e-9)
        spread, n = np.array([(dense[cell].var(ddof=1), cell.sum()) for cell in (a & b, a & ~b, ~a & b, ~a & ~b)]).T
        degrees = (spread / n).sum() ** 2 / ((spread / n) ** 2 / (n - 1)).sum()
        half = stats.t.ppf(0.975, degrees) * np.sqrt((spread / n).sum())
        assert row["contrast_high"] - row["contrast"] == pytest.approx(half, rel=1e-5)


def test_sets_of_abilities(local: Subject, busy: int, dense: np.ndarray, has: dict[str, np.ndarray]) -> None:
    found = ask(local, "itemsets", busy, min_support=0.02, top_k=1_000)

    high = high_of(dense)
    frame = found.table("sets").frame
    assert frame.height > 1
    for row in frame.iter_rows(named=True):
        names = row["abilities"].split(" + ")
        groups = [local.vocabulary.by_name[name].group for name in names]
        assert len(set(groups)) == len(names)
        worn = np.logical_and.reduce([
            local.builds.rungs_of(group) >= local.builds.rung_at(group, local.vocabulary.by_name[name].level or 1)
            for group, name in zip(groups, names, strict=True)
        ])  # fmt: skip
        assert (row["n"], row["n_strong"]) == (worn.sum(), (worn & high).sum())
        assert row["lift"] == pytest.approx(high[worn].mean() / high.mean())


def test_steps_within_an_ability(local: Subject, busy: int, dense: np.ndarray) -> None:
    found = ask(local, "within-family", busy, family="swim_speed_up", min_samples=5)

    group, rungs = local.builds.group("swim_speed_up"), local.builds.rungs_of("swim_speed_up")
    names = [group.rung_name(rung) for rung in range(group.n_rungs)]
    for row in found.table("steps").frame.iter_rows(named=True):
        below, above = dense[rungs == names.index(row["below"])], dense[rungs == names.index(row["above"])]
        assert (row["n_below"], row["n_above"]) == (below.size, above.size)
        assert row["step"] == pytest.approx(above.mean() - below.mean(), abs=1e-9)


def test_the_smallest_core_is_scored_on_builds_that_did_not_choose_it(
    local: Subject, busy: int, dense: np.ndarray
) -> None:
    from splat_assets.analysis.rules.library import RuleLibrary
    from splat_assets.domain.rule_text import Names, parse_rule_text

    found = ask(local, "minimal-core", busy, least_recall=0.1)

    held_out = ~RuleLibrary(local.builds, 0).train
    names = Names(local.vocabulary, local.contexts)
    rows = found.table("cores").frame
    assert rows["size"].to_list() == list(range(1, rows.height + 1))
    for row in rows.iter_rows(named=True):
        holds = local.builds.holds(parse_rule_text(row["conditions"], names))[held_out]
        fires = dense[held_out] > 0
        assert (row["n"], row["n_active"]) == (holds.sum(), (holds & fires).sum())
        assert row["recall"] == pytest.approx((holds & fires).sum() / fires.sum())


def test_halves_of_a_feature_agree_and_those_of_noise_do_not(local: Subject, busy: int) -> None:
    real = ask(local, "split-half", busy, n_splits=10)

    class Noise(Subject):
        """The small run with a feature that fires anywhere."""

        def _read_feature(self, feature_id: int):  # type: ignore[no-untyped-def]
            from splat_assets.store.activations import Activations

            ids = np.sort(np.random.default_rng(feature_id).choice(self.n_samples, 100, replace=False))
            return Activations(ids, np.ones(100, dtype=np.float32))

    noise = Noise(local.database, "noise")
    assert row_of(real, "reliability", profile="tokens")["r"] > 0.4  # type: ignore[operator]
    assert (
        abs(
            np.mean(
                [
                    row_of(ask(noise, "split-half", one, n_splits=10), "reliability", profile="tokens")["r"]
                    for one in range(5)
                ]
            )
        )
        < 0.3
    )  # type: ignore[arg-type]
    assert ask(local, "shuffle-null", busy, n_shuffles=50).facts["beyond_chance"]
    calls = sum(bool(ask(noise, "shuffle-null", one, n_shuffles=40).facts["beyond_chance"]) for one in range(20))
    assert calls <= 6


def test_the_strongest_association_is_that_of_the_dense_matrix(
    local: Subject, busy: int, dense: np.ndarray, has: dict[str, np.ndarray]
) -> None:
    found = ask(local, "shuffle-null", busy, n_shuffles=20)

    row = row_of(found, "null", what="token")
    fires = dense > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        phis = {
            name: abs(np.corrcoef(with_it, fires)[0, 1])
            for name, with_it in has.items()
            if 0 < with_it.sum() < fires.size and not name.startswith("<")
        }
    best = max(phis, key=lambda name: phis[name])
    assert (row["name"], row["phi"]) == (best, pytest.approx(phis[best]))


def test_pagerank_is_the_stationary_walk(local: Subject, busy: int, dense: np.ndarray) -> None:
    found = ask(local, "pagerank", busy, mode="raw")

    worn = (local.builds.rungs > 0).astype(np.float64)
    edges = (worn * dense) @ worn.T
    np.fill_diagonal(edges, 0)
    n = edges.shape[0]
    walk = np.where(
        edges.sum(axis=1, keepdims=True) > 0, edges / np.maximum(edges.sum(axis=1, keepdims=True), 1e-300), 1 / n
    )
    system = np.eye(n) - 0.85 * walk.T
    expected = np.linalg.solve(system, np.full(n, 0.15 / n))
    frame = found.table("scores").frame
    assert frame["score"].sum() == pytest.approx(1)
    for row in frame.iter_rows(named=True):
        assert row["score"] == pytest.approx(expected[local.builds.group_numbers[row["ability"]]], rel=1e-6)


def test_clusters_are_connected_correlations(local: Subject) -> None:
    often = local.database.features().sort("n_active", descending=True)["feature_id"][:6].to_list()
    found = ask(local, "cluster", 0, features=often, threshold=0.2)

    r = np.corrcoef([local.dense(feature) for feature in often])
    for row in found.table("pairs").frame.iter_rows(named=True):
        assert row["pearson"] == pytest.approx(r[often.index(row["left"]), often.index(row["right"])], abs=1e-6)
    groups = [set(map(int, text.split(", "))) for text in found.table("groups").frame["features"].cast(pl.String)]
    assert set.union(*groups) == set(often)
    for a, b in combinations(often, 2):
        if r[often.index(a), often.index(b)] >= 0.2:
            assert any({a, b} <= group for group in groups)


@pytest.mark.parametrize("name", OBSERVED)
def test_a_dead_feature_gives_a_warning_and_no_error(name: str, local: Subject) -> None:
    class Silent(Subject):
        """The small run with features that never fire."""

        def _read_feature(self, feature_id: int):  # type: ignore[no-untyped-def]
            from splat_assets.store.activations import Activations

            return Activations(np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32))

    found = ask(Silent(local.database, "silent"), name, 1, **NEEDS.get(name, {}))

    if not name.startswith("decoder") and name != "cluster":
        assert any("never fires" in text for text in found.warnings), found.warnings


@pytest.mark.parametrize("name", OBSERVED)
def test_a_server_gives_the_same_tables_as_the_store(name: str, local: Subject, remote: Subject, busy: int) -> None:
    here, there = (ask(subject, name, busy, **NEEDS.get(name, {})) for subject in (local, remote))

    assert here.tables == there.tables
    assert here.findings == there.findings


def test_a_share_that_is_none_is_refused(local: Subject, busy: int) -> None:
    with pytest.raises(InputError, match="high_percentile: Input should be less than 1"):
        ask(local, "enrichment", busy, high_percentile=90)
    with pytest.raises(InputError, match="did you mean comeback"):
        ask(local, "binary", busy, tokens=["comebak"])


@pytest.mark.parametrize(
    ("name", "short", "full"),
    [
        ("within-family", {"family": " SSU"}, {"family": "swim_speed_up"}),
        (
            "binary",
            {"tokens": ["ns"], "primary_family": "iss"},
            {"tokens": ["ninja_squid"], "primary_family": "ink_saver_sub"},
        ),
        ("interactions", {"given": "ns"}, {"given": "ninja_squid"}),
    ],
)
def test_short_names_of_abilities_are_taken(
    name: str, short: dict[str, object], full: dict[str, object], local: Subject, busy: int
) -> None:
    found, whole = ask(local, name, busy, **short), ask(local, name, busy, **full)

    assert (found.tables, found.spec) == (whole.tables, whole.spec)


def test_the_slope_of_an_ability_without_rungs_is_its_difference(local: Subject, busy: int, dense: np.ndarray) -> None:
    doses = dose_summary(local.feature(busy), local.builds)
    for name in ("ninja_squid", "comeback"):
        worn = local.builds.rungs_of(name) > 0
        slope = doses.row(by_predicate=pl.col("ability") == name, named=True)[
            "slope"
        ]  # per 10 AP, what a main slot gives
        assert slope == pytest.approx(dense[worn].mean() - dense[~worn].mean(), abs=1e-9)


def test_associated_tokens_have_a_lift_above_1(local: Subject, busy: int) -> None:
    for name, table in (("enrichment", "enhancers"), ("enrichment", "suppressors")):
        phis = ask(local, name, busy, top_k=1_000).table(table).frame["phi"]
        assert (phis > 0).all() if table == "enhancers" else (phis < 0).all()
    whole = overview(local, Overview(feature_id=busy, top_k=1_000))
    assert (whole.table("tokens").frame["phi"] > 0).all()
    assert (whole.table("weapons").frame["phi"] > 0).all()


def test_halves_that_disagree_have_a_reliability_of_at_least_minus_one(local: Subject) -> None:
    rare = local.database.features().filter(pl.col("n_active").is_between(2, 6))["feature_id"].to_list()
    assert rare
    for feature in rare[:6]:
        frame = ask(local, "split-half", feature).table("reliability").frame
        for column in ("reliability", "reliability_low", "reliability_high"):
            assert frame[column].is_between(-1, 1).all()


def test_a_heatmap_of_what_is_not_worn_shows_that_alone(local: Subject, busy: int) -> None:
    found = ask(
        local, "heatmap", busy, family_x="swim_speed_up", family_y="run_speed_up", rungs_x=[0], evidence="observed"
    )

    assert {figure.x[0] for figure in found.figures if figure.kind == "heatmap"} == {"absent"}  # type: ignore[union-attr]
    assert {len(figure.x) for figure in found.figures if figure.kind == "heatmap"} == {1}  # type: ignore[union-attr]


def test_a_core_is_chosen_without_the_half_that_it_is_reported_on(local: Subject, busy: int) -> None:
    found = ask(local, "minimal-core", busy)
    cores = found.table("cores").frame
    library = RuleLibrary(local.builds, 0)
    fires = local.dense(busy) > 0
    own = []
    for text in cores["conditions"]:
        rule = parse_rule_text(text, Names(local.vocabulary, local.contexts))
        holds = local.builds.holds(rule) & library.train
        own.append((holds & fires).sum() / holds.sum())

    chosen = next(at for at, precision in enumerate(own) if precision >= max(own) - 0.02)
    assert found.facts["core"] == cores["conditions"][chosen]


def test_an_empty_comparison_makes_no_statement_about_chance(local: Subject, busy: int) -> None:
    for name in ("interactions", "binary"):
        found = ask(local, name, busy, min_samples=10**6)
        assert "enough samples" in found.findings[0] or "too few samples" in found.findings[0]
