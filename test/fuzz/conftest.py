"""The helpers of all tests, and the folder of the damaged files away at the end."""

import shutil

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_files_left():
    from file_targets import scratch

    yield
    shutil.rmtree(scratch(), ignore_errors=True)
