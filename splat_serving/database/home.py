"""The home of activations: their run, or the provenance recorded in a folder.

It locates labels, the model and the scorecard of the SAE. A store or folder by itself has none of them.
"""

from collections.abc import Mapping
from typing import Any

from splat_assets.store.layout import RunLayout
from splat_assets.store.origin import Origin
from splat_assets.store.scorecard import read_scorecard
from splat_serving.database.errors import NotComputedError

PUBLISHED = "published store"
"""Name of the layout of a version; any other layout is a folder of the guide's formats."""
Home = RunLayout | Origin
NO_HOME = (
    "it is not part of a run and does not record its provenance (origin.json); import it as a run: "
    "`splat import FOLDER --run NAME --model-checkpoint FILE --sae-checkpoint FILE`"
)
"""Why labels, scorecard and model are missing, and what to do."""


def how_to_compute(what: str, layout: str) -> str:
    """The command that computes what is missing (`influences`, `neighbours`, …) in a store or folder of this layout."""
    if layout == PUBLISHED:
        return f"`splat materialize RUN` computes and publishes {what}"
    if what == "influences":
        return "`splat influences … --output-path FOLDER/precomputed/influences.parquet` computes them"
    return f"`splat import FOLDER --run NAME`, then `splat materialize NAME`, computes {what}"


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
