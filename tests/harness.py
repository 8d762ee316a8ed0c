"""Runs the built binary in folders of its own, and reads what it wrote."""
import gzip
import json
import os
import pathlib
import signal
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"


def binary():
    """The binary under test: $THALWEG_BIN, or what `make build` makes."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or cache / "thalweg" / "target")
    path = pathlib.Path(os.environ.get("THALWEG_BIN") or target / "quick" / "thalweg")
    assert path.exists(), f"no binary at {path}: run `make build`, or set THALWEG_BIN"
    return path


def environment():
    """Without anything that would make output differ from machine to machine."""
    return {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "RUST_BACKTRACE": "0"}


class Workspace:
    """A folder in which pipelines run; paths in their SQL are relative to it."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def write(self, name, content):
        """Writes text or bytes, or a list of rows as NDJSON; `.gz` is compressed on the way."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    def command(self, *arguments):
        return [str(binary()), *map(str, arguments)]

    def run(self, *arguments, status=0, timeout=120, **more):
        """Runs the binary to its end; fails unless it exits with `status` (None: any)."""
        more.setdefault("env", environment())
        result = subprocess.run(
            self.command(*arguments), cwd=self.path, capture_output=True, text=True, errors="replace", timeout=timeout,
            stdin=subprocess.DEVNULL, **more,
        )  # fmt: skip
        if status is not None:
            assert result.returncode == status, (
                f"thalweg {' '.join(map(str, arguments))}: exit {result.returncode}, expected {status}\n"
                f"--- stdout\n{result.stdout[-3000:]}\n--- stderr\n{result.stderr[-5000:]}"
            )
        return result

    def start(self, *arguments, **more):
        """Starts the binary without waiting; the caller stops it, by its pid."""
        more.setdefault("env", environment())
        return subprocess.Popen(
            self.command(*arguments), cwd=self.path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, errors="replace", **more,
        )  # fmt: skip

    def rows(self, folder):
        """All rows of a folder of NDJSON output, as dictionaries."""
        return [row for path in self.files(folder) for row in read_ndjson(path)]

    def files(self, folder):
        """Committed files of a sink: what a reader of `folder/**/*` would see, hidden names left out."""
        base = self.path / folder
        found = [path for path in base.rglob("*") if path.is_file()]
        return sorted(p for p in found if not any(part.startswith((".", "_")) for part in p.relative_to(base).parts))


def read_ndjson(path):
    opened = gzip.open(path, "rt") if str(path).endswith(".gz") else open(path)
    with opened as lines:
        return [json.loads(line) for line in lines]


def multiset(rows):
    """Rows in an order of their own, so that two lists compare as multisets.

    Floats count to eleven digits: in which order workers add up decides the last ones.
    """
    return sorted(json.dumps({k: round_float(v) for k, v in row.items()}, sort_keys=True) for row in rows)


def round_float(value):
    return float(f"{value:.11g}") if isinstance(value, float) else value


def kill(process):
    """kill -9 of one process that we started, and wait until it is gone."""
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
