import os
from pathlib import Path

import pytest

from splat_assets.compute.shards import LostWorkersError, ShardRunner, free_memory
from splat_assets.errors import InputError


def square(n: int) -> int:
    if n < 0:
        raise InputError(f"{n} is negative")
    return n * n


def mark(path: Path) -> int:
    path.touch()
    return 1


def results(runner: ShardRunner, specs: list[int]) -> list[int]:
    result: list[int] = []
    runner.run(square, specs, result.append)
    return result


def test_one_after_the_other_in_order() -> None:
    assert results(ShardRunner(), [3, 1, 2]) == [9, 1, 4]
    assert results(ShardRunner(), []) == []


def test_in_processes_every_spec_is_done_once() -> None:
    assert sorted(results(ShardRunner("process", 2), [3, 1, 2])) == [1, 4, 9]


@pytest.mark.parametrize("runner", [ShardRunner(), ShardRunner("process", 1)], ids=["local", "process"])
def test_the_first_failure_is_raised_as_it_was(runner: ShardRunner) -> None:
    with pytest.raises(InputError, match="-1 is negative"):
        results(runner, [2, -1])


def test_specs_are_taken_as_they_are_needed(tmp_path: Path) -> None:
    taken: list[int] = []

    def specs() -> list[Path]:
        for i in range(2):
            taken.append(i)
            yield tmp_path / str(i)

    ShardRunner().run(mark, specs(), lambda done: taken.append(10 + done))

    assert taken == [0, 11, 1, 11]


@pytest.mark.parametrize(
    ("settings", "expected"), [(("dask", 0), "unknown shard backend 'dask'"), (("local", -1), "not -1")]
)
def test_what_there_is_not_is_refused(settings: tuple[str, int], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        ShardRunner(*settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("", ShardRunner()),
        ("process", ShardRunner("process")),
        ("process:3", ShardRunner("process", 3)),
        ("ray", ShardRunner("ray")),
        ("ray:10.0.0.1:6379", ShardRunner("ray", address="10.0.0.1:6379")),
    ],
)
def test_the_environment_says_how(message: str, expected: ShardRunner) -> None:
    assert ShardRunner.from_environment({"SPLAT_SHARDS": message}) == expected


@pytest.mark.parametrize(
    "environment",
    [{"SPLAT_SHARDS": "dask"}, {"SPLAT_SHARDS": "process:many"}, {"SPLAT_SHARDS": "process:-1"},
     {"SPLAT_SHARDS": "ray", "SPLAT_SHARD_GPUS": "one"}],
)  # fmt: skip
def test_an_environment_that_means_nothing_is_one_sentence(environment: dict[str, str]) -> None:
    with pytest.raises(InputError, match="allowed are local, process, process:4, ray or ray:HOST:PORT"):
        ShardRunner.from_environment(environment)


def die_once(folder: Path) -> str:
    """The end of the process at the first call for a folder; its name at the next."""
    mark = folder.with_suffix(".died")
    if not mark.exists():
        mark.touch()
        os._exit(1)
    return folder.name


def die(_: Path) -> str:
    os._exit(1)


def test_what_a_process_was_at_when_it_died_is_done_again(tmp_path: Path) -> None:
    result: list[str] = []

    ShardRunner("process", 2).run(die_once, [tmp_path / name for name in "ab"], result.append)

    assert sorted(result) == ["a", "b"]


@pytest.mark.slow
def test_the_step_ends_at_once_where_every_shard_kills_its_process(tmp_path: Path) -> None:
    with pytest.raises(LostWorkersError, match="fewer processes") as caught:
        ShardRunner("process", 2).run(die, [tmp_path / name for name in "abcdef"], name=lambda path: path.name)

    assert len(caught.value.shards) == 3  # it is a fault of all of them: the rest is not tried
    assert "the others were not waited for" in str(caught.value)


def die_of_a(folder: Path) -> str:
    """The end of the process for a folder of that name; a mark for each try, and the name of any other."""
    (folder.with_name(f"{folder.name}-{os.getpid()}")).touch()
    if folder.name == "a":
        os._exit(1)
    return folder.name


@pytest.mark.slow
def test_a_shard_that_keeps_killing_its_process_is_abandoned_by_name_and_all_others_are_done(
    tmp_path: Path,
) -> None:
    done: list[str] = []

    with pytest.raises(LostWorkersError, match="of each: shard a; all others are finished") as caught:
        ShardRunner("process", 2).run(
            die_of_a, [tmp_path / name for name in "abcdef"], done.append, name=lambda path: f"shard {path.name}"
        )

    assert sorted(done) == list("bcdef")
    assert caught.value.shards == ("shard a",)
    assert len(list(tmp_path.glob("a-*"))) == 4
    assert len(list(tmp_path.glob("[b-f]-*"))) == 5  # none of them was begun twice for its neighbour


def test_no_more_processes_are_started_than_memory_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (free_memory() or 2**20) > 2**19
    monkeypatch.setattr("splat_assets.compute.shards.free_memory", lambda: 10 * 2**30)
    runner = ShardRunner("process", 8)
    assert (runner.n_processes(), runner.n_processes(2**30), runner.n_processes(3 * 2**30)) == (8, 8, 2)
    assert runner.n_processes(100 * 2**30) == 1
    monkeypatch.setattr("splat_assets.compute.shards.free_memory", lambda: None)
    assert runner.n_processes(100 * 2**30) == 8
