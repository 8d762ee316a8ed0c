"""Runs the commands of the documents and compares what they print.

A ```console block is a session: lines that begin with `$ ` are commands (`> ` continues one, as in a here-document), the
others are what they print on both streams. `...` stands for any text; alone on its line, for any lines. A command
that shows no output may print anything. All blocks of a page share one folder, which has the repository's `examples/`.
Every ```sql block must be a script that `thalweg validate` accepts, unless its info string says otherwise (```sql fragment).
"""
import pathlib
import re
import subprocess

import pytest

import harness

PAGES = [
    harness.ROOT / "README.md",
    *sorted((harness.ROOT / "docs").rglob("*.md")),
    *sorted(harness.EXAMPLES.rglob("*.md")),
]
BLOCK = re.compile(r"^```([^\n`]*)\n(.*?)^```\s*$", re.M | re.S)


def blocks(page, language):
    for found in BLOCK.finditer(page.read_text()):
        if found.group(1).strip() == language:
            yield page.read_text()[: found.start()].count("\n") + 2, found.group(2)


def steps(text):
    """Commands of a session, each with the output that stands below it and the number of its line in the block."""
    found = []
    for number, line in enumerate(text.splitlines()):
        if line.startswith("$ "):
            found.append([number, line[2:], []])
        elif line.startswith("> ") or line == ">":
            found[-1][1] += "\n" + line[2:]
        else:
            found[-1][2].append(line)
    return found


def pattern_of(lines):
    """A regular expression in which `...` matches anything; trailing spaces do not matter."""
    text = ""
    for line in lines:
        if line.strip() == "...":
            text += r"(?:.*\n)*?"
        else:
            text += r"[^\n]*?".join(re.escape(part) for part in line.rstrip().split("...")) + r"[ \t]*\n"
    return re.compile(text)


def pages_with(language):
    return [page for page in PAGES if any(blocks(page, language))]


@pytest.fixture
def shell(workspace):
    """Runs a command as a reader would type it: `thalweg` is on the path."""
    commands = workspace.path / ".bin"
    commands.mkdir()
    (commands / "thalweg").symlink_to(harness.binary())
    (workspace.path / "examples").symlink_to(harness.EXAMPLES)
    environment = harness.environment()
    environment["PATH"] = f"{commands}:{environment['PATH']}"

    def run(command):
        result = subprocess.run(
            ["bash", "-c", command], cwd=workspace.path, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=120,
        )  # fmt: skip
        return result.returncode, result.stdout

    return run


@pytest.mark.parametrize("page", pages_with("console"), ids=lambda page: str(page.relative_to(harness.ROOT)))
def test_commands_of_a_page(page, shell):
    for first_line, text in blocks(page, "console"):
        for number, command, wanted in steps(text):
            status, output = shell(command)
            place = f"{page.relative_to(harness.ROOT)}:{first_line + number}\n$ {command}\n"
            assert status == 0, f"{place}exit {status}\n{output}"
            while wanted and not wanted[-1].strip():
                wanted.pop()
            if wanted and not pattern_of(wanted).fullmatch(output if output.endswith("\n") else output + "\n"):
                pytest.fail(f"{place}--- printed\n{output}--- the page says\n" + "\n".join(wanted))


@pytest.mark.parametrize("page", pages_with("sql"), ids=lambda page: str(page.relative_to(harness.ROOT)))
def test_scripts_of_a_page_are_valid(page, shell, workspace):
    for line, text in blocks(page, "sql"):
        workspace.write("script.sql", text)
        status, output = shell("thalweg validate script.sql")
        assert status == 0, f"{page.relative_to(harness.ROOT)}:{line}\n{output}"


@pytest.mark.parametrize("page", [p for p in PAGES if p.name == "README.md"], ids=lambda p: str(p.relative_to(harness.ROOT)))
def test_commands_that_a_readme_lists(page, shell):
    """`sh` blocks of the READMEs list commands; those of the binary run (demo and make do not: a screen, and us)."""
    for line, text in blocks(page, "sh"):
        for command in (part.split(" #")[0].strip() for part in text.splitlines()):
            if command.startswith("thalweg ") and "demo" not in command:
                status, output = shell(f"rm -rf out thalweg-data; {command}")
                assert status == 0, f"{page.relative_to(harness.ROOT)}:{line}\n$ {command}\n{output}"


def test_the_runner_notices_differences():
    assert pattern_of(["a ... c", "...", "end"]).fullmatch("a b c\nx\ny\nend\n")
    assert not pattern_of(["a ... c"]).fullmatch("a b d\n")
    assert not pattern_of(["a"]).fullmatch("a\nb\n")
