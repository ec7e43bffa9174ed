"""Which numbers the matrix products are made in, chosen by what the device does in hardware, with the
reason said."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True)
class Precision:
    name: Literal["bf16", "float32"]
    reason: str
    device_type: str

    def autocast(self) -> AbstractContextManager:
        """Matrix products in bf16 where that was chosen; what needs float32 (sums, exponentials, losses)
        keeps it."""
        if self.name == "float32":
            return nullcontext()
        return torch.autocast(self.device_type, dtype=torch.bfloat16)


def choose_precision(device: torch.device, wish: Literal["auto", "32", "bf16"] = "auto") -> Precision:
    """bf16 where the device multiplies it in hardware, else float32; `wish` other than auto overrides."""
    able, reason = _bf16_in_hardware(device)
    if wish == "32":
        return Precision("float32", "asked for by plan.precision=32", device.type)
    if wish == "bf16":
        doubt = "" if able else f", although {reason}: expect it to be slower than float32"
        return Precision("bf16", f"asked for by plan.precision=bf16{doubt}", device.type)
    return Precision("bf16" if able else "float32", reason, device.type)


def _bf16_in_hardware(device: torch.device) -> tuple[bool, str]:
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        name = torch.cuda.get_device_name(device)
        able = (major, minor) >= (8, 0)
        return (
            able,
            f"{name} (compute capability {major}.{minor}) "
            f"{'multiplies' if able else 'does not multiply'} bf16 in hardware",
        )
    if device.type == "cpu":
        can = torch.cpu.get_capabilities()
        for key, name in (("amx_bf16", "AMX-BF16"), ("avx512_bf16", "AVX512-BF16")):
            if can.get(key):
                return True, f"the processor multiplies bf16 in hardware ({name})"
        return False, "the processor has neither AMX-BF16 nor AVX512-BF16"
    return False, f"bf16 is not known to be faster on {device.type}"
