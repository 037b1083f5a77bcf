"""Work on a Dask cluster: the same results as here, whatever becomes of workers and scheduler."""
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_program import asl_nb, recordings, refused  # noqa: F401 (a fixture)

from asl_nb.capture.extraction import extract
from asl_nb.capture.extractor import load_holistic
from asl_nb.capture.recordings import Labelling
from asl_nb.core.cluster import results_of_cluster
from asl_nb.core.errors import InputError
from asl_nb.data.clips import read_clip
from asl_nb.data.layout import read_table
from asl_nb.training.crossval import cross_validate

dask = pytest.importorskip("dask", reason="needs python setup_venv.py dev", exc_type=ImportError)
distributed = pytest.importorskip("distributed", reason="needs python setup_venv.py dev", exc_type=ImportError)
VIDEOS = Path(__file__).resolve().parents[2]/"shared"/"data"/"videos"
SMALL = {"dim": 16, "epochs": 2, "epoch_steps": 1, "signs": "hello,please,bye"}


@pytest.fixture
def cluster():
    "Two workers, each a process of its own."
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None,
                                  silence_logs=50) as cluster: yield cluster


def pids(cluster):
    with distributed.Client(cluster, set_as_default=False) as client: return list(client.run(os.getpid).values())


def runs(recordings, out, **options):  # noqa: F811
    return cross_validate(recordings, "synthetic01;synthetic02;synthetic03", out, "best", changes=SMALL, report=None,
                          **options)


def test_runs_are_the_same_as_here_though_a_worker_is_killed(recordings, tmp_path, cluster):  # noqa: F811
    killed = []

    def kill():
        "As soon as there is a result, somewhere."
        while not list(tmp_path.glob("there/*/*.json")): time.sleep(.02)
        killed.append(pids(cluster)[0])
        os.kill(killed[0], signal.SIGKILL)
    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    there = runs(recordings, tmp_path/"there", scheduler=cluster.scheduler_address)
    thread.join(30)
    assert killed and killed[0] not in pids(cluster)
    here = runs(recordings, tmp_path/"here")
    assert [each.fold for each in there] == [each.fold for each in here] == ["F1", "F2", "F3"]
    for one, other in zip(there, here):
        assert one.settings == other.settings and one.labels == other.labels
        np.testing.assert_allclose(one.logits, other.logits, atol=1e-3)
    assert len(list(tmp_path.glob("there/best/*.json"))) == 3


def die_at_two(number):
    if number == 2:
        time.sleep(1) # a worker that dies while it starts is not started again
        os._exit(1)
    return number


def test_what_only_waited_with_a_worker_that_died_is_not_lost():
    "One worker holds all tasks, so that Dask blames each of them for its death."
    with dask.config.set({"distributed.scheduler.worker-saturation": float("inf"),
                          "distributed.scheduler.allowed-failures": 0}), \
            distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None,
                                     silence_logs=50) as cluster:
        found = dict(results_of_cluster(cluster.scheduler_address, die_at_two, [(number,) for number in range(5)]))
    assert found == {0: 0, 1: 1, 2: None, 3: 3, 4: 4}


@pytest.fixture
def scheduler(tmp_path):
    "A scheduler and a worker as a person starts them; the process and its address."
    file = tmp_path/"scheduler.json"
    words = {"scheduler": ["--host", "127.0.0.1", "--port", "0"], "worker": ["--nthreads", "1", "--no-nanny"]}
    processes = [subprocess.Popen([sys.executable, "-m", f"distributed.cli.dask_{name}", "--no-dashboard",
                                   "--scheduler-file", file, *more], stderr=subprocess.DEVNULL)
                 for name, more in words.items()]
    while not file.exists(): time.sleep(.05)
    yield processes[0], json.loads(file.read_text())["address"]
    for process in processes: process.kill(), process.wait()


def test_without_its_scheduler_what_is_done_is_kept(recordings, tmp_path, scheduler):  # noqa: F811
    process, address = scheduler

    def stop():
        while not list(tmp_path.glob("best/*.json")): time.sleep(.02)
        process.kill()
    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    with pytest.raises(InputError, match="the Dask scheduler went away; start it again"):
        runs(recordings, tmp_path, scheduler=address)
    thread.join(60)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("best/*.json")}
    assert 1 <= len(kept) < 3
    assert [each.fold for each in runs(recordings, tmp_path)] == ["F1", "F2", "F3"]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # not done again


def test_a_scheduler_that_is_not_there_is_named(recordings, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("asl_nb.core.cluster.SECONDS_TO_CONNECT", .5)
    words = ["crossval", "--data", recordings, "--folds", 2, "--out", tmp_path, "--scheduler"]
    refused(asl_nb(*words, "tcp://127.0.0.1:9", check=False), "tcp://127.0.0.1:9", "no Dask scheduler answers")
    refused(asl_nb(*words, "nowhere", check=False), "nowhere", "dask scheduler")


@pytest.mark.skipif(not VIDEOS.exists(), reason="the recordings in ../shared are not here")
def test_films_are_read_by_the_cluster_though_a_worker_is_killed(tmp_path, cluster):
    pytest.importorskip("cv2", reason="needs python setup_venv.py dev capture", exc_type=ImportError)
    try: load_holistic()
    except InputError as error: pytest.skip(str(error))
    killed, out = [], tmp_path/"there"

    def kill():
        while not list(out.glob("train_landmark_files/*/*.parquet")): time.sleep(.02)
        killed.append(pids(cluster)[0])
        os.kill(killed[0], signal.SIGKILL)
    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    films = sorted(VIDEOS.glob("*.mp4"))[:3]
    labelling = Labelling(sign="a word", participant="somebody")
    done = extract(films, out, labelling, scheduler=cluster.scheduler_address)
    thread.join(30)
    assert killed and (done.clips, done.kept, done.faults) == (3, 0, {})
    here = extract(films, tmp_path/"here", labelling)
    assert here.clips == 3 and read_table(out).equals(read_table(tmp_path/"here"))
    for path in read_table(out).path:
        np.testing.assert_array_equal(read_clip(out/path), read_clip(tmp_path/"here"/path))
    assert extract(films, out, labelling, scheduler=cluster.scheduler_address).kept == 3
