"""How large the three packages are, and which plain verbs they use as names: `python -m benchmarks.census [REVISION]`.

Counts every tracked `.py` file of the packages: lines, modules per folder, and the words that `docs/results.md` lists.
With a git revision, that revision and the working tree are shown side by side, as Markdown; without one, the working tree.
"""

import ast
import io
import re
import subprocess
import tokenize
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import click

PACKAGES = ("splat_assets", "splat_serving", "splat_dash")
WORDS = ("found", "asked", "given", "said", "told", "border")
PHRASES = ("is no ",)
_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def census(modules: Mapping[str, str]) -> dict[str, int]:
    """The counts by name, in the order in which they are shown; modules maps the path of each module to its text."""
    lines = Counter[str]()
    folders = Counter[str]()
    words = Counter[str]()
    n_code = n_documented = 0
    for path, text in modules.items():
        lines[path.split("/")[0]] += text.count("\n")
        code, documented = lines_of_code_and_docstrings(text)
        n_code, n_documented = n_code + code, n_documented + documented
        folders[path.rpartition("/")[0]] += 1
        words.update(word for word in re.findall(r"\w+", text) if word in WORDS)
        words.update({phrase: text.count(phrase) for phrase in PHRASES})
    return (
        {f"lines in `{package}`": lines[package] for package in PACKAGES}
        | {
            "lines of code": n_code,
            "lines of docstrings": n_documented,
            "modules": len(modules),
            "folders": len(folders),
            "most modules in a folder": max(folders.values(), default=0),
        }
        | {f"modules in `{folder}/`": folders[folder] for folder in sorted(folders)}
        | {f'"{word.strip()}"': words[word] for word in (*WORDS, *PHRASES)}
    )


def lines_of_code_and_docstrings(text: str) -> tuple[int, int]:
    """Lines of a module that hold code, imports included, and those of its docstrings; comments and blank lines are neither."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if ast.get_docstring(node, clean=False) is not None and first is not None:
                documented.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    held = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in _NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(held - documented), len(documented)


def modules_of_tree(project: Path) -> dict[str, str]:
    """The tracked modules of the packages as they are on disk now."""
    return {path: (project / path).read_text() for path in _listed(project, "ls-files") if (project / path).is_file()}


def modules_at(project: Path, revision: str) -> dict[str, str]:
    """The modules of the packages at a git revision."""
    listed = _listed(project, "ls-tree", "-r", "--name-only", revision)
    return {path: _git(project, "show", f"{revision}:{path}") for path in listed}


def table(columns: Mapping[str, Mapping[str, int]]) -> str:
    """The counts side by side as Markdown; what a column does not have is a dash."""
    names = list(dict.fromkeys(name for counts in columns.values() for name in counts))
    names.sort(key=_section)
    rows = [["", *columns], ["---", *("---:" for _ in columns)]]
    rows += [[name, *(_cell(counts, name) for counts in columns.values())] for name in names]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _section(name: str) -> tuple[int, str]:
    """Lines, totals, folders by name, words: the order of rows when two revisions have different folders."""
    if name.startswith("modules in"):
        return 1, name
    return (2 if name.startswith('"') else 0), ""


def _cell(counts: Mapping[str, int], name: str) -> str:
    return f"{counts[name]:,}" if name in counts else "-"


def _listed(project: Path, *command: str) -> list[str]:
    paths = _git(project, *command).splitlines()
    return [path for path in paths if path.endswith(".py") and path.split("/")[0] in PACKAGES]


def _git(project: Path, *arguments: str) -> str:
    """What git prints; in a folder that is not a repository, a sentence instead of a traceback."""
    done = subprocess.run(["git", *arguments], cwd=project, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@click.command()
@click.argument("revision", required=False)
def main(revision: str | None) -> None:
    """Count lines, modules and words of the packages, at REVISION and in the working tree."""
    project = Path(__file__).resolve().parents[1]
    columns = {revision: census(modules_at(project, revision))} if revision else {}
    click.echo(table(columns | {"working tree": census(modules_of_tree(project))}))


if __name__ == "__main__":
    main()
