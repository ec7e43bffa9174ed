"""timm, torchvision and transformers beside a torch for processors.

torchvision's operators are compiled for CUDA and do not load there; it imports once their schemas are known,
and nothing here calls them. Where a peer is absent its tests are passed over: `make peers` fetches them.
"""

import torch

if torch.version.cuda is None:
    SCHEMAS = torch.library.Library("torchvision", "DEF")
    SCHEMAS.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    SCHEMAS.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
