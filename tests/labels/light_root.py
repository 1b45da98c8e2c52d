"""A data root whose runs are stores alone: made in a moment, and all that labels need."""

from pathlib import Path

from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publishing import publish
from tests.contracts.sources import sparse_random
from tests.store.making import staged_parts

N_FEATURES = 96


def light_root(folder: Path, **runs: str) -> DataRoot:
    """A data root below folder with one run per name; the values are the fingerprints of their SAEs."""
    root = DataRoot(folder / "data")
    for name, sae in runs.items():
        layout = root.run(name)
        layout.root.mkdir(parents=True)
        layout.config.write_text("")
        publish(
            layout.store, staged_parts(folder / f"staged-{name}", sparse_random(200, N_FEATURES, 0.3)), {"sae": sae}
        )
    return root
