"""What a BERT is written as for other programs.

BERT_EXPORTS         the weights, and a folder for transformers, by the name of the format write_transformers
a folder that `BertForPreTraining.from_pretrained` and `BertTokenizer` take, and --from, too
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rayformer.engine.checkpoint import write_tensors
from rayformer.engine.task import Export
from rayformer.nets.bert import BertPretraining
from rayformer.nets.weights.bert import BERT, described
from rayformer.nets.weights.loading import exported
from rayformer.recipes.parts.open import Loaded
from rayformer.recipes.parts.weights_export import WEIGHTS
from rayformer.runs.atomic import replacing_folder


@dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """None: a network is what it is."""


def write_transformers(loaded: Loaded, options: FolderOptions, path: Path) -> dict[str, Any]:
    """Raises DataError for a network that looks back only."""
    task, model = loaded.task, loaded.model.cpu().float().eval()
    assert isinstance(model, BertPretraining), "a run of bert trains one"
    told = described(model.config, task.wordpiece.pad)
    weights = exported(model, BERT, "transformers")
    lower = task.wordpiece.lower
    with replacing_folder(path) as folder:
        (folder / "config.json").write_text(json.dumps(told, indent=2), encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": lower}), encoding="utf-8"
        )
        task.wordpiece.save(folder)
        write_tensors(folder / "model.safetensors", weights, {"format": "pt"})
    return {"tensors": len(weights), "vocabulary": len(task.wordpiece)}


BERT_EXPORTS = {
    "safetensors": WEIGHTS,
    "transformers": Export(
        does="a folder that transformers' BertForPreTraining and BertTokenizer read",
        options=FolderOptions(),
        write=write_transformers,
        name="transformers",
    ),
}
