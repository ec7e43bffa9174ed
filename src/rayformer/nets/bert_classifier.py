"""BERT with an answer: one more layer on what stands for the sentence, and all of it fine-tuned.

Devlin et al. 2018, https://arxiv.org/abs/1810.04805, sec. 4.1 and fig. 4 a, b. Read from the top:

    BertClassifier    sentences or pairs of them to one number for each class, or to one score

Batches are ragged, as those of `nets/bert.py`. Axes: batch, the sentences or pairs of them; tokens, those of
all of them; outputs, classes, or one score.
"""

from jaxtyping import Float, Int
from torch import Tensor, nn

from rayformer.nets.bert import Bert, BertConfig, start
from rayformer.nets.parts.ragged import Ragged


class BertClassifier(nn.Module):
    """Dropout draws from torch's global generator while the module trains."""

    def __init__(self, config: BertConfig, outputs: int):
        super().__init__()
        self.config = config
        self.bert = Bert(config)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.width, outputs)
        self.head.apply(start)

    def forward(
        self, words: Int[Tensor, "tokens"], kinds: Int[Tensor, "tokens"], ragged: Ragged
    ) -> Float[Tensor, "batch outputs"]:
        """Raises ShapeError for a sentence that is longer than there are positions."""
        tokens = self.bert(words, kinds, ragged)
        return self.head(self.dropout(self.bert.pooled(tokens, ragged)))

    def depth_of(self, name: str) -> int:
        """As that of `Bert`; the head lies with the layer below it."""
        return self.bert.depth_of(name) if name.startswith("bert.") else 1 + self.config.depth

    @staticmethod
    def undecayed(name: str, parameter: Tensor) -> bool:
        return Bert.undecayed(name, parameter)
