"""The examples with more input than they come with, so that a run lasts long enough to be killed many times."""
import datetime
import json
import pathlib
import re
import shutil

import harness


def flights(folder, repeats):
    repeat_ndjson(folder, "flights/flights.ndjson", repeats, ["departed_at"], datetime.timedelta(days=91))
    return "flights"


def earthquakes(folder, repeats):
    repeat_ndjson(folder, "earthquakes/feed/week.ndjson", repeats, ["occurred_at", "updated_at"], datetime.timedelta(days=7))
    shutil.copy(harness.EXAMPLES / "earthquakes/feed/relay.ndjson", folder / "examples/earthquakes/feed/relay.ndjson")
    return "earthquakes"


def rides(folder, repeats):
    """The generator is asked for more rows."""
    copy_pipeline(folder, "rides")
    script = pathlib.Path(folder) / "examples/rides/pipeline.sql"
    longer = re.sub(r"rows = '(\d+)'", lambda found: f"rows = '{int(found[1]) * repeats}'", script.read_text())
    script.write_text(longer)
    return "rides"


def repeat_ndjson(folder, name, repeats, times, shift):
    """Writes `repeats` copies one after the other, each later in event time."""
    rows = harness.read_ndjson(harness.EXAMPLES / name)
    target = pathlib.Path(folder) / "examples" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    copy_pipeline(folder, name.split("/")[0])
    instants = [[datetime.datetime.fromisoformat(row[time]) for time in times] for row in rows]
    with open(target, "w") as out:
        for number in range(repeats):
            for row, moments in zip(rows, instants):
                moved = {t: (m + shift * number).isoformat(timespec="milliseconds") for t, m in zip(times, moments)}
                out.write(json.dumps({**row, **moved}) + "\n")


def copy_pipeline(folder, example):
    target = pathlib.Path(folder) / "examples" / example
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(harness.EXAMPLES / example / "pipeline.sql", target / "pipeline.sql")
