"""Random pipelines and inputs from a seed: the same seed is the same case, on every machine.

A case has a schema, files of rows (nulls, skewed keys, disorder, rows that come too late), a query of a supported shape,
and the same query for DuckDB. Which rows are late is computed here, by the rule that the engine promises: per file, a
row's watermark is the largest (time - delay) of the rows in front of it.
"""
import dataclasses
import datetime
import random

MICROS = 1_000_000
BASE = 1_700_000_000 * MICROS
WORDS = ["amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "isle", "jade", "ünïcode", "two words", 'q"uote', "back\\slash"]  # fmt: skip


@dataclasses.dataclass
class Column:
    name: str
    sql: str
    duckdb: str
    nulls: float
    draw: object


@dataclasses.dataclass
class Case:
    seed: int
    columns: list  # without time
    time: str
    zoned: bool
    delay: int  # microseconds
    files: list  # of lists of rows; a row is a dict with the time in microseconds
    extension: str
    query: str  # for Thalweg, from `input`
    oracle: str  # for DuckDB, from `input` with columns `__us` and `__wm`
    outputs: list  # (name, kind): kind is time, float or plain

    def declaration(self, path):
        kind = "TIMESTAMP WITH TIME ZONE" if self.zoned else "TIMESTAMP"
        columns = ",\n  ".join([f"{self.time} {kind}"] + [f"{c.name} {c.sql}" for c in self.columns])
        form = self.extension.split(".")[0]
        return (
            f"CREATE SOURCE input (\n  {columns},\n"
            f"  WATERMARK FOR {self.time} AS {self.time} - INTERVAL '{self.delay // MICROS}' SECOND\n"
            f") WITH (connector = 'files', path = '{path}', format = '{form}');\n"
        )

    def script(self, path, output):
        return (
            self.declaration(path)
            + f"CREATE SINK answer WITH (connector = 'files', path = '{output}', format = 'ndjson') AS\n{self.query};\n"
        )


def make(seed):
    rng = random.Random(seed)
    columns = make_columns(rng)
    step = rng.choice([1, 2, 10]) * MICROS
    delay = rng.choice([0, 1, 5, 30]) * step
    files = make_files(rng, columns, step, delay)
    shape = rng.choice([project, tumble, group_form, hop, hop, cumulate, session, session, union, nested, count_window])
    if shape is count_window:
        # Counted in the order of arrival, which only one file gives.
        files = [[row for rows in files for row in rows]]
    zoned = rng.random() < 0.5
    query, oracle, outputs = shape(rng, columns, step)
    extension = rng.choice(["ndjson", "ndjson", "ndjson.gz", "csv", "parquet"])
    return Case(seed, columns, "ts", zoned, delay, files, extension, query, oracle, outputs)


def make_columns(rng):
    columns = []
    for number in range(rng.randint(1, 3)):
        distinct = rng.choice([1, 2, 7, 50, 500])
        skew = rng.choice([1, 1, 4])
        nulls = rng.choice([0, 0, 0.1])

        def index(r, distinct=distinct, skew=skew):
            return int(distinct * r.random() ** skew)

        kind = rng.choice(["TEXT", "TEXT", "BIGINT", "INT", "BOOLEAN", "DATE"])
        draw = {
            "TEXT": lambda r, i=index: f"{WORDS[i(r) % len(WORDS)]}{i(r) // len(WORDS)}",
            "BIGINT": lambda r, i=index: (i(r) - 3) * 1_000_000_007,
            "INT": lambda r, i=index: i(r) - 2,
            "BOOLEAN": lambda r: r.random() < 0.3,
            "DATE": lambda r, i=index: str(datetime.date(2024, 1, 1) + datetime.timedelta(days=i(r))),
        }[kind]
        duck = {"TEXT": "VARCHAR", "INT": "INTEGER"}.get(kind, kind)
        columns.append(Column(f"k{number}", kind, duck, nulls, draw))
    for number in range(rng.randint(1, 3)):
        kind = rng.choice(["BIGINT", "BIGINT", "DOUBLE", "INT"])
        draw = {
            "BIGINT": lambda r: r.randint(-1000, 1_000_000),
            "DOUBLE": lambda r: r.randint(-400_000, 400_000) / 64,
            "INT": lambda r: r.randint(-50, 50),
        }[kind]
        duck = {"INT": "INTEGER"}.get(kind, kind)
        columns.append(Column(f"v{number}", kind, duck, rng.choice([0, 0.1, 0.5]), draw))
    return columns


def make_files(rng, columns, step, delay):
    """Files whose times rise with some disorder; a few rows are too late on purpose."""
    rows = rng.choice([0, 1, 40, 400, 400, 400, 3000, 3000])
    late_share = rng.choice([0, 0.01, 0.05])
    files = []
    for _ in range(rng.choice([1, 1, 2, 5])):
        here = rng.randint(0, rows) if rng.random() < 0.3 else rows
        now, content = BASE + rng.randint(0, 50) * step, []
        for _ in range(here):
            now += rng.choice([0, 0, step // 10, step, step, 2 * step]) if rng.random() < 0.99 else 40 * step
            back = rng.randint(0, delay) if delay and rng.random() < 0.5 else 0
            if rng.random() < late_share:
                back += rng.randint(1, 200) * step
            # Milliseconds, as most feeds have them.
            row = {"ts": (now - back) // 1000 * 1000}
            for column in columns:
                row[column.name] = None if rng.random() < column.nulls else column.draw(rng)
            content.append(row)
        files.append(content)
    return files


def with_watermarks(rows, delay):
    """Adds to each row its file's watermark in front of it, null before the first."""
    watermark, marked = None, []
    for row in rows:
        marked.append({**row, "__us": row["ts"], "__wm": watermark})
        watermark = max(row["ts"] - delay, watermark if watermark is not None else row["ts"] - delay)
    return marked


def keys_of(rng, columns):
    names = [column.name for column in columns if column.name.startswith("k")]
    return rng.sample(names, rng.randint(0 if rng.random() < 0.2 else 1, len(names)))


def values_of(columns, *kinds):
    return [column.name for column in columns if column.name.startswith("v") and (not kinds or column.sql in kinds)]


def condition(rng, columns):
    column = rng.choice(columns)
    if column.name.startswith("v"):
        return rng.choice([f"{column.name} > {rng.randint(-20, 20)}", f"{column.name} IS NOT NULL", f"abs({column.name}) % 3 <> 1"]) if column.sql != "DOUBLE" else f"{column.name} < 100.5"  # fmt: skip
    return {
        "TEXT": f"{column.name} LIKE '%e%'",
        "BIGINT": f"{column.name} > 0",
        "INT": f"{column.name} <> 1",
        "BOOLEAN": f"{column.name}",
        "DATE": f"{column.name} >= DATE '2024-01-03'",
    }[column.sql]


def aggregates(rng, columns):
    """SQL for Thalweg, SQL for DuckDB and kind of each aggregate: the two differ only in result types."""
    integers, everything = values_of(columns, "BIGINT", "INT"), values_of(columns)
    chosen = []
    for number in range(rng.randint(1, 5)):
        value = rng.choice(everything)
        calls = [("count(*)", "plain"), (f"count({value})", "plain"), (f"min({value})", "float"), (f"max({value})", "float"), (f"avg({value})", "float")]  # fmt: skip
        calls += [(f"sum({rng.choice(integers)})", "float")] * 2 if integers else []
        calls += [(f"count(DISTINCT {rng.choice(columns).name})", "plain"), (f"stddev({value})", "float")]
        call, kind = rng.choice(calls)
        if rng.random() < 0.3:
            call += f" FILTER (WHERE {condition(rng, columns)})"
        chosen.append((f"a{number}", call, kind))
    return chosen


def project(rng, columns, step):
    outputs, thalweg, duckdb = [("ts", "time")], ["ts"], ["__us AS ts"]
    for column in rng.sample(columns, rng.randint(1, len(columns))):
        expression = {
            "TEXT": rng.choice(["upper({0})", "{0} || '-x'", "coalesce({0}, 'none')", "length({0})", "{0}"]),
            "BIGINT": rng.choice(["{0} + 1", "{0} % 7", "{0}", "CASE WHEN {0} > 0 THEN 'up' ELSE 'down' END"]),
            "INT": rng.choice(["{0} * 2", "coalesce({0}, 0)", "{0}", "nullif({0}, 0)"]),
            "DOUBLE": rng.choice(["{0} * 0.5", "abs({0})", "{0}", "floor({0})"]),
            "BOOLEAN": rng.choice(["NOT {0}", "{0}"]),
            "DATE": "{0}",
        }[column.sql].format(column.name)
        name = f"o{len(outputs)}"
        kind = "float" if column.sql in ("DOUBLE", "BIGINT", "INT") and "CASE" not in expression else "plain"
        outputs.append((name, kind))
        thalweg.append(f"{expression} AS {name}")
        duckdb.append(f"{expression} AS {name}")
    where = f"\nWHERE {condition(rng, columns)}" if rng.random() < 0.7 else ""
    return (
        f"SELECT {', '.join(thalweg)} FROM input{where}",
        f"SELECT {', '.join(duckdb)} FROM input{where}",
        outputs,
    )


def windowed(rng, columns, function, windows):
    """An aggregation over `function` for Thalweg; `windows` gives DuckDB (start, end) per row, in microseconds."""
    keys, calls = keys_of(rng, columns), aggregates(rng, columns)
    where = condition(rng, columns) if rng.random() < 0.4 else "TRUE"
    selected = [*keys, "window_start", "window_end", *(f"{call} AS {name}" for name, call, _ in calls)]
    group = ", ".join([*keys, "window_start", "window_end"])
    query = f"SELECT {', '.join(selected)}\nFROM {function}"
    query += f"\nWHERE {where}" if where != "TRUE" else ""
    query += f"\nGROUP BY {group}"
    oracle = (
        f"SELECT {', '.join(selected)} FROM ({windows}) WHERE (__wm IS NULL OR window_end > __wm) AND ({where}) GROUP BY {group}"
    )
    outputs = [(key, "plain") for key in keys] + [("window_start", "time"), ("window_end", "time")]
    return query, oracle, outputs + [(name, kind) for name, _, kind in calls]


def tumble(rng, columns, step):
    size = rng.choice([1, 5, 20, 1000]) * step
    return windowed(
        rng, columns,
        f"TUMBLE(TABLE input, DESCRIPTOR(ts), INTERVAL '{size // MICROS}' SECOND)",
        f"SELECT *, __us - __us % {size} AS window_start, __us - __us % {size} + {size} AS window_end FROM input",
    )  # fmt: skip


def group_form(rng, columns, step):
    """`GROUP BY tumble(ts, size)`, which means the same as the table function."""
    size = rng.choice([2, 30]) * step
    keys, calls = keys_of(rng, columns), aggregates(rng, columns)
    window = f"tumble(ts, INTERVAL '{size // MICROS}' SECOND)"
    called = [f"{call} AS {name}" for name, call, _ in calls]
    bounds = [f"tumble_start(ts, INTERVAL '{size // MICROS}' SECOND) AS s", f"tumble_end(ts, INTERVAL '{size // MICROS}' SECOND) AS e"]
    query = f"SELECT {', '.join([*keys, *bounds, *called])}\nFROM input\nGROUP BY {', '.join([*keys, window])}"
    oracle = (
        f"SELECT {', '.join([*keys, 's', 'e', *called])} FROM (SELECT *, __us - __us % {size} AS s, __us - __us % {size} + {size} AS e "
        f"FROM input) WHERE (__wm IS NULL OR e > __wm) GROUP BY {', '.join([*keys, 's', 'e'])}"
    )
    outputs = [(key, "plain") for key in keys] + [("s", "time"), ("e", "time")]
    return query, oracle, outputs + [(name, kind) for name, _, kind in calls]


def union(rng, columns, step):
    """Two selections of the source as one stream, then a window."""
    size = rng.choice([5, 40]) * step
    key, value = columns[0].name, rng.choice(values_of(columns))
    left, right = condition(rng, columns), condition(rng, columns)
    query = (
        f"SELECT key, window_start, window_end, count(*) AS n, sum(left_one) AS lefts, max(v) AS top FROM TUMBLE(TABLE both_sides, "
        f"DESCRIPTOR(ts), INTERVAL '{size // MICROS}' SECOND) GROUP BY key, window_start, window_end"
    )
    parts = [f"SELECT {{ts}}, {key} AS key, {one} AS left_one, {value} AS v FROM input WHERE {where}" for one, where in ((1, left), (0, right))]
    query = "WITH both_sides AS (" + " UNION ALL ".join(p.format(ts="ts") for p in parts) + ")\n" + query
    oracle = (
        f"SELECT key, ws, ws + {size}, count(*), sum(left_one), max(v) FROM (SELECT *, __us - __us % {size} AS ws FROM ("
        + " UNION ALL ".join(p.format(ts="__us, __wm") for p in parts)
        + f")) WHERE __wm IS NULL OR ws + {size} > __wm GROUP BY key, ws"
    )
    outputs = [("key", "plain"), ("window_start", "time"), ("window_end", "time"), ("n", "plain"), ("lefts", "float"), ("top", "float")]
    return query, oracle, outputs


def nested(rng, columns, step):
    """An aggregate of aggregates: per window the largest group (the outer part of Nexmark's q5)."""
    slide = rng.choice([2, 10]) * step
    count = rng.choice([1, 3])
    size = slide * count
    key = columns[0].name
    interval = f"INTERVAL '{slide // MICROS}' SECOND, INTERVAL '{size // MICROS}' SECOND"
    query = (
        f"SELECT window_start, window_end, max(n) AS most, count(*) AS groups FROM (SELECT {key}, window_start, window_end, count(*) AS n "
        f"FROM HOP(TABLE input, DESCRIPTOR(ts), {interval}) GROUP BY {key}, window_start, window_end) GROUP BY window_start, window_end"
    )
    oracle = (
        f"SELECT ws, ws + {size}, max(n), count(*) FROM (SELECT {key}, ws, count(*) AS n FROM (SELECT *, __us - __us % {slide} - {slide} * r AS ws "
        f"FROM input, range({count}) AS t(r)) WHERE __wm IS NULL OR ws + {size} > __wm GROUP BY {key}, ws) GROUP BY ws"
    )
    return query, oracle, [("window_start", "time"), ("window_end", "time"), ("most", "plain"), ("groups", "plain")]


def count_window(rng, columns, step):
    """Every `size` rows of a key, in the order of arrival; time and lateness do not matter."""
    size = rng.choice([1, 3, 20])
    key, calls = columns[0].name, aggregates(rng, columns)
    called = [f"{call} AS {name}" for name, call, _ in calls]
    query = (
        f"SELECT {', '.join([key, 'window_start', 'window_end', *called])}\nFROM COUNT_TUMBLE(TABLE input PARTITION BY {key}, {size})\n"
        f"GROUP BY {key}, window_start, window_end"
    )
    oracle = (
        f"SELECT {', '.join([key, 'ws AS window_start', f'ws + {size} AS window_end', *called])} FROM (SELECT *, (row_number() OVER "
        f"(PARTITION BY {key} ORDER BY __id) - 1) // {size} * {size} AS ws FROM input) GROUP BY {key}, ws HAVING count(*) = {size}"
    )
    outputs = [(key, "plain"), ("window_start", "plain"), ("window_end", "plain")]
    return query, oracle, outputs + [(name, kind) for name, _, kind in calls]


def hop(rng, columns, step):
    slide = rng.choice([1, 4, 10]) * step
    count = rng.choice([1, 2, 5])
    size = slide * count
    return windowed(
        rng, columns,
        f"HOP(TABLE input, DESCRIPTOR(ts), INTERVAL '{slide // MICROS}' SECOND, INTERVAL '{size // MICROS}' SECOND)",
        f"SELECT *, __us - __us % {slide} - {slide} * r AS window_start, __us - __us % {slide} - {slide} * r + {size} AS window_end FROM input, range({count}) AS t(r)",
    )  # fmt: skip


def cumulate(rng, columns, step):
    grow = rng.choice([1, 5]) * step
    count = rng.choice([2, 6])
    size = grow * count
    return windowed(
        rng, columns,
        f"CUMULATE(TABLE input, DESCRIPTOR(ts), INTERVAL '{grow // MICROS}' SECOND, INTERVAL '{size // MICROS}' SECOND)",
        f"SELECT *, __us - __us % {size} AS window_start, __us - __us % {size} + {grow} * (r + 1) AS window_end FROM input, range({count}) AS t(r) WHERE __us < __us - __us % {size} + {grow} * (r + 1)",
    )  # fmt: skip


def session(rng, columns, step):
    """Rows up to `gap` apart are one session; a row is late if it lies behind its watermark at all."""
    gap = rng.choice([1, 3, 10, 50]) * step
    keys, calls = keys_of(rng, columns), aggregates(rng, columns)
    where = condition(rng, columns) if rng.random() < 0.3 else "TRUE"
    partition = f" PARTITION BY {', '.join(keys)}" if keys else ""
    selected = [*keys, "window_start", "window_end", *(f"{call} AS {name}" for name, call, _ in calls)]
    group = ", ".join([*keys, "window_start", "window_end"])
    query = f"SELECT {', '.join(selected)}\nFROM SESSION(TABLE input{partition}, DESCRIPTOR(ts), INTERVAL '{gap // MICROS}' SECOND)"
    query += f"\nWHERE {where}" if where != "TRUE" else ""
    query += f"\nGROUP BY {group}"
    over = f"PARTITION BY {', '.join(keys)} ORDER BY __us" if keys else "ORDER BY __us"
    within = f"PARTITION BY {', '.join([*keys, '__session'])}"
    oracle = f"""
      SELECT {', '.join(selected)} FROM (
        SELECT *, min(__us) OVER ({within}) AS window_start, max(__us) OVER ({within}) + {gap} AS window_end FROM (
          SELECT *, sum(__fresh) OVER ({over}, __id ROWS UNBOUNDED PRECEDING) AS __session FROM (
            SELECT *, CASE WHEN __us - lag(__us) OVER ({over}, __id) > {gap} THEN 1 ELSE 0 END AS __fresh FROM input
            WHERE (__wm IS NULL OR __us >= __wm) AND ({where}))))
      GROUP BY {group}"""
    outputs = [(key, "plain") for key in keys] + [("window_start", "time"), ("window_end", "time")]
    return query, oracle, outputs + [(name, kind) for name, _, kind in calls]
