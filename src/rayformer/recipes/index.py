"""Every recipe by name, as a static list: `rayformer list` and `--help` answer without importing torch.

    ENTRIES     what there is: name, system, paper, what it takes, what it gives
    entry       one of them by name, or the nearest one offered
    load        the recipe itself, which imports its module and torch with it

A new recipe is a module with a `RECIPE`, and one entry here.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from rayformer.core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from rayformer.engine.task import Recipe


@dataclass(frozen=True, kw_only=True)
class Entry:
    name: str
    module: str
    """Where its `RECIPE` is."""
    system: str
    paper: str
    takes: str
    """What `--data` may be."""
    gives: str
    """What a finished run holds, and the numbers it is judged by."""
    abilities: tuple[str, ...]
    """The commands that a finished run answers to, beside eval and report."""


POSED_PHOTOS = "posed photos (transforms.json, Blender, COLMAP, LLFF, KITTI)"

NAMED_PICTURES = "classes of new pictures, and where it looked; top1, top5"
LABELLED_PICTURES = "labelled pictures (class folders, a zip of them, idx, CIFAR, hf:NAME); shapes, glyphs"

ENTRIES = (
    Entry(
        name="nerf",
        module="rayformer.recipes.nerf",
        system="NeRF: a scene as one function of place and direction",
        paper="Mildenhall et al. 2020, arXiv:2003.08934",
        takes=POSED_PHOTOS,
        gives="new views with depth; psnr_db, ssim",
        abilities=("render", "view", "export"),
    ),
    Entry(
        name="ngp",
        module="rayformer.recipes.ngp",
        system="Instant-NGP: a radiance field in hash grids, learned in minutes",
        paper="Müller et al. 2022, arXiv:2201.05989",
        takes=POSED_PHOTOS,
        gives="new views with depth; psnr_db, ssim",
        abilities=("render", "view", "export"),
    ),
    Entry(
        name="zipnerf",
        module="rayformer.recipes.zipnerf",
        system="Zip-NeRF: hash grids that see cones, sharp at every distance",
        paper="Barron et al. 2023, arXiv:2304.06706",
        takes=POSED_PHOTOS,
        gives="new views with depth, without aliasing; psnr_db, ssim",
        abilities=("render", "view", "export"),
    ),
    Entry(
        name="nerfw",
        module="rayformer.recipes.nerfw",
        system="NeRF in the wild: photographs of many lights, with passers-by",
        paper="Martin-Brualla et al. 2021, arXiv:2008.02268",
        takes=POSED_PHOTOS,
        gives="new views in the light of any of them, without what passed by; psnr_db, usual_psnr_db",
        abilities=("render", "view", "export"),
    ),
    Entry(
        name="blocknerf",
        module="rayformer.recipes.blocknerf",
        system="Block-NeRF: a street as many fields, trained apart and shown as one",
        paper="Tancik et al. 2022, arXiv:2202.05263",
        takes="posed photos along a street (transforms.json, COLMAP, KITTI), or town",
        gives="flights down the street in one light; psnr_db, seam_error",
        abilities=("render", "view", "export"),
    ),
    Entry(
        name="voxels",
        module="rayformer.recipes.voxels",
        system="Voxels: a scene as numbers on a lattice (Plenoxels, DVGO, or the plain table)",
        paper="Yu et al. 2022, arXiv:2112.05131; Sun et al. 2022, arXiv:2111.11215",
        takes=POSED_PHOTOS,
        gives="new views with depth; psnr_db, ssim",
        abilities=("render", "view", "export"),
    ),
    Entry(
        name="deepvoxels",
        module="rayformer.recipes.deepvoxels",
        system="DeepVoxels: photographs gathered in a volume of features, views drawn from it",
        paper="Sitzmann et al. 2019, arXiv:1812.01024",
        takes=POSED_PHOTOS,
        gives="new views with depth; psnr_db, ssim",
        abilities=("render", "view", "export"),
    ),
    Entry(
        name="ibr",
        module="rayformer.recipes.ibr",
        system="Free View Synthesis: photographs warped by depth and blended",
        paper="Riegler and Koltun 2020, arXiv:2008.05511",
        takes=POSED_PHOTOS,
        gives="new views made of the photographs; psnr_db, ssim",
        abilities=("render", "view", "export"),
    ),
    Entry(
        name="image-field",
        module="rayformer.recipes.image_field",
        system="Fourier features: a picture, a sound, a video or a tomogram as a function of its coordinates",
        paper="Tancik et al. 2020, arXiv:2006.10739",
        takes="a picture, a sound, a video or a folder of frames; demo, text, sound, video, phantom",
        gives="the signal at any resolution; psnr_db, for sound snr_db",
        abilities=("export",),
    ),
    Entry(
        name="sdf",
        module="rayformer.recipes.sdf",
        system="Signed distance field: a mesh as the function that says how far away it is",
        paper="Müller et al. 2022, arXiv:2201.05989; Sitzmann et al. 2020, arXiv:2006.09661",
        takes="a mesh (obj, ply, stl, glb, off)",
        gives="a smooth closed surface, as a mesh again; chamfer_percent, iou",
        abilities=("export",),
    ),
    Entry(
        name="vit",
        module="rayformer.recipes.vit",
        system="ViT: a picture as a sequence of patches that look at each other",
        paper="Dosovitskiy et al. 2020, arXiv:2010.11929",
        takes=LABELLED_PICTURES,
        gives=NAMED_PICTURES,
        abilities=("predict", "export"),
    ),
    Entry(
        name="swin",
        module="rayformer.recipes.swin",
        system="Swin: attention in windows that shift, linear in pixels",
        paper="Liu et al. 2021, arXiv:2103.14030",
        takes=LABELLED_PICTURES,
        gives=NAMED_PICTURES,
        abilities=("predict", "export"),
    ),
    Entry(
        name="convnext",
        module="rayformer.recipes.convnext",
        system="ConvNeXt: a ConvNet with all that transformers taught",
        paper="Liu et al. 2022, arXiv:2201.03545",
        takes=LABELLED_PICTURES,
        gives=NAMED_PICTURES,
        abilities=("predict", "export"),
    ),
    Entry(
        name="resnet-rs",
        module="rayformer.recipes.resnet_rs",
        system="ResNet-RS: a ResNet trained and scaled as one does today",
        paper="Bello et al. 2021, arXiv:2103.07579",
        takes=LABELLED_PICTURES,
        gives=NAMED_PICTURES,
        abilities=("predict", "export"),
    ),
    Entry(
        name="nfnet",
        module="rayformer.recipes.nfnet",
        system="NFNet: a ConvNet without norms that matches transformers at scale",
        paper="Brock et al. 2021, arXiv:2102.06171",
        takes=LABELLED_PICTURES,
        gives=NAMED_PICTURES,
        abilities=("predict", "export"),
    ),
    Entry(
        name="igpt",
        module="rayformer.recipes.igpt",
        system="Image GPT: pictures learned as sequences of colours, pixel by pixel",
        paper="Chen et al. 2020, Generative pretraining from pixels (ICML)",
        takes=LABELLED_PICTURES,
        gives="pictures drawn and ended, features for classes; nats_per_pixel, probe_top1, top1",
        abilities=("predict", "export"),
    ),
    Entry(
        name="probe",
        module="rayformer.recipes.probe",
        system="Probe: what the features of a network know, while it stays as it is",
        paper="He et al. 2021, arXiv:2111.06377; Wu et al. 2018, arXiv:1805.01978",
        takes=f"{LABELLED_PICTURES}; --from a run of the networks above, or their weights",
        gives="classes by a linear layer on its features; top1, logistic_top1, knn_top1",
        abilities=("predict", "export"),
    ),
    Entry(
        name="transformer",
        module="rayformer.recipes.transformer",
        system="Transformer: one text into another by attention alone",
        paper="Vaswani et al. 2017, arXiv:1706.03762",
        takes="pairs of texts, in two columns (.tsv, .txt, .csv); tasks, reversal, sorting, arithmetic",
        gives="answers and translations; sequence_accuracy, of files bleu_percent",
        abilities=("predict", "export"),
    ),
    Entry(
        name="bert",
        module="rayformer.recipes.bert",
        system="BERT: text read in both directions, learned from blanks and from next sentences",
        paper="Devlin et al. 2018, arXiv:1810.04805",
        takes="text (folder or file of txt, gz, zip; documents by blank lines, files or headings); grammar",
        gives="words for blanks, whether a sentence follows; words_nats, words_accuracy, next_accuracy",
        abilities=("predict", "export"),
    ),
    Entry(
        name="bert-glue",
        module="rayformer.recipes.bert_glue",
        system="BERT fine-tuned: sentences and pairs of them into classes or scores, the tasks of GLUE",
        paper="Devlin et al. 2018, arXiv:1810.04805; Wang et al. 2018, arXiv:1804.07461",
        takes="a folder of GLUE or of one task (tsv); demo; --from a bert run or a published checkpoint",
        gives="answers to new sentences; accuracy, f1, mcc, spearman as GLUE has them, over several seeds",
        abilities=("predict", "export"),
    ),
    Entry(
        name="roadmap",
        module="rayformer.recipes.roadmap",
        system="ConvNeXt's roadmap: any network between ResNet and ConvNeXt, by twelve switches",
        paper="Liu et al. 2022, arXiv:2201.03545",
        takes=LABELLED_PICTURES,
        gives=NAMED_PICTURES,
        abilities=("predict", "export"),
    ),
    Entry(
        name="denoising-ae",
        module="rayformer.recipes.denoising_ae",
        system="Denoising autoencoders: layers that learn by making spoiled pictures good again",
        paper="Vincent et al. 2008 (ICML); Vincent et al. 2010 (JMLR 11)",
        takes=LABELLED_PICTURES,
        gives="classes of new pictures, and spoiled ones restored; top1, restored_mse of each layer",
        abilities=("predict", "export"),
    ),
)


def entry(name: str) -> Entry:
    """The entry called `name`. Raises ConfigError with the nearest one."""
    known = {entry.name: entry for entry in ENTRIES}
    if name not in known:
        raise ConfigError(
            f"there is no recipe {name!r}.{did_you_mean(name, known)}\n`rayformer list` shows every recipe."
        )
    return known[name]


def load(name: str) -> "Recipe":
    """The recipe called `name`. Raises ConfigError with the nearest one if there is none."""
    return import_module(entry(name).module).RECIPE
