"""Who is trained, validated and tested; which weights are kept; and that a step not taken leaves no trace."""
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from asl_nb.data.batches import make_loader
from asl_nb.data.synthetic import write_synthetic
from asl_nb.evaluation.calibration import fit_temperature
from asl_nb.evaluation.scores import predict_logits
from asl_nb.network.regularizers import AdaptiveDropout
from asl_nb.training.configuration import TrainingConfig
from asl_nb.training.crossval import plan_runs
from asl_nb.training.engine import Engine
from asl_nb.training.loop import validate_epoch
from asl_nb.training.manifest import read_manifest
from asl_nb.training.trainer import Trainer, describe_data, load_data, new_run_files, train

CONFIG = TrainingConfig(
    recipe="guide", signs="hello,please,mom,dad", synthetic_signers=6, synthetic_clips=2, validation_share=.3,
    test_participants="synthetic04", blocks="tcn,conv", dim=16, epochs=3, batch_size=8, learning_rate=2e-3, seed=0,
    device="cpu")


@pytest.fixture(scope="module")
def splits(): return load_data(CONFIG)


@pytest.fixture
def make_trainer(splits, tmp_path):
    def make(**changes):
        torch.manual_seed(0)
        config = replace(CONFIG, out=str(tmp_path), **changes)
        return Trainer(config, splits, Engine("cpu"), new_run_files(tmp_path), report=None)
    return make


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    "A run with validation signers, and what its trainer was after each epoch."
    epochs = []
    def watch(trainer):
        dropouts = [module for module in trainer.model.modules() if isinstance(module, AdaptiveDropout)]
        epochs.append({int(each.epoch) for each in dropouts})
    run = train(replace(CONFIG, out=str(tmp_path_factory.mktemp("run"))), report=None, on_epoch_end=watch)
    return run, epochs


def temperature_of(model, part):
    return fit_temperature(predict_logits(model, part), torch.as_tensor(part.labels))


def test_nobody_is_in_two_parts(finished):
    splits = finished[0].splits
    parts = [set(part.signers) for part in (splits.train, splits.validation, splits.test)]
    assert all(parts) and len(set.union(*parts)) == sum(map(len, parts)) and parts[2] == {"synthetic04"}


def test_who_validates_depends_on_the_seed(tmp_path):
    folder = write_synthetic(tmp_path/"clips", signers=6, clips_per_sign=1, signs=("hello", "please"))
    few = replace(CONFIG, data=str(folder), signs="all")
    def who(**changes): return load_data(replace(few, **changes)).validation.signers
    assert len({who(seed=seed) for seed in range(5)}) > 1
    assert who(seed=3) == who(seed=3)


def test_the_temperature_is_fitted_on_the_validation_signers(finished):
    run = finished[0]
    assert run.model.temperature == pytest.approx(temperature_of(run.model, run.splits.validation), rel=1e-4)
    for part in (run.splits.train, run.splits.test):
        assert temperature_of(run.model, part) != pytest.approx(run.model.temperature, rel=1e-2)


def test_validation_numbers_are_those_of_the_validation_signers(finished):
    run, best = finished[0], finished[0].history.best_epoch
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=CONFIG.label_smoothing)
    scored = {name: validate_epoch(run.model, make_loader(getattr(run.splits, name), 8), criterion, "cpu")
              for name in ("train", "validation")}
    recorded = run.history.val_losses[best], run.history.val_accuracies[best]
    assert scored["validation"] == pytest.approx(recorded, abs=1e-5)
    assert scored["train"] != pytest.approx(recorded, abs=1e-3)


def test_the_best_epoch_is_counted_from_1_in_the_manifest(finished):
    accuracies = finished[0].history.val_accuracies
    best = accuracies.index(max(accuracies)) + 1
    manifest = read_manifest(finished[0].files.final_manifest)
    assert manifest.training_history.best_epoch == manifest.final_results.best_epoch == best


