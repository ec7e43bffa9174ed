"""Precision is chosen by the hardware, and the reason is said."""

import pytest
import torch

from rayformer.core.errors import ConfigError
from rayformer.engine.launch import pick_device
from rayformer.engine.precision import choose_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "name", "why"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "bf16", "AMX-BF16"),
        ({"amx_bf16": False, "avx512_bf16": True}, "bf16", "AVX512-BF16"),
        ({"avx2": True}, "float32", "neither AMX-BF16 nor AVX512-BF16"),
    ],
)
def test_a_processor_gets_bf16_only_if_it_multiplies_it_in_hardware(flags, name, why, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    chosen = choose_precision(CPU)
    assert chosen.name == name
    assert why in chosen.reason


def test_a_wish_overrides_and_is_given_as_the_reason(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert choose_precision(CPU, "32").reason == "asked for by plan.precision=32"
    assert "expect it to be slower" in choose_precision(CPU, "bf16").reason


def test_autocast_multiplies_in_the_chosen_precision():
    layer = torch.nn.Linear(4, 4)
    for wish, dtype in (("32", torch.float32), ("bf16", torch.bfloat16)):
        with choose_precision(CPU, wish).autocast():
            assert layer(torch.ones(2, 4)).dtype == dtype


def test_a_device_that_is_not_there_is_refused_with_what_to_do(snapshot):
    with pytest.raises(ConfigError) as unknown:
        pick_device("tpu")
    snapshot("unknown_device", str(unknown.value))
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="sees no such device; try --device auto"):
            pick_device("cuda")


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto", local_rank=1) == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match="started process 3 on a machine with 2 CUDA devices"):
        pick_device("auto", local_rank=2)
