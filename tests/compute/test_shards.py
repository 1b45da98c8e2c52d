from pathlib import Path

import pytest

from splat_assets.compute.shards import ShardRunner
from splat_assets.errors import InputError


def square(n: int) -> int:
    if n < 0:
        raise InputError(f"{n} is negative")
    return n * n


def mark(path: Path) -> int:
    path.touch()
    return 1


def results(runner: ShardRunner, specs: list[int]) -> list[int]:
    found: list[int] = []
    runner.run(square, specs, found.append)
    return found


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
    ("settings", "expected"), [(("ray", 0), "unknown shard backend 'ray'"), (("local", -1), "not -1")]
)
def test_what_there_is_not_is_refused(settings: tuple[str, int], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        ShardRunner(*settings).run(square, [1])  # type: ignore[arg-type]
