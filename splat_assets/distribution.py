"""The installed distribution: its name and version, and which extra of it brings a module that is not there.

The extras are those of `pyproject.toml`; a test holds the table to it.
"""

import importlib.metadata

DISTRIBUTION = "splatlens"
"""What is installed; the command is `splat`."""

EXTRAS = {
    "server": "the activation server",
    "live": "torch, which runs the model",
    "dash": "the dashboard",
    "pipeline": "the pipeline",
    "ray": "Ray",
    "mcp": "the tools for assistants",
    "deploy": "the packages of a cluster",
}
"""Extra: what it brings, in words."""

MODULES = {
    **dict.fromkeys(
        ("fastapi", "httptools", "prometheus_client", "pydantic_settings", "starlette", "uvicorn", "uvloop"), "server"
    ),
    **dict.fromkeys(("dash", "dash_ag_grid", "dash_mantine_components", "plotly"), "dash"),
    **dict.fromkeys(
        ("alembic", "dagster", "dagster_webserver", "numba", "safetensors", "sklearn", "sknetwork", "sqlalchemy"),
        "pipeline",
    ),
    **dict.fromkeys(("torch", "umap"), "pipeline"),
    **dict.fromkeys(("dagster_ray", "ray"), "ray"),
    **dict.fromkeys(("anyio", "mcp"), "mcp"),
    **dict.fromkeys(("dagster_k8s", "dagster_postgres"), "deploy"),
}
"""Third-party module, as it is imported: the smallest extra that brings it."""

_COMMANDS = {"dash": "dash", "mcp": "mcp", "serve": "server"}
"""Commands whose extra is more than what the first missing module tells."""


def installed_version() -> str:
    """The version that is installed."""
    return importlib.metadata.version(DISTRIBUTION)


def install_line(extra: str) -> str:
    """The command that installs an extra, in the quotes that a shell needs."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def extra_of(module: str | None) -> str | None:
    """The smallest extra that brings a module; None where no extra does."""
    return MODULES.get((module or "").partition(".")[0])


def missing_extra(command: str, module: str | None) -> str | None:
    """One sentence for a command that failed because a module is not installed; None where no extra brings the module."""
    extra = extra_of(module)
    if extra is None:
        return None
    extra = _COMMANDS.get(command, extra)
    return f"`splat {command}` needs {EXTRAS[extra]}: {install_line(extra)}"
