"""What a person sees on a terminal: the demos, the SQL shell, and how they are left."""
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import termios
import time

import pytest

import harness

DEMOS = ["flights", "rides", "sensors", "nexmark"]


class Screen:
    """The binary on a terminal of its own."""

    def __init__(self, folder, *arguments):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color"}
        command = [str(harness.binary()), *arguments]
        self.process = subprocess.Popen(
            command, cwd=folder, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self.seen = ""

    def read_until(self, text, seconds=30, after=0):
        """Reads until `text` has been shown behind position `after`."""
        deadline = time.monotonic() + seconds
        while text not in self.seen[after:]:
            assert time.monotonic() < deadline, f"'{text}' was not shown; the screen got {self.seen[-3000:]!r}"
            assert self.pull(0.1) or self.process.poll() is None, f"ended without showing '{text}': {self.seen[-3000:]!r}"
        return self.seen

    def pull(self, seconds):
        ready, _, _ = select.select([self.master], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self.master, 65536).decode(errors="replace")
        except OSError:
            return False
        # Line editors ask where the cursor is; a terminal answers.
        for _ in range(data.count("\x1b[6n")):
            os.write(self.master, b"\x1b[1;1R")
        self.seen += data
        return bool(data)

    def type(self, keys):
        os.write(self.master, keys.encode())

    def end(self, seconds=20):
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            self.pull(0.05)
            assert time.monotonic() < deadline, f"does not end; the screen got {self.seen[-2000:]!r}"
        os.close(self.master)
        return self.process.returncode

    def give_up(self):
        harness.kill(self.process)


@pytest.fixture
def screen(workspace):
    """Starts the binary on a terminal; whatever happens, it does not outlive the test."""
    started = []

    def start(*arguments):
        started.append(Screen(workspace.path, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.give_up()


@pytest.mark.parametrize("demo", DEMOS)
def test_demo_prints_rows_without_a_terminal(workspace, demo):
    result = workspace.run("demo", demo, "--plain", "--duration", "3s")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert rows and all(isinstance(row, dict) for row in rows)


@pytest.mark.parametrize("demo", DEMOS)
def test_demo_fills_the_screen_and_q_leaves(screen, demo):
    shown = screen("demo", demo)
    shown.read_until("q")
    shown.type("q")
    assert shown.end() == 0
    # The terminal is given back: the alternate screen is left and the cursor shown.
    assert "\x1b[?1049l" in shown.seen or "\x1b[?1049h" not in shown.seen
    assert "\x1b[?25h" in shown.seen or "\x1b[?25l" not in shown.seen


def test_shell_answers_and_ends(screen, workspace):
    workspace.write("rows.ndjson", [{"name": "ada", "n": 41}, {"name": "bob", "n": 1}])
    shell = screen("sql")
    shell.read_until("thalweg")
    shell.type("SELECT sum(n) AS total\r")
    shell.type("FROM 'rows.ndjson';\r")
    shell.read_until("total")
    shell.read_until("42")
    shell.type("\\q\r")
    assert shell.end() == 0


def test_shell_survives_a_mistake(screen):
    shell = screen("sql")
    shell.read_until("thalweg")
    shell.type("SELECT nonsense;\r")
    shell.read_until("nonsense", after=len(shell.seen))
    shell.type("SELECT 40 + 2 AS answer;\r")
    shell.read_until("42")
    shell.type("\\q\r")
    assert shell.end() == 0


def test_ctrl_c_stops_in_order_and_the_same_command_continues(workspace):
    rows = [{"at": f"2024-05-06T10:{m:02d}:{s:02d}Z", "n": m} for m in range(60) for s in range(60)]
    workspace.write("in.ndjson", rows)
    workspace.write("p.sql", """
CREATE SOURCE s (at TIMESTAMP WITH TIME ZONE, n BIGINT, WATERMARK FOR at AS at)
WITH (connector = 'files', path = 'in.ndjson', format = 'ndjson');
CREATE SINK k WITH (connector = 'files', path = 'out', format = 'ndjson') AS
SELECT window_start, count(*) AS rows FROM TUMBLE(TABLE s, DESCRIPTOR(at), INTERVAL '1' MINUTE) GROUP BY window_start, window_end;
""")
    process = workspace.start("run", "p.sql", "--watch", "--checkpoint-interval", "50ms")
    deadline = time.monotonic() + 30
    while not ((workspace.path / "out").exists() and len(workspace.rows("out")) >= 59):
        assert time.monotonic() < deadline and process.poll() is None, process.stderr and process.poll()
        time.sleep(0.02)
    process.send_signal(2)
    _, talk = process.communicate(timeout=30)
    assert "stopped" in talk and process.returncode in (0, 130), talk
    assert len(workspace.rows("out")) == 59, "the last minute is still open"
    workspace.run("run", "p.sql")
    assert sorted(row["rows"] for row in workspace.rows("out")) == [60] * 60
