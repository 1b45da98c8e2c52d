"""Inputs of a run are hashed and read once for a whole materialisation; what changes meanwhile is noticed."""

from unittest import mock

import pytest

from splat_assets import runs
from splat_assets.assets.opened import base_model_of, inputs_opened_once, items_of, vocabulary_of
from splat_assets.runs import open_run
from splat_assets.store.errors import FingerprintMismatchError
from splat_assets.store.layout import DataRoot


def test_inputs_are_hashed_once_inside_and_each_time_outside(own_root: DataRoot) -> None:
    run = open_run(own_root, "small")
    with mock.patch.object(runs, "sha256_of_file", side_effect=runs.sha256_of_file) as hashed:
        with inputs_opened_once():
            first = [vocabulary_of(run), base_model_of(run), items_of(run)]
            n_inside = hashed.call_count
            assert [vocabulary_of(run), base_model_of(run), items_of(run)] == first
            assert hashed.call_count == n_inside

        vocabulary_of(run)
        assert hashed.call_count == n_inside + 1


def test_an_input_that_changes_inside_is_noticed(own_root: DataRoot) -> None:
    run = open_run(own_root, "small")
    with inputs_opened_once():
        vocabulary_of(run)
        file = own_root.models / "small" / "vocab.json"
        file.write_bytes(file.read_bytes() + b"\n")

        with pytest.raises(FingerprintMismatchError, match="is not the file this run was made from"):
            vocabulary_of(run)
