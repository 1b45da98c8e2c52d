"""Opening the labels of a run: in its data root, beside a folder, or in the guide's own file."""

from splat_assets.store.origin import Origin
from splat_serving.database.catalogue import OpenFolder, Run
from splat_serving.database.errors import NotComputedError
from splat_serving.database.home import NO_HOME
from splat_serving.database.local import LocalDatabase
from splat_serving.labels.consolidated import ConsolidatedLog, consolidated_file
from splat_serving.labels.log import LabelLog
from splat_serving.labels.shared import SharedLabelLog, label_events


def labels_of(run: Run | None, database: LocalDatabase) -> LabelLog | SharedLabelLog:
    """The labels of the SAE of a version; NotComputedError where labels cannot be stored, or no SAE is named.

    Raises what `label_events` and `consolidated_file` raise.
    """
    home, sae = run.home if run else None, database.about().provenance.get("sae")
    if home is None or not isinstance(sae, str):
        raise NotComputedError(f"labels cannot be stored here: {NO_HOME}")
    if isinstance(home, Origin) and isinstance(run, OpenFolder):
        file = consolidated_file(home.folder, run.alias)
        if file is not None:
            return ConsolidatedLog(home.labels, sae, file, database.reader.n_features)
    return label_events(home.labels, sae)
