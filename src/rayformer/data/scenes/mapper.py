"""The process in which pycolmap runs; `structure_from_motion.py` starts it.

    python -m rayformer.data.scenes.mapper JOB.json

It is a process of its own because a check that fails in compiled code ends the process it fails in. It tells
its parent on stdout, a JSON object a line, which phase it is in, how far, and what came of it; everything
else that is printed, by whatever library, goes to stderr. It ends when its parent does.

    features   SIFT keypoints of every photograph
    pairs      which photographs to compare
    matches    keypoints of each pair that agree on one motion between the two
    cameras    one camera after the other placed, and everything adjusted together (incremental mapping)
    lens       where many photographs share one lens, its axis adjusted as well
"""

import json
import os
import sqlite3
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from rayformer.data.scenes.pairs import all_pairs, likely_pairs

FEATURES_FOR_LIKENESS = 1000
"""The largest of each photograph; likeness needs no more."""
FEATURES = 8192
AT_ONCE = 100
"""Pairs between two reports."""
AXIS_KNOWN_FROM = 30
"""Photographs of one lens from which on its axis is adjusted too. With 50 of a phone this brought the angle
between found and known cameras from 0.67 to 0.22 degrees; with 11 the axis ran away instead."""
MANY_MODELS = 10
"""Separate reconstructions after which no further one is begun."""


def main(path: str) -> None:
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    say = _line_to_parent()
    say(phase="start")
    import pycolmap

    pycolmap.logging.minloglevel = int(pycolmap.logging.WARNING)
    pycolmap.set_random_seed(job["seed"])
    folder, images = Path(job["folder"]), Path(job["images"])
    database = folder / "database.db"
    names = job["order"]

    find_features(pycolmap, database, images, job, say)
    pairs = choose_pairs(pycolmap, database, names, job, say)
    matched = match_pairs(pycolmap, database, folder, names, pairs, job, say)
    models = place_cameras(pycolmap, database, images, folder, len(names), job, say)
    sizes = sorted((model.num_reg_images() for model in models), reverse=True)
    if models:
        best = max(models, key=lambda model: (model.num_reg_images(), model.num_points3D()))
        adjust_axes(pycolmap, best, job, say)
        place = folder / "sparse" / "0"
        place.mkdir(parents=True)
        best.write(place)
        placed = sorted(image.name for image in best.images.values() if image.has_pose)
        say(
            registered=placed, sizes=sizes, pixels_off=best.compute_mean_reprojection_error(), matched=matched
        )
    else:
        say(registered=[], sizes=[], pixels_off=0.0, matched=matched)


def find_features(colmap: Any, database: Path, images: Path, job: dict, say: Any) -> None:
    """Keypoints of every photograph; each group shares one camera, which is made here."""
    colmap.Database.open(str(database)).close()
    options = colmap.FeatureExtractionOptions()
    options.num_threads = job["threads"]
    options.use_gpu = False
    options.sift.max_num_features = FEATURES
    single = colmap.CameraMode.SINGLE
    for group in job["groups"]:
        reader = colmap.ImageReaderOptions()
        reader.camera_model = group["model"]
        # Between a phone's wide angle (0.75) and a longer lens (1.4), where nothing is stated.
        reader.default_focal_length_factor = 1.0
        if group["focal"]:
            four = group["model"] == "OPENCV"
            focal, rest = [group["focal"]] * (2 if four else 1), [0] * (4 if four else 1)
            reader.camera_params = ",".join(
                map(str, [*focal, group["width"] / 2, group["height"] / 2, *rest])
            )
        colmap.import_images(database, images, single, group["names"], reader)
    names = [name for group in job["groups"] for name in group["names"]]
    at_once = 4 * job["threads"]
    for start in range(0, len(names), at_once):
        say(phase="features", done=start, of=len(names))
        some = names[start : start + at_once]
        colmap.extract_features(database, images, some, extraction_options=options, device=colmap.Device.cpu)
    say(phase="features", done=len(names), of=len(names))


def choose_pairs(colmap: Any, database: Path, names: list[str], job: dict, say: Any) -> list[tuple[int, int]]:
    say(phase="pairs", done=0, of=1)
    pairs = all_pairs(len(names))
    if job["pairs"] == "likely":
        pairs = likely_pairs(_large_features(colmap, database, names), job["seed"])
    say(phase="pairs", done=1, of=1)
    return pairs


