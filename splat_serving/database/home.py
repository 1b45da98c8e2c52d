"""The home of activations: their run, or the provenance recorded in a folder.

It locates labels, the scorecard and the model. A store or folder by itself has none of them.
"""

from splat_assets.store.layout import RunLayout
from splat_assets.store.origin import Origin

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
