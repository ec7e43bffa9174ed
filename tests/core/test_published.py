"""Published weights: nothing is run that a file holds, and a wrong file changes nothing."""

import pickle

import pytest
import torch
from torch import nn

from rayformer.core.errors import DataError
from rayformer.core.published import published, put_published


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("code of the file was run",))


def test_a_file_that_would_run_code_is_refused(tmp_path):
    (tmp_path / "trap.pth").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataError, match="without running code"):
        published(tmp_path / "trap.pth")


def test_weights_arrive_by_name_and_a_wrong_file_changes_nothing(tmp_path):
    layer, other = nn.Linear(2, 3), nn.Linear(2, 3)
    torch.save({f"net.1.{name}": value for name, value in other.state_dict().items()}, tmp_path / "good.pth")
    put_published({"net.1": layer}, tmp_path / "good.pth", "a test")
    assert torch.equal(layer.weight, other.weight)
    assert torch.equal(layer.bias, other.bias)
    torch.save({"net.1.weight": torch.zeros(3, 2), "net.1.bias": torch.zeros(4)}, tmp_path / "bad.pth")
    with pytest.raises(DataError, match=r"net\.1\.bias must have shape \(3,\), but there is \(4,\)"):
        put_published({"net.1": layer}, tmp_path / "bad.pth", "a test")
    assert torch.equal(layer.weight, other.weight)
