"""The loaded models of a server: loaded on first use, a few are kept, run in one thread. Importing this loads nothing."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from splat_assets.store.layout import RunLayout
from splat_serving.database.errors import NotComputedError
from splat_serving.database.home import NO_HOME, Home
from splat_serving.http.workers import Workers
from splat_serving.model.loading import live_model_class

if TYPE_CHECKING:
    from splat_serving.model.live import LiveModel

Result = TypeVar("Result")
_MOST_LOADED = 2


class LiveModels:
    """Loads and runs models one after the other: a forward pass uses every core, and readers of stores keep their threads."""

    def __init__(self) -> None:
        self._worker = Workers(1)
        self._loaded: OrderedDict[tuple[Path, str], LiveModel] = OrderedDict()

    async def run(
        self,
        home: Home | None,
        version: str,
        provenance: Mapping[str, Any],
        work: "Callable[[LiveModel], Result]",
    ) -> Result:
        """The result of work on the model of a run's version, or of a folder that records its model.

        Raises NotComputedError where neither is served or torch is not installed, and what `LiveModel.of` raises.
        """
        if home is None:
            raise NotComputedError(f"the model cannot be run: {NO_HOME}")
        return await self._worker.run(lambda: work(self._model(home, version, provenance)))

    def _model(self, home: Home, version: str, provenance: Mapping[str, Any]) -> "LiveModel":
        key = (home.root if isinstance(home, RunLayout) else home.folder, version)
        if key not in self._loaded:
            while len(self._loaded) >= _MOST_LOADED:
                self._loaded.popitem(last=False)
            self._loaded[key] = live_model_class().of(home, provenance)
        self._loaded.move_to_end(key)
        return self._loaded[key]
