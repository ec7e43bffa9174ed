"""What others call the weights of `nets/bert_classifier.py`.

    BERT_CLASSIFIER  files of the body, of pre-training and of fine-tuned classifiers, in every format of
                     `weights/bert.py`; our own pre-training

A file lends the body. Heads of pre-training have no place here, and a head for other answers is left out;
both are said. Where a file has no pooling layer, the model's own, untrained one stays.
"""

from dataclasses import replace

from rayformer.nets.weights.bert import BERT
from rayformer.nets.weights.family import Family, Format
from rayformer.nets.weights.names import Rename, Rules

TRANSFORMERS_HEAD: Rules = (Rename("classifier.{part}", "head.{part}"),)
TF1_HEAD: Rules = (Rename("output_weights", "head.weight"), Rename("output_bias", "head.bias"))
OURS: Rules = tuple(
    Rename(name, name)
    for name in ("head.{a}", "bert.{a}.{b}", "bert.blocks.{i}.{a}.{b}", "bert.blocks.{i}.{a}.{b}.{c}")
)
"""A run of pre-training, which has no head of ours, or a file of one."""

BERT_CLASSIFIER = Family(
    formats={
        **{
            name: replace(form, rules=(*form.rules, *(TF1_HEAD if name == "tf1" else TRANSFORMERS_HEAD)))
            for name, form in BERT.formats.items()
        },
        "rayformer's pre-training": Format(rules=OURS),
    },
    head=("head.", "bert.pool."),
    fitted=BERT.fitted,
)
