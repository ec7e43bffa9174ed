"""What every test may ask for: snapshots of texts, real data where it is at hand, two threads and no
surprises."""

import os
import signal
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# As on the command line (`cli.main.share_the_cores`), and like there before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# A shell that starts a suite in the background lets it ignore Ctrl-C, which some tests send to themselves.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def snapshot(request, tmp_path):
    """`snapshot(name, text)`: the text equals the stored one. RAYFORMER_UPDATE_SNAPSHOTS=1 stores instead
    of comparing."""

    def compare(name: str, text: str) -> None:
        text = text.replace(str(tmp_path), "TMP").rstrip() + "\n"
        path = HERE / "snapshots" / Path(request.node.path).stem / f"{name}.txt"
        if os.environ.get("RAYFORMER_UPDATE_SNAPSHOTS"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.exists(), (
            f"no stored text {path.relative_to(HERE)}; run with RAYFORMER_UPDATE_SNAPSHOTS=1 and read it"
        )
        assert text == path.read_text(), f"the text differs from tests/{path.relative_to(HERE)}"

    return compare


@pytest.fixture
def real_data():
    """`real_data("nerf_fox")`: the folder of a real data set, or the test is skipped with the reason."""

    def folder(name: str) -> Path:
        root = Path(os.environ.get("RAYFORMER_DATA", HERE.parent.parent / "shared" / "data"))
        if not (root / name).is_dir():
            pytest.skip(
                f"the real data set {name} is not at hand (set RAYFORMER_DATA to the folder that holds it)"
            )
        return root / name

    return folder


@pytest.fixture(autouse=True, scope="session")
def _two_threads():
    import torch

    # Two workers (`pytest -n 2`) take one thread each, so that they do not fight over the cores.
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
