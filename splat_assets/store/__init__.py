"""What is on disk: layouts, manifests, the sparse store, the guide's formats, readers and their errors."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from splat_assets.store.published.publishing import open_store as open_store

__all__ = ["open_store"]


def __getattr__(name: str) -> Any:
    """Import `open_store` on first access, so that importing a small module of this package stays cheap."""
    if name == "open_store":
        from splat_assets.store.published.publishing import open_store

        return open_store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
