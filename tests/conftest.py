"""Options shared by all tests."""
import functools
import os
import shutil
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import settings

# The same examples every time; `make test-random` looks for others, and what it finds becomes a fixed example.
settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
settings.register_profile("search", derandomize=False, deadline=None)
settings.load_profile("fixed")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the long tests too")


def pytest_configure(config):
    "Keep the stores of test folders away from the user's cache."
    if "ASL_NB_CACHE" not in os.environ:
        os.environ["ASL_NB_CACHE"] = tempfile.mkdtemp(prefix="asl_nb-test-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ["ASL_NB_CACHE"], ignore_errors=True))
    config.addinivalue_line("markers", "slow: takes more than half a minute")


# A worker has the whole of a file (`--dist loadfile`), so that what its tests share is made once. These take longest,
# and begin first: the last minutes are then short files, which keep both workers busy.
LONGEST = ("test_site", "test_hostile", "test_resume", "test_export", "test_demo_page", "test_program")


def pytest_collection_modifyitems(config, items):
    def place(item): return LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST)
    items.sort(key=place)
    if config.getoption("--slow"): return
    for item in items:
        if "slow" in item.keywords: item.add_marker(pytest.mark.skip(reason="long; run with --slow"))


@pytest.fixture(scope="session")
def launch():
    """Starts a headless Chromium, with more flags where a test needs them.

    One driver serves all tests of a worker: a second one cannot be started beside it.
    """
    needed = "needs python setup_venv.py dev check"
    sync_api = pytest.importorskip("playwright.sync_api", reason=needed, exc_type=ImportError)
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not program: pytest.skip("no Chromium on this machine; install the package chromium")
    flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_api.sync_playwright() as driver:
        yield lambda *more: driver.chromium.launch(executable_path=program, args=[*flags, *more])


@pytest.fixture(scope="session")
def browser(launch):
    "A headless Chromium, started once for each test worker."
    browser = launch()
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def serve():
    "Start servers for folders; returns the address of the root."
    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_): pass
    servers = []
    def start(folder):
        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=folder))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}/"
    yield start
    for server in servers: server.shutdown(), server.server_close()
