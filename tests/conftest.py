"""Options shared by all tests."""
import pytest


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the long tests too")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than half a minute")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"): return
    for item in items:
        if "slow" in item.keywords: item.add_marker(pytest.mark.skip(reason="long; run with --slow"))
