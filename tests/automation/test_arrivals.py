"""What is brought becomes one run, once it is whole and once for its content; what cannot is said once and blocks nobody."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from splat_assets.automation.activity import activity, record_activity
from splat_assets.automation.arrivals import input_folders, new_run, records_of, scan_for_inputs
from splat_assets.automation.settings import as_options, read_settings
from splat_assets.errors import InputError
from splat_assets.runs import create_run, hash_inputs, open_run
from splat_assets.store.layout import DataRoot
from tests.small_run import make_inputs, small_config


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    """A data root with a dataset and a base model, both called small. Tests copy it."""
    root = DataRoot(tmp_path_factory.mktemp("inputs"))
    make_inputs(root, 200)
    return root


@pytest.fixture
def root(inputs: DataRoot, tmp_path: Path) -> DataRoot:
    """An own copy."""
    shutil.copytree(inputs.path, tmp_path / "data")
    return DataRoot(tmp_path / "data")


class Maker:
    """Makes runs as `splat run new` does, without opening what they are made of; refuses models that are not large enough."""

    def __init__(self, root: DataRoot) -> None:
        self.root = root
        self.made: list[tuple[str, list[str]]] = []

    def __call__(self, name: str, words: Sequence[str]) -> str:
        self.made.append((name, list(words)))
        given = dict(zip(words[::2], words[1::2], strict=False))
        model = Path(given["--model-checkpoint"])
        if model.read_bytes()[:6] == b"broken":
            return f"{model} is no checkpoint"
        sae = Path(given["--sae-checkpoint"]) if "--sae-checkpoint" in given else None
        data = Path(given["--data-csv"])
        config = small_config(data, model.parent, inputs=hash_inputs(model.parent, None, None, data, sae))
        create_run(self.root, name, config)
        return ""


@pytest.fixture
def maker(root: DataRoot) -> Maker:
    return Maker(root)


def twice(root: DataRoot, maker: Maker) -> list[str]:
    """Look, and look again: files that did not change in between are whole."""
    scan_for_inputs(root, maker)
    return scan_for_inputs(root, maker)


def said(root: DataRoot) -> list[str]:
    return [f"{one.kind} {one.subject}: {one.said}" for one in reversed(activity(root))]


def test_a_model_and_a_dataset_become_one_run(root: DataRoot, maker: Maker) -> None:
    assert scan_for_inputs(root, maker) == []
    names = scan_for_inputs(root, maker)

    assert len(names) == len(maker.made) == 1
    assert names[0].startswith("small-")
    run = open_run(root, names[0])
    assert Path(run.config.inputs.model_checkpoint.path) == root.models / "small" / "model.pth"
    assert [line.partition(":")[0] for line in said(root)] == ["arrived saved_models/small", "arrived datasets/small"]
    assert f"run {names[0]}, with dataset small" in said(root)[0]
    assert f"run {names[0]} already has the same content" in said(root)[1]
    assert scan_for_inputs(root, maker) == names
    assert len(maker.made) == 1 and len(said(root)) == 2


def test_what_is_copied_half_waits_until_it_is_whole(root: DataRoot, maker: Maker) -> None:
    whole = (root.models / "small" / "model.pth").read_bytes()
    new = root.models / "new"
    new.mkdir()
    twice(root, maker)
    (new / "model.pth").write_bytes(whole[: len(whole) // 2])
    twice(root, maker)
    assert records_of(root)["saved_models/new"].said == "it has no vocab.json and no weapon_vocab.json yet"
    for name in ("vocab.json", "weapon_vocab.json"):
        shutil.copyfile(root.models / "small" / name, new / name)
    scan_for_inputs(root, maker)
    (new / "model.pth").write_bytes(whole + b" ")
    scan_for_inputs(root, maker)  # it changed since the look before
    assert [name for name, _ in maker.made if name.startswith("new")] == []

    names = scan_for_inputs(root, maker)

    assert [name for name, _ in maker.made if name.startswith("new")] == [
        name for name in names if name.startswith("new")
    ]
    assert len([name for name in names if name.startswith("new")]) == 1


def test_a_changed_model_becomes_another_run(root: DataRoot, maker: Maker) -> None:
    first = twice(root, maker)
    with (root.models / "small" / "model.pth").open("ab") as file:
        file.write(b"more")

    second = twice(root, maker)

    assert len(second) == 2 and set(first) < set(second)


def test_the_same_content_under_another_name_becomes_no_second_run(root: DataRoot, maker: Maker) -> None:
    names = twice(root, maker)
    shutil.copytree(root.models / "small", root.models / "again")
    os.utime(root.models / "small" / "model.pth")

    assert twice(root, maker) == names
    assert f"arrived saved_models/again: new base model: run {names[0]} already has the same content" in said(root)


def test_what_a_person_made_a_run_of_becomes_no_second_one(root: DataRoot, maker: Maker) -> None:
    create_run(root, "mine", small_config(root.datasets / "small" / "tokenized_data.csv", root.models / "small"))

    assert twice(root, maker) == []
    assert maker.made == []
    assert records_of(root)["saved_models/small"].run == "mine"


def test_a_broken_input_is_reported_once_and_blocks_no_other(root: DataRoot, maker: Maker) -> None:
    broken = root.models / "a-broken"
    shutil.copytree(root.models / "small", broken)
    (broken / "model.pth").write_bytes(b"broken")

    names = twice(root, maker)
    for _ in range(3):
        scan_for_inputs(root, maker)

    assert [name.startswith("small-") for name in names] == [True]
    refused = [line for line in said(root) if line.startswith("refused")]
    assert refused == [
        f"refused saved_models/a-broken: this base model was not made a run: {broken / 'model.pth'} is no checkpoint"
    ]
    assert len(maker.made) == 2
    (broken / "model.pth").write_bytes((root.models / "small" / "model.pth").read_bytes() + b"mended")
    assert len(twice(root, maker)) == 2


def test_two_at_once_become_two_runs(root: DataRoot, maker: Maker) -> None:
    shutil.copytree(root.models / "small", root.models / "other")
    with (root.models / "other" / "model.pth").open("ab") as file:
        file.write(b"other")

    assert len(twice(root, maker)) == 2


def test_one_that_is_deleted_is_forgotten_and_its_run_stays(root: DataRoot, maker: Maker) -> None:
    names = twice(root, maker)
    shutil.rmtree(root.models / "small")

    assert scan_for_inputs(root, maker) == names
    assert "saved_models/small" not in records_of(root)
    assert open_run(root, names[0])


def test_a_run_that_was_removed_does_not_come_back(root: DataRoot, maker: Maker) -> None:
    names = twice(root, maker)
    shutil.rmtree(root.run(names[0]).root)

    assert twice(root, maker) == []
    assert len(maker.made) == 1


def _copied(root: DataRoot, to: Path) -> DataRoot:
    """The data root at another place, its files with other times, the oldest with the latest of all, in the future."""
    shutil.copytree(root.path, to, copy_function=shutil.copyfile)
    files = sorted(root.path.rglob("*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for at, path in enumerate(files):
        os.utime(to / path.relative_to(root.path), (4e9 + at, 4e9 + at))
    return DataRoot(to)


def _later_dataset(root: DataRoot, name: str) -> None:
    """Another dataset: the small one with its last row once more."""
    shutil.copytree(root.datasets / "small", root.datasets / name)
    with (root.datasets / name / "tokenized_data.csv").open("a") as file:
        file.write((root.datasets / "small" / "tokenized_data.csv").read_text().splitlines()[-1] + "\n")


def test_partners_are_what_was_seen_last_for_the_first_time_also_after_a_copy(
    root: DataRoot, maker: Maker, tmp_path: Path
) -> None:
    twice(root, maker)
    _later_dataset(root, "a-later")
    twice(root, maker)
    moved = _copied(root, tmp_path / "moved")
    twice(moved, Maker(moved))
    shutil.copytree(moved.models / "small", moved.models / "new")
    with (moved.models / "new" / "model.pth").open("ab") as file:
        file.write(b"new")

    names = twice(moved, Maker(moved))

    (new,) = [name for name in names if name.startswith("new-")]
    assert open_run(moved, new).config.inputs.data.path == str(moved.datasets / "a-later" / "tokenized_data.csv")


def test_a_copy_of_a_data_root_tells_nothing_again_and_makes_nothing_again(
    root: DataRoot, maker: Maker, tmp_path: Path
) -> None:
    broken = root.models / "broken"
    shutil.copytree(root.models / "small", broken)
    (broken / "model.pth").write_bytes(b"broken")
    names = twice(root, maker)
    shutil.rmtree(root.run(names[0]).root)  # removed for good
    known, lines = records_of(root), said(root)
    moved = _copied(root, tmp_path / "moved")
    again = Maker(moved)

    assert scan_for_inputs(moved, again) == []
    assert records_of(moved)["saved_models/small"].said == "its files have just changed"
    assert scan_for_inputs(moved, again) == []

    assert again.made == []
    assert said(moved) == lines
    assert records_of(moved) == known


def test_what_is_there_half_while_a_data_root_is_copied_is_what_it_was_once_it_is_whole(
    root: DataRoot, maker: Maker
) -> None:
    names = twice(root, maker)
    shutil.rmtree(root.run(names[0]).root)
    whole = (root.models / "small" / "model.pth").read_bytes()
    (root.models / "small" / "model.pth").write_bytes(whole[:100])
    (root.models / "small" / "vocab.json").rename(root.path / "vocab.json")
    twice(root, maker)
    (root.models / "small" / "model.pth").write_bytes(whole)
    scan_for_inputs(root, maker)
    (root.path / "vocab.json").rename(root.models / "small" / "vocab.json")

    assert twice(root, maker) == []
    assert records_of(root)["saved_models/small"].state == "run"
    assert len(maker.made) == 1


def test_machines_that_look_in_turns_agree(root: DataRoot, maker: Maker, tmp_path: Path) -> None:
    """Each has the same content in other files; the ledger is the same."""
    other = _copied(root, tmp_path / "other")
    made = Maker(other)
    for _ in range(4):
        scan_for_inputs(root, maker)
        shutil.copyfile(root.arrivals, other.arrivals)
        scan_for_inputs(other, made)
        shutil.copyfile(other.arrivals, root.arrivals)

    assert (len(maker.made), len(made.made)) == (1, 0)
    assert records_of(root)["saved_models/small"].state == "run"


def test_what_was_removed_and_is_put_back_keeps_its_place_in_the_order(root: DataRoot, maker: Maker) -> None:
    twice(root, maker)
    _later_dataset(root, "a-later")
    twice(root, maker)
    shutil.move(root.datasets / "small", root.path / "aside")
    twice(root, maker)
    shutil.move(root.path / "aside", root.datasets / "z-small")
    twice(root, maker)
    with (root.models / "small" / "model.pth").open("ab") as file:
        file.write(b"new")

    twice(root, maker)

    assert maker.made[-1][1][3] == str(root.datasets / "a-later" / "tokenized_data.csv")


def test_other_content_of_the_same_size_and_time_is_seen(root: DataRoot, maker: Maker) -> None:
    first = twice(root, maker)
    model = root.models / "small" / "model.pth"
    facts = model.stat()
    model.write_bytes(model.read_bytes()[:-1] + b"X")
    os.utime(model, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    assert len(twice(root, maker)) == len(first) + 1


def test_a_ledger_of_an_older_program_holds(root: DataRoot, maker: Maker) -> None:
    names = twice(root, maker)
    shutil.rmtree(root.run(names[0]).root)
    written = json.loads(root.arrivals.read_text())
    signatures = {f"{one.folder.relative_to(root.path)}": one.old_signature() for one in input_folders(root)}
    old = {
        key: {**{name: row[name] for name in ("state", "said", "run", "partners")}, "signature": signatures[key]}
        for key, row in written["brought"].items()
    }
    root.arrivals.write_text(json.dumps({"brought": old, "made": written["made"]}))
    (root.path / ".sightings.json").unlink()

    assert twice(root, maker) == []
    assert len(maker.made) == 1
    assert records_of(root)["saved_models/small"].content == written["brought"]["saved_models/small"]["content"]


def test_a_model_without_a_dataset_waits_for_one(root: DataRoot, maker: Maker) -> None:
    shutil.move(root.datasets / "small", root.path / "elsewhere")
    assert twice(root, maker) == []
    assert records_of(root)["saved_models/small"].said == "waiting for a complete dataset to run it with"
    shutil.move(root.path / "elsewhere", root.datasets / "small")

    assert len(twice(root, maker)) == 1


def test_a_new_dataset_is_run_with_the_newest_model_and_a_sae_with_both(root: DataRoot, maker: Maker) -> None:
    first = twice(root, maker)
    shutil.copytree(root.datasets / "small", root.datasets / "later")
    with (root.datasets / "later" / "tokenized_data.csv").open("a") as file:
        file.write((root.datasets / "small" / "tokenized_data.csv").read_text().splitlines()[-1] + "\n")
    second = [name for name in twice(root, maker) if name not in first]
    sae = root.saes / "ready"
    sae.mkdir(parents=True)
    (sae / "sae_weights.safetensors").write_bytes(b"weights")
    twice(root, maker)
    assert records_of(root)["saved_saes/ready"].said == "it has no cfg.json yet"
    (sae / "cfg.json").write_text("{}")

    third = [name for name in twice(root, maker) if name not in (*first, *second)]

    assert [name.rpartition("-")[0] for name in (*second, *third)] == ["later", "ready"]
    inputs = open_run(root, third[0]).config.inputs
    assert inputs.sae_checkpoint is not None and inputs.sae_checkpoint.path == str(sae / "sae_weights.safetensors")
    assert inputs.data.path == str(root.datasets / "later" / "tokenized_data.csv")


def test_settings_say_what_with_and_how(root: DataRoot, maker: Maker) -> None:
    shutil.copytree(root.datasets / "small", root.datasets / "zlast")
    (root.path / "automation.toml").write_text(
        'dataset = "small"\n[recipe]\nk = 4\nprofile = "compact"\nembeddings = false\n'
    )

    twice(root, maker)

    words = maker.made[0][1]
    assert words[3] == str(root.datasets / "small" / "tokenized_data.csv")
    assert words[4:] == ["--k", "4", "--profile", "compact", "--no-embeddings"]
    assert as_options(read_settings(root).recipe) == words[4:]


def test_a_ready_made_sae_gets_no_training_options(root: DataRoot, maker: Maker) -> None:
    (root.path / "automation.toml").write_text(
        "[recipe]\nk = 4\nd_sae = 96\nepochs = 2\nsae-batch-size = 64\nbatch-size = 32\n"
    )
    sae = root.saes / "ready"
    sae.mkdir(parents=True)
    (sae / "sae_weights.safetensors").write_bytes(b"weights")
    (sae / "cfg.json").write_text("{}")

    twice(root, maker)

    words = next(words for name, words in maker.made if name.startswith("ready"))
    assert words[4:] == ["--sae-checkpoint", str(sae / "sae_weights.safetensors"), "--batch-size", "32"]


def test_what_was_refused_is_tried_again_with_another_recipe(root: DataRoot, maker: Maker) -> None:
    refusing = [True]

    def make_run(name: str, words: Sequence[str]) -> str:
        return "--k is 900: there are only 96 features" if refusing[0] else maker(name, words)

    def see() -> None:
        scan_for_inputs(root, make_run)
        scan_for_inputs(root, make_run)

    (root.path / "automation.toml").write_text("[recipe]\nk = 900\n")
    see()
    assert records_of(root)["saved_models/small"].state == "refused"
    refusing[0] = False
    see()
    assert maker.made == [], "nothing has changed"
    (root.path / "automation.toml").write_text("[recipe]\nk = 4\n")
    see()
    assert records_of(root)["saved_models/small"].state == "run"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("enabled = maybe", "cannot be read"),
        ("loud = true", "loud"),
        ("keep_versions = 0", "keep_versions"),
        ("recipe = 3", "recipe"),
    ],
)
def test_settings_that_mean_nothing_are_one_sentence(text: str, said: str, root: DataRoot, maker: Maker) -> None:
    (root.path / "automation.toml").write_text(text)

    with pytest.raises(InputError, match=said):
        scan_for_inputs(root, maker)
    assert not root.arrivals.exists()


def test_folders_that_are_none_are_passed_over(root: DataRoot, maker: Maker) -> None:
    (root.models / ".hidden").mkdir()
    (root.models / "empty").mkdir()
    (root.models / "with space").mkdir()
    (root.models / "file").write_text("")
    both = root.models / "both"
    shutil.copytree(root.models / "small", both)
    shutil.copyfile(both / "model.pth", both / "model.safetensors")

    os.symlink("nowhere", root.models / "dangling")
    os.mkfifo(root.models / "pipe")

    assert [one.folder.name for one in input_folders(root)] == ["both", "small", "small"]
    assert len(twice(root, maker)) == 1
    assert "both kinds are there" in records_of(root)["saved_models/both"].said


@pytest.mark.parametrize("name", ["with space é", "new\nline", "a..b", os.fsdecode(b"no-utf8-\xff"), "-rf"])
def test_an_invalid_run_name_is_reported(name: str, root: DataRoot, maker: Maker) -> None:
    shutil.copytree(root.models / "small", root.models / name)

    assert len(twice(root, maker)) == 1
    written = os.fsencode(name).decode(errors="backslashreplace")
    assert "rename the folder" in records_of(root)[f"saved_models/{written}"].said
    assert len(maker.made) == 1


def test_what_is_known_that_cannot_be_read_is_one_sentence(root: DataRoot, maker: Maker) -> None:
    root.arrivals.write_text("[")

    with pytest.raises(InputError, match="move it away"):
        scan_for_inputs(root, maker)


def test_a_killed_look_leaves_what_can_be_gone_on_with(root: DataRoot, maker: Maker) -> None:
    scan_for_inputs(root, maker)

    def killed(name: str, words: Sequence[str]) -> str:
        maker(name, words)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan_for_inputs(root, killed)
    names = scan_for_inputs(root, maker)

    assert records_of(root)["saved_models/small"].run == maker.made[0][0]
    assert names == [maker.made[0][0]]
    assert len(maker.made) == 1


def test_the_log_is_bounded_and_outlives_a_torn_line(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splat_assets.automation.activity.MOST_BYTES", 2_000)
    for at in range(100):
        record_activity(root, "arrived", f"subject {at}", "was brought")
    with root.activity.open("ab") as file:
        file.write(b'{"at": "torn\n')

    found = activity(root, 5)

    assert [one.subject for one in found] == [f"subject {at}" for at in range(99, 94, -1)]
    assert root.activity.stat().st_size < 3_000


@pytest.mark.slow
def test_the_command_makes_the_run_or_says_why_not(root: DataRoot) -> None:
    words = [
        "--model-checkpoint",
        str(root.models / "small"),
        "--data-csv",
        str(root.datasets / "small" / "tokenized_data.csv"),
    ]

    refused = new_run(root, "torn", [*words[:1], str(root.models), *words[2:]])
    assert "holds no base model" in refused and "Traceback" not in refused
    assert "no such option" in new_run(root, "odd", [*words, "--louder", "3"]).lower()
    assert new_run(root, "fine", [*words, "--d-sae", "32", "--k", "4"]) == ""
    assert open_run(root, "fine").config.sae.k == 4
