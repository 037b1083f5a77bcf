"""Two processes with a share of each batch equal one with the whole; if one dies, the other does not wait for ever.

Run by torchrun, this file is a process that adds numbers up with the others until it is stopped.
"""
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from asl_nb.data.batches import BatchPlan, BucketBatchSampler, ProcessShare, collate_clips
from asl_nb.data.synthetic import synthetic_dataset
from asl_nb.network.masking import MaskedBatchNorm
from asl_nb.network.model import ASLModel

TIMEOUT = timedelta(seconds=30)
CASES = {"unequal shares": (0, 2), "far from zero": (1000, 2), "a share without real frames": (0, 0),
         "one real frame in a share": (0, 1)}


def join(rank, folder):
    "Become one of two processes that know each other through a file."
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=TIMEOUT)


def whole_batch(shift, second):
    "Features of four clips (two with few real frames), their mask, and weights that make a loss of the output."
    generator = torch.Generator().manual_seed(0)
    x = shift + 2*torch.randn(4, 6, 3, generator=generator)
    lengths = torch.tensor([6, 4, min(second, 1), second//2])
    return x, torch.arange(6) < lengths[:, None], torch.randn(4, 6, 3, generator=generator)


def normalise(x, mask, weights, dtype=torch.float32):
    "Two training steps of a layer on a batch: all that can be seen of it."
    torch.manual_seed(0)
    layer = MaskedBatchNorm(3).to(dtype)
    nn.init.normal_(layer.weight)
    x = x.detach().to(dtype, copy=True).requires_grad_()
    layer(x.detach() + 1, mask)
    output = layer(x, mask)
    (output*weights.to(dtype)).sum().backward()
    gradients = [x.grad, layer.weight.grad, layer.bias.grad]
    return {"output": output.detach(), "gradients": gradients, **dict(layer.named_buffers())}


def calm_model():
    "A small model that forgets nothing on purpose: every dropout of it is 0."
    torch.manual_seed(0)
    model = ASLModel(dim=32, num_classes=5)
    for module in model.modules():
        for name in ("p", "initial_p", "final_p", "drop_rate", "dropout"):
            if isinstance(vars(module).get(name), float): setattr(module, name, 0.)
    return model.train()


def step(model, samples, scale=1.):
    "One step down the gradient; returns the gradients and the state after it."
    optimizer = torch.optim.SGD(model.parameters(), lr=.1)
    batch = collate_clips(samples)
    loss = nn.functional.cross_entropy(model(batch.landmarks, batch.lengths), batch.labels)*scale
    loss.backward()
    optimizer.step()
    model = getattr(model, "module", model)
    return {"loss": loss.item(), "gradients": {name: weight.grad for name, weight in model.named_parameters()},
            "state": model.state_dict()}


def seven_clips():
    dataset = synthetic_dataset(signers=2, clips_per_sign=1, seed=0, signs=("hello", "bye", "mom", "red", "go"))
    return [dataset[index] for index in range(7)]


def share_of_work(rank, folder):
    "What each of the two processes does."
    join(rank, folder)
    results = {}
    for name, case in CASES.items():
        results[name] = normalise(*[tensor[2*rank:2*rank + 2] for tensor in whole_batch(*case)])
    single = [tensor[2*rank:2*rank + 2] for tensor in whole_batch(0, 2)]
    single[1] = torch.zeros_like(single[1])
    single[1][0, 0] = rank == 0  # a single real frame in both shares together
    results["nearly nothing"] = normalise(*single)
    samples = seven_clips()
    batches = BucketBatchSampler([len(clip) for clip, _ in samples], BatchPlan(batch_size=4, shuffle=True),
                                 ProcessShare(rank=rank, world_size=2))
    (mine,) = list(batches)
    scale = 2*len(mine)/len(batches.batches[0])
    results["step"] = step(DistributedDataParallel(calm_model()), [samples[index] for index in mine], scale)
    results["clips"] = mine
    torch.save(results, Path(folder)/f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    "The results of both processes."
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(share_of_work, (str(folder),), nprocs=2)
    return [torch.load(folder/f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_normalization_is_that_of_the_whole_batch(halves, name):
    x, mask, weights = whole_batch(*CASES[name])
    whole, precise = normalise(x, mask, weights), normalise(x, mask, weights, torch.float64)
    parts = [half[name] for half in halves]
    tolerance = 1e-6 if CASES[name][0] == 0 else 2e-4  # a thousand leaves four digits of a frame's own
    output = torch.cat([part["output"] for part in parts])
    on_input, *on_weights = zip(*[part["gradients"] for part in parts])
    gradients = [torch.cat(on_input), *[sum(shares) for shares in on_weights]]
    assert_close(output, whole["output"], atol=tolerance, rtol=1e-5)
    assert_close(output.double(), precise["output"], atol=tolerance, rtol=1e-5)
    for expected in (whole, precise):
        for ours, theirs in zip(gradients, expected["gradients"], strict=True):
            assert_close(ours.to(theirs.dtype), theirs, atol=5*tolerance, rtol=1e-5)
    for key in ("running_mean", "running_var", "num_batches_tracked"):
        for part in parts: assert_close(part[key], whole[key], atol=1e-6, rtol=1e-5)


def test_a_single_frame_in_both_shares_leaves_the_statistics_alone(halves):
    for half in halves:
        result = half["nearly nothing"]
        assert_close((result["running_mean"], result["running_var"]), (torch.zeros(3), torch.ones(3)))
        assert result["output"].isfinite().all() and all(gradient.isfinite().all() for gradient in result["gradients"])


def test_a_step_of_two_processes_is_a_step_of_one(halves):
    samples = seven_clips()
    assert [len(half["clips"]) for half in halves] == [4, 3]
    assert sorted(halves[0]["clips"] + halves[1]["clips"]) == list(range(7))
    alone = step(calm_model(), samples)
    assert sum(half["step"]["loss"] for half in halves)/2 == pytest.approx(alone["loss"], abs=1e-6)
    assert max(gradient.abs().max() for gradient in alone["gradients"].values()) > .1
    for half in halves:
        for kind in ("gradients", "state"): assert_close(half["step"][kind], alone[kind], atol=1e-5, rtol=1e-5)


def work_for_ever(folder):
    "Add numbers up with the other process, for an hour."
    distributed.init_process_group("gloo", timeout=TIMEOUT)
    x = torch.ones(1)
    for round in range(36_000):
        distributed.all_reduce(x)
        if round == 5: (Path(folder)/os.environ["RANK"]).write_text(str(os.getpid()))
        x.fill_(1)
        time.sleep(.1)


def alive(process):
    "Whether a process still runs; one that waits to be reaped does not."
    try: return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError: return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("launcher", ["torchrun", "by hand, as on two machines"])
def test_when_one_process_dies_the_other_stops(launcher, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if launcher == "torchrun":
        words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        command = [sys.executable, *words, __file__, tmp_path]
        started = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)]
    else:
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
        command = [sys.executable, __file__, tmp_path]
        started = [subprocess.Popen(command, env={**environment, "RANK": str(rank)}, stderr=subprocess.PIPE)
                   for rank in range(2)]
    marks = [tmp_path/str(rank) for rank in range(2)]
    try:
        wait_for(lambda: all(mark.exists() and mark.read_text() for mark in marks), 90)
        survivor, victim = [int(mark.read_text()) for mark in marks]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: not alive(survivor), 60)
        assert started[0].wait(60) != 0
    finally:
        for process in started:
            process.kill()
            process.communicate()


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"still waiting after {seconds} seconds"
        time.sleep(.1)


def free_port():
    import socket
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__": work_for_ever(sys.argv[1])
