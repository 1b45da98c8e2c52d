"""Every night: what holds is cleaned, what does not is said, and no run holds up another."""

from pathlib import Path

from splat_assets.automation.housekeeping import verify_and_prune
from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publications import PUBLICATIONS
from splat_assets.store.published.publishing import publish
from tests.store.making import DENSE, SAE, staged_parts


def test_a_record_that_cannot_be_read_keeps_all_versions_of_its_run_and_holds_up_no_other(tmp_path: Path) -> None:
    root, parts = DataRoot(tmp_path / "data"), staged_parts(tmp_path / "staged", DENSE)
    versions = {}
    for name in ("a", "b"):
        root.run(name).root.mkdir(parents=True)
        root.run(name).config.write_text("")
        versions[name] = [publish(root.run(name).store, parts, {**SAE, "fact": fact}) for fact in ("first", "second")]
    (root.path / "automation.toml").write_text("keep_versions = 1\n")
    (root.run("a").store / PUBLICATIONS).write_text("[")

    a, b = verify_and_prune(root)

    assert (a.run, a.removed, b.removed) == ("a", (), (versions["b"][0],))
    assert "does not say when versions were published" in a.problems[0]
    assert all((root.run("a").store / "versions" / version).is_dir() for version in versions["a"])
