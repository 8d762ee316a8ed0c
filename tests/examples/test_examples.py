"""Every example runs as its README says, gives what DuckDB gives, and passes its own tests."""
import pathlib
import subprocess
import sys

import pytest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import check_examples  # noqa: E402

DUMP = """
CREATE SINK kept_requests WITH (connector = 'files', path = 'generated/requests', format = 'parquet') AS
SELECT rider_id, zone, distance_km, requested_at FROM requests;
CREATE SINK kept_drivers WITH (connector = 'files', path = 'generated/drivers', format = 'parquet') AS
SELECT driver_id, zone, status, pinged_at FROM drivers;
"""


@pytest.fixture
def examples(workspace):
    (workspace.path / "examples").symlink_to(harness.EXAMPLES)
    return workspace


@pytest.mark.parametrize("parallelism", [1, 2, 3])
@pytest.mark.parametrize("example", ["flights", "earthquakes"])
def test_output_equals_duckdb(examples, example, parallelism):
    examples.run("run", f"examples/{example}/pipeline.sql", "--parallelism", parallelism)
    assert check_examples.check(example, examples.path / "out") == {}


def test_rides_equal_duckdb(examples):
    text = (harness.EXAMPLES / "rides/pipeline.sql").read_text()
    sources = "".join(part + ";" for part in text.split(";") if "CREATE SOURCE" in part)
    examples.write("dump.sql", sources + DUMP)
    examples.run("run", "dump.sql", "--data-dir", "dump")
    examples.run("run", "examples/rides/pipeline.sql", "--parallelism", 2)
    assert check_examples.check("rides", examples.path / "out", examples.path / "generated") == {}


def test_damaged_rows_of_the_relay_are_kept(examples):
    examples.run("run", "examples/earthquakes/pipeline.sql")
    letters = examples.rows("out/rejected")
    assert sorted(row["line"] for row in letters) == [2, 3, 4]
    assert all(row["split"].endswith("relay.ndjson") and row["source"] == "earthquakes" for row in letters)


def test_pipeline_tests_pass(examples):
    examples.run("test", "examples/")


def test_a_wrong_expectation_fails(examples, tmp_path):
    """The test command can fail: otherwise its success would say nothing."""
    folder = tmp_path / "wrong"
    folder.mkdir()
    (folder / "pipeline.sql").write_text((harness.EXAMPLES / "flights/pipeline.sql").read_text())
    good = (harness.EXAMPLES / "flights/pipeline.test.yaml").read_text()
    changed = good.replace("flights: 2", "flights: 3", 1)
    assert changed != good
    (folder / "pipeline.test.yaml").write_text(changed)
    result = examples.run("test", str(folder), status=1)
    assert "3" in result.stdout + result.stderr


@pytest.mark.parametrize("example", ["flights", "earthquakes", "rides"])
def test_validates_and_explains(examples, example):
    examples.run("validate", f"examples/{example}/pipeline.sql")
    assert "watermark" in examples.run("explain", f"examples/{example}/pipeline.sql").stdout.lower()


def test_make_run_shows_the_result(tmp_path):
    command = [harness.EXAMPLES / "flights/run.sh", harness.binary(), tmp_path / "out"]
    result = subprocess.run(command, capture_output=True, text=True, env=harness.environment(), timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "average_delay" in result.stdout and f"{tmp_path}/out/daily_delays" in result.stdout
