"""Configurations: values by name, whole recipes, limits that fit each other, and what earlier versions wrote."""
import json
from dataclasses import asdict, fields, replace

import pytest
from pydantic import ValidationError
from torch import nn

from asl_nb.core.errors import InputError
from asl_nb.network.model import ASLModel
from asl_nb.training.configuration import (GROUPS, NetworkConfig, RECIPES, RENAMED, TrainingConfig, config_fields,
                                           config_from, configuration_table)
from asl_nb.training.manifest import TrainingConfigSection

# What a run with the recipe `best` wrote into its manifest before fields were renamed, and before most of the network's
# numbers were fields.
EARLIER = dict(
    data="webcam_asl", signs="all", test_participants=["2003", "1005"], test_share=0.2, validation_participants=[],
    validation_share=0.0, max_len=384, max_samples=None, clips_per_sign=None, skip_bad=False,
    synthetic_signers=12, synthetic_clips=3,
    points="hands_and_arms", features=["place", "motion", "shape", "bend", "spread", "presence"], centre="shoulders",
    dominant_hand=True, longest_gap=0, drop_handless=False, blocks=["conv", "transformer"], dim=128, drop_path=0.1,
    late_dropout=0.8, dropout_step=0, time_rate=[0.5, 1.2], time_probability=0.8, crop_share=[0.15, 1.0],
    crop_probability=0.5, mirror_probability=0.0, affine_probability=0.9, rotation_degrees=30.0, scale_range=[0.8, 1.2],
    stretch=0.2, shear=0.15, shift=0.1, hand_rotation_degrees=20.0, hand_tilt_degrees=20.0, hand_scale=0.15,
    hand_shift=0.05, finger_scale=0.1, frame_dropout=0.2, part_cutout=0.2, cutout_span=[0.1, 0.4], square_masking=0.0,
    square_side=[0.2, 0.5], square_span=[0.1, 0.5], face_dropout=0.0, finger_dropout=0.0, weak_drop=0.0, doubling=0.4,
    part_swap=0.1, epochs=20, batch_size=32, learning_rate=0.001, weight_decay=0.005, betas=[0.9, 0.999],
    restart_period=None, restart_multiplier=2, minimum_learning_rate=0.02, label_smoothing=0.05, average_decay=0.98,
    temperature=0.8, patience=20, precision="auto", accumulation_steps=1, balance=0.5, mixup=0.0, length_blur=0.6,
    frame_budget=None, clip_norm=4.0, workers=0, start_from="old.pth", seed=42, device="auto", out="models",
    quick=False, recipe="best")
TODAY = dict(second_hand_probability=0.4, face_swap_probability=0.1, min_lr_ratio=0.02, ema_decay=0.98,
             length_jitter=0.6, max_grad_norm=4.0, pretrained="old.pth")


@pytest.mark.parametrize("config_class", [TrainingConfig, *GROUPS.values()])
def test_values_are_given_by_name(config_class):
    with pytest.raises(TypeError, match=f"{config_class.__name__} takes values by name only, received: 'somewhere'"):
        config_class("somewhere")


def test_the_constructors_are_the_recipes():
    assert TrainingConfig.best() == TrainingConfig() == TrainingConfig(recipe="best")
    assert TrainingConfig.guide() == TrainingConfig(recipe="guide") != TrainingConfig()
    assert TrainingConfig.guide(epochs=7, dim=64) == TrainingConfig(recipe="guide", epochs=7, dim=64)
    for name in RECIPES: assert getattr(TrainingConfig, name)().recipe == name
    with pytest.raises(TypeError, match="recipe"): TrainingConfig.guide(recipe="best")


@pytest.mark.parametrize("recipe", RECIPES)
def test_replace_keeps_the_recipe_and_leaves_no_mixture(recipe):
    config, other = getattr(TrainingConfig, recipe)(epochs=3), next(name for name in RECIPES if name != recipe)
    longer = replace(replace(config, epochs=9), seed=1)
    assert longer == getattr(TrainingConfig, recipe)(epochs=9, seed=1) and longer.recipe == recipe
    for start in (config, longer):
        with pytest.raises(TypeError) as caught: replace(start, recipe=other)
        message = str(caught.value)
        assert f"call TrainingConfig.{other}(…)" in message and len(message.splitlines()) == 1
    with pytest.raises(ValidationError, match="recipe"): replace(config, recipe="secret")
    with pytest.raises(ValidationError, match="epochs"): replace(config, epochs=0)


def test_a_replaced_recipe_is_refused_even_when_the_numbers_are_replaced_too():
    with pytest.raises(TypeError, match="TrainingConfig.guide"):
        replace(TrainingConfig(), **asdict(TrainingConfig.guide()))


@pytest.mark.parametrize("recipe", RECIPES)
def test_there_and_back_through_json(recipe):
    config = getattr(TrainingConfig, recipe)(test_participants="2002,1002", max_samples=7, data="here")
    values = json.loads(json.dumps(asdict(config)))
    assert config_from(values) == config and set(values) == set(config_fields())


def test_configurations_of_earlier_runs_are_read():
    config = config_from(EARLIER)
    assert {name: getattr(config, name) for name in TODAY} == TODAY
    assert replace(config, data="synthetic", test_participants=()) == TrainingConfig.best(
        blocks="conv,transformer", **TODAY)
    same = {name: value for name, value in EARLIER.items() if name not in RENAMED}
    assert json.loads(json.dumps({name: getattr(config, name) for name in same})) == same
    objects = dict(optimizer={"lr": 1e-3}, scheduler={}, criterion={})
    then = replace(config, epoch_steps=1, hand_size="palm", drop_doubled=False, aspect_jitter=0., frame_pooling=1,
                   kernel_size=17, sign_balance=0.)
    assert TrainingConfigSection.model_validate(EARLIER | objects).as_config() == then


