"""An installation that fits its user: what works with each set of extras, and the sentence about what is not installed.

An extra that is left out is played by a finder that refuses every module no requirement of the chosen extras leads to.
"""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from splat_assets.cli import COMMANDS
from splat_assets.distribution import DISTRIBUTION, EXTRAS, MODULES, missing_extra
from splat_assets.store.layout import DataRoot
from tests.test_dependencies import imported_distributions

PROJECT = Path(__file__).resolve().parents[1]
TOML = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]

_REFUSING = """
import os
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

refused = set(os.environ["REFUSED"].split())
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.partition(".")[0] in refused else find_spec(name, package)

import importlib.metadata
version = importlib.metadata.version

def version_of_what_is_kept(name):
    if name.replace("-", "_") in refused:
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)

importlib.metadata.version = version_of_what_is_kept
sys.meta_path.insert(0, Refusing())
"""


def requirements(*extras: str) -> list[Requirement]:
    """What the project asks for, with the extras that extras are made of."""
    texts = [*TOML["dependencies"], *(text for extra in extras for text in TOML["optional-dependencies"][extra])]
    found = [Requirement(text) for text in texts]
    ours = [requirement for requirement in found if requirement.name == DISTRIBUTION]
    others = [requirement for requirement in found if requirement.name != DISTRIBUTION]
    deeper = sorted({extra for requirement in ours for extra in requirement.extras})
    return others + (requirements(*deeper) if deeper else [])


@cache
def closure(*extras: str) -> frozenset[str]:
    """The distributions that pip installs for these extras, by canonical name, as this environment's metadata tells."""
    found: set[str] = set()
    waiting = [(canonicalize_name(one.name), frozenset(one.extras)) for one in requirements(*extras)]
    seen = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        found.add(name)
        for text in importlib.metadata.requires(name) or ():
            needed = Requirement(text)
            environments = [{"extra": extra} for extra in (wanted or {""})]
            if needed.marker is None or any(needed.marker.evaluate(one) for one in environments):
                waiting.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    return frozenset(found)


@cache
def left_out(*extras: str) -> list[str]:
    """Modules of this environment that an installation with these extras has not."""
    kept = closure(*extras)
    return sorted(
        module
        for module, names in importlib.metadata.packages_distributions().items()
        if not module.startswith("splat_") and not {canonicalize_name(name) for name in names} & {*kept, "setuptools"}
    )


