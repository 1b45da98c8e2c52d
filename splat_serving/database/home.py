"""What stands around the activations that are read: their run, or a folder's record of what it was made from.

Labels, the scorecard and the model are found through it. A store or folder by itself has none of them.
"""

from splat_assets.store.layout import RunLayout
from splat_assets.store.origin import Origin

PUBLISHED = "published store"
"""What the layout of a version is called; any other layout is a folder of the guide's formats."""
Home = RunLayout | Origin
NO_HOME = (
    "it belongs to no run and does not record what it was made from (origin.json); make a run of it: "
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