def test_the_table_of_earlier_names_is_complete_and_has_no_field_of_today():
    assert set(RENAMED) == set(EARLIER) - set(config_fields())
    assert sorted(RENAMED.values()) == sorted(TODAY)


def test_an_earlier_name_beside_todays_is_refused():
    with pytest.raises(InputError, match="there is no field 'clip_norm'"):
        config_from(dict(clip_norm=1, max_grad_norm=1))


def test_every_field_belongs_to_one_group():
    groups = [{field.name for field in fields(group)} for group in GROUPS.values()]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert set().union(*groups) | {"recipe"} == {field.name for field in fields(TrainingConfig)} == set(config_fields())
    assert list(configuration_table().name) == [field.name for field in fields(TrainingConfig)]


def test_the_guides_network_is_the_networks_default():
    settings, asked = ASLModel().settings, TrainingConfig.guide().network
    assert set(asked) == {field.name for field in fields(NetworkConfig)}
    assert {name: settings[name] for name in asked if name in settings} == {
        name: value for name, value in asked.items() if name in settings}


@pytest.mark.parametrize("name, value, seen", [
    ("kernel_size", 5, lambda model: {len(weight[0, 0]) for name, weight in model.named_parameters()
                                      if "depthwise" in name and weight.ndim == 3} == {5}),
    ("dilations", (1, 3), lambda model: len(model.blocks["tcn"]) == 2),
    ("lstm_layers", 1, lambda model: sum(isinstance(part, nn.LSTM) for part in model.modules()) == 2),
    ("conv_blocks", 2, lambda model: len(model.blocks["conv"]) == 2),
    ("stages", 2, lambda model: len(model.blocks) == 10),
    ("adaptive_dropout", (.3, .4, 2), lambda model: (model.dropout.p, model.dropout.final_p) == (.3, .4)),
    ("late_dropout", .5, lambda model: model.classifier.dropout.p == .5),
    ("block_dropout", .35, lambda model: .35 in {part.p for part in model.modules() if isinstance(part, nn.Dropout)}),
])
def test_each_number_of_the_network_reaches_it(name, value, seen):
    changes = {name: value} | ({"tcn_dropouts": (.1, .2)} if name == "dilations" else {})
    usual, changed = (ASLModel(None, **TrainingConfig.guide(dim=16, **each).network) for each in ({}, changes))
    assert seen(changed) and not seen(usual)


def test_more_dropout_is_one_option():
    def rates(**changes):
        blocks = ASLModel(None, **TrainingConfig.guide(dim=16, **changes).network).blocks
        return [part.p for part in blocks.modules() if isinstance(part, nn.Dropout)]
    assert rates(dropout_increase=.1) == pytest.approx([rate + .1 for rate in rates()])


@pytest.mark.parametrize("values, words", [
    (dict(dilations=(1, 2)), "tcn_dropouts: received (0.15, 0.2, 0.25), should be 2 rates, as many as dilations"),
    (dict(tcn_dropouts="0.1,0.2,0.3,0.4"), "should be 3 rates, as many as dilations"),
    (dict(tcn_dropouts="0.1,0.2,much"), "tcn_dropouts: received 'much', should look like the default"),
    (dict(dilations=()), "dilations: received (), should be whole numbers from 1"),
    (dict(num_heads=6), "dim: received 128, should be a multiple of num_heads, 6"),
    (dict(dropout_increase=.8), "dropout_increase: received 0.8, should leave every rate below 1"),
    (dict(kernel_size=16), "kernel_size: received 16, should be odd where there are conv blocks"),
    (dict(adaptive_dropout=(.1, .6, -1)), "adaptive_dropout: received (0.1, 0.6, -1), should be two numbers"),
    (dict(min_lr_ratio=1.5), "min_lr_ratio: received 1.5, should be less than or equal to 1"),
])
def test_numbers_that_do_not_fit_are_one_line(values, words):
    with pytest.raises(InputError) as caught: config_from(values)
    assert words in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_lists_of_numbers_can_be_typed():
    config = config_from(dict(recipe="guide", dilations="1, 2", tcn_dropouts="0.1,0.2"))
    assert (config.dilations, config.tcn_dropouts) == ((1, 2), (0.1, 0.2))
    assert config_from(dict(dilations=3, tcn_dropouts=0.1)).dilations == (3,)


def test_the_first_period_is_the_run_where_there_is_no_restart():
    assert (TrainingConfig.guide(epochs=7).first_period, TrainingConfig.best(epochs=7).first_period) == (50, 7)


def test_a_quick_version_of_a_quick_version_is_the_same():
    quick = TrainingConfig.guide(max_samples=50).quick_version()
    assert (quick.epochs, quick.max_samples, quick.quick, quick.recipe) == (2, 50, True, "guide")
    assert quick.quick_version() == quick
    assert TrainingConfig.best().quick_version().epoch_steps == 1


def test_an_epoch_of_an_earlier_run_was_one_pass():
    assert TrainingConfig.best().epoch_steps > TrainingConfig.guide().epoch_steps == 1
    objects = dict(optimizer={"lr": 1e-3}, scheduler={}, criterion={})
    assert TrainingConfigSection.model_validate({"recipe": "best", **objects}).as_config().epoch_steps == 1
    assert TrainingConfigSection.model_validate({"epoch_steps": 7, **objects}).as_config().epoch_steps == 7
