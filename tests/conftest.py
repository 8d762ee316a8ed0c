"""What every test of the binary shares: where it is, and how to run it."""
import sys
import pathlib

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness  # noqa: E402


@pytest.fixture(scope="session")
def binary():
    return harness.binary()


@pytest.fixture
def workspace(tmp_path):
    """An empty folder to run a pipeline in."""
    return harness.Workspace(tmp_path)
