"""The shape of the code: arrows between crates, sizes that may only shrink, papers that name what is there."""
import json
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
RATCHET = pathlib.Path(__file__).with_name("ratchet.json")
# A crate may depend on crates of lower floors only.
FLOORS = {
    "thalweg": 6,
    "thalweg-sql": 4,
    "thalweg-connect": 3,
    "thalweg-engine": 2,
    "thalweg-state": 1,
    "thalweg-formats": 1,
}
# Crates whose idea does not need the query engine must build without it.
WITHOUT_DATAFUSION = {"thalweg-state", "thalweg-formats"}
FILE_LINES_WANTED, FILE_LINES_MAX = 600, 1000
FUNCTION_LINES_WANTED, FUNCTION_LINES_MAX = 70, 100
# Licences that the distributed binary may carry.
LICENCES = {
    "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib",
    "Unicode-3.0", "Unicode-DFS-2016", "CC0-1.0", "Unlicense", "0BSD", "BSL-1.0", "CDLA-Permissive-2.0", "bzip2-1.0.6",
}  # fmt: skip


@pytest.fixture(scope="module")
def metadata():
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)


def members(metadata):
    ids = set(metadata["workspace_members"])
    return [package for package in metadata["packages"] if package["id"] in ids]


def rust_files():
    return sorted(path for path in (ROOT / "crates").rglob("*.rs") if "target" not in path.parts)


