"""A small network and its exported file: exporting takes half a minute, so it is done once for all workers."""
import os
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock

from asl_nb.network.model import ASLModel

SIGNS = ("böse", "über", "hello")
RUN = "asl_model_v20260101_120000"


def lived_in(model):
    "A network whose running statistics are not those of a newborn."
    torch.manual_seed(1)
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, torch.nn.BatchNorm1d):
                part.running_mean.normal_(std=.2), part.running_var.uniform_(.5, 2)
    return model.eval()


def small_model():
    "A network with one kind of block, always the same."
    torch.manual_seed(0)
    model = ASLModel(None, len(SIGNS), max_len=60, dim=16, blocks=("transformer",), points="hands_and_arms")
    model.temperature = .8
    return lived_in(model)


@cache
def small_export():
    "The content of the file made from it."
    from asl_nb.export import export_onnx
    path = Path(os.environ["ASL_NB_CACHE"])/"small.onnx"
    with FileLock(f"{path}.lock"):
        if not path.exists(): export_onnx(small_model(), SIGNS, path, RUN, progress=False)
    return path.read_bytes()
