"""Bad input is a value, not a crash: each has a policy or a message that names the thing and tells the next step."""
import gzip
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import time

import pytest

import harness

GOOD = [
    {"at": "2024-03-01T10:00:00Z", "name": "ada", "amount": 1},
    {"at": "2024-03-01T10:00:10Z", "name": "bob", "amount": 2},
    {"at": "2024-03-01T10:00:20Z", "name": "ada", "amount": 3},
]
SOURCE = """
CREATE SOURCE payments (
  at TIMESTAMP WITH TIME ZONE, name TEXT, amount BIGINT,
  WATERMARK FOR at AS at - INTERVAL '1' SECOND
) WITH (connector = 'files', path = '{path}', format = '{format}'{more});
"""
SINK = """
CREATE SINK copied WITH (connector = 'files', path = '{out}', format = 'ndjson') AS
SELECT at, name, amount FROM payments;
"""
COUNTED = """
CREATE SINK counted WITH (connector = 'files', path = 'out', format = 'ndjson') AS
SELECT name, window_start, window_end, count(*) AS n
FROM TUMBLE(TABLE payments, DESCRIPTOR(at), INTERVAL '1' MINUTE)
GROUP BY name, window_start, window_end;
"""


def script(path="in.ndjson", form="ndjson", more="", sink=SINK, out="out"):
    return SOURCE.format(path=path, format=form, more=more) + sink.format(out=out)


def lines(*more, rows=GOOD):
    text = [json.dumps(row).encode() for row in rows]
    return b"\n".join([text[0], *more, *text[1:]]) + b"\n"


