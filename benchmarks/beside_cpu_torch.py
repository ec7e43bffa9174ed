"""Imported for what it does: torchvision, which timm imports, then loads beside a torch for processors. Its
operators are only in its CUDA build; once their schemas are known it imports, and nobody here calls them."""

import torch

if torch.version.cuda is None:
    SCHEMAS = torch.library.Library("torchvision", "DEF")
    SCHEMAS.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    SCHEMAS.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
