"""Stream result = DuckDB's batch result, whatever the parallelism, batch size, interval or partitioning.

THALWEG_ORACLE_CASES: how many cases (default 60). THALWEG_ORACLE_SEED: the first seed (default 1); a failure names its
seed, and `THALWEG_ORACLE_SEED=<seed> THALWEG_ORACLE_CASES=1 pytest tests/oracle` repeats it.
"""
import os
import pathlib
import random
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cases  # noqa: E402
import reference  # noqa: E402

FIRST = int(os.environ.get("THALWEG_ORACLE_SEED", "1"))
COUNT = int(os.environ.get("THALWEG_ORACLE_CASES", "60"))


def ways_to_run(rng):
    """Settings that must not change the result; every case runs in three of them."""
    for parallelism in rng.sample([1, 2, 3, 8], 3):
        yield [
            "--parallelism", parallelism,
            "--set", f"run.batch_rows={rng.choice([1, 7, 512, 8192])}",
            "--set", f"run.publish_interval={rng.choice(['1ms', '20ms', '200ms'])}",
            "--set", f"run.checkpoint_interval={rng.choice(['5ms', '50ms', '10s'])}",
        ]  # fmt: skip


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_stream_equals_batch(seed, workspace):
    case = cases.make(seed)
    glob = reference.write_inputs(case, workspace.path / "input")
    wanted = reference.expected(case, workspace.path)
    for number, flags in enumerate(ways_to_run(random.Random(seed))):
        output = f"out-{number}"
        script = case.script(glob, output)
        workspace.write(f"p-{number}.sql", script)
        workspace.run("run", f"p-{number}.sql", "--data-dir", f"data-{number}", *flags)
        got = reference.actual(case, workspace.rows(output))
        problem = reference.difference(got, wanted)
        assert problem is None, f"seed {seed}, {' '.join(map(str, flags))}\n{script}\n{problem}\nkept in {workspace.path}"
