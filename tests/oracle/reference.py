"""DuckDB's answer to a case, and the comparison of two answers as multisets."""
import csv
import datetime
import gzip
import io
import json
import math

import duckdb

import cases


def connect():
    db = duckdb.connect(config={"threads": 1})
    db.execute("SET TimeZone = 'UTC'")
    return db


def expected(case, folder):
    """Rows that DuckDB gives, each a tuple in the order of `case.outputs`."""
    marked = [row for rows in case.files for row in cases.with_watermarks(rows, case.delay)]
    path = folder / "oracle.ndjson"
    path.write_text("".join(json.dumps({**row, "__id": number}) + "\n" for number, row in enumerate(marked)))
    kinds = {column.name: column.duckdb for column in case.columns} | {"__us": "BIGINT", "__wm": "BIGINT", "__id": "BIGINT"}
    columns = ", ".join(f"{name}: '{kind}'" for name, kind in kinds.items())
    db = connect()
    if marked:
        db.execute(
            f"CREATE TABLE input AS SELECT * FROM read_json('{path}', format = 'newline_delimited', columns = {{{columns}}})"
        )
    else:
        db.execute(f"CREATE TABLE input ({', '.join(f'{name} {kind}' for name, kind in kinds.items())})")
    return [normal(row, case.outputs) for row in db.execute(case.oracle).fetchall()]


def actual(case, rows):
    return [normal([row.get(name) for name, _ in case.outputs], case.outputs) for row in rows]


def normal(row, outputs):
    return tuple(normal_value(value, kind) for value, (_, kind) in zip(row, outputs, strict=True))


def normal_value(value, kind):
    if value is None:
        return None
    if kind == "time":
        return value if isinstance(value, int) else micros(value)
    if kind == "float":
        return None if math.isnan(float(value)) else float(value)
    return str(value) if isinstance(value, datetime.date) else value


def micros(text):
    at = datetime.datetime.fromisoformat(text) if isinstance(text, str) else text
    at = at if at.tzinfo else at.replace(tzinfo=datetime.timezone.utc)
    return round((at - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) / datetime.timedelta(microseconds=1))


def difference(got, wanted):
    """None if the two are the same multiset (floats to nine digits), else a description of the first differences."""

    def order(row):
        return [(value is None, type(value).__name__, f"{value:.6g}" if isinstance(value, float) else value) for value in row]

    got, wanted = sorted(got, key=lambda r: repr(order(r))), sorted(wanted, key=lambda r: repr(order(r)))
    if len(got) == len(wanted) and all(map(same, got, wanted)):
        return None
    only_got, only_wanted = list(got), []
    for row in wanted:
        for index, other in enumerate(only_got):
            if same(other, row):
                del only_got[index]
                break
        else:
            only_wanted.append(row)
    if not only_got and not only_wanted:
        return None
    return (
        f"{len(got)} rows, expected {len(wanted)}; {len(only_wanted)} missing, {len(only_got)} too many\n"
        + "\n".join(f"  missing  {row}" for row in only_wanted[:5])
        + "\n"
        + "\n".join(f"  too many {row}" for row in only_got[:5])
    )


def same(left, right):
    return all(
        math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) if isinstance(a, float) and isinstance(b, float) else a == b
        for a, b in zip(left, right)
    )


def write_inputs(case, folder):
    """The case's files in its format; returns the glob that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, rows in enumerate(case.files):
        path = folder / f"part-{number}.{case.extension}"
        texts = [{**row, "ts": as_text(row["ts"], case.zoned)} for row in rows]
        if case.extension == "parquet":
            write_parquet(case, texts, path)
        elif case.extension == "csv":
            write_csv(case, texts, path)
        else:
            data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in texts).encode()
            path.write_bytes(gzip.compress(data) if case.extension.endswith(".gz") else data)
    return f"{folder.name}/*.{case.extension}"


def as_text(us, zoned):
    at = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=us)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}" + ("Z" if zoned else "")


def write_csv(case, rows, path):
    """A null is nothing between two commas."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ["ts", *(column.name for column in case.columns)]
    writer.writerow(names)
    for row in rows:
        writer.writerow(["" if row[n] is None else str(row[n]).lower() if row[n] in (True, False) and isinstance(row[n], bool) else row[n] for n in names])  # fmt: skip
    path.write_text(out.getvalue())


def write_parquet(case, rows, path):
    kinds = {"ts": "TIMESTAMPTZ" if case.zoned else "TIMESTAMP"} | {c.name: c.duckdb for c in case.columns}
    db = connect()
    if rows:
        source = path.with_suffix(".tmp")
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        columns = ", ".join(f"{name}: '{kind}'" for name, kind in kinds.items())
        select = f"SELECT * FROM read_json('{source}', format = 'newline_delimited', columns = {{{columns}}})"
    else:
        select = "SELECT " + ", ".join(f"NULL::{kind} AS {name}" for name, kind in kinds.items()) + " WHERE FALSE"
    db.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE 2048)")
    path.with_suffix(".tmp").unlink(missing_ok=True)
