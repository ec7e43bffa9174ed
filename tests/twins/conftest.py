"""What tests of kernels ask for: a number of threads, and functions that torch can trace."""

import jaxtyping
import numba
import pytest


@pytest.fixture
def threads():
    """`threads(n)`: compiled loops run on so many from here to the end of the test."""
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("this machine has one core")
    before = numba.get_num_threads()
    yield numba.set_num_threads
    numba.set_num_threads(before)


@pytest.fixture
def unchecked():
    """No checks of shapes, which tests put around every function and torch.compile cannot look through."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