def without_tests(text):
    """The lines of a file up to its unit tests, which stand at its end."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("#[cfg(test)]") and any(
            re.match(r"(pub(\(crate\))? )?mod \w+ \{", following) for following in lines[number + 1 : number + 3]
        ):
            return lines[:number]
    return lines


def functions(lines):
    """Name and length of every function, by the indentation that rustfmt gives its closing brace."""
    begin = re.compile(r"^(\s*)(?:pub(?:\([^)]*\))? )?(?:default |const |async |unsafe |extern \"C\" )*fn (\w+)")
    number = 0
    while number < len(lines):
        if found := begin.match(lines[number]):
            indent, name = found.groups()
            for end in range(number, len(lines)):
                # A declaration without body, or a body on one line.
                if end == number and lines[end].rstrip().endswith((";", "}")):
                    break
                if lines[end] in (indent + "}", indent + ");", indent + ") -> Self;"):
                    yield name, end - number + 1
                    break
        number += 1


def relative(path):
    return str(path.relative_to(ROOT))


def test_dependencies_point_down(metadata):
    floors = {package["name"]: FLOORS.get(package["name"]) for package in members(metadata)}
    assert None not in floors.values(), f"give each crate a floor in {__file__}: {floors}"
    wrong = [
        f"{package['name']} (floor {floors[package['name']]}) -> {dependency['name']} (floor {floors[dependency['name']]})"
        for package in members(metadata)
        for dependency in package["dependencies"]
        if dependency["name"] in floors
        and dependency["kind"] != "dev"
        and floors[dependency["name"]] >= floors[package["name"]]
    ]
    assert not wrong, "arrows must point down:\n" + "\n".join(wrong)


def test_lower_crates_build_without_the_query_engine(metadata):
    nodes = {node["id"]: [d["pkg"] for d in node["deps"] if any(k["kind"] is None for k in d["dep_kinds"])]
             for node in metadata["resolve"]["nodes"]}  # fmt: skip
    names = {package["id"]: package["name"] for package in metadata["packages"]}
    for package in members(metadata):
        if package["name"] not in WITHOUT_DATAFUSION:
            continue
        seen, open_ids = set(), [package["id"]]
        while open_ids:
            current = open_ids.pop()
            if current not in seen:
                seen.add(current)
                open_ids += nodes[current]
        found = {names[i] for i in seen if names[i].startswith("datafusion")}
        assert not found, f"{package['name']} must not depend on {found}"


def test_building_and_testing_share_one_feature_set():
    """A feature that only tests switch on would make `make test` compile the query engine a second time."""

    def resolved(*more):
        command = ["cargo", "tree", "--workspace", "--locked", "-f", "{p} {f}", "--prefix", "none", *more]
        text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        return {line.removesuffix(" (*)") for line in text.splitlines()}

    changed = resolved("-e", "no-dev") - resolved()
    assert not changed, f"dev-dependencies change the features of {sorted(changed)}"


def test_licences_of_dependencies(metadata):
    refused = []
    for package in metadata["packages"]:
        expression = (package["license"] or "").replace("/", " OR ")
        # Good if one alternative consists of allowed licences only.
        alternatives = re.sub(r"[()]", "", expression).split(" OR ")
        if not any(all(part.strip() in LICENCES for part in one.split(" AND ")) for one in alternatives):
            refused.append(f"{package['name']} {package['version']}: {package['license'] or 'no licence given'}")
    assert not refused, "licences outside the allowed list:\n" + "\n".join(refused)


def test_advisories_of_dependencies(metadata):
    """Only where an advisory database has been put on the machine before (it is not fetched)."""
    database = pathlib.Path.home() / ".cargo" / "advisory-db"
    if not database.is_dir():
        pytest.skip(f"no advisory database in {database}: clone rustsec/advisory-db there to check against it")
    locked = {(package["name"], package["version"]) for package in metadata["packages"]}
    found = list(advisories_against(database, locked))
    assert not found, "\n".join(found)


def advisories_against(database, locked):
    for path in (database / "crates").rglob("*.md"):
        text = path.read_text()
        name = re.search(r'^package = "([^"]+)"', text, re.M)
        if not name or "withdrawn" in text or "informational" in text:
            continue
        patched = re.findall(r'"\s*(?:>=|\^)\s*([0-9.]+)', (re.search(r"^patched = \[(.*?)\]", text, re.M | re.S) or [""])[0])
        for package, version in locked:
            if package == name.group(1) and not any(as_numbers(version) >= as_numbers(fix) for fix in patched):
                yield f"{package} {version}: {path.stem}"


def as_numbers(version):
    return [int(part) for part in re.match(r"[0-9.]+", version)[0].strip(".").split(".")]


def test_sizes_only_shrink():
    allowed = json.loads(RATCHET.read_text())
    files, long_functions = {}, {}
    for path in rust_files():
        lines = [] if path.name == "tests.rs" else without_tests(path.read_text())
        if len(lines) > FILE_LINES_WANTED:
            files[relative(path)] = len(lines)
        if {"tests", "examples"} & set(path.parts) or path.name == "tests.rs":
            continue
        for name, length in functions(lines):
            if length > FUNCTION_LINES_WANTED:
                key = f"{relative(path)}::{name}"
                long_functions[key] = max(length, long_functions.get(key, 0))
    problems = [f"{name}: {n} lines, at most {FILE_LINES_MAX}" for name, n in files.items() if n > FILE_LINES_MAX]
    problems += [
        f"{name}: {n} lines, at most {FUNCTION_LINES_MAX}" for name, n in long_functions.items() if n > FUNCTION_LINES_MAX
    ]
    for kind, found in (("files", files), ("functions", long_functions)):
        for name, length in found.items():
            if length > allowed[kind].get(name, 0):
                problems.append(f"{name}: {length} lines; split it (the ratchet allows {allowed[kind].get(name, 0)})")
        for name, length in allowed[kind].items():
            if found.get(name, 0) < length:
                problems.append(f"{name}: now {found.get(name, 0)} lines, lower its entry {length} in {RATCHET.name}")
    assert not problems, "\n".join(problems)


def test_no_placeholders_in_code():
    pattern = re.compile(r"\b(unimplemented|todo)!\s*\(|\bdbg!\s*\(")
    found = [
        f"{relative(path)}:{number}: {line.strip()}"
        for path in rust_files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def test_every_crate_is_in_architecture(metadata):
    text = (ROOT / "ARCHITECTURE.md").read_text()
    missing = [package["name"] for package in members(metadata) if f"`{package['name']}`" not in text]
    assert not missing, f"ARCHITECTURE.md does not name {missing}"
    stale = [name for name in re.findall(r"`(thalweg-\w+)`", text) if name not in FLOORS]
    assert not stale, f"ARCHITECTURE.md names crates that do not exist: {stale}"


def test_every_integration_test_file_is_a_module():
    forgotten = []
    for main in (ROOT / "crates").glob("*/tests/*/main.rs"):
        declared = set(re.findall(r"^\s*(?:pub )?mod (\w+);", main.read_text(), re.M))
        for path in main.parent.iterdir():
            name = path.stem if path.suffix == ".rs" else path.name if (path / "mod.rs").exists() else None
            if name and name not in declared | {"main"}:
                forgotten.append(relative(path))
    assert not forgotten, f"not listed in main.rs, so never run: {forgotten}"


def test_crates_list_their_tests(metadata):
    for package in members(metadata):
        manifest = pathlib.Path(package["manifest_path"]).read_text()
        assert "autotests = false" in manifest, f"{package['name']}: set autotests = false"
        tests = [target["name"] for target in package["targets"] if "test" in target["kind"]]
        assert len(tests) <= 1, f"{package['name']}: one integration binary, not {tests}"


def test_code_is_formatted():
    result = subprocess.run(["cargo", "fmt", "--all", "--check"], cwd=ROOT, capture_output=True, text=True)
    if "no such command" in result.stderr or "not installed" in result.stderr:
        pytest.skip("rustfmt is not installed: rustup component add rustfmt")
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]


def test_documents_link_to_files_that_exist():
    broken = []
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"), *(ROOT / "bench").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text()):
            if not target.startswith(("http:", "https:", "mailto:")) and not (path.parent / target).exists():
                broken.append(f"{relative(path)} -> {target}")
    assert not broken, "\n".join(broken)
