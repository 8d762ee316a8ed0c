#!/usr/bin/env python3
"""run.py CARGO_FLAGS...: every test there is, then one line that sums them up.

Rust tests run by cargo, the others by pytest against the binary that cargo built. The status is 0 only if nothing failed.
"""
import os
import pathlib
import re
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "thalweg"
PYTHON = CACHE / "venv" / "bin" / "python"
RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")


class Tally:
    """Results of all runners so far."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, passed, failed, skipped=0):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped


def step(name):
    print(f"\n=== {name} [{time.strftime('%H:%M:%S')}]", flush=True)


def cargo_tests(flags, environment, tally):
    """Runs cargo test, passing its output on; a build that fails counts as one failed test."""
    command = ["cargo", "test", *flags, "--no-fail-fast"]
    print(" ".join(command), flush=True)
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, errors="replace"
    )
    failed_before = tally.failed
    for line in process.stdout:
        print(line, end="", flush=True)
        if found := RESULT.match(line):
            tally.add(*map(int, found.groups()))
    if process.wait() != 0 and tally.failed == failed_before:
        tally.add(0, 1)


def python_tests(environment, tally):
    report = CACHE / f"pytest-{os.getpid()}.xml"
    command = [PYTHON, "-m", "pytest", "tests", "-q", "--durations=15", "-p", "no:cacheprovider", f"--junitxml={report}"]
    status = subprocess.run(command, cwd=ROOT, env=environment).returncode
    if not report.exists():
        tally.add(0, 1)
        return
    suite = xml.etree.ElementTree.parse(report).getroot().find("testsuite")
    report.unlink()
    total, skipped = int(suite.get("tests")), int(suite.get("skipped"))
    failed = int(suite.get("failures")) + int(suite.get("errors"))
    tally.add(total - failed - skipped, failed, skipped)
    if status != 0 and failed == 0:
        tally.add(0, 1)


def main(flags):
    began = time.monotonic()
    tally = Tally()
    environment = dict(os.environ)
    step("build")
    if subprocess.run(["cargo", "build", *flags], cwd=ROOT).returncode != 0:
        print("0 passed, 1 failed (the build)")
        return 1
    # One S3 server for all tests, on a port of its own; it ends when its standard input does.
    with subprocess.Popen(
        [PYTHON, ROOT / "tests" / "s3_server.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        for line in iter(server.stdout.readline, "\n"):
            if not line:
                print("the S3 server for tests did not start")
                tally.add(0, 1)
                break
            name, _, value = line.strip().partition("=")
            environment[name] = value
        step("Rust tests")
        cargo_tests(flags, environment, tally)
        step("tests of the binary")
        python_tests(environment, tally)
        server.stdin.close()
    minutes = (time.monotonic() - began) / 60
    skipped = f", {tally.skipped} skipped" if tally.skipped else ""
    print(f"\n{tally.passed} passed, {tally.failed} failed{skipped} in {minutes:.1f} min")
    return 1 if tally.failed or not tally.passed else 0


sys.exit(main(sys.argv[1:]))
