"""The file of a model: its fields, and that files written before a setting existed give the same model."""
import pytest
import torch

from asl_nb.core.errors import InputError
from asl_nb.network.choices import BLOCKS
from asl_nb.network.model import ASLModel
from asl_nb.network.weights import load_model, load_pretrained, read_tensors, save_model, write_tensors

FORMAT = "asl_nb model 3"
OLD_SETTINGS = ("input_dim", "num_classes", "max_len", "dim", "dropout_step", "late_dropout", "drop_path", "blocks",
                "points")
CLASSES = ("yes", "no", "please")


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = ASLModel(num_classes=3, dim=16, max_len=20)
    model.train()(torch.rand(2, 20, 543, 3))  # running statistics and the counter have moved
    model.data_kind, model.temperature = "recordings", .8
    return model.eval()


def logits(model):
    with torch.no_grad(): return model(torch.rand(2, 12, 543, 3, generator=torch.Generator().manual_seed(1)))


def test_a_file_has_these_fields(model, tmp_path):
    save_model(tmp_path/"model.pth", model, CLASSES)
    content = torch.load(tmp_path/"model.pth", weights_only=True)
    assert list(content) == ["format", "settings", "classes", "data_kind", "temperature", "known_threshold",
                             "statistics",
                             "enrolled", "state_dict"]
    assert content["format"] == FORMAT and content["classes"] == list(CLASSES)
    assert (content["data_kind"], content["temperature"]) == ("recordings", .8)
    settings = content["settings"]
    assert set(OLD_SETTINGS) <= set(settings)
    assert (settings["input_dim"], settings["dim"], settings["points"]) == (744, 16, "guide")
    assert settings["blocks"] == BLOCKS
    assert settings["dilations"] == (1, 2, 4) and settings["adaptive_dropout"] == (.1, .6, 30)
    names = set(content["state_dict"])
    assert {"dropout.epoch", "classifier.dropout.step", "stem.linear.weight", "blocks.tcn.0.depthwise.weight",
            "blocks.lstm.layers.0.1.weight_ih_l0", "blocks.conv.2.depthwise.causal.weight",
            "blocks.transformer.attention.qkv.weight", "classifier.attention_pooling.score.2.weight"} <= names
    assert not any(name.startswith("preprocessing") for name in names)
    assert content["state_dict"]["classifier.dropout.step"] == 1


def test_a_file_of_earlier_versions_gives_the_same_model(model, tmp_path):
    settings = {name: model.settings[name] for name in OLD_SETTINGS}
    content = {"format": FORMAT, "settings": settings, "classes": list(CLASSES), "data_kind": None, "temperature": 1.}
    write_tensors(tmp_path/"old.pth", content | {"state_dict": model.state_dict()})
    loaded, classes = load_model(tmp_path/"old.pth")
    assert classes == CLASSES and loaded.settings == model.settings
    assert torch.equal(logits(loaded), logits(model))
    assert loaded.classifier.dropout.steps_finished == 1


def test_new_settings_are_kept(tmp_path):
    model = ASLModel(num_classes=3, dim=16, kernel_size=5, num_heads=4, dilations=[1, 2], tcn_dropouts=[.1, .1]).eval()
    save_model(tmp_path/"model.pth", model, CLASSES)
    loaded, _ = load_model(tmp_path/"model.pth")
    assert loaded.settings == model.settings and loaded.settings["dilations"] == (1, 2)
    assert torch.equal(logits(loaded), logits(model))


def test_pretrained_weights_fit_only_networks_built_alike(model, tmp_path):
    save_model(tmp_path/"model.pth", model, CLASSES)
    other = ASLModel(num_classes=2, dim=16, max_len=30, block_dropout=.4, adaptive_dropout=(0., .2, 5))
    assert load_pretrained(other, ("please", "hello"), tmp_path/"model.pth") == ["please"]
    assert torch.equal(logits(other.eval())[:, 0], logits(model)[:, 2])
    assert other.classifier.dropout.steps_finished == 0
    with pytest.raises(InputError, match="its hand_size is 'palm', here it is 'bones'"):
        load_pretrained(ASLModel(num_classes=2, dim=16, hand_size="bones"), ("please", "hello"), tmp_path/"model.pth")
    load_pretrained(ASLModel(num_classes=2, dim=16, hand_size="palm", drop_doubled=False), CLASSES[1:],
                    tmp_path/"model.pth")
    with pytest.raises(InputError, match="its kernel_size is 17, here it is 5"):
        load_pretrained(ASLModel(num_classes=2, dim=16, kernel_size=5), ("please", "hello"), tmp_path/"model.pth")


@pytest.mark.parametrize("change", [
    dict(format="asl_nb model 2"), dict(classes=["yes"]), dict(temperature=0.), dict(state_dict={}),
    dict(settings={"dim": 16, "speed": 3})], ids=lambda change: next(iter(change)))
def test_other_content_is_refused(model, change, tmp_path):
    save_model(tmp_path/"model.pth", model, CLASSES)
    write_tensors(tmp_path/"model.pth", read_tensors(tmp_path/"model.pth", FORMAT) | change)
    with pytest.raises(InputError, match="model.pth: "): load_model(tmp_path/"model.pth")