def test_every_epoch_reaches_the_adaptive_dropout(finished):
    assert finished[1] == [{0}, {1}, {2}]


def test_the_averaged_weights_are_kept_and_follow_their_decay(make_trainer):
    trainer, weights, expected = make_trainer(epochs=1, ema_decay=.7), [], None
    trainer.optimizer.optimizer.register_step_post_hook(
        lambda *_: weights.append(next(trainer.model.parameters()).detach().clone()))
    trainer.fit()
    for weight in weights: expected = weight if expected is None else .7*expected + .3*weight
    assert len(weights) == trainer.steps > 3
    kept = next(trainer.eval_model.parameters())
    assert_close(kept, expected)
    assert not torch.allclose(kept, weights[-1], atol=1e-5)
    assert_close(next(trainer.finish().model.parameters()), kept)


def test_an_epoch_has_enough_steps_and_says_how_often_it_shows_each_clip(make_trainer):
    lines, trainer = [], make_trainer(epoch_steps=9, epochs=2)
    clips, trainer.report = len(trainer.splits.train), lines.append
    trainer.fit()
    assert trainer.steps == 2*9 > 2*-(-clips//8) and len(trainer.history) == 2
    assert lines[0] == f"few clips  {clips:>6} training clips, each shown {9*8/clips:.1f} times in an epoch of 9 steps"


def train_batches(trainer, batches):
    "The state after these batches: weights, running statistics, counters, average, steps, and the next random numbers."
    torch.manual_seed(7)
    for batch in batches:
        result = trainer.engine.step(trainer.wrapped, batch, trainer.criterion, trainer.optimizer)
        trainer.after_step(result, stop=())
    return {**trainer.model.state_dict(), "average": trainer.average.module.state_dict(),
            "steps": torch.tensor(trainer.steps), "random": torch.rand(4)}


def test_a_skipped_step_leaves_no_trace_in_a_whole_network(splits, make_trainer):
    first, second = list(make_loader(splits.train, 24))
    bad = first._replace(labels=torch.full((first.clips, 4), torch.nan))  # the forward pass is finite, the loss is not
    clean = train_batches(make_trainer(ema_decay=.9), [first, second])
    trainer = make_trainer(ema_decay=.9)
    assert any("running_mean" in name for name in clean), "the network has batch norm"
    assert_close(train_batches(trainer, [first, bad, second]), clean, atol=0, rtol=0)
    assert (trainer.engine.skipped, trainer.steps) == (1, 2)


def test_running_out_of_memory_leaves_no_trace_in_a_whole_network(splits, make_trainer):
    batch = next(iter(make_loader(splits.train, 24)))
    def with_limit(trainer):
        "Memory for eight clips, which is found to be too small at the end of the forward pass."
        def refuse(module, inputs, output):
            if len(output) > 8: raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        trainer.model.register_forward_hook(refuse)
        return trainer
    warned, surprised = with_limit(make_trainer(ema_decay=.9)), with_limit(make_trainer(ema_decay=.9))
    warned.engine.max_micro_batch = 6
    assert_close(train_batches(surprised, [batch, batch]), train_batches(warned, [batch, batch]), atol=0, rtol=0)
    assert (surprised.engine.halvings, surprised.engine.max_micro_batch) == (2, 6)
    assert int(surprised.model.classifier.dropout.step) == surprised.steps == 2


def test_a_folder_that_is_called_like_the_built_in_data_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_synthetic(tmp_path/"synthetic", signers=3, clips_per_sign=1, signs=("hello", "please"), progress=False)
    [(config, *_)] = plan_runs("synthetic", "F1=synthetic01", "best")
    splits = load_data(config)
    assert (set(splits.train.classes), len(splits.train)) == ({"hello", "please"}, 4)
    assert splits.test.signers == ("synthetic01",)
    [line] = describe_data(TrainingConfig()) # "synthetic" are made-up signers, beside such a folder, too
    assert "--data ./synthetic" in line and describe_data(config) == []
