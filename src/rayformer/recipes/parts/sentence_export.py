"""What a fine-tuned network that reads sentences is written as.

SENTENCE_EXPORTS    both formats by name: the weights alone, and
write_transformers  a folder that transformers loads and `--from` takes: config.json, the vocabulary, weights
                    under the names of `BertForSequenceClassification`
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rayformer.core.errors import ConfigError
from rayformer.engine.checkpoint import write_tensors
from rayformer.engine.task import Export
from rayformer.nets.bert_classifier import BertClassifier
from rayformer.nets.weights.bert import described
from rayformer.nets.weights.bert_classifier import BERT_CLASSIFIER
from rayformer.nets.weights.loading import exported
from rayformer.recipes.parts.open import Loaded
from rayformer.recipes.parts.weights_export import WEIGHTS
from rayformer.runs.atomic import replacing_folder


@dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """None: a network is what it is."""


def write_transformers(loaded: Loaded, options: FolderOptions, path: Path) -> dict[str, Any]:
    """Raises ConfigError for a run of several seeds or tasks, of which each has a network, and for a network
    that looks back only."""
    model = one_network(loaded).cpu().float().eval()
    asks, words = loaded.task.asks, loaded.task.rows.words
    head = (
        {"num_labels": 1, "problem_type": "regression"}
        if asks.scored
        else {
            "id2label": {str(number): name for number, name in enumerate(asks.answers)},
            "label2id": {name: number for number, name in enumerate(asks.answers)},
            "problem_type": "single_label_classification",
        }
    )
    config = {
        **described(model.config, words.pad),
        **head,
        "architectures": ["BertForSequenceClassification"],
    }
    reads = {
        "tokenizer_class": "BertTokenizerFast",
        "model_max_length": loaded.task.rows.longest,
        "do_lower_case": words.lower,
    }
    with replacing_folder(path) as folder:
        words.save(folder)
        for name, told in (("config.json", config), ("tokenizer_config.json", reads)):
            (folder / name).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        tensors = {
            name: tensor.contiguous()
            for name, tensor in exported(model, BERT_CLASSIFIER, "transformers").items()
        }
        write_tensors(folder / "model.safetensors", tensors, {"format": "pt"})
    return {"tensors": len(tensors), "parameters": sum(one.numel() for one in model.parameters())}


def one_network(loaded: Loaded) -> BertClassifier:
    """The network of a run of one task and seed, or of a stage. Raises ConfigError for runs of several."""
    if isinstance(loaded.model, BertClassifier):
        return loaded.model
    stages = [stage.name for stage in loaded.chain.stages]
    raise ConfigError(
        f"{loaded.run.path} holds {len(stages)} networks, and one is written.\n"
        f"Give one of its stages, for instance {loaded.run.path / 'stages' / stages[0]}."
    )


def _write_weights(loaded: Loaded, options: Any, path: Path) -> Mapping[str, Any]:
    one_network(loaded)
    return WEIGHTS.write(loaded, options, path)


SENTENCE_EXPORTS: Mapping[str, Export] = {
    "safetensors": replace(WEIGHTS, write=_write_weights),
    "transformers": Export(
        does="a folder that transformers loads: its names, config, answers, vocabulary",
        options=FolderOptions(),
        write=write_transformers,
        name="transformers",
    ),
}
