"""Nexmark queries as `thalweg bench` runs them give DuckDB's rows over the same bids."""
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


@pytest.mark.parametrize("form", ["json", "parquet"])
@pytest.mark.parametrize("query", QUERIES)
def test_rows_equal_duckdb(corpus, bids, query, form):
    out = f"out-{query}-{form}"
    arguments = ["--query", query, "--input", form, "--corpus", "corpus", "--output", "files", "--out", out, "--events", EVENTS]
    corpus.run("bench", "nexmark", *arguments, "--parallelism", 2, "--data-dir", f"data-{query}-{form}")
    found = bids.execute(ORACLE[query])
    names = [column[0] for column in found.description]
    kinds = ["time" if column[1] == "TIMESTAMP" else "any" for column in found.description]
    wanted = [normal(row, kinds) for row in found.fetchall()]
    got = [normal([row.get(name) for name in names], kinds) for row in corpus.rows(out)]
    assert wanted and reference.difference(got, wanted) is None, reference.difference(got, wanted)


def normal(row, kinds):
    return tuple(
        reference.normal_value(value, "float" if kind == "any" and is_number(value) else kind)
        for value, kind in zip(row, kinds)
    )


def is_number(value):
    return value is not None and not isinstance(value, (str, bool))
