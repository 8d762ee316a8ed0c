#!/usr/bin/env python3
"""Nexmark in Thalweg and in Apache Flink on the same files and cores, interleaved; prints a Markdown table of medians.

    run.py --events 5000000 --corpus DIR [--queries q0,q5hop] [--peers thalweg,flink] [--runs 3] [--checkpoint 1s]
           [--out FILE.md]

The corpus is written once into DIR (bench/peers/nexmark-corpus.sh), with the same rows as Parquet for Thalweg and as CSV for
Flink. Every single measurement goes to FILE.jsonl beside the table. docs/benchmarks.md says what the columns mean.
"""
import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "thalweg"
QUERIES = ["q0", "q1", "q2", "q14", "q21", "q22", "q5hop", "q11", "q12"]
# Thalweg's q12 goes by event time; Flink gets the same question.
FLINK_NAMES = {"q12": "q12event"}
PARALLELISM = 2
# What is measured: label -> how to run it.
SIDES = {
    "Thalweg, JSON": ("thalweg", ["--input", "json"]),
    "Thalweg, Parquet": ("thalweg", ["--input", "parquet"]),
    "Flink heap, JSON": ("flink", ["--state", "hashmap"]),
    "Flink RocksDB, JSON": ("flink", ["--state", "rocksdb"]),
    "Flink heap, CSV": ("flink", ["--state", "hashmap", "--format", "csv"]),
}
STATELESS = {"q0", "q1", "q2", "q14", "q21", "q22"}


def binary():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or CACHE / "target")
    return os.environ.get("THALWEG_BIN") or str(target / "quick" / "thalweg")


def prepare(corpus, events, peers):
    """Writes what is missing of the corpus; nothing of this is timed."""
    if not (corpus / "corpus.json").exists():
        subprocess.run([HERE / "peers/nexmark-corpus.sh", corpus, str(events), "--no-events"], check=True, stdout=sys.stderr)
    found = json.loads((corpus / "corpus.json").read_text())
    if found["events"] != events:
        sys.exit(f"{corpus} holds {found['events']} events, not {events}: give another --corpus, or remove it")
    if "thalweg" in peers and not (corpus / "bid.parquet").exists():
        subprocess.run([binary(), "bench", "corpus", corpus], check=True, stdout=sys.stderr)
    if "flink" in peers and not (corpus / "bid.csv").exists():
        write_csv(corpus)
    return found


def write_csv(corpus):
    """The same rows for Flink's CSV reader, in the order in which Run.java declares the columns."""
    script = """
import duckdb, sys
columns = {
  'person': 'id, name, email_address, credit_card, city, state, date_time, extra',
  'auction': 'id, item_name, description, initial_bid, reserve, expires, seller, category, date_time, extra',
  'bid': 'auction, bidder, price, channel, url, date_time, extra',
}
db = duckdb.connect(config={'threads': 1})
for name, names in columns.items():
    db.execute(f"COPY (SELECT {names} FROM read_json('{sys.argv[1]}/{name}.ndjson', format = 'newline_delimited')) "
               f"TO '{sys.argv[1]}/{name}.csv' (HEADER false)")
"""
    subprocess.run([CACHE / "venv/bin/python", "-c", script, str(corpus)], check=True)


