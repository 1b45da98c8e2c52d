"""The documents are held to the code: commands, the picture of the DAG, files that are linked to."""

import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from splat_assets.assets import ASSETS
from splat_assets.cli import main

PROJECT = Path(__file__).resolve().parents[1]
EXECUTED = [PROJECT / "docs" / f"{name}.md" for name in ("investigating", "labels", "predictions")]
"""Their command lines are run by `test_documented_commands`."""
PACKAGES = ("splat_assets", "splat_serving", "splat_dash")
DOCUMENTS = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]


def test_the_command_reference_is_what_help_says_today() -> None:
    # In a process of its own, because a command remembers the help option of whoever called it first.
    made = subprocess.run(
        [sys.executable, "-m", "splat_assets.commands.reference"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert (PROJECT / "docs" / "cli.md").read_text() == made.stdout, "run `make docs`"


def test_the_picture_in_the_readme_shows_every_dependency_and_no_other() -> None:
    drawn = set(re.findall(r"^  (\w+) --> (\w+)$", (PROJECT / "README.md").read_text(), re.MULTILINE))

    assert drawn == {(dep, asset.name) for asset in ASSETS for dep in asset.deps}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_every_link_within_the_project_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text())

    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_every_python_file_and_module_that_is_named_exists(document: Path) -> None:
    text = document.read_text()
    files = set(re.findall(r"(?<![\w./…:-])((?:[\w.-]+/)*[\w-]+\.py)\b", text))
    files |= set(re.findall(r"`((?:splat_\w+|tests|benchmarks|deploy)/[\w/]*)`", text))
    modules = set(re.findall(r"\bsplat_(?:assets|serving|dash)(?:\.\w+)+", text))

    missing = [file for file in files if not _exists(file)] + [name for name in modules if not _resolves(name)]

    assert sorted(missing) == []


def test_a_file_or_module_that_moved_away_is_noticed() -> None:
    assert _exists("splat_assets/store/files.py") and _exists("server.py")
    assert _resolves("splat_serving.server") and _resolves("splat_serving.client.ActivationClient")

    assert not _exists("splat_assets/shell.py") and not _exists("shell.py")
    assert not _resolves("splat_serving.selection") and not _resolves("splat_serving.client.NoClient")


@pytest.mark.parametrize(
    "document",
    [path for path in DOCUMENTS if path not in EXECUTED],
    ids=lambda path: path.relative_to(PROJECT).as_posix(),
)
def test_every_command_line_names_a_command_and_options_that_exist(document: Path) -> None:
    wrong = []
    for line in _command_lines(document.read_text()):
        command, words = _command(shlex.split(line, comments=True)[1:])
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        given = {word.split("=")[0] for word in words if word.startswith("--")}
        wrong += [f"{line}: {option}" for option in given - known - {"--help", "--version"}]
    assert wrong == []


def _exists(file: str) -> bool:
    """Whether the file or folder is there: from the root of the project, or, without a folder, directly in a package."""
    if "/" in file:
        return (PROJECT / file).exists()
    return any((PROJECT / package / file).is_file() for package in (".", *PACKAGES))


def _resolves(name: str) -> bool:
    """Whether the dotted name is a module, or a public name of one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def _command_lines(text: str) -> list[str]:
    """Lines that begin with `splat ` in bash blocks, and inline code that does; continued lines are joined."""
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    inline = re.findall(r"`(splat [^`\n]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [line.strip() for line in [*blocks.splitlines(), *inline] if line.strip().startswith("splat ")]


def _command(words: list[str]) -> tuple[click.Command, list[str]]:
    command: click.Command = main
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        child = command.get_command(click.Context(command), words[0])
        assert child is not None, f"there is no command {words[0]!r}"
        command, words = child, words[1:]
    return command, words