def _large_features(colmap: Any, database: Path, names: list[str]) -> list[np.ndarray]:
    opened = colmap.Database.open(str(database))
    try:
        numbers = {image.name: image.image_id for image in opened.read_all_images()}
        found = []
        for name in names:
            keypoints = opened.read_keypoints(numbers[name])
            size = np.hypot(keypoints[:, 2], keypoints[:, 3]) if len(keypoints) else np.zeros(0)
            largest = np.argsort(-size, kind="stable")[:FEATURES_FOR_LIKENESS]
            descriptors = opened.read_descriptors(numbers[name])
            values = np.asarray(getattr(descriptors, "data", descriptors), np.float32)
            found.append(values.reshape(-1, 128)[largest])  # a photograph without features has no columns
        return found
    finally:
        opened.close()


def match_pairs(
    colmap: Any,
    database: Path,
    folder: Path,
    names: list[str],
    pairs: list[tuple[int, int]],
    job: dict,
    say: Any,
) -> int:
    """Compare the pairs; how many of them agree on a motion."""
    matching = colmap.FeatureMatchingOptions()
    matching.num_threads = job["threads"]
    matching.use_gpu = False
    checking = colmap.TwoViewGeometryOptions()
    checking.ransac.random_seed = job["seed"]
    listing = colmap.ImportedPairingOptions()
    listing.match_list_path = str(folder / "pairs.txt")
    for start in range(0, len(pairs), AT_ONCE):
        say(phase="matches", done=start, of=len(pairs))
        some = pairs[start : start + AT_ONCE]
        text = "".join(f"{names[first]} {names[second]}\n" for first, second in some)
        Path(listing.match_list_path).write_text(text, encoding="utf-8")
        colmap.match_image_pairs(database, matching, listing, checking, colmap.Device.cpu)
    say(phase="matches", done=len(pairs), of=len(pairs))
    reader = sqlite3.connect(database)
    try:
        query = "SELECT COUNT(*) FROM two_view_geometries WHERE config > 1 AND rows > 0"  # 1: degenerate
        return int(reader.execute(query).fetchone()[0])
    finally:
        reader.close()


def place_cameras(
    colmap: Any, database: Path, images: Path, folder: Path, total: int, job: dict, say: Any
) -> list[Any]:
    """Every reconstruction that came about. One thread, so that the same photographs give the same bits."""
    options = colmap.IncrementalPipelineOptions()
    options.num_threads = 1
    options.max_num_models = MANY_MODELS
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = job["seed"]
    placed = 0

    def first_two() -> None:
        nonlocal placed
        placed = 2
        say(phase="cameras", done=placed, of=total)

    def one_more() -> None:
        nonlocal placed
        placed += 1
        say(phase="cameras", done=min(placed, total), of=total)

    say(phase="cameras", done=0, of=total)
    drafts = folder / "drafts"
    drafts.mkdir()
    models = colmap.incremental_mapping(
        database, images, drafts, options, initial_image_pair_callback=first_two, next_image_callback=one_more
    )
    say(phase="cameras", done=total, of=total)
    return list(models.values())


def adjust_axes(colmap: Any, model: Any, job: dict, say: Any) -> None:
    """Where the axes of lenses meet the picture, for those that took enough photographs to tell."""
    taken = Counter(image.camera_id for image in model.images.values() if image.has_pose)
    if not taken or min(taken.values()) < AXIS_KNOWN_FROM:
        return
    say(phase="lens", done=0, of=1)
    options = colmap.BundleAdjustmentOptions()
    options.refine_principal_point = True
    options.print_summary = False
    options.ceres.solver_options.num_threads = 1
    colmap.bundle_adjustment(model, options)
    model.update_point_3d_errors()
    say(phase="lens", done=1, of=1)


def _line_to_parent() -> Any:
    """What writes a line to the real stdout; whatever else prints there goes to stderr from now on. When the
    parent is gone, and its end of stdin with it, so is this process."""
    line = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

    def say(**values: Any) -> None:
        line.write(json.dumps(values) + "\n")
        line.flush()

    return say


if __name__ == "__main__":
    main(sys.argv[1])
