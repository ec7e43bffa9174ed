"""Compiles every Triton kernel to machine code of a CUDA device that need not be there: run by
`test_triton.py`.

    python triton_compiles.py [CAPABILITY ...]

The kernels are called as ever, with tensors on the processor; instead of launching them each call compiles
its kernel for the kinds of arguments that came. Prints the names of the kernels that were compiled.
"""

import sys

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction, mangle_type

from rayformer.kernels import (
    compositing_triton,
    hash_grid_triton,
    marching_triton,
    table_adam_triton,
    voxel_table_triton,
)
from rayformer.kernels.hash_grid import GridLayout
from rayformer.kernels.marching import Space

CAPABILITIES = [int(word) for word in sys.argv[1:]] or [80]
DONE: set[str] = set()


def compile_instead(kernel, *arguments, grid, warmup, **named):
    names = [parameter.name for parameter in kernel.params]
    given = dict(zip(names, arguments, strict=False)) | {
        name: named.pop(name) for name in names if name in named
    }
    constants = {parameter.name for parameter in kernel.params if parameter.is_constexpr}
    kinds = {name: "constexpr" if name in constants else mangle_type(given[name]) for name in names}
    values = {(names.index(name),): given[name] for name in constants}
    key = f"{kernel.__name__} {kinds} {values}"
    if key not in DONE:
        DONE.add(key)
        source = ASTSource(kernel, signature=kinds, constexprs=values)
        for capability in CAPABILITIES:
            made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=named)
            assert made.asm["cubin"], f"{kernel.__name__} has no machine code for {capability}"
    if "counts" in given:  # so that there are samples to write
        given["counts"].fill_(1)


JITFunction.run = compile_instead

for dtype, features in ((torch.float32, 4), (torch.bfloat16, 1)):
    layout = GridLayout(resolutions=(2, 33), features=features, log2_rows=9)
    numbers = (layout.resolutions, layout.starts, layout.primes, layout.shift)
    where, table = torch.rand(9, 3), torch.rand(layout.rows, features).to(dtype)
    seen = hash_grid_triton.encode(where, table, *numbers)
    hash_grid_triton.backward(seen, where, table, *numbers, True, True)
    hash_grid_triton.tangent(where, seen, where, table, *numbers)
for ways, channels, dtype in ((1, 27, torch.float32), (5, 3, torch.bfloat16)):
    links, way = torch.full((3, 3, 3), 0, dtype=torch.int32), torch.zeros(9 * (ways > 1), dtype=torch.int32)
    values = torch.rand(ways, channels).to(dtype)
    seen = voxel_table_triton.gather(where, links, values, ways, way)
    voxel_table_triton.backward(seen, where, links, values, ways, way, True, True)
for contracted, cone in ((False, 0.0), (True, 0.1)):
    space, full = Space((0.0, 0.0, 0.0), 1.0, contracted), torch.ones(8, 8, 8, dtype=torch.bool)
    marching_triton.march(where, where, where[:, 0], where[:, 1], full, space, 0.1, cone, None, 9)
for dtype, channels in ((torch.float32, 3), (torch.float64, 0)):
    value, colour = torch.rand(9, dtype=dtype), torch.rand(9, channels, dtype=dtype)
    starts = torch.tensor([0, 4, 9])
    seen = compositing_triton.composite(value, colour, value, value, starts, 1e-4)
    compositing_triton.backward(*seen, value, colour, value, value, starts, 1e-4)
for skip_zeros in (True, False):
    moments = torch.rand(9), torch.rand(9), torch.rand(9), torch.rand(9)
    table_adam_triton.table_adam(*moments, 1, 0.1, 0.9, 0.99, 1e-15, 0.0, skip_zeros)
print(*sorted({key.split(" ")[0] for key in DONE}))
