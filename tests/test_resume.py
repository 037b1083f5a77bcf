"""Nothing is lost: runs that are killed, interrupted or spread over processes end as an unbroken run does."""
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import torch

from asl_nb.cli import app
from asl_nb.data.synthetic import write_synthetic
from asl_nb.training.manifest import read_manifest

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
RUN = ["train", "--synthetic-signers", "4", "--synthetic-clips", "1", "--validation-share", "0.3", "--dim", "16",
       "--epochs", "4", "--epoch-steps", "6", "--batch-size", "16"]


OWN_STORES = {**ENVIRONMENT, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"} # for torchrun --max-restarts


def start(*words, launcher=("-m", "asl_nb"), environment=ENVIRONMENT):
    command = [sys.executable, *launcher, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["asl_nb.cli", "asl_nb.training.trainer", "asl_nb.training.monitoring", "torch._dynamo",
                              "torchmetrics"])


def run_command(words, *streams):
    "What a forked process does: the command, with its output in files."
    for number, path in enumerate(streams, 1): os.dup2(os.open(path, os.O_WRONLY), number)
    torch.set_num_threads(1)
    app(words)


class Fork:
    "A command in a process of its own that need not load the libraries, to be used as one of `subprocess`."
    def __init__(self, *words):
        self.streams = [tempfile.NamedTemporaryFile("r") for _ in range(2)]
        self.process = FORKS.Process(target=run_command, args=(list(map(str, words)), *(s.name for s in self.streams)))
        self.process.start()
        self.pid, self.kill = self.process.pid, self.process.kill

    returncode = property(lambda self: self.process.exitcode)
    def poll(self): return self.returncode
    def send_signal(self, number): os.kill(self.pid, number)
    def communicate(self, timeout=None):
        self.process.join(timeout)
        return tuple(stream.read() for stream in self.streams)


def finish(process, code=0):
    out, error = process.communicate(timeout=300)
    assert process.returncode == code, error + out
    return out, error


def wait_for_checkpoint(process, out):
    while not list(out.glob("*_checkpoint_*.pt")):
        assert process.poll() is None, process.communicate()
        time.sleep(.01)


def outcome(out):
    "What a run came to: its curves, its test scores and its weights."
    manifest = read_manifest(next(out.glob("*_final_manifest.json")))
    weights = torch.load(next(out.glob("*.pth")), weights_only=True)["state_dict"]
    return manifest.training_history.as_history().as_dict(), manifest.final_results.test, weights


def assert_same(one, other):
    assert one[:2] == other[:2]
    assert all(torch.equal(weight, other[2][name]) for name, weight in one[2].items())


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken")
    process = start(*RUN, "--out", out)
    wait_for_checkpoint(process, out)
    began = time.monotonic()
    finish(process)
    return outcome(out), time.monotonic() - began


@pytest.mark.parametrize("moment", range(5))
def test_killed_at_a_random_moment_and_resumed(unbroken, tmp_path, moment):
    begin = Fork if moment else start  # the first in fresh processes from beginning to end
    process = begin(*RUN, "--out", tmp_path)
    wait_for_checkpoint(process, tmp_path)
    time.sleep(random.Random(moment).uniform(0, .4*unbroken[1]))
    process.kill()
    process.communicate()
    if list(tmp_path.glob("*_checkpoint_*.pt")): # the last thing a finished run does is to remove them
        (tmp_path/f".training_history.png.{process.pid}.1.part").touch() # killed while it drew
        finish(begin("train", "--resume", tmp_path))
    assert_same(outcome(tmp_path), unbroken[0])
    assert len(list(tmp_path.iterdir())) == 4, "only the four files of a finished run are left"


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_asked_to_stop_and_resumed(unbroken, tmp_path, number, code):
    process = Fork(*RUN, "--out", tmp_path)
    wait_for_checkpoint(process, tmp_path)
    process.send_signal(number)
    _, error = finish(process, code)
    command = error.strip().splitlines()[-1].split()
    assert command[:3] == ["asl-nb", "train", "--resume"] and Path(command[3]).exists()
    finish(Fork(*command[1:]))
    assert_same(outcome(tmp_path), unbroken[0])


def test_cross_validation_that_is_asked_to_stop_says_so_and_goes_on(tmp_path):
    data = write_synthetic(tmp_path/"clips", signers=4, clips_per_sign=1, signs=("hello", "please"))
    few = [word for each in ("dim=32", "epochs=6", "epoch_steps=1") for word in ("--set", each)]
    words = ("crossval", "--data", data, "--folds", "2", "--out", tmp_path/"out", "--variants", "best", *few)
    process = Fork(*words)
    while not list(tmp_path.rglob("*_checkpoint_*.pt")):
        assert process.poll() is None, process.communicate()
        time.sleep(.01)
    process.send_signal(signal.SIGTERM)
    _, error = finish(process, 143)
    assert "the same command goes on" in error and "Traceback" not in error
    out, _ = finish(Fork(*words))
    assert "best  F1" in out and "best  F2" in out


def test_resuming_with_another_configuration_is_refused(tmp_path):
    process = Fork(*RUN, "--out", tmp_path)
    wait_for_checkpoint(process, tmp_path)
    process.kill()
    process.communicate()
    _, error = finish(Fork("train", "--resume", tmp_path, "--learning-rate", "1"), code=2)
    assert "--learning-rate" in error and "Traceback" not in error


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "asl_nb")
ACCELERATE = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
              "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "PORT", "-m", "asl_nb")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_two_processes_make_one_run(tmp_path, launcher):
    launcher = [free_port() if word == "PORT" else word for word in launcher]
    out, _ = finish(start(*RUN, "--device", "cpu", "--out", tmp_path, launcher=launcher))
    assert out.count("epoch 4/4") == 1, "one process speaks"
    manifest = read_manifest(next(tmp_path.glob("*_final_manifest.json")))
    assert "2 processes" in manifest.reproduction.optimisations
    assert len(manifest.training_history.val_losses) == 4 and manifest.final_results.test["clips"] == 25
    assert len(list(tmp_path.iterdir())) == 4


