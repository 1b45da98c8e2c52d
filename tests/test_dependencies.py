"""What a dependency keeps to itself may change with any release of it: where we use such names, the versions are bounded."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_HERE = Path(__file__).parents[1]
_PACKAGES = ("splat_assets", "splat_serving", "splat_dash")
_INTERNAL = {
    "uvicorn": r"uvicorn\.\S+",  # documented is what `import uvicorn` has
    "umap-learn": r"umap\.umap_",
    "dash": r"_dashprivate_\w+|/_dash-\w+",
}
"""Names that a distribution does not document, as they stand in our imports and scripts."""
_PRIVATE_PART = re.compile(r"(^|\.)_[a-z]")


def test_a_dependency_whose_internals_are_used_is_bounded_just_above_the_version_that_is_tested() -> None:
    pinned = dict(line.split("==") for line in (_HERE / "constraints.txt").read_text().split() if "==" in line)
    requirements = {requirement.name: requirement for requirement in _requirements()}

    for name, pattern in _INTERNAL.items():
        assert any(re.search(rf"(?:{pattern})\b", text) for text in _imports_and_scripts()), f"{name}: no longer needed"
        bounds = requirements[name].specifier
        assert bounds.contains(pinned[name]), name
        major, minor = (int(part) for part in pinned[name].split(".")[:2])
        assert not bounds.contains(f"{major}.{minor + 1}.0"), f"{name} has no upper bound"


def test_no_other_private_module_of_a_dependency_is_imported() -> None:
    private = {name for name in _imports() if _PRIVATE_PART.search(name)}

    assert not private


def _requirements() -> list[Requirement]:
    project = tomllib.loads((_HERE / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(text) for texts in (project["dependencies"], *extras) for text in texts]


def _imports_and_scripts() -> Iterator[str]:
    yield from _imports()
    for package in _PACKAGES:
        yield from (path.read_text() for path in (_HERE / package).rglob("*.js"))


def _imports() -> Iterator[str]:
    """The modules that our packages import, other than our own."""
    for package in _PACKAGES:
        for path in (_HERE / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith(_PACKAGES):
                    yield node.module
                elif isinstance(node, ast.Import):
                    yield from (name.name for name in node.names)


def imported_distributions() -> dict[str, set[str]]:
    """The third-party modules that our packages import, by their first name, each with the distributions that bring it."""
    brought_by = packages_distributions()
    found = {name.partition(".")[0] for name in _imports()} - {"__future__"} - sys.stdlib_module_names
    return {
        name: {canonicalize_name(distribution) for distribution in brought_by[name]}
        for name in found
        if not name.startswith(_PACKAGES)
    }
