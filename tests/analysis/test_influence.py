import numpy as np

from splat_assets.analysis.influence import influenced_tokens, influences, most_lowered, most_raised
from splat_assets.store.vocabulary import Token, Vocabulary


def test_padding_and_null_are_left_out_wherever_they_stand() -> None:
    tokens = tuple(Token(i, name, name) for i, name in enumerate(["a", "<PAD>", "b", "<NULL>", "c"]))

    assert [token.name for token in influenced_tokens(Vocabulary(tokens, 1, 3))] == ["a", "b", "c"]
    assert [token.name for token in influenced_tokens(Vocabulary(tokens, 1, None))] == ["a", "b", "<NULL>", "c"]


def test_an_influence_is_the_product_of_decoder_row_and_output_row() -> None:
    decoder = np.array([[1, 0], [0, 2], [-1, 1]], dtype=np.float32)
    output_weight = np.array([[3, 4], [-5, 6]], dtype=np.float32)

    assert influences(decoder, output_weight).tolist() == [[3, -5], [8, 12], [1, 11]]


def test_raised_hold_only_values_above_zero_and_lowered_only_below() -> None:
    values = np.array([[2, -1, 0, 5], [-3, -1, 0, -2]], dtype=np.float32)

    raised, lowered = most_raised(values, 3), most_lowered(values, 3)

    assert raised.columns.tolist() == [[3, 0, -1], [-1, -1, -1]]
    np.testing.assert_array_equal(raised.values, np.array([[5, 2, np.nan], [np.nan] * 3], dtype=np.float32))
    assert lowered.columns.tolist() == [[1, -1, -1], [0, 3, 1]]
    np.testing.assert_array_equal(lowered.values, np.array([[-1, np.nan, np.nan], [-3, -2, -1]], dtype=np.float32))


def test_equal_influences_stand_in_token_order() -> None:
    values = np.array([[1, 2, 1, 2]], dtype=np.float32)

    assert most_raised(values, 4).columns.tolist() == [[1, 3, 0, 2]]


def test_outputs_that_never_occur_come_after_all_others_of_their_sign() -> None:
    values = np.array([[2, -1, 9, 5], [-3, -1, 0, -2]], dtype=np.float32)
    last = np.array([True, False, True, False])

    raised, lowered = most_raised(values, 4, last), most_lowered(values, 4, last)

    assert raised.columns.tolist() == [[3, 2, 0, -1], [-1, -1, -1, -1]]
    assert lowered.columns.tolist() == [[1, -1, -1, -1], [3, 1, 0, -1]]
    np.testing.assert_array_equal(lowered.values[1], np.array([-2, -1, -3, np.nan], dtype=np.float32))
