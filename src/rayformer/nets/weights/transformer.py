"""What torch.nn.Transformer and its layers call the weights of the Transformer.

    TORCH   of `torch.nn.Transformer`; its words, which it has none of, are called as ours

It puts one norm more at the end of either stack, which the paper does not have: those have no place here.
"""

from rayformer.nets.weights.names import Rename, Rules


def _layer(theirs: str, ours: str, attentions: dict[str, str], norms: dict[str, str]) -> Rules:
    return (
        *(
            rule
            for their, own in attentions.items()
            for rule in (
                Rename(f"{theirs}{their}.in_proj_{{part}}", f"{ours}{own}.to_qkv.{{part}}"),
                Rename(f"{theirs}{their}.out_proj.{{part}}", f"{ours}{own}.to_output.{{part}}"),
            )
        ),
        *(Rename(f"{theirs}{their}.{{part}}", f"{ours}{own}.{{part}}") for their, own in norms.items()),
        Rename(theirs + "linear1.{part}", ours + "mlp.to_hidden.{part}"),
        Rename(theirs + "linear2.{part}", ours + "mlp.to_output.{part}"),
    )


TORCH: Rules = (
    Rename("words.weight", "words.weight"),
    *_layer(
        "encoder.layers.{i}.",
        "encoder.{i}.",
        {"self_attn": "attention"},
        {"norm1": "norm_attention", "norm2": "norm_mlp"},
    ),
    *_layer(
        "decoder.layers.{i}.",
        "decoder.{i}.",
        {"self_attn": "attention", "multihead_attn": "to_memory"},
        {"norm1": "norm_attention", "norm2": "norm_memory", "norm3": "norm_mlp"},
    ),
)