BAD_ROWS = {
    "malformed": b'{"at":"2024-03-01T10:00:05Z","name":"eve","amo',
    "wrong type": b'{"at":"2024-03-01T10:00:05Z","name":"eve","amount":"many"}',
    "wrong time": b'{"at":"soon","name":"eve","amount":4}',
    "missing time": b'{"name":"eve","amount":4}',
    "invalid UTF-8": b'{"at":"2024-03-01T10:00:05Z","name":"ev\xff\xfe","amount":4}',
    "not an object": b"[1,2,3]",
    "too large a number": b'{"at":"2024-03-01T10:00:05Z","name":"eve","amount":99999999999999999999}',
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_row_fails_with_file_and_line(workspace, kind):
    workspace.write("in.ndjson", lines(BAD_ROWS[kind]))
    workspace.write("p.sql", script())
    result = workspace.run("run", "p.sql", status=1)
    assert "in.ndjson" in result.stderr and "line 2" in result.stderr, result.stderr
    assert "on_error" in result.stderr, "the message tells which option helps"


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_row_is_dropped_and_counted(workspace, kind):
    workspace.write("in.ndjson", lines(BAD_ROWS[kind]))
    workspace.write("p.sql", script(more=", on_error = 'drop'"))
    result = workspace.run("run", "p.sql", "-o", "json")
    assert sorted(row["amount"] for row in workspace.rows("out")) == [1, 2, 3]
    assert json.loads(result.stdout)["dropped"] == 1


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_row_goes_to_the_dead_letter_sink(workspace, kind):
    workspace.write("in.ndjson", lines(BAD_ROWS[kind]))
    letters = "CREATE SINK letters WITH (connector = 'files', path = 'letters', format = 'ndjson');\n"
    workspace.write("p.sql", script(more=", on_error = 'dlq', dlq = 'letters'") + letters)
    result = workspace.run("run", "p.sql", "-o", "json")
    assert json.loads(result.stdout)["dead_lettered"] == 1
    assert sorted(row["amount"] for row in workspace.rows("out")) == [1, 2, 3]
    (letter,) = workspace.rows("letters")
    assert letter["source"] == "payments" and letter["split"].endswith("in.ndjson") and letter["line"] == 2
    assert letter["position"] == len(lines().split(b"\n")[0]) + 1
    assert letter["text"].encode("utf-8", "replace")[:20] == BAD_ROWS[kind][:20].decode("utf-8", "replace").encode()
    assert letter["error"]


def test_missing_column_is_null_and_extra_column_is_ignored(workspace):
    workspace.write("in.ndjson", lines(b'{"at":"2024-03-01T10:00:05Z","amount":7,"colour":"red","deep":{"a":[1]}}'))
    workspace.write("p.sql", script())
    workspace.run("run", "p.sql")
    rows = {row["amount"]: row.get("name") for row in workspace.rows("out")}
    assert rows == {1: "ada", 2: "bob", 3: "ada", 7: None}


def test_truncated_gzip(workspace):
    whole = gzip.compress(lines(rows=GOOD * 2000))
    workspace.write("in.ndjson.cut", whole[: len(whole) // 2])
    shutil.move(workspace.path / "in.ndjson.cut", workspace.path / "in.ndjson.gz")
    workspace.write("p.sql", script(path="in.ndjson.gz"))
    result = workspace.run("run", "p.sql", status=1)
    assert "in.ndjson.gz" in result.stderr, result.stderr


def test_truncated_parquet(workspace):
    import duckdb

    path = workspace.path / "in.parquet"
    duckdb.sql(f"COPY (SELECT TIMESTAMPTZ '2024-03-01 10:00:00Z' AS at, 'ada' AS name, r AS amount FROM range(5000) t(r)) TO '{path}' (FORMAT parquet)")  # fmt: skip
    path.write_bytes(path.read_bytes()[:-100])
    workspace.write("p.sql", script(path="in.parquet", form="parquet"))
    result = workspace.run("run", "p.sql", status=None)
    assert result.returncode in (1, 3) and "in.parquet" in result.stderr, result.stderr


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_empty_file(workspace, form):
    workspace.write(f"in.{form}", b"")
    workspace.write("p.sql", script(path=f"in.{form}", form=form))
    workspace.run("run", "p.sql")
    assert not (workspace.path / "out").exists() or workspace.rows("out") == []


def test_no_such_file(workspace):
    workspace.write("p.sql", script(path="inn.ndjson"))
    result = workspace.run("run", "p.sql", status=None)
    assert result.returncode in (1, 3, 4) and "inn.ndjson" in result.stderr, result.stderr


def start_following(workspace, *more):
    """A pipeline that follows its folder, with a checkpoint every few milliseconds; returns once a row has come out."""
    process = workspace.start("run", "p.sql", "--watch", "--data-dir", "d", "--set", "run.checkpoint_interval=20ms", *more)
    wait_until(lambda: (workspace.path / "out").exists() and workspace.rows("out"), process)
    return process


def wait_until(condition, process, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def stop(process):
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=30)


def test_file_that_shrinks_between_runs(workspace):
    workspace.write("in.ndjson", GOOD * 50)
    workspace.write("p.sql", script())
    stop(start_following(workspace))
    workspace.write("in.ndjson", GOOD[:1])
    result = workspace.run("run", "p.sql", "--data-dir", "d", status=None)
    assert result.returncode != 0 and "in.ndjson" in result.stderr, result.stderr
    assert "shr" in result.stderr or "shorter" in result.stderr or "replaced" in result.stderr, result.stderr


def test_file_that_disappears_between_runs(workspace):
    workspace.write("in.ndjson", GOOD * 50)
    workspace.write("p.sql", script())
    stop(start_following(workspace))
    (workspace.path / "in.ndjson").unlink()
    result = workspace.run("run", "p.sql", "--data-dir", "d", status=None)
    assert result.returncode != 0 and "in.ndjson" in result.stderr, result.stderr


def nobody_can_run(workspace):
    """A copy of the binary that an unprivileged user can reach; skips where we cannot become one."""
    if os.geteuid() != 0:
        return harness.binary()
    place = pathlib.Path(subprocess.check_output(["mktemp", "-d", "/tmp/thalweg-nobody.XXXXXX"], text=True).strip())
    place.chmod(0o755)
    return shutil.copy(harness.binary(), place / "thalweg")


def test_unreadable_folder(workspace):
    binary = nobody_can_run(workspace)
    root = pathlib.Path(binary).parent if os.geteuid() == 0 else workspace.path
    place = harness.Workspace(root)
    place.write("closed/in.ndjson", GOOD)
    place.write("p.sql", script(path="closed/*.ndjson"))
    (root / "closed").chmod(0)
    try:
        more = {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}
        if os.geteuid() == 0:
            os.chown(root, 65534, 65534)
        result = subprocess.run([binary, "run", "p.sql"], cwd=root, capture_output=True, text=True, timeout=60, **more)
        assert result.returncode != 0 and "closed" in result.stderr, result.stderr
        assert "ermission denied" in result.stderr, result.stderr
    finally:
        (root / "closed").chmod(0o755)
        if os.geteuid() == 0:
            shutil.rmtree(root)


def test_sink_folder_that_holds_other_output(workspace):
    workspace.write("in.ndjson", GOOD)
    workspace.write("out/notes.ndjson", [{"mine": True}])
    workspace.write("p.sql", script())
    result = workspace.run("run", "p.sql", status=None)
    assert result.returncode in (1, 3, 6) and "out" in result.stderr and "notes.ndjson" in result.stderr, result.stderr
    assert (workspace.path / "out/notes.ndjson").exists()


@pytest.fixture
def small_disk(workspace):
    """A file system of 2 MiB at `small/`, where we may mount one; else None."""
    place = workspace.path / "small"
    place.mkdir()
    mounted = os.geteuid() == 0 and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True
    ).returncode
    yield place if mounted else None
    if mounted:
        subprocess.run(["umount", "-l", place], check=True)


def limit_file_size():
    """Where nothing can be mounted, a limit on file size makes writes fail in the same place."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


@pytest.mark.parametrize("full", ["sink", "state"])
def test_disk_full(workspace, small_disk, full):
    rows = [{**GOOD[0], "name": f"{n:0200d}", "amount": n} for n in range(40000)]
    workspace.write("in.ndjson", rows)
    out, data = ("small/out", "d") if full == "sink" else ("out", "small/d")
    grouped = SINK.replace("SELECT at, name, amount FROM payments", "SELECT name, window_start, count(*) AS amount FROM "
                           "TUMBLE(TABLE payments, DESCRIPTOR(at), INTERVAL '1' DAY) GROUP BY name, window_start, window_end")  # fmt: skip
    workspace.write("p.sql", script(out=out, sink=SINK if full == "sink" else grouped))
    command = ["run", "p.sql", "--data-dir", data, "--parallelism", 2, "--checkpoint-interval", "10ms"]
    more = {} if small_disk else {"preexec_fn": limit_file_size}
    if full == "state" and small_disk:
        workspace.write("small/ballast", b"x" * (2040 << 10))
    result = workspace.run(*command, status=None, **more)
    assert result.returncode in (1, 7), f"{result.returncode}\n{result.stderr}"
    assert full == "state" or "small/out" in result.stderr, result.stderr
    assert not small_disk or "full" in result.stderr or "space" in result.stderr, result.stderr
    # With space again, the same command ends as if nothing had been.
    if small_disk:
        (small_disk / "ballast").unlink(missing_ok=True)
        subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    workspace.run(*command)
    if full == "sink":
        assert sorted(row["amount"] for row in workspace.rows(out)) == list(range(40000))
    else:
        assert len(workspace.rows(out)) == 40000


def checkpointed(workspace):
    """A pipeline stopped in the middle, with state."""
    workspace.write("in.ndjson", [{**GOOD[0], "at": f"2024-03-01T{h:02d}:{m:02d}:00Z", "name": f"n{m}"} for h in range(10) for m in range(60)])
    workspace.write("p.sql", script(sink=COUNTED))
    stop(start_following(workspace))
    return workspace.path / "d"


def test_state_folder_of_another_pipeline(workspace):
    checkpointed(workspace)
    workspace.write("p.sql", script(sink=COUNTED).replace("GROUP BY name,", "GROUP BY upper(name),").replace("SELECT name,", "SELECT upper(name) AS name,"))
    result = workspace.run("run", "p.sql", "--data-dir", "d", status=None)
    assert result.returncode in (1, 3, 6), result.stderr
    assert "--data-dir" in result.stderr or "savepoint" in result.stderr, result.stderr


def manifests(folder):
    return sorted(path for path in folder.rglob("*manifest*") if path.is_file())


def test_state_of_a_newer_version(workspace):
    folder = checkpointed(workspace)
    newest = manifests(folder)[-1]
    data = newest.read_bytes()
    changed = raise_version(data)
    assert changed != data
    newest.write_bytes(changed)
    result = workspace.run("run", "p.sql", "--data-dir", "d", status=None)
    assert result.returncode != 0 and newest.name in result.stderr, result.stderr
    assert "version" in result.stderr or "newer" in result.stderr, result.stderr


def raise_version(data):
    """The same manifest, as a later format version would seal it."""
    head, json_line, _ = data.decode().splitlines()
    kind, version = head.rsplit(" ", 1)
    text = f"{kind} {int(version) + 1}\n{json_line}\n".encode()
    return text + f"crc64nvme {crc64_nvme(text):016x}\n".encode()


def crc64_nvme(data):
    crc = (1 << 64) - 1
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x9A6C9329AC4BC9B5 if crc & 1 else 0)
    return crc ^ ((1 << 64) - 1)


@pytest.mark.parametrize("which", ["manifest", "segment"])
def test_flipped_bit(workspace, which):
    folder = checkpointed(workspace)
    files = manifests(folder) if which == "manifest" else segments(folder)
    victim = files[-1]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 0x10
    victim.write_bytes(data)
    result = workspace.run("run", "p.sql", "--data-dir", "d", status=None)
    assert result.returncode != 0 and victim.name in result.stderr, result.stderr
    assert "checksum" in result.stderr or "damaged" in result.stderr or "corrupt" in result.stderr, result.stderr


def segments(folder):
    found = sorted((p for p in folder.rglob("*") if p.is_file() and "segment" in str(p)), key=lambda p: p.stat().st_mtime)
    assert found, "the checkpoint has no segment: nothing to damage"
    return found


def test_everything_wrong_in_a_script_at_once(workspace):
    workspace.write("p.sql", """CREATE SOURCE a (x BIGINT) WITH (connector = 'filez', path = 'a.ndjson');
CREATE SOURCE b (x BIGINT) WITH (connector = 'files', pth = 'b.ndjson', format = 'ndjson');
CREATE SINK s WITH (connector = 'stdout') AS SELECT y FROM b;
""")
    result = workspace.run("validate", "p.sql", status=3)
    said = result.stdout + result.stderr
    assert "did you mean" in said.lower() and "files" in said and "path" in said
    assert "p.sql:1:" in said and "p.sql:2:" in said, said
