"""A pipeline whose source, sink and checkpoints all lie in an S3-compatible store."""
import json
import os
import pathlib
import subprocess
import sys

import boto3
import pytest

import harness

PIPELINE = """
CREATE SOURCE trips (
  at TIMESTAMP WITH TIME ZONE, zone TEXT, fare DOUBLE,
  WATERMARK FOR at AS at - INTERVAL '5' SECOND
) WITH (connector = 'files', path = 's3://thalweg-test/{folder}/in/*.ndjson', format = 'ndjson');

CREATE SINK per_minute WITH (connector = 'files', path = 's3://thalweg-test/{folder}/out', format = 'ndjson') AS
SELECT zone, window_start, window_end, count(*) AS trips, sum(fare) AS fares
FROM TUMBLE(TABLE trips, DESCRIPTOR(at), INTERVAL '1' MINUTE)
GROUP BY zone, window_start, window_end;
"""


@pytest.fixture(scope="module")
def s3_environment():
    """The server that the whole test run shares, or one of our own."""
    if "THALWEG_TEST_S3_ENDPOINT" in os.environ:
        yield dict(os.environ)
        return
    script = harness.ROOT / "tests" / "s3_server.py"
    with subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        started = dict(line.strip().split("=", 1) for line in iter(server.stdout.readline, "\n"))
        yield {**os.environ, **started}
        server.stdin.close()


@pytest.fixture
def bucket(s3_environment):
    session = boto3.Session("test", "test", region_name="us-east-1")
    return session.resource("s3", endpoint_url=s3_environment["THALWEG_TEST_S3_ENDPOINT"]).Bucket("thalweg-test")


def rows_of(bucket, prefix):
    names = [item.key for item in bucket.objects.filter(Prefix=prefix)]
    visible = [name for name in names if not any(p.startswith((".", "_")) for p in pathlib.PurePosixPath(name).parts)]
    return [
        json.loads(line)
        for name in visible
        for line in bucket.Object(name).get()["Body"].read().decode().splitlines()
    ]


def put_input(bucket, folder, files=3, rows=2000):
    counts = {}
    for number in range(files):
        lines = []
        for index in range(rows):
            minute, second = divmod(index // 10, 60)
            zone = f"zone-{index % 7}"
            lines.append(json.dumps({"at": f"2024-05-01T{8 + number:02d}:{minute:02d}:{second:02d}Z", "zone": zone, "fare": 1.5}))
            key = (zone, 8 + number, minute)
            counts[key] = counts.get(key, 0) + 1
        bucket.put_object(Key=f"{folder}/in/part-{number}.ndjson", Body=("\n".join(lines) + "\n").encode())
    return counts


def test_source_sink_and_checkpoints_in_s3(workspace, bucket, s3_environment, request):
    folder = request.node.name
    counts = put_input(bucket, folder)
    workspace.write("p.sql", PIPELINE.format(folder=folder))
    environment = {**s3_environment, **{"NO_COLOR": "1"}}
    arguments = ["run", "p.sql", "--checkpoint-url", f"s3://thalweg-test/{folder}/state", "--data-dir", "data", "--parallelism", 2]
    workspace.run(*arguments, env=environment)
    rows = rows_of(bucket, f"{folder}/out/")
    assert {(r["zone"], int(r["window_start"][11:13]), int(r["window_start"][14:16])): r["trips"] for r in rows} == counts
    assert len(rows) == len(counts)
    kept = [item.key for item in bucket.objects.filter(Prefix=f"{folder}/state")]
    assert any("manifest" in key for key in kept), kept


def test_killed_with_state_in_s3(workspace, bucket, s3_environment, request):
    folder = request.node.name
    counts = put_input(bucket, folder, files=4, rows=30000)
    workspace.write("p.sql", PIPELINE.format(folder=folder))
    environment = {**s3_environment, **{"NO_COLOR": "1"}}
    arguments = ["run", "p.sql", "--checkpoint-url", f"s3://thalweg-test/{folder}/state", "--data-dir", "data"]
    arguments += ["--set", "run.checkpoint_interval=50ms"]
    for patience in (0.2, 0.4, 0.6, 0.8, 1.2):
        process = workspace.start(*arguments, "--parallelism", 2, env=environment)
        try:
            process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            pass
        harness.kill(process)
    workspace.run(*arguments, "--parallelism", 3, env=environment)
    rows = rows_of(bucket, f"{folder}/out/")
    got = {(r["zone"], int(r["window_start"][11:13]), int(r["window_start"][14:16])): r["trips"] for r in rows}
    assert got == counts and len(rows) == len(counts)
