"""Loops compiled for the processor: one decorator, and what there is to say about compiling them.

    compiled      numba's parallel compiler with the settings that all our loops share
    compilations  how many loops this process had to compile, not finding them on disk
    inlined       a part of such loops
    prefetch      ask the memory for a value that will be needed soon
    balanced      an order of tasks in which every thread has as much to do

Loops are compiled on their first call (some seconds each) and kept on disk beside the source, or in numba's
own cache folder where that cannot be written; later processes load them in milliseconds.
"""

from collections.abc import Callable
from inspect import unwrap  # tests wrap every function in a check of shapes, which no compiler reads
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

# The rows of a table are two to eight numbers beside each other. Packing them into one vector operation is
# the work of LLVM's SLP pass, which numba leaves off by default; here it is worth a factor of two (measured).
numba.config.SLP_VECTORIZE = 1  # type: ignore[attr-defined]

# Sums may be reordered and contracted, which vector units need. What is not promised away is that NaN and
# infinity behave: a diverging run must be seen to diverge.
_REORDERED = {"contract", "reassoc", "nsz", "arcp", "afn"}


_MADE: list[Any] = []


def compiled(loop: Callable[..., Any], *, parallel: bool = True) -> Any:
    """`loop` compiled on its first call, for the types it is called with; kept on disk."""
    made = numba.njit(
        parallel=parallel, fastmath=_REORDERED, cache=True, boundscheck=False, error_model="numpy"
    )(unwrap(loop))
    _MADE.append(made)
    return made


def compilations() -> int:
    """How many loops this process had to compile, because none was kept for the types they were called
    with."""
    return sum(sum(made.stats.cache_misses.values()) for made in _MADE)


def inlined(loop: Callable[..., Any]) -> Any:
    """A part of compiled loops, made one with whatever calls it."""
    return numba.njit(fastmath=_REORDERED, boundscheck=False, error_model="numpy", inline="always")(
        unwrap(loop)
    )


def _prefetch(context: Any, values: Any, place: Any) -> Any:
    """Ask for `values[place]` to be fetched into the cache; it is not waited for.

    A look-up in a large table waits for memory most of its time. Asked for eight look-ups ahead, the row is
    there when its turn comes: twice the speed for tables beyond the second cache (measured).
    """

    def emit(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = target.make_array(signature.args[0])(target, builder, arguments[0])
        byte = ir.IntType(8).as_pointer()
        word = ir.IntType(32)
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), byte)
        ask = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, word, word, word]), "llvm.prefetch.p0"
        )
        builder.call(ask, [address, word(0), word(3), word(1)])  # for reading, into all caches, data
        return target.get_dummy_value()

    return types.void(values, place), emit


prefetch: Any = intrinsic(_prefetch)  # called without its context, which the compiler gives


def balanced(costs: list[float], threads: int) -> list[int]:
    """An order of tasks such that, cut into `threads` equal runs, each run costs about the same.

    numba cuts a parallel loop into such runs, one for each thread.
    """
    order = sorted(range(len(costs)), key=lambda task: -costs[task])
    runs: list[list[int]] = [[] for _ in range(max(1, threads))]
    for place, task in enumerate(order):
        turn, seat = divmod(place, len(runs))
        runs[seat if turn % 2 == 0 else len(runs) - 1 - seat].append(task)
    return [task for run in runs for task in run]
