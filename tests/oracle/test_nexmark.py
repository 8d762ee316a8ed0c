"""The Nexmark queries that `thalweg bench` measures give DuckDB's rows over the same bids."""
import json
import pathlib
import sys

import pytest

import harness

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(harness.ROOT / "bench" / "peers")]
import check  # noqa: E402
import reference  # noqa: E402

EVENTS = 200_000
# Thalweg's q12 goes by event time.
ORACLE = {**check.ORACLE, "q12": check.ORACLE["q12event"]}
QUERIES = ["q0", "q1", "q2", "q14", "q21", "q22", "q5hop", "q11", "q12"]
BIDS = f"""
CREATE SOURCE made WITH (connector = 'generator', events = 'nexmark', type = 'bid', rows = '{EVENTS // 50 * 46}');
CREATE SINK bids WITH (connector = 'files', path = 'bids', format = 'ndjson') AS
SELECT auction, bidder, price, channel, url, date_time, extra FROM made;
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A corpus of bids, made by the generator with one worker, so that they are in the order of time."""
    workspace = harness.Workspace(tmp_path_factory.mktemp("nexmark"))
    workspace.write("bids.sql", BIDS)
    workspace.run("run", "bids.sql", "--parallelism", 1)
    (workspace.path / "corpus").mkdir()
    rows = sorted((row for row in workspace.rows("bids")), key=lambda row: row["date_time"])
    workspace.write("corpus/bid.ndjson", rows)
    workspace.run("bench", "corpus", "corpus")
    return workspace


@pytest.fixture(scope="module")
def bids(corpus):
    db = reference.connect()
    db.execute(f"""CREATE TABLE bid AS SELECT *, make_timestamp_ms(date_time) AS ts
        FROM read_json('{corpus.path}/corpus/bid.ndjson', format = 'newline_delimited')""")
    return db


SCRIPT = """
CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time BIGINT, extra TEXT,
  ts TIMESTAMP GENERATED ALWAYS AS (to_timestamp_millis(date_time)) STORED,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (connector = 'files', path = 'corpus/bid.{extension}', format = '{extension}');
CREATE SINK result WITH (connector = 'files', path = '{out}', format = 'ndjson') AS
{query};
"""


@pytest.mark.parametrize("extension", ["ndjson", "parquet"])
@pytest.mark.parametrize("query", QUERIES)
def test_rows_equal_duckdb(corpus, bids, query, extension):
    out = f"out-{query}-{extension}"
    text = (harness.ROOT / f"crates/thalweg/src/bench/queries/{query}.sql").read_text().strip()
    corpus.write(f"{out}.sql", SCRIPT.format(extension=extension, out=out, query=text))
    corpus.run("run", f"{out}.sql", "--parallelism", 2)
    found = bids.execute(ORACLE[query])
    names = [column[0] for column in found.description]
    kinds = ["time" if column[1] == "TIMESTAMP" else "any" for column in found.description]
    wanted = [normal(row, kinds) for row in found.fetchall()]
    got = [normal([row.get(name) for name in names], kinds) for row in corpus.rows(out)]
    problem = reference.difference(got, wanted)
    assert wanted and problem is None, problem


@pytest.mark.parametrize("source", ["generate", "json", "parquet"])
def test_bench_reads_every_event(corpus, source):
    arguments = ["--query", "q0,q11", "--events", EVENTS, "--input", source, "--corpus", "corpus", "-o", "json"]
    lines = corpus.run("bench", "nexmark", *arguments, "--parallelism", 2).stdout.splitlines()
    assert [json.loads(line)["events"] for line in lines] == [EVENTS // 50 * 46] * 2


def normal(row, kinds):
    return tuple(
        reference.normal_value(value, "float" if kind == "any" and is_number(value) else kind)
        for value, kind in zip(row, kinds)
    )


def is_number(value):
    return value is not None and not isinstance(value, (str, bool))
