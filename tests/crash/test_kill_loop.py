"""At least 200 kills over the examples. THALWEG_KILLS: how many in all; THALWEG_KILL_SEED: another course of events."""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import kill_loop  # noqa: E402

EXAMPLES = ["flights", "earthquakes", "rides"]
KILLS = int(os.environ.get("THALWEG_KILLS", "210"))
SEED = int(os.environ.get("THALWEG_KILL_SEED", "1"))


@pytest.mark.parametrize("example", EXAMPLES)
def test_output_after_kills_equals_the_undisturbed(example, tmp_path):
    each = -(-KILLS // len(EXAMPLES))
    assert kill_loop.loop(example, each, SEED, tmp_path) >= each
