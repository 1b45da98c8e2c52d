"""The pipeline guide from its first command to its last, on folders, with its own flags: what it says is what is typed here.

The guide is read where it lies. Adapted are paths, and the words of CHANGED, each with its reason; nothing else.
"""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
import torch
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.data.demo import make_demo_inputs
from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
from splat_assets.model import SplatGPT, save_base_model
from splat_assets.model.dimensions import SplatGPTDimensions

_MODULES = "poetry run python -m splatnlp."
CHANGED = {
    # Programs are called by another name; their flags stay.
    f"{_MODULES}monosemantic_sae.cli": "splat train-sae",
    f"{_MODULES}dashboard.commands.generate_activations_cmd": "splat generate-activations",
    f"{_MODULES}dashboard.commands.convert_to_efficient_cmd": "splat convert",
    f"{_MODULES}dashboard.commands.precompute.transpose": "splat transpose",
    f"{_MODULES}dashboard.commands.precompute.sparse_extract": "splat sparse-extract",
    f"{_MODULES}dashboard.commands.precompute.histograms_fast": "splat histograms",
    f"{_MODULES}dashboard.commands.precompute.idf": "splat idf",
    f"{_MODULES}dashboard.commands.precompute.influences": "splat influences",
    f"{_MODULES}dashboard.cli": "splat dash",
    f"{_MODULES}mechinterp.cli.overview_cli": "splat overview",
    f"{_MODULES}mechinterp.cli.runner_cli": "splat experiment",
    f"{_MODULES}mechinterp.cli.decoder_cli": "splat decoder",
    f"{_MODULES}mechinterp.cli.labeler_cli": "splat label",
    "poetry run uvicorn splatnlp.mechinterp.server.activation_server:app": "uvicorn splat_serving.server:app",
    "poetry run python -c": "python -c",
    "splatnlp.dashboard.": "splat_serving.",
    # zarr 3 takes what follows the path by name only: the guide's line is a TypeError there.
    "transposed_activations.zarr', 'r')": "transposed_activations.zarr', mode='r')",
    # The guide lists two .pkl files, which are written on request only.
    "--method vectorized": "--method vectorized --compat-pickle",
    # The guide's snippet uses Path without importing it.
    "# Explicit configuration": "from pathlib import Path",
}
NOT_RUN = {
    "poetry install": "packages are installed by `make demo`",
    "/investigate": "a command of an assistant: .claude/commands has it",
}
N_FEATURES = 32 * 48


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Guide:
    """The guide's blocks of code, with the paths of a folder here."""

    def __init__(self, text: str, here: Path) -> None:
        self.here = here
        self.server, self.dash = free_port(), free_port()
        for word, instead in CHANGED.items():
            assert word in text, f"{word} is not in the guide any more"
            text = text.replace(word, instead)
        text = text.replace("saved_models/your_model", "models").replace("data/tokenized_data.csv", "builds.csv")
        text = text.replace("sae_runs/my_run", str(here / "sae_runs" / "my_run")).replace("/mnt/e", str(here))
        text = text.replace("8765", str(self.server))
        self.blocks = re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL)

    def commands(self) -> Iterator[str]:
        """Every command of the bash blocks, in order, continued lines joined."""
        for kind, block in self.blocks:
            if kind != "bash":
                continue
            block = re.sub(r"^#.*$", "", block, flags=re.MULTILINE).replace("\\\n", " ")
            for command in re.findall(r'(?:[^\n"]|"[^"]*")+', block):
                if command.strip():
                    yield command.strip()

    def python(self) -> list[str]:
        """The Python blocks."""
        return [block for kind, block in self.blocks if kind == "python"]


@pytest.fixture(scope="module")
def guide(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Guide:
    """The guide, and the user's files that it begins with: a model wide enough for feature 845."""
    here = tmp_path_factory.mktemp("guide")
    make_demo_inputs(here / "models", n_builds=600, seed=0)
    (here / "models" / "tokenized_data.csv").rename(here / "builds.csv")
    vocabulary, contexts = (
        read_vocabulary(here / "models" / "vocab.json"),
        read_contexts(here / "models" / "weapon_vocab.json"),
    )
    dimensions = SplatGPTDimensions(len(vocabulary), len(contexts), 8, 32, len(vocabulary), 1, 2, 4, True)
    model = SplatGPT(dimensions, pad_id=vocabulary.pad_id)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2, generator=generator)
    save_base_model(model, here / "models")
    return Guide((shared_dir / "reference" / "pipeline-guide.md").read_text(encoding="utf-8"), here)