def test_a_run_of_two_processes_is_not_resumed_by_one(tmp_path):
    process = start(*RUN, "--device", "cpu", "--out", tmp_path, launcher=TORCHRUN)
    wait_for_checkpoint(process, tmp_path)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    _, error = finish(Fork("train", "--resume", tmp_path), code=2)
    assert "processes was 2 and is 1" in error


@pytest.mark.slow
def test_torchrun_starts_a_killed_process_again_and_the_run_is_the_same(tmp_path):
    words = [*RUN, "--device", "cpu", "--out"]
    finish(start(*words, tmp_path/"unbroken", launcher=TORCHRUN))
    process = start(*words, tmp_path/"killed", launcher=(*TORCHRUN[:3], "--max-restarts", "1", *TORCHRUN[3:]),
                    environment=OWN_STORES)
    wait_for_checkpoint(process, tmp_path/"killed")
    psutil.Process(process.pid).children()[1].kill()
    out, _ = finish(process)
    assert "goes on    after epoch" in out
    assert_same(outcome(tmp_path/"killed"), outcome(tmp_path/"unbroken"))
    assert len(list((tmp_path/"killed").iterdir())) == 4


def kill_with_children(process):
    "As a machine that loses its power: launcher and processes at once."
    everyone = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for each in everyone: each.suspend()
    for each in everyone: each.kill()
    process.communicate()


@pytest.mark.slow
def test_one_of_two_machines_is_lost_and_the_other_goes_on(tmp_path):
    launcher = ("-m", "torch.distributed.run", "--nnodes", "1:2", "--nproc_per_node", "2", "--max-restarts", "3",
                "--rdzv-id", "monday", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{free_port()}",
                "-m", "asl_nb")
    words = [*RUN, "--device", "cpu", "--out", tmp_path/"out"]
    first = start(*words, launcher=launcher, environment=OWN_STORES)
    time.sleep(2) # so that the first keeps the list of the others
    second = start(*words, launcher=launcher, environment=OWN_STORES)
    wait_for_checkpoint(first, tmp_path/"out")
    kill_with_children(second)
    out, _ = finish(first)
    assert "goes on    after epoch" in out
    manifest = read_manifest(next((tmp_path/"out").glob("*_final_manifest.json")))
    assert "2 processes" in manifest.reproduction.optimisations and len(manifest.training_history.val_losses) == 4
    assert len(list((tmp_path/"out").iterdir())) == 4


@pytest.mark.slow
def test_restarts_that_would_look_for_lost_processes_are_refused(tmp_path):
    out, error = finish(start(*RUN, "--out", tmp_path/"out", launcher=(*TORCHRUN[:3], "--max-restarts", "1",
                                                                         *TORCHRUN[3:])), code=1)
    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 before the command" in error and not (tmp_path/"out").exists()
