"""The promises that every activation database keeps, on this machine or at the other end of a connection."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pytest

from splat_assets.domain.concepts import All, Not, WeaponIs, Wears
from splat_assets.errors import InputError
from splat_assets.store.errors import FeatureNotFoundError, SampleNotFoundError
from splat_assets.store.vocabulary import Context, Contexts
from splat_serving.database.errors import NotComputedError, ParameterError, UnknownNameError
from splat_serving.database.protocol import ActivationDatabase, Associations, Condition, Query
from splat_serving.database.sample_columns import OF_BUILDS
from splat_serving.database.selection import Selection
from tests.contracts.reader import CASES, Dense
from tests.contracts.sources import VOCABULARY, sample_table, sparse_random

CONTEXTS = Contexts(
    (
        Context(0, "weapon_id_0", "Splattershot", {"class": "shooter"}),
        Context(1, "weapon_id_10", ".52 Gal", {"class": "shooter", "sub": "Splash Wall"}),
        Context(2, "weapon_id_20", "Dualie / Squelcher?", {"class": "dualie"}),
        Context(3, "weapon_id_30", "H-3 Nozzlenose D", {"class": "shooter", "sub": "Splash Wall"}),
        Context(4, "weapon_id_40", "..", {}),
    )
)
DENSE: Dense = sparse_random(60, 7, 0.4, seed=11)
EVERY_SAMPLE, DEAD, WITH_EQUALS, QUIET_SAMPLE = 2, 3, 5, 50
DENSE[QUIET_SAMPLE] = 0
DENSE[:, EVERY_SAMPLE] = np.linspace(0.5, 3.0, 60, dtype=np.float32)
DENSE[:, DEAD] = 0
DENSE[[4, 9, 30, 31], WITH_EQUALS] = np.float32(9.5)
SAMPLES = sample_table(60)
TOKENS: list[list[int]] = SAMPLES["tokens"].to_list()
WEAPONS: npt.NDArray[np.int64] = SAMPLES["weapon_id_token"].to_numpy().astype(np.int64)
PAIRS = ("global_index", "activation")


def with_tokens(*token_ids: int) -> npt.NDArray[np.bool_]:
    return np.array([set(token_ids) <= set(tokens) for tokens in TOKENS])


def fires(feature_id: int) -> npt.NDArray[np.bool_]:
    return DENSE[:, feature_id] > 0


SELECTIONS: dict[str, tuple[Selection, npt.NDArray[np.bool_]]] = {
    "values of at least": (Selection(min_activation=1.0), DENSE[:, WITH_EQUALS] >= 1),
    "values of at most": (Selection(max_activation=1.0), DENSE[:, WITH_EQUALS] <= 1),
    "values between": (
        Selection(min_activation=0.5, max_activation=2.0),
        (DENSE[:, WITH_EQUALS] >= 0.5) & (DENSE[:, WITH_EQUALS] <= 2),
    ),
    "a weapon by id": (Selection(weapon=("3",)), WEAPONS == 3),
    "a weapon by key": (Selection(weapon=("weapon_id_10",)), WEAPONS == 1),
    "a weapon by name": (Selection(weapon=("Dualie / Squelcher?",)), WEAPONS == 2),
    "one of two weapons": (Selection(weapon=("0", "..")), np.isin(WEAPONS, [0, 4])),
    "a token by id": (Selection(token=("2",)), with_tokens(2)),
    "a token by name": (Selection(token=("swim_speed_up_6",)), with_tokens(1)),
    "both of two tokens": (Selection(token=("comeback", "0")), with_tokens(0, 2)),
    "the null token": (Selection(token=("<NULL>",)), with_tokens(3)),
    "everything at once": (
        Selection(min_activation=0.2, weapon=("1", "3"), token=("comeback",)),
        (DENSE[:, WITH_EQUALS] >= 0.2) & np.isin(WEAPONS, [1, 3]) & with_tokens(2),
    ),
    "what nothing fulfils": (Selection(min_activation=1e6), np.zeros(60, dtype=np.bool_)),
}
NO_SENSE: dict[str, tuple[str, Callable[[ActivationDatabase], Any]]] = {
    "a column that is not there": ("columns", lambda database: database.activations(0, columns=["beauty"])),
    "a column that samples do not have": ("columns", lambda database: database.samples(["activation"])),
    "no columns of samples": ("columns", lambda database: database.samples([])),
    "no columns": ("columns", lambda database: database.activations(0, columns=[])),
    "two columns in one": ("columns", lambda database: database.activations(0, columns=["split,kind"])),
    "a threshold that is no number": (
        "min",
        lambda database: database.query(Query(all=(Condition(0, min=float("nan")),))),
    ),
    "a negative limit": ("limit", lambda database: database.query(Query(limit=-1))),
    "a negative offset": ("offset", lambda database: database.query(Query(offset=-1))),
}
UNKNOWN_NAMES: dict[str, tuple[str, Callable[[ActivationDatabase], Any]]] = {
    "a token to filter by": ("flying", lambda database: database.activations(0, Selection(token=("flying",)))),
    "a weapon to filter by": ("Spoon", lambda database: database.activations(0, Selection(weapon=("Spoon",)))),
    "the id of a token": ("token 5 does not exist", lambda database: database.activations(0, Selection(token=("5",)))),
    "the id of a weapon": ("weapon 99 does not exist", lambda database: database.query(Query(weapon=("99",)))),
    "a token of a query": ("flying", lambda database: database.query(Query(token=("flying",)))),
    "a token to count over": ("flying", lambda database: database.features_of_token("flying")),
    "a token with a slash": ("fly/ing", lambda database: database.features_of_token("fly/ing")),
    "no token at all": ("token ''", lambda database: database.features_of_token("")),
    "a token that leads out of a path": ("..", lambda database: database.features_of_token("..")),
    "a weapon to count over": ("Sp%2Foon", lambda database: database.features_of_weapon("Sp%2Foon")),
}


class DatabaseContract:
    """Subclasses give `open`: write `dense` (samples x features) with its samples (`sample_table`), VOCABULARY and CONTEXTS below
    root, and open it."""

    knows_samples = True
    """Whether the features of one sample can be had."""
    draws_examples = False
    """Whether examples that no table has are drawn from the activations."""
    counts_sets = True
    """Whether associations can be had."""
    dataset_columns = True
    """Whether split, kind, source_row and token_position are what they were."""

    def open(self, dense: Dense, root: Path) -> ActivationDatabase:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def database(cls, tmp_path_factory: pytest.TempPathFactory) -> ActivationDatabase:
        return cls().open(DENSE, tmp_path_factory.mktemp("database"))

    @pytest.mark.parametrize("case", [case for case in CASES if case != "no samples"])
    def test_every_activation_is_exact(self, case: str, tmp_path: Path) -> None:
        dense = CASES[case]

        database = self.open(dense, tmp_path)

        about = database.about()
        assert (about.n_samples, about.n_features) == dense.shape
        for feature_id in [*range(min(dense.shape[1], 12)), dense.shape[1] - 1]:
            found = database.activations(feature_id, columns=PAIRS)
            expected = np.flatnonzero(dense[:, feature_id])
            np.testing.assert_array_equal(found.sample_ids, expected)
            np.testing.assert_array_equal(found.values, dense[expected, feature_id])
            assert (found.n_active, found.n_matching, found.n_rows) == (expected.size,) * 3
            assert (found.feature_id, found.version) == (feature_id, about.version)

    def test_features_of_a_rule_are_counted_over_the_builds_on_which_it_holds(
        self, database: ActivationDatabase
    ) -> None:
        if not self.counts_sets:
            pytest.skip("no layout here is indexed by sample")
        rule = All((Wears("swim_speed_up", 6), Not(WeaponIs("class", ("dualie",)))))
        classes = np.array([item.attributes.get("class") for item in CONTEXTS.items])
        holds = with_tokens(1) & (classes[WEAPONS] != "dualie")

        found = database.features_of_rule(rule)

        assert (found.n_set, found.n_samples) == (holds.sum(), 60)
        both = dict(zip(found.table["feature_id"].to_pylist(), found.table["n_both"].to_pylist(), strict=True))
        assert both == {feature: n for feature in range(7) if (n := int((holds & fires(feature)).sum()))}

    def test_a_rule_of_what_is_not_there_is_refused(self, database: ActivationDatabase) -> None:
        for rule, said in (
            (Wears("flying"), "ability 'flying' does not exist"),
            (Wears("swim_speed_up", 7), "7 is not a rung of swim_speed_up"),
            (WeaponIs("class", ("spoon",)), "class of weapons 'spoon' does not exist"),
            (WeaponIs("colour", ("red",)), "attribute of weapons 'colour' does not exist"),
        ):
            with pytest.raises(InputError, match=said):
                database.features_of_rule(rule)

    def test_all_samples_come_in_the_order_of_their_ids(self, database: ActivationDatabase) -> None:
        found = database.samples()

        assert found.column_names == list(OF_BUILDS)
        assert found["ability_input_tokens"].to_pylist() == TOKENS
        assert found["weapon_id"].to_pylist() == WEAPONS.tolist()
        named = database.samples(["abilities", "weapon_name"])
        assert named.column_names == ["abilities", "weapon_name"]
        assert named["weapon_name"].to_pylist() == [CONTEXTS.items[i].name for i in WEAPONS]
        assert named["abilities"].to_pylist() == [[VOCABULARY.tokens[i].name for i in tokens] for tokens in TOKENS]

    def test_results_come_as_numpy_arrow_and_polars(self, database: ActivationDatabase) -> None:
        found = database.activations(EVERY_SAMPLE)

        assert (found.values.dtype, found.sample_ids.dtype) == (np.float32, np.int32)
        assert found.to_arrow().schema.metadata is None
        assert found.to_arrow().column_names == ["activation", "weapon_id", "ability_input_tokens", "global_index"]
        assert found.to_polars().equals(pl.DataFrame(found.to_arrow()))

    def test_rows_carry_the_columns_of_their_samples(self, database: ActivationDatabase) -> None:
        ids = np.flatnonzero(fires(WITH_EQUALS))
        names = ["weapon_id", "weapon_name", "ability_input_tokens", "abilities", "is_null", "global_index"]

        found = database.activations(WITH_EQUALS, columns=names).to_polars()

        assert found.columns == names
        assert found["global_index"].to_list() == ids.tolist()
        assert found["weapon_id"].to_list() == WEAPONS[ids].tolist()
        assert found["weapon_name"].to_list() == [CONTEXTS.items[i].name for i in WEAPONS[ids]]
        assert found["ability_input_tokens"].to_list() == [TOKENS[i] for i in ids]
        assert found["abilities"].to_list() == [VOCABULARY.names(TOKENS[i]) for i in ids]
        assert found["is_null"].to_list() == SAMPLES["is_null"][ids].to_list()

    def test_rows_carry_where_their_samples_come_from(self, database: ActivationDatabase) -> None:
        names = ["split", "kind", "source_row", "token_position"]

        found = database.activations(EVERY_SAMPLE, columns=names).to_polars()

        assert found.columns == names
        assert found.height == 60
        if self.dataset_columns:
            for name in names:
                assert found[name].to_list() == SAMPLES[name].to_list()

    def test_the_strongest_come_first_and_equal_ones_by_sample(self, database: ActivationDatabase) -> None:
        values = DENSE[:, WITH_EQUALS]
        ids = np.flatnonzero(values)
        strongest = ids[np.argsort(-values[ids], kind="stable")]

        found = database.activations(WITH_EQUALS, Selection(order="activation"), PAIRS)
        few = database.activations(WITH_EQUALS, Selection(order="activation", limit=3), PAIRS)

        assert found.sample_ids.tolist() == strongest.tolist()
        assert few.sample_ids.tolist() == strongest[:3].tolist() == [4, 9, 30]
        np.testing.assert_array_equal(found.values, values[strongest])

    @pytest.mark.parametrize(("offset", "limit"), [(0, 0), (0, 5), (3, 4), (58, 10), (60, 5), (1000, None)])
    def test_a_page_is_cut_from_the_rows_in_order(
        self, offset: int, limit: int | None, database: ActivationDatabase
    ) -> None:
        found = database.activations(EVERY_SAMPLE, Selection(offset=offset, limit=limit), PAIRS)

        stop = None if limit is None else offset + limit
        assert found.sample_ids.tolist() == list(range(60))[offset:stop]
        assert (found.n_active, found.n_matching) == (60, 60)

    @pytest.mark.parametrize("case", SELECTIONS)
    def test_filters_keep_what_fulfils_them(self, case: str, database: ActivationDatabase) -> None:
        selection, fits = SELECTIONS[case]
        expected = np.flatnonzero(fires(WITH_EQUALS) & fits)

        found = database.activations(WITH_EQUALS, selection, PAIRS)

        assert found.sample_ids.tolist() == expected.tolist()
        np.testing.assert_array_equal(found.values, DENSE[expected, WITH_EQUALS])
        assert (found.n_active, found.n_matching) == (int(fires(WITH_EQUALS).sum()), expected.size)

    def test_filters_come_before_the_page(self, database: ActivationDatabase) -> None:
        fitting = np.flatnonzero(with_tokens(2))

        found = database.activations(EVERY_SAMPLE, Selection(token=("comeback",), offset=1, limit=2), PAIRS)

        assert found.sample_ids.tolist() == fitting[1:3].tolist()
        assert found.n_matching == fitting.size

    def test_a_random_share_is_drawn_without_replacement_after_the_filters(self, database: ActivationDatabase) -> None:
        fitting = np.flatnonzero(with_tokens(2))
        half = Selection(token=("comeback",), sample_frac=0.5, seed=3)

        first, again, other = (
            database.activations(EVERY_SAMPLE, selection, PAIRS).sample_ids.tolist()
            for selection in (half, half, Selection(token=("comeback",), sample_frac=0.5, seed=4))
        )

        assert first == again != other
        assert len(first) == len(set(first)) == round(fitting.size / 2)
        assert first == sorted(first)
        assert set(first) <= set(fitting.tolist())

    def test_a_dead_feature_has_no_rows_and_all_columns(self, database: ActivationDatabase) -> None:
        found = database.activations(DEAD)
        alive = database.activations(EVERY_SAMPLE)

        assert (found.n_active, found.n_rows) == (0, 0)
        assert found.table.schema == alive.table.schema
        assert (found.values.dtype, found.values.size) == (np.float32, 0)
        assert database.feature(DEAD).statistics["n_active"] == 0
        assert database.feature(DEAD).statistics["mean"] is None

    @pytest.mark.parametrize("feature_id", [7, 900, -1, 2**40])
    def test_an_unknown_feature_names_the_valid_range(self, feature_id: int, database: ActivationDatabase) -> None:
        for ask in (
            lambda: database.activations(feature_id),
            lambda: database.feature(feature_id),
            lambda: database.query(Query(all=(Condition(feature_id),))),
        ):
            with pytest.raises(FeatureNotFoundError, match=f"feature {feature_id} .*features 0 to 6") as caught:
                ask()
            assert (caught.value.feature_id, caught.value.n_features) == (feature_id, 7)

    @pytest.mark.parametrize("sample_id", [60, -1, 2**40])
    def test_an_unknown_sample_names_the_valid_range(self, sample_id: int, database: ActivationDatabase) -> None:
        with pytest.raises(SampleNotFoundError, match=f"sample {sample_id} .*samples 0 to 59") as caught:
            database.sample(sample_id)

        assert (caught.value.sample_id, caught.value.n_samples) == (sample_id, 60)

    @pytest.mark.parametrize("case", UNKNOWN_NAMES)
    def test_an_unknown_name_is_said(self, case: str, database: ActivationDatabase) -> None:
        said, ask = UNKNOWN_NAMES[case]

        with pytest.raises(UnknownNameError) as caught:
            ask(database)

        assert said in str(caught.value)

    @pytest.mark.parametrize("case", NO_SENSE)
    def test_a_question_that_means_nothing_names_its_parameter(self, case: str, database: ActivationDatabase) -> None:
        parameter, ask = NO_SENSE[case]

        with pytest.raises(ParameterError) as caught:
            ask(database)

        assert caught.value.parameter == parameter

    @pytest.mark.parametrize("feature_id", range(7))
    def test_statistics_can_be_had_again_from_the_activations(
        self, feature_id: int, database: ActivationDatabase
    ) -> None:
        values = database.activations(feature_id, columns=PAIRS).values.astype(np.float64)

        found = database.feature(feature_id)

        assert (found.feature_id, found.version) == (feature_id, database.about().version)
        assert (found.statistics["n_active"], found.statistics["n_samples"]) == (values.size, 60)
        assert found.histogram["n_zero"] == 60 - values.size
        assert sum(found.histogram["counts"]) == values.size
        for name, compute in (("min", np.min), ("max", np.max), ("mean", np.mean), ("median", np.median)):
            assert found.statistics[name] == (pytest.approx(float(compute(values))) if values.size else None)
        if values.size:
            counts, _ = np.histogram(values, found.histogram["edges"])
            assert found.histogram["counts"] == counts.tolist()

    def test_what_was_not_computed_is_said(self, database: ActivationDatabase) -> None:
        summary = database.feature(0)

        assert (summary.influences, summary.neighbours) == (None, None)
        strongest = summary.examples["top"][0]["activation"] if summary.examples else None
        drawn = float(database.activations(0, columns=PAIRS).values.max()) if self.draws_examples else None
        assert strongest == (None if drawn is None else pytest.approx(drawn))
        assert database.about().computed == ()
        for ask in (database.features, database.suggestions, database.feature_map):
            with pytest.raises(NotComputedError):
                ask()

    def test_tokens_and_weapons_are_those_of_the_base_model(self, database: ActivationDatabase) -> None:
        tokens, weapons = database.tokens(), database.weapons()

        assert tokens["token"].to_list() == [token.name for token in VOCABULARY.tokens]
        assert tokens["token_id"].to_list() == list(range(5))
        assert tokens["level"].to_list() == [3, 6, None, None, None]
        assert weapons["key"].to_list() == [item.key for item in CONTEXTS.items]
        assert weapons["name"].to_list() == [item.name for item in CONTEXTS.items]
        assert weapons["sub"].to_list() == [None, "Splash Wall", None, "Splash Wall", None]

    @pytest.mark.parametrize("sample_id", [0, 17, QUIET_SAMPLE, 59])
    def test_a_sample_has_its_columns_and_its_features(self, sample_id: int, database: ActivationDatabase) -> None:
        if not self.knows_samples:
            with pytest.raises(NotComputedError, match="indexed by sample"):
                database.sample(sample_id)
            return
        expected = np.flatnonzero(DENSE[sample_id])

        found = database.sample(sample_id)

        np.testing.assert_array_equal(found.features.feature_ids, expected)
        np.testing.assert_array_equal(found.features.values, DENSE[sample_id, expected])
        assert (found.features.feature_ids.dtype, found.features.values.dtype) == (np.uint16, np.float32)
        assert (found.sample_id, found.version) == (sample_id, database.about().version)
        assert found.columns["global_index"] == sample_id
        assert found.columns["weapon_id"] == WEAPONS[sample_id]
        assert found.columns["weapon_name"] == CONTEXTS.items[WEAPONS[sample_id]].name
        assert found.columns["ability_input_tokens"] == TOKENS[sample_id]
        assert found.columns["abilities"] == VOCABULARY.names(TOKENS[sample_id])
        assert found.columns["is_null"] == (sample_id == 59)

    @pytest.mark.parametrize("token", ["comeback", "2"])
    def test_features_of_a_token_are_counted_over_all_samples(self, token: str, database: ActivationDatabase) -> None:
        self._assert_counts(lambda: database.features_of_token(token), with_tokens(2), "token 2")

    @pytest.mark.parametrize(
        ("weapon", "weapon_id"),
        [("3", 3), ("weapon_id_30", 3), (".52 Gal", 1), ("Dualie / Squelcher?", 2), ("..", 4)],
    )
    def test_features_of_a_weapon_are_counted_over_all_samples(
        self, weapon: str, weapon_id: int, database: ActivationDatabase
    ) -> None:
        self._assert_counts(lambda: database.features_of_weapon(weapon), weapon_id == WEAPONS, f"weapon {weapon_id}")

    @pytest.mark.parametrize("feature_id", [0, EVERY_SAMPLE, DEAD])
    def test_coactivation_is_counted_over_all_samples(self, feature_id: int, database: ActivationDatabase) -> None:
        self._assert_counts(
            lambda: database.coactivation(feature_id), fires(feature_id), f"feature {feature_id}", without=feature_id
        )

    def test_what_moves_a_token_is_not_known_without_influences(self, database: ActivationDatabase) -> None:
        with pytest.raises(NotComputedError, match="influences were not computed"):
            database.influences_on("comeback")

    def test_an_unknown_feature_goes_together_with_nothing(self, database: ActivationDatabase) -> None:
        with pytest.raises(FeatureNotFoundError, match="features 0 to 6"):
            database.coactivation(7)

    def _assert_counts(
        self, ask: Callable[[], Associations], in_set: npt.NDArray[np.bool_], what: str, without: int | None = None
    ) -> None:
        if not self.counts_sets:
            with pytest.raises(NotComputedError, match="indexed by sample"):
                ask()
            return
        n_both = (DENSE[in_set] > 0).sum(axis=0)
        expected = {i: int(n) for i, n in enumerate(n_both) if n and i != without}

        found = ask()

        table = found.table.to_pylist()
        assert {row["feature_id"]: row["n_both"] for row in table} == expected
        assert (found.what, found.n_set, found.n_samples) == (what, int(in_set.sum()), 60)
        correlations = [row["phi"] for row in table if row["phi"] is not None]
        assert correlations == sorted(correlations, reverse=True)
        for row in table:
            active = fires(row["feature_id"])
            assert row["n_active"] == active.sum()
            assert row["share_of_set"] == pytest.approx(row["n_both"] / in_set.sum())
            assert row["lift"] == pytest.approx(row["n_both"] / in_set.sum() / active.mean())
            if row["phi"] is not None:
                assert row["phi"] == pytest.approx(np.corrcoef(active, in_set)[0, 1])

    def test_a_query_combines_conditions(self, database: ActivationDatabase) -> None:
        query = Query(
            all=(Condition(EVERY_SAMPLE, min=1.0),),
            any=(Condition(0), Condition(1, max=0.5)),
            none=(Condition(4, min=0.3),),
            weapon=("1", "weapon_id_20", ".."),
            token=("swim_speed_up_3",),
        )
        fits = (
            (DENSE[:, EVERY_SAMPLE] >= 1)
            & (fires(0) | (fires(1) & (DENSE[:, 1] <= np.float32(0.5))))
            & ~(DENSE[:, 4] >= np.float32(0.3))
            & np.isin(WEAPONS, [1, 2, 4])
            & with_tokens(0)
        )
        expected = np.flatnonzero(fits)
        assert expected.size > 2

        found = database.query(query)
        page = database.query(Query(query.all, query.any, query.none, query.weapon, query.token, offset=1, limit=1))

        table = found.table
        assert table["global_index"].to_pylist() == expected.tolist()
        assert (found.n_matching, page.n_matching) == (expected.size, expected.size)
        assert page.table.equals(table.slice(1, 1))
        assert table["weapon_id"].to_pylist() == WEAPONS[expected].tolist()
        for feature_id in query.features:
            values = np.asarray(pa.chunked_array(table[f"feature_{feature_id}"]).combine_chunks())
            np.testing.assert_array_equal(values, DENSE[expected, feature_id])

    def test_a_query_without_conditions_has_every_sample_and_one_of_a_dead_feature_none(
        self, database: ActivationDatabase
    ) -> None:
        everything, nothing = database.query(Query()), database.query(Query(all=(Condition(DEAD),)))

        assert everything.n_matching == everything.table.num_rows == 60
        assert (nothing.n_matching, nothing.table.num_rows) == (0, 0)
        assert set(nothing.table.column_names) == {*everything.table.column_names, f"feature_{DEAD}"}

    def test_threads_get_what_one_caller_gets(self, database: ActivationDatabase) -> None:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda i: database.activations(i, columns=PAIRS), list(range(7)) * 4))

        for at, one in enumerate(found):
            expected = np.flatnonzero(DENSE[:, at % 7])
            assert one.sample_ids.tolist() == expected.tolist()
