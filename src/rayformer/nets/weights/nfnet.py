"""What others call the weights of `nets/nfnet.py`.

TIMM     timm's `dm_nfnet_f*`, which are the authors' weights
NFNET    the family
"""

from rayformer.nets.weights.family import Family, Format
from rayformer.nets.weights.names import Rename, Rules

_BLOCK = "stages.{i}.{j}."

TIMM: Rules = (
    *(Rename(f"stem.conv{number + 1}.{{part}}", f"stem.{number}.{{part}}") for number in range(4)),
    Rename(_BLOCK + "conv1.{part}", _BLOCK + "narrow.{part}"),
    Rename(_BLOCK + "conv2.{part}", _BLOCK + "spatial.{part}"),
    Rename(_BLOCK + "conv2b.{part}", _BLOCK + "spatial_again.{part}"),
    Rename(_BLOCK + "conv3.{part}", _BLOCK + "widen.{part}"),
    Rename(_BLOCK + "attn_last.fc1.{part}", _BLOCK + "excite.squeeze.{part}"),
    Rename(_BLOCK + "attn_last.fc2.{part}", _BLOCK + "excite.excite.{part}"),
    Rename(_BLOCK + "skipinit_gain", _BLOCK + "gain"),
    Rename(_BLOCK + "downsample.conv.{part}", _BLOCK + "shortcut.{part}"),
    Rename("final_conv.{part}", "last.{part}"),
    Rename("head.fc.{part}", "head.{part}"),
)

NFNET = Family(formats={"timm": Format(rules=TIMM)}, head=("head.",))
