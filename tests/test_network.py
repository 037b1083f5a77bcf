"""The network as a whole: it does not wait for the device, and its settings reach its layers."""
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from asl_nb.network.model import ASLModel
from asl_nb.network.regularizers import AdaptiveDropout, LateDropout, set_epoch, set_step

BEST = dict(blocks=("conv",), points="hands_and_arms", centre="shoulders", dominant_hand=True,
            features=("place", "motion", "shape", "bend", "spread", "presence"), hand_size="bones", drop_doubled=True,
            frame_pooling=2, kernel_size=9)


class CountNumbersRead(TorchDispatchMode):
    "Counts how often Python reads a number out of a tensor; on a GPU, each time it waits for everything before."
    read = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default: self.read += 1
        return func(*args, **(kwargs or {}))


def test_reading_a_number_would_be_noticed():
    with CountNumbersRead() as count: int(torch.tensor(3))
    assert count.read == 1


@pytest.mark.parametrize("settings", [{}, BEST], ids=["guide", "best"])
@pytest.mark.parametrize("training", [True, False])
def test_a_forward_pass_reads_no_number_from_a_tensor(settings, training):
    model = ASLModel(None, 5, max_len=20, dim=16, dropout_step=3, **settings).train(training)
    landmarks, lengths = torch.rand(3, 30, 543, 3), torch.tensor([30, 12, 1])
    with CountNumbersRead() as count: model(landmarks, lengths)
    assert count.read == 0


def test_every_number_of_the_blocks_reaches_them():
    model = ASLModel(num_classes=5, dim=24, kernel_size=5, dilations=(1, 3), tcn_dropouts=(.1, .2), lstm_layers=1,
                     conv_blocks=2, num_heads=6, block_dropout=.3, dropout_increase=.1, drop_path=.4,
                     adaptive_dropout=(.2, .4, 10), late_dropout=.7, dropout_step=9)
    blocks = model.blocks
    assert [block.depthwise.dilation for block in blocks["tcn"]] == [(1,), (3,)]
    assert [block.dropout.p for block in blocks["tcn"]] == pytest.approx([.2, .3])
    assert {block.depthwise.kernel_size for block in blocks["tcn"]} == {(5,)}
    assert [block.depthwise.causal.kernel_size for block in blocks["conv"]] == [(5,)]*2
    assert {block.drop_path.p for kind in ("tcn", "conv") for block in blocks[kind]} == {.4}
    assert len(blocks["lstm"].layers) == 1
    assert blocks["attention"].attention.num_heads == blocks["transformer"].attention.num_heads == 6
    rates = [module.p for name in ("lstm", "attention", "conv", "transformer") for module in blocks[name].modules()
             if isinstance(module, nn.Dropout)]
    assert rates and rates == pytest.approx([.4]*len(rates))
    assert (model.dropout.initial_p, model.dropout.final_p, model.dropout.warmup_epochs) == (.2, .4, 10)
    assert (model.classifier.dropout.p, model.classifier.dropout.start_step) == (.7, 9)
    again = ASLModel(**model.settings)
    assert again.settings == model.settings and str(again) == str(model)


def test_epoch_and_step_reach_every_dropout_of_a_model():
    model = nn.ModuleList([ASLModel(num_classes=3, dim=16) for _ in range(2)])
    set_epoch(model, 15)
    set_step(model, 7)
    assert [module.p for module in model.modules() if isinstance(module, AdaptiveDropout)] == pytest.approx([.35, .35])
    assert [int(module.step) for module in model.modules() if isinstance(module, LateDropout)] == [7, 7]


@pytest.mark.parametrize("wrong", [dict(dilations=(1, 2)), dict(conv_blocks=0), dict(stages=0),
                                   dict(dropout_increase=.9), dict(drop_path=1.), dict(num_heads=7),
                                   dict(kernel_size=4), dict(tcn_dropouts=(.1,)),
                                   dict(adaptive_dropout=(.1, 1., 30))], ids=str)
def test_numbers_that_no_block_can_have_are_refused(wrong):
    with pytest.raises(ValueError): ASLModel(num_classes=5, dim=16, **wrong)


def test_an_unknown_setting_is_refused_by_name():
    with pytest.raises(TypeError, match="dilation"): ASLModel(num_classes=5, dim=16, dilation=(1, 2))
