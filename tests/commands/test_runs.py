"""The table of runs: when the current version of each was published is what the store recorded."""

from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publications import Publication, read_publications, write_publications
from splat_assets.store.published.publishing import current_version


@pytest.mark.parametrize("command", [("runs",), ("run", "list")], ids=" ".join)
def test_the_table_of_runs_shows_the_recorded_time_of_publication(
    command: tuple[str, ...], own_root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    store = own_root.run("small").store
    version = current_version(store)
    at = datetime(2001, 2, 3, 4, 5, tzinfo=UTC)
    write_publications(store, {**read_publications(store), version: Publication(version, 7, at)})

    shown = CliRunner().invoke(main, list(command), env={"SPLAT_DATA": str(own_root.path)})

    (row,) = [line for line in shown.stdout.splitlines() if version in line]
    assert "2001-02-03 04:05" in row
