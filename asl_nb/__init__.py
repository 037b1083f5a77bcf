"""Recognise single signs of American Sign Language from body landmarks: train, evaluate, predict, live and exported.

`import asl_nb` loads nothing else. Each name below is imported from its module when it is used for the first time."""
__version__ = "0.1.0"

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {  # name -> the module it comes from
    "InputError": "core.errors",
    "read_clip": "data.clips", "write_clip": "data.clips",
    "ClipDataset": "data.datasets", "load_dataset": "data.datasets", "load_splits": "data.datasets",
    "synthetic_dataset": "data.synthetic", "inspect_dataset": "data.inspection",
    "load_model": "network.weights",
    "predict": "evaluation.prediction",
    "evaluate": "evaluation.scores", "evaluate_folder": "evaluation.scores",
    "TrainingConfig": "training.configuration", "train": "training.trainer", "resume": "training.trainer",
    "extract": "capture.extraction",
    "Recognizer": "live.recognizer",
    "open_model": "export", "export_onnx": "export"}
__all__ = [*_HOME]

if TYPE_CHECKING:
    from .capture.extraction import extract as extract
    from .core.errors import InputError as InputError
    from .data.clips import read_clip as read_clip, write_clip as write_clip
    from .data.datasets import (ClipDataset as ClipDataset, load_dataset as load_dataset,
                                load_splits as load_splits)
    from .data.inspection import inspect_dataset as inspect_dataset
    from .data.synthetic import synthetic_dataset as synthetic_dataset
    from .evaluation.prediction import predict as predict
    from .evaluation.scores import evaluate as evaluate, evaluate_folder as evaluate_folder
    from .export import export_onnx as export_onnx, open_model as open_model
    from .live.recognizer import Recognizer as Recognizer
    from .network.weights import load_model as load_model
    from .training.configuration import TrainingConfig as TrainingConfig
    from .training.trainer import resume as resume, train as train
else:  # so that a type checker refuses a name that is not there
    def __getattr__(name: str) -> Any:
        "Import one of the names above. Raises `AttributeError`, which lists them, for any other."
        if name not in _HOME:
            raise AttributeError(f"module 'asl_nb' has no attribute {name!r}; it offers {', '.join(__all__)}")
        value = globals()[name] = getattr(import_module(f"asl_nb.{_HOME[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
