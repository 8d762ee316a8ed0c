"""kill -9 of the real process at random instants, and the same command again, until the pipeline has come to its end.

    kill_loop.py EXAMPLE KILLS [SEED]

Then every sink must hold the same rows, as a multiset, as after a run that nobody disturbed. Some rounds also change
the parallelism from restart to restart.
"""
import collections
import pathlib
import random
import shutil
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1])]
import harness  # noqa: E402
import inputs  # noqa: E402

# Many epochs per second, so that kills hit every phase of a checkpoint.
FLAGS = ["--set", "run.checkpoint_interval=20ms", "--set", "run.publish_interval=5ms"]
RESTARTS_MAX = 400


def loop(example, kills, seed, folder, say=print):
    """Kills at least `kills` times; returns the number of kills, or raises AssertionError naming the seed."""
    rng = random.Random(seed)
    repeats = {"flights": 25, "earthquakes": 150, "rides": 4}[example]
    base = harness.Workspace(folder)
    PREPARE[example](base.path, repeats)
    began = time.monotonic()
    run(base, example, 2, "data-calm")
    lasts = time.monotonic() - began
    calm = outputs(base)
    assert any(calm.values()), "the undisturbed run wrote nothing"
    shutil.move(base.path / "out", base.path / "calm")
    say(f"{example}: undisturbed in {lasts:.2f} s, {sum(map(len, calm.values()))} rows in {len(calm)} sinks")
    done = rounds = 0
    while done < kills:
        rounds += 1
        done += disturbed_round(base, example, rng, lasts, calm, rescale=rounds % 2 == 0)
        found = outputs(base)
        for sink, rows in calm.items():
            assert found.get(sink) == rows, explain(sink, rows, found.get(sink, []), seed, rounds, base.path)
        shutil.rmtree(base.path / "out")
        shutil.rmtree(base.path / "data")
    say(f"{example}: {done} kills in {rounds} rounds, output equal each time")
    return done


def disturbed_round(base, example, rng, lasts, calm, rescale):
    """From nothing to the end, with kills on the way."""
    kills = 0
    for _ in range(RESTARTS_MAX):
        parallelism = rng.choice([1, 2, 3]) if rescale else 2
        process = base.start(*command(example, parallelism, "data"))
        # Kills while starting and restoring as well as in the middle; the patience grows, so that it ends.
        patience = rng.uniform(0.0, 0.6 * lasts) * (1 + kills / 20)
        deadline = time.monotonic() + patience
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        if process.poll() is None:
            harness.kill(process)
            kills += 1
            if kills % 5 == 0:
                never_more_than(calm, outputs(base))
            continue
        errors = process.stderr.read()
        assert process.returncode == 0, f"after {kills} kills the run failed with {process.returncode}:\n{errors[-3000:]}"
        harness.kill(process)
        return kills
    raise AssertionError(f"not finished after {RESTARTS_MAX} restarts: it makes no progress between kills")


def never_more_than(calm, found):
    """What can be seen after a kill is part of the final result: nothing wrong, nothing twice, not even for a while."""
    for sink, rows in found.items():
        extra = collections.Counter(rows) - collections.Counter(calm[sink])
        assert not extra, f"after a kill sink {sink} shows rows that the result does not have: {list(extra)[:3]}"


def command(example, parallelism, data):
    return ["run", f"examples/{example}/pipeline.sql", "--parallelism", parallelism, "--data-dir", data, *FLAGS]


def run(base, example, parallelism, data):
    base.run(*command(example, parallelism, data), timeout=300)


def outputs(base):
    folder = base.path / "out"
    return {sink.name: harness.multiset(base.rows(f"out/{sink.name}")) for sink in sorted(folder.iterdir())} if folder.exists() else {}


def explain(sink, wanted, got, seed, rounds, path):
    missing, extra = set(wanted) - set(got), set(got) - set(wanted)
    return (
        f"sink {sink}: {len(got)} rows, undisturbed {len(wanted)} (seed {seed}, round {rounds}, kept in {path})\n"
        f"missing {len(missing)}: {sorted(missing)[:3]}\ntoo many or changed {len(extra)}: {sorted(extra)[:3]}"
    )


PREPARE = {"flights": inputs.flights, "earthquakes": inputs.earthquakes, "rides": inputs.rides}

if __name__ == "__main__":
    name, number, first_seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1
    loop(name, number, first_seed, pathlib.Path(tempfile.mkdtemp(prefix=f"thalweg-kill-{name}-")))
