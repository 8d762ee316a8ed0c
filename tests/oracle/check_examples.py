"""check_examples.py FLIGHTS|EARTHQUAKES|RIDES OUT: compares what an example wrote into OUT with DuckDB's answer.

Used by the tests; by hand after e.g. `thalweg run examples/flights/pipeline.sql`: check_examples.py flights out
"""
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import reference  # noqa: E402

import harness  # noqa: E402

DAY, HOUR, MINUTE = 86_400_000_000, 3_600_000_000, 60_000_000
TIMES = {"window_start", "window_end", "departed_at", "occurred_at", "priced_at"}

# For every row the watermark of its file in front of it: the largest time so far, less the delay.
EARTHQUAKES_VIEW = f"""
  CREATE TABLE earthquakes AS
  SELECT *, max(us - {3 * DAY}) OVER (PARTITION BY filename ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS wm
  FROM (
    SELECT *, epoch_us(try_cast(occurred_at AS TIMESTAMPTZ)) AS us, row_number() OVER () AS n,
      trim(regexp_replace(place, '^.*,', '')) AS region, try_cast(strength AS DOUBLE) AS magnitude
    FROM (
      SELECT filename, line ->> '$.id' AS id, line ->> '$.occurred_at' AS occurred_at, line ->> '$.magnitude' AS strength,
        line ->> '$.place' AS place, (line ->> '$.depth_km')::DOUBLE AS depth_km, line ->> '$.network' AS network,
        line ->> '$.type' AS type
      FROM (
        SELECT filename, CASE WHEN json_valid(line) THEN line END AS line
        FROM read_csv('{{examples}}/earthquakes/feed/*.ndjson', columns = {{{{'line': 'VARCHAR'}}}}, delim = '\\x01',
          quote = '', escape = '', header = false, filename = true, parallel = false)))
    WHERE us IS NOT NULL AND magnitude IS NOT NULL)"""


def tumble(size):
    return f"us - us % {size} AS window_start, us - us % {size} + {size} AS window_end"


def flights(db, _):
    db.execute(f"""CREATE TABLE flights AS SELECT *, epoch_us(departed_at) AS us
        FROM read_json('{harness.EXAMPLES}/flights/flights.ndjson', format = 'newline_delimited')""")
    # The file is in the order of departure, so nothing is late.
    return {
        "daily_delays": f"""SELECT origin, {tumble(DAY)}, count(*) AS flights, avg(delay_minutes) AS average_delay
            FROM flights GROUP BY ALL""",
        "long_waits": """SELECT us AS departed_at, origin, destination, delay_minutes FROM flights
            WHERE delay_minutes >= 180""",
    }


def earthquakes(db, _):
    db.execute(EARTHQUAKES_VIEW.format(examples=harness.EXAMPLES))
    gap = 2 * HOUR
    return {
        "activity": f"""SELECT network, window_start, window_end, count(*) AS events, max(magnitude) AS strongest,
              count(*) FILTER (magnitude >= 4.5) AS felt_widely
            FROM (SELECT *, {tumble(6 * HOUR)} FROM earthquakes)
            WHERE type = 'earthquake' AND (wm IS NULL OR window_end > wm) GROUP BY network, window_start, window_end""",
        "swarms": f"""SELECT region, min(us) AS window_start, max(us) + {gap} AS window_end, count(*) AS shocks,
              max(magnitude) AS strongest
            FROM (SELECT *, sum(fresh) OVER (PARTITION BY region ORDER BY us, n ROWS UNBOUNDED PRECEDING) AS session
              FROM (SELECT *, coalesce(us - lag(us) OVER (PARTITION BY region ORDER BY us, n) > {gap}, true)::INT AS fresh
                FROM earthquakes WHERE type = 'earthquake' AND (wm IS NULL OR us >= wm)))
            GROUP BY region, session HAVING count(*) >= 5""",
        "strong": """SELECT id, us AS occurred_at, magnitude, place, depth_km FROM earthquakes WHERE magnitude >= 5.5""",
    }


def rides(db, generated):
    """The generator's rows come from files that it wrote itself; its disorder stays below the watermark's delay."""
    for name, time in (("requests", "requested_at"), ("drivers", "pinged_at")):
        db.execute(f"""CREATE TABLE {name} AS SELECT *, epoch_us({time}) AS us
            FROM read_parquet('{generated}/{name}/**/*.parquet')""")
    return {
        "prices": f"""SELECT zone, window_end AS priced_at, demand, supply, CASE WHEN supply = 0 THEN 3.0
              ELSE least(3.0, greatest(1.0, round(demand::DOUBLE / (2.5 * supply), 2))) END::DOUBLE AS surge
            FROM (SELECT zone, us - us % {MINUTE} - {MINUTE} * r + {5 * MINUTE} AS window_end,
                count(rider) AS demand, count(DISTINCT driver) AS supply
              FROM (SELECT zone, us, rider_id AS rider, NULL AS driver FROM requests UNION ALL
                SELECT zone, us, NULL, driver_id FROM drivers WHERE status = 'free'), range(5) AS t(r) GROUP BY 1, 2)""",
        "hourly": f"""SELECT zone, {tumble(HOUR)}, count(*) AS requests, avg(distance_km) AS average_km FROM requests
            GROUP BY ALL""",
    }


ANSWERS = {"flights": flights, "earthquakes": earthquakes, "rides": rides}


def check(example, out, generated=None):
    """Problems by sink; empty if every sink holds exactly what DuckDB says."""
    db = reference.connect()
    problems = {}
    for sink, query in ANSWERS[example](db, generated).items():
        found = db.execute(query)
        names = [column[0] for column in found.description]
        outputs = [(name, "time" if name in TIMES else "any") for name in names]
        wanted = [value_row(row, outputs) for row in found.fetchall()]
        assert wanted, f"DuckDB gives no rows for {sink}"
        workspace = harness.Workspace(pathlib.Path(out).resolve())
        got = [value_row([row.get(name) for name in names], outputs) for row in workspace.rows(sink)]
        if problem := reference.difference(got, wanted):
            problems[sink] = problem
    return problems


def value_row(row, outputs):
    return tuple(
        reference.normal_value(value, "float" if isinstance(value, (int, float)) and kind != "time" else kind)
        for value, (_, kind) in zip(row, outputs)
    )


if __name__ == "__main__":
    found = check(sys.argv[1].lower(), sys.argv[2], *sys.argv[3:4])
    for name, text in found.items():
        print(f"{name}: {text}")
    sys.exit(f"{len(found)} sinks differ" if found else 0)