def program(words: list[str]) -> list[str]:
    """A program of this environment."""
    return [str(Path(sys.executable).parent / words[0]), *words[1:]]


@contextmanager
def running(command: str, guide: Guide, address: str) -> Iterator[None]:
    """While a server of the guide runs and answers."""
    words = shlex.split(command)
    own = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    started = subprocess.Popen(
        program([word for word in words if not re.match(r"[A-Z_]+=", word)]),
        env={**os.environ, **own}, cwd=guide.here, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        for _ in range(600):
            if started.poll() is not None:
                pytest.fail(f"{command}\n{started.stderr.read() if started.stderr else ''}")
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield
    finally:
        started.terminate()
        started.communicate(timeout=30)


@pytest.mark.slow
def test_the_guide_works_to_its_end_on_folders(guide: Guide, monkeypatch: pytest.MonkeyPatch) -> None:
    here = guide.here
    monkeypatch.chdir(here)
    monkeypatch.setenv("SPLAT_DATA", str(here / "no_data_root"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    address = f"http://127.0.0.1:{guide.server}"
    servers: list[str] = []
    ran: dict[str, str] = {}

    for command in guide.commands():
        if any(command.startswith(word) for word in NOT_RUN) or command.startswith(
            ("saved_models", "models/", "builds.csv")
        ):
            continue
        if " uvicorn " in f" {command} " or command.startswith("splat dash"):
            servers.append(command)
            continue
        if command.startswith("splat overview") and not ran.get("alias"):
            ran["alias"] = said(["splat", "alias", "full", str(here / "activations_efficient")])
        if command.startswith("curl"):
            with running(servers[0], guide, f"{address}/health"):
                ran[command] = shell(command)
                asked = {path: get(f"{address}{path}") for path in ("/activations/845", "/context/vocab", "/labels")}
                assert get(f"{address}/activations/845/arrow").startswith(b"\xff\xff\xff\xff")
            assert all(asked.values())
            continue
        ran[command] = said(shlex.split(command)) if command.startswith("splat") else shell(command)

    assert "healthy" in next(text for command, text in ran.items() if command.startswith("curl"))
    assert f"Shape: ({N_FEATURES}, " in next(text for command, text in ran.items() if command.startswith("python -c"))
    assert sum(command.startswith("splat") for command in ran) == 15
    listing = next(text for command, text in ran.items() if command.startswith("ls") and "precomputed" in command)
    assert all(name in listing for name in ("histograms.pkl", "feature_stats.pkl", "idf.parquet", "influences.parquet"))
    (dash,) = [command for command in servers if command.startswith("splat dash")]
    with running(f"{dash} --port {guide.dash}", guide, f"http://127.0.0.1:{guide.dash}"):
        table = pl.read_csv(get(f"http://127.0.0.1:{guide.dash}/api/features/845/examples.csv"), comment_prefix="#")
    assert {"weapon", "abilities", "activation"} <= set(table.columns) and table.height
    for block in guide.python():
        exec(compile(f"import numpy as np\n{block}", "the guide", "exec"), {})


def test_a_label_of_the_guide_is_written_and_read_back(guide: Guide) -> None:
    """Runs after the guide's steps, on their folder."""
    if not (guide.here / "activations_efficient" / "origin.json").is_file():
        pytest.skip("the guide's steps were not run: they are slow")
    folder = str(guide.here / "activations_efficient")

    said(["splat", "label", "set", "845", "swims fast", "--model", folder])

    assert "swims fast" in said(shlex.split(f"splat label --feature-id 845 --model {folder} --action show"))


def said(words: list[str]) -> str:
    result = CliRunner().invoke(main, words[1:])
    assert result.exit_code == 0, f"{shlex.join(words)}\n{result.output}\n{result.exception!r}"
    return result.output


def shell(command: str) -> str:
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert found.returncode == 0, f"{command}\n{found.stdout}{found.stderr}"
    return found.stdout


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        content: bytes = answer.read()
    return content
