"""The vocabulary of axes: the same words in types, einops patterns, docstrings and errors.

A test reads every annotation in the package and refuses a word that is not here. Conventions of frames, units
and colour stand in `docs/conventions.md`.
"""

AXES: dict[str, str] = {
    # rays and scenes
    "rays": "one entry per ray",
    "samples": "positions along a ray, one inside each interval",
    "edges": "fenceposts between the samples of a ray: samples + 1",
    "coarse": "samples, or edges, of the first pass along a ray",
    "extra": "samples added where the first pass found matter",
    "taps": "places that stand for one interval of a cone",
    "points": "places in space, in no order",
    "faces": "triangles of a mesh",
    "views": "photographs of a scene, each with its camera",
    "blocks": "fields that share a street between them",
    "octaves": "doublings of a frequency",
    "waves": "frequencies of an encoding, each with a direction",
    "levels": "grids of one encoding, from coarse to fine",
    "cells": "cells of a grid of space along one axis",
    "rows": "entries of a table of features",
    "side": "voxels along an axis of a lattice",
    "shape": "any shape, the same in all arguments",
    "dims": "coordinates of a place or a direction",
    # images, and anything with a raster
    "batch": "independent examples",
    "channels": "values of one pixel",
    "height": "rows of pixels, row 0 on top",
    "width": "columns of pixels; in a network, the channels of a token or layer",
    "pixels": "picture elements in no particular order",
    "frames": "pictures one after the other",
    "angles": "sides from which a section is looked through",
    "detectors": "parallel lines of one such look",
    # networks
    "tokens": "members of the input set",
    "picked": "tokens that are asked about",
    "queries": "tokens that look",
    "keys": "tokens that are looked at",
    "windows": "parts of a map whose tokens see one another",
    "masks": "ways of hiding some tokens of the same example",
    "heads": "parallel attentions",
    "features": "channels of an encoding or a hidden layer",
    "inputs": "channels that enter a layer",
    "outputs": "channels that leave a layer",
}
