"""Deliberate breakages, one at a time, in the places that matter most: each must turn tests red.

    python -m benchmarks.breakages             # all of them; prints a table, exit code 1 where one stays green
    python -m benchmarks.breakages checksum    # those whose name has the word

Each is a change of one line in a copy of the working tree, and the tests that guard it.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Breakage:
    """One line that is made wrong. pattern, replacement: as re.sub has them, once. tests: arguments of pytest."""

    name: str
    file: str
    pattern: str
    replacement: str
    tests: str


BREAKAGES = (
    Breakage("checksum of a range is not compared", "splat_assets/store/sparse/reader.py",
             r"if crc32c_of\(ids, values\) != self\.crc32c\[i\]:", "if False:", "tests/store/test_sparse.py"),
    Breakage("receipt sees no changed output", "splat_assets/store/receipts.py",
             r"return \[(\w+)\.path for \1 in self\.outputs if .*\]", "return []", "tests/store/test_receipts.py"),
    Breakage("calibration takes the next rank", "splat_assets/sae/training/calibration.py",
             r"(\w+) = k \* rows\.size", r"\1 = k * rows.size + 1", "tests/sae/test_calibration.py"),
    Breakage("interval is one-sided", "splat_assets/analysis/inference/intervals.py",
             r"z = ndtri\(\(1 \+ level\) / 2\)", "z = ndtri(level)", "tests/analysis/test_intervals.py"),
    Breakage("false discoveries are not monotone", "splat_assets/analysis/inference/intervals.py",
             r"np\.minimum\.accumulate\(scaled\[::-1\]\)\[::-1\]", "scaled", "tests/analysis/test_intervals.py"),
    Breakage("equal builds fall into different splits", "splat_assets/store/checksums.py",
             r"x = x \+ np\.uint64\(0x9E3\w+\)", "x = x + np.arange(x.size, dtype=np.uint64)", "tests/data/test_splits.py"),
    Breakage("guard lets any host in", "splat_serving/http/guard.py",
             r'if "\*" in self\._hosts or', 'if True or "*" in self._hosts or', "tests/serving/test_guard.py"),
    Breakage("guard takes any token", "splat_serving/http/guard.py",
             r"return hmac\.compare_digest\(.*\) and", "return", "tests/serving/test_guard.py"),
    Breakage("label conflict is not noticed", "splat_serving/labels/log.py",
             r'conflict = event\.kind == "label" and', 'conflict = event.kind == "queue" and', "tests/labels/test_log.py"),
    Breakage("influences lose their sign", "splat_assets/analysis/influence.py",
             r"return product\.astype", "return abs(product).astype", "tests/analysis/test_influence.py"),
    Breakage("IDF counts one document less", "splat_assets/analysis/idf.py",
             r"np\.log\(n_documents \+ 1\.0\)", "np.log(n_documents + 0.0)", "tests/analysis/test_idf.py"),
    Breakage("histogram bins are closed on the wrong side", "splat_assets/analysis/histogram.py",
             r'side="left"', 'side="right"', "tests/analysis/test_histogram.py"),
    Breakage("FVU divides by the wrong variance", "splat_assets/sae/evaluate.py",
             r"/ n_rows / variance if variance", "/ n_rows / (2 * variance) if variance", "tests/sae/test_evaluate.py"),
    Breakage("file is not flushed before it is renamed", "splat_assets/store/files.py",
             r"sync_file\(aside\)\n            os\.replace", "os.replace", "tests/store/test_files.py"),
    Breakage("checkpoint may run code", "splat_assets/model/tensors.py",
             r"weights_only=True", "weights_only=False", "tests/model/test_checkpoint.py"),
    Breakage("ETag leaves the question out", "splat_serving/http/replies.py",
             r"request\.url\.path, request\.url\.query, form\.content_type", "form.content_type", "tests/serving/test_etags.py"),
    Breakage("stream of too few rows is taken for whole", "splat_serving/client/answers.py",
             r"if stated != str\(n_rows\):", "if False:", "tests/serving/test_client.py -k 'stream'"),
    Breakage("rule without its negation", "splat_assets/domain/rule_text.py",
             r'if self\._take\("not"\):', 'if self._take("not") and False:', "tests/domain/test_rule_text.py"),
    Breakage("input that changed is not refused", "splat_assets/runs.py",
             r"if (\w+) != self\.sha256:", "if False:", "tests/test_runs.py tests/assets/test_opened.py"),
    Breakage("unfinished request body has no bound", "splat_serving/http/guard.py",
             r"limit = self\._settings\.max_body_bytes", "limit = 2**62", "tests/serving/test_guard.py"),
    Breakage("co-activation counts twice", "splat_serving/database/kernels.py",
             r"out\[feature_ids\[k\]\] \+= 1", "out[feature_ids[k]] += 2", "tests/serving/test_counts.py"),
    Breakage("stored and recomputed activations may differ by half", "splat_assets/analysis/rounding.py",
             r"OF_VALUE = 1e-3", "OF_VALUE = 0.5", "tests/analysis/test_rounding.py"),
)  # fmt: skip


def broken(breakage: Breakage) -> str:
    """What became of the tests: `red`, `GREEN`, or why nothing was tried."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy"
        for name in subprocess.run(
            ["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True
        ).stdout.splitlines():
            if (PROJECT / name).is_file() and not name.startswith("docs/images"):
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(PROJECT / name, copy / name)
        file = copy / breakage.file
        text, n_changed = re.subn(breakage.pattern, breakage.replacement, file.read_text(), count=1)
        if not n_changed:
            return "the line is not there"
        file.write_text(text)
        words = re.findall(r"'[^']*'|\S+", breakage.tests)
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, "-m", "not slow", *(word.strip("'") for word in words)],
            cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, text=True, timeout=_SECONDS,
        )  # fmt: skip
    return {0: "GREEN", 1: "red"}.get(done.returncode, f"pytest ended with {done.returncode}: {done.stdout[-300:]}")


def main() -> None:
    """Try those that the arguments name, all without arguments."""
    chosen = [one for one in BREAKAGES if all(word in one.name for word in sys.argv[1:])]
    outcomes = []
    for one in chosen:
        began = time.monotonic()
        outcomes.append(broken(one))
        print(
            f"| {one.name} | `{one.file}` | `{one.tests}` | {outcomes[-1]} | {time.monotonic() - began:.0f} s |",
            flush=True,
        )
    n_red = outcomes.count("red")
    print(f"{n_red} of {len(outcomes)} breakages turn the tests red")
    sys.exit(0 if n_red == len(outcomes) else 1)


if __name__ == "__main__":
    main()
