"""The scorecard of a version's SAE: fidelity and sparsity on test samples."""

from collections.abc import Mapping
from typing import Any

from splat_assets.store.scorecard import read_scorecard
from splat_serving.database.errors import NotComputedError
from splat_serving.database.home import NO_HOME, Home


def scorecard_of(home: Home | None, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of `scorecard.json` of a run, or beside a folder's SAE; see `splat scorecard` for what each one means.

    Raises NotComputedError if it is missing or of another SAE than the version's; CorruptStoreError for an invalid file.
    """
    if home is None:
        raise NotComputedError(f"no scorecard: {NO_HOME}")
    path = home.scorecard
    try:
        card = read_scorecard(path)
    except FileNotFoundError as error:
        raise NotComputedError(
            f"{path} does not exist: `splat train-sae`, and in a run `splat materialize RUN --select sae_checkpoint`, measures it"
        ) from error
    if card["sae_sha256"] != provenance.get("sae"):
        raise NotComputedError(f"{path} belongs to another SAE than this version")
    return card
