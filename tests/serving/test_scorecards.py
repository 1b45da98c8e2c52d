"""The SAE's scorecard as a server and its clients give it: of the version's own SAE, or not at all."""

import json
import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from splat_assets.store.errors import CorruptStoreError
from splat_assets.store.layout import DataRoot
from splat_serving.client import ActivationClient
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.database.errors import NotComputedError
from splat_serving.database.home import scorecard_of
from splat_serving.http.app import create_app
from splat_serving.http.settings import ServerSettings
from splat_serving.investigations.opening import open_subject
from tests.serving.running import running


def test_run_server_and_clients_give_the_same_figures(finished_root: DataRoot) -> None:

    held = json.loads((finished_root.run("small").sae / "scorecard.json").read_text())
    catalogue = Catalogue(Target.of("small", finished_root))
    with open_subject("small", root=finished_root) as subject, running(create_app(catalogue, ServerSettings())) as url:
        asked = ActivationClient(url)

        with open_subject(url) as remote:
            assert subject.scorecard == asked.scorecard() == remote.scorecard == held
        asked.close()


def test_what_has_no_scorecard_says_so(finished_root: DataRoot, tmp_path: Path) -> None:
    layout = finished_root.run("small")
    sae = json.loads((layout.sae / "scorecard.json").read_text())["sae_sha256"]
    with pytest.raises(NotComputedError, match="no scorecard: it is not part of a run"):
        scorecard_of(None, {"sae": sae})
    with pytest.raises(NotComputedError, match="belongs to another SAE"):
        scorecard_of(layout, {"sae": "0" * 64})
    with pytest.raises(NotComputedError, match="does not exist"):
        scorecard_of(DataRoot(tmp_path).run("none"), {"sae": sae})
    other = DataRoot(tmp_path).run("other")
    other.sae.mkdir(parents=True)
    for text in ("[]", "{", "{}", "3"):
        (other.sae / "scorecard.json").write_text(text)
        with pytest.raises(CorruptStoreError, match="is not a scorecard"):
            scorecard_of(other, {"sae": sae})


def test_a_store_by_itself_is_404(finished_root: DataRoot, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(finished_root.run("small").store, alone)
    catalogue = Catalogue(Target.of(str(alone), finished_root))
    answer = TestClient(
        create_app(catalogue, ServerSettings()), base_url="http://127.0.0.1", client=("127.0.0.1", 1)
    ).get("/scorecard")

    assert (answer.status_code, answer.json()["title"]) == (404, "not computed")
