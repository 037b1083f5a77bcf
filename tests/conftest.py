"""Options shared by all tests."""
import os
import shutil
import tempfile

import pytest


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the long tests too")


def pytest_configure(config):
    "Keep the stores of test folders away from the user's cache."
    if "ASL_NB_CACHE" not in os.environ:
        os.environ["ASL_NB_CACHE"] = tempfile.mkdtemp(prefix="asl_nb-test-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ["ASL_NB_CACHE"], ignore_errors=True))
    config.addinivalue_line("markers", "slow: takes more than half a minute")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"): return
    for item in items:
        if "slow" in item.keywords: item.add_marker(pytest.mark.skip(reason="long; run with --slow"))