def thalweg(query, corpus, events, checkpoint, options):
    """One run as a process of its own; CPU and memory are the system's count for the whole process."""
    with tempfile.TemporaryDirectory(prefix="thalweg-bench-") as scratch:
        command = [binary(), "bench", "nexmark", "--query", query, "--corpus", str(corpus), "--events", str(events)]
        command += ["--parallelism", str(PARALLELISM), "--checkpoint-interval", checkpoint, "--data-dir", scratch]
        command += ["-o", "json", *options]
        child = subprocess.Popen(pinned(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=scratch)
        output, errors = child.stdout.read(), child.stderr.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            sys.exit(f"{' '.join(command)}: exit {child.returncode}\n{errors.decode()}")
        said = json.loads(output)
        if said["late_dropped"]:
            sys.exit(f"{query}: Thalweg dropped {said['late_dropped']} rows as late, the run is invalid")
        cpu = used.ru_utime + used.ru_stime
        return {
            "events": said["events"], "seconds": said["net_s"], "cpu_s": cpu,
            "max_rss_mib": used.ru_maxrss / 1024, "said": said,
        }  # fmt: skip


def flink(query, corpus, _, checkpoint, options):
    command = [str(HERE / "peers/flink.sh"), FLINK_NAMES.get(query, query), str(corpus)]
    command += ["--parallelism", str(PARALLELISM), "--checkpoint-ms", str(milliseconds(checkpoint)), *options]
    done = subprocess.run(pinned(command), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
    said = json.loads(done.stdout.splitlines()[-1])
    if said["late_dropped"]:
        sys.exit(f"{query}: Flink dropped {said['late_dropped']} rows as late, the run is invalid")
    return {
        "events": said["events"], "seconds": said["net_s"], "cpu_s": said["job_cpu_s"],
        "max_rss_mib": said["max_rss_mib"], "said": said,
    }  # fmt: skip


def pinned(command):
    """Both sides on the same cores."""
    if (os.cpu_count() or 1) <= PARALLELISM or not shutil.which("taskset"):
        return command
    return ["taskset", "-c", f"0-{PARALLELISM - 1}", *command]


def milliseconds(text):
    return int(float(text.removesuffix("s")) * 1000) if not text.endswith("ms") else int(text[:-2])


def measure(arguments, found, log):
    """All runs, interleaved: every side once, then every side again."""
    results = {}
    for run in range(arguments.runs):
        for query in arguments.queries:
            for label, (peer, options) in SIDES.items():
                # State does not matter to a query without any; CSV is measured where reading is all there is.
                if peer not in arguments.peers or (query in STATELESS) < ("CSV" in label) or ("RocksDB" in label and query in STATELESS):
                    continue
                one = globals()[peer](query, arguments.corpus, found["events"], arguments.checkpoint, options)
                results.setdefault((query, label), []).append(one)
                log.write(json.dumps({"query": query, "side": label, "run": run, **one}) + "\n")
                log.flush()
                print(f"{query:6} {label:20} {rate(one):>12,.0f} events/CPU-s {one['seconds']:6.1f} s", file=sys.stderr)
    return results


def rate(one):
    return one["events"] / one["cpu_s"]


def table(results, arguments, found):
    lines = [
        f"{found['events']:,} Nexmark events, parallelism {PARALLELISM}, checkpoint every {arguments.checkpoint}, medians of "
        f"{arguments.runs}; {cpu_name()}, {os.cpu_count()} cores; {time.strftime('%Y-%m-%d')}",
        "",
        "| query | engine, input | events/s | events per CPU-second | of Flink heap JSON | peak RSS MiB |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for (query, label), runs in results.items():
        base = results.get((query, "Flink heap, JSON"))
        ratio = f"{median(runs, rate) / median(base, rate):.1f}x" if base else ""
        speed = median(runs, lambda one: one["events"] / one["seconds"])
        lines.append(
            f"| {query} | {label} | {speed:,.0f} | {median(runs, rate):,.0f} | {ratio} | "
            f"{median(runs, lambda one: one['max_rss_mib']):,.0f} |"
        )
    return "\n".join(lines) + "\n"


def median(runs, value):
    return statistics.median(map(value, runs))


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if pathlib.Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--corpus", type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("--queries", type=lambda text: text.split(","), default=QUERIES)
    parser.add_argument("--peers", type=lambda text: text.split(","), default=["thalweg", "flink"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--checkpoint", default="1s", help="interval of checkpoints on both sides")
    parser.add_argument("--out", type=pathlib.Path, default=CACHE / "bench.md")
    arguments = parser.parse_args()
    arguments.corpus = arguments.corpus or CACHE / f"corpus-{arguments.events}"
    if "flink" in arguments.peers and not shutil.which("javac"):
        print("no JDK here: Thalweg alone is measured (Debian: apt-get install openjdk-17-jdk-headless)", file=sys.stderr)
        arguments.peers = [peer for peer in arguments.peers if peer != "flink"]
    found = prepare(arguments.corpus, arguments.events, arguments.peers)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with open(arguments.out.with_suffix(".jsonl"), "w") as log:
        results = measure(arguments, found, log)
    text = table(results, arguments, found)
    arguments.out.write_text(text)
    print(text)


main()
