"""The class that runs models, where torch is installed. Importing this loads nothing."""

from typing import TYPE_CHECKING

from splat_assets.distribution import install_line
from splat_serving.database.errors import NotComputedError

if TYPE_CHECKING:
    from splat_serving.model.live import LiveModel


def live_model_class() -> "type[LiveModel]":
    """The class that runs models; NotComputedError where torch is not installed."""
    try:
        from splat_serving.model.live import LiveModel
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "safetensors"):
            raise
        raise NotComputedError(f"running the model needs torch: {install_line('live')}") from error
    return LiveModel