def run(extras: tuple[str, ...], code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python code where only these extras are installed."""
    (folder / "sitecustomize.py").write_text(_REFUSING)
    path = os.pathsep.join([str(folder), str(PROJECT)])
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=folder,
        env={**os.environ, "REFUSED": " ".join(left_out(*extras)), "PYTHONPATH": path, "COLUMNS": "400", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def splat(extras: tuple[str, ...], folder: Path, *words: str, data: str = "data") -> subprocess.CompletedProcess[str]:
    """Run the command `splat` where only these extras are installed."""
    return run(extras, f"from splat_assets.cli import main\nmain({list(words)!r})", folder, SPLAT_DATA=data)


def test_every_third_party_module_that_is_imported_is_in_an_extra_or_always_there() -> None:
    always = closure()

    for module, names in imported_distributions().items():
        assert names & always or module in MODULES, f"{module}: add it to the table in splat_assets/distribution.py"
        if module in MODULES and MODULES[module] != "mcp":
            assert not names & always, f"{module} is always installed"


@pytest.mark.parametrize("module", MODULES)
def test_the_extra_that_is_named_for_a_module_brings_it(module: str) -> None:
    names = {canonicalize_name(name) for name in importlib.metadata.packages_distributions()[module]}

    assert names & closure(MODULES[module])


def test_the_words_are_those_of_the_extras_and_all_of_them_together_are_all() -> None:
    assert {*EXTRAS, "all", "dev"} == {*TOML["optional-dependencies"]}
    assert closure("all") == closure("server", "live", "dash", "pipeline", "mcp")
    assert closure("dev") >= closure(*EXTRAS)


def test_what_reads_stores_needs_none_of_the_heavy_packages() -> None:
    heavy = {"torch", "numba", "dagster", "dash", "fastapi", "uvicorn", "umap-learn", "ray", "scikit-learn"}

    assert closure() & heavy == set()
    assert closure("server") & heavy == {"numba", "fastapi", "uvicorn"}
    assert closure("dash") & heavy == {"numba", "fastapi", "uvicorn", "dash"}


@pytest.mark.parametrize(
    ("extras", "words", "extra"),
    [
        ((), ("dash", "demo"), "dash"),
        (("server",), ("dash", "demo"), "dash"),
        ((), ("serve", "demo"), "server"),
        ((), ("demo",), "pipeline"),
        (("dash",), ("demo",), "pipeline"),
        ((), ("up", "--no-dashboard"), "pipeline"),
        (("server",), ("mcp", "--run", "demo"), "mcp"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else value,
)
def test_what_is_not_installed_is_one_sentence(
    extras: tuple[str, ...], words: tuple[str, ...], extra: str, tmp_path: Path
) -> None:
    said = splat(extras, tmp_path, *words)

    assert said.returncode == 2
    assert said.stderr == f"Error: `splat {words[0]}` needs {EXTRAS[extra]}: pip install 'splatlens[{extra}]'\n"
    assert said.stdout == ""


def test_a_module_that_no_extra_brings_is_not_explained() -> None:
    assert missing_extra("dash", "nothing_of_this_name") is None
    assert missing_extra("dash", None) is None


@pytest.mark.parametrize("extras", [(), ("server",), ("dash",), ("all",)], ids=lambda value: "".join(value) or "alone")
def test_help_version_and_doctor_work_with_every_set_of_extras(extras: tuple[str, ...], tmp_path: Path) -> None:
    helped = splat(extras, tmp_path, "--help")
    looked = splat(extras, tmp_path, "doctor", "--dagster-port", "1")

    assert helped.returncode == 0 and all(name in helped.stdout for name in COMMANDS), helped.stderr
    assert looked.returncode == 0, looked.stdout + looked.stderr
    told = set(re.findall(r"pip install 'splatlens\[(\w+)\]'", looked.stdout))
    assert told == {extra for extra in ("server", "dash", "pipeline") if not closure(extra) <= closure(*extras)}


@pytest.mark.parametrize(
    "words",
    [("overview", "7"), ("experiment", "binary", "7", "--primary-family", "swim_speed_up"), ("label", "suggest", "7"),
     ("find", "swim_speed_up"), ("export", "feature", "7"), ("alias",)],
    ids=lambda words: words[0],
)  # fmt: skip
def test_a_store_on_disk_answers_questions_with_nothing_but_the_base(
    words: tuple[str, ...], finished_root: DataRoot, tmp_path: Path
) -> None:
    said = splat((), tmp_path, *words, data=str(finished_root.path))

    assert said.returncode == 0, said.stderr


def test_a_store_is_opened_and_read_from_python_with_nothing_but_the_base(
    finished_root: DataRoot, tmp_path: Path
) -> None:
    code = f"""
    import sys
    from splat_assets.store import open_store
    store = open_store({str(finished_root.run("small").root)!r})
    print(store.feature(7).values.size, store.sample(0).feature_ids.size, store.features.height)
    """

    said = run((), code, tmp_path)

    assert said.returncode == 0, said.stderr
    assert len(said.stdout.split()) == 3


def test_what_runs_the_model_says_which_extra_brings_torch(finished_root: DataRoot, tmp_path: Path) -> None:
    said = splat(
        (), tmp_path, "trace", "Splattershot: ssu 21, ninja_squid", "--run", "small", data=str(finished_root.path)
    )

    assert said.returncode == 2 and "Traceback" not in said.stderr
    assert "pip install 'splatlens[live]'" in said.stderr, said.stderr


def test_a_check_that_cannot_run_for_want_of_an_extra_is_no_failed_check(
    finished_root: DataRoot, tmp_path: Path
) -> None:
    root = DataRoot(tmp_path / "data")
    shutil.copytree(finished_root.path, root.path)
    recorded = root.run("small").receipts / "base_model.checks.json"
    recorded.unlink(missing_ok=True)

    said = splat((), tmp_path, "verify", "small", data=str(root.path))

    assert said.returncode == 2, said.stdout + said.stderr
    assert "`splat verify` needs the pipeline: pip install 'splatlens[pipeline]'" in said.stderr
    outcomes = json.loads(recorded.read_text())["checks"].values() if recorded.exists() else []
    assert [outcome for outcome in outcomes if not outcome["passed"]] == []


@pytest.mark.parametrize(("extras", "module"), [(("server",), "splat_serving.http.app"), (("dash",), "splat_dash.app")])
def test_server_and_dashboard_load_with_their_own_extra_alone(
    extras: tuple[str, ...], module: str, tmp_path: Path
) -> None:
    said = run(extras, f"import {module}", tmp_path)

    assert said.returncode == 0, said.stderr
