"""Small scenes on disk, the same cameras in every format that is read, for the tests beside this file."""

import json
import math
import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from rayformer.geometry.cameras import Camera
from rayformer.geometry.lens import Lens
from rayformer.geometry.poses import look_at

LENS = Lens(k1=0.05, k2=-0.03, p1=0.001, p2=-0.002)


def ring(count: int = 9, lens: Lens = Lens(), width: int = 16, height: int = 12) -> list[Camera]:
    """Cameras around (1, 2, 0.5), about 4 units away, at varying heights, with z up."""
    cameras = []
    for number in range(count):
        angle = 2 * math.pi * number / count
        place = (1 + 4 * math.cos(angle), 2 + 4 * math.sin(angle), 0.5 + 0.6 * math.cos(3 * angle))
        pose = look_at(place, (1, 2, 0.5))
        cameras.append(
            Camera(width, height, 1.25 * width, 1.3 * width, width / 2 - 0.25, height / 2 + 0.5, pose, lens)
        )
    return cameras


def ideal(cameras: list[Camera]) -> list[Camera]:
    """The same with square pixels and the axis in the middle, for formats that know only a focal length."""
    return [Camera(c.width, c.height, c.fx, c.fx, c.width / 2, c.height / 2, c.pose, Lens()) for c in cameras]


def pictures(cameras: list[Camera], channels: int = 3, seed: int = 0) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [draw.integers(0, 256, (c.height, c.width, channels), dtype=np.uint8) for c in cameras]


def save(path: Path, picture: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return path


def name(number: int) -> str:
    return f"images/{number:03d}.png"


def frame(camera: Camera, path: str) -> dict:
    lens = {term: getattr(camera.lens, term) for term in ("k1", "k2", "p1", "p2")}
    size = {"w": camera.width, "h": camera.height, "fl_x": camera.fx, "fl_y": camera.fy}
    centre = {"cx": camera.cx, "cy": camera.cy}
    return {"file_path": path, "transform_matrix": camera.pose.tolist(), **size, **centre, **lens}


def transforms(folder: Path, cameras: list[Camera], **whole) -> Path:
    """transforms.json with every number in its frame; `whole` adds to the top."""
    for number, picture in enumerate(pictures(cameras)):
        save(folder / name(number), picture)
    frames = [frame(camera, name(number)) for number, camera in enumerate(cameras)]
    (folder / "transforms.json").write_text(json.dumps({"frames": frames} | whole))
    return folder


def blender(folder: Path, cameras: list[Camera], parts=("train", "val", "test")) -> Path:
    """Three files with camera_angle_x and paths without extension; RGBA pictures; a depth map that is no
    view."""
    for row, part in enumerate(parts):
        own = cameras[row :: len(parts)]
        frames = []
        for number, (camera, picture) in enumerate(zip(own, pictures(own, 4), strict=True)):
            save(folder / part / f"r_{number}.png", picture)
            frames.append({"file_path": f"./{part}/r_{number}", "transform_matrix": camera.pose.tolist()})
        angle = 2 * math.atan(cameras[0].width / 2 / cameras[0].fx)
        whole = {"camera_angle_x": angle, "frames": frames}
        (folder / f"transforms_{part}.json").write_text(json.dumps(whole))
        save(folder / part / "r_0_depth_0001.png", pictures(own)[0])
    return folder


def colmap(folder: Path, cameras: list[Camera], binary: bool, model: str = "sparse/0") -> Path:
    """An OPENCV model with twenty points that every photograph sees."""
    for number, picture in enumerate(pictures(cameras)):
        save(folder / name(number), picture)
    place = folder / model
    place.mkdir(parents=True)
    points = np.random.default_rng(1).normal(size=(20, 3)) * 0.5 + [1, 2, 0.5]
    colours = np.random.default_rng(2).integers(0, 256, (20, 3))
    (colmap_binary if binary else colmap_text)(place, cameras, points, colours)
    return folder


def colmap_motion(camera: Camera) -> list[float]:
    """World-to-camera quaternion w x y z and translation, OpenCV axes."""
    pose = camera.pose.numpy() @ np.diag([1.0, -1, -1, 1])
    inverse = np.linalg.inv(pose)
    x, y, z, w = Rotation.from_matrix(inverse[:3, :3]).as_quat()
    return [float(value) for value in (w, x, y, z, *inverse[:3, 3])]


def colmap_values(camera: Camera) -> list[float]:
    lens = camera.lens
    return [camera.fx, camera.fy, camera.cx, camera.cy, lens.k1, lens.k2, lens.p1, lens.p2]


def colmap_text(place: Path, cameras: list[Camera], points: np.ndarray, colours: np.ndarray) -> None:
    lines = ["# a comment"]
    for number, camera in enumerate(cameras):
        values = " ".join(map(repr, colmap_values(camera)))
        lines.append(f"{number + 1} OPENCV {camera.width} {camera.height} {values}")
    (place / "cameras.txt").write_text("\n".join(lines) + "\n")
    lines = ["# a comment"]
    for number, camera in enumerate(cameras):
        motion = " ".join(map(repr, colmap_motion(camera)))
        lines.append(f"{number + 7} {motion} {number + 1} {name(number)[7:]}")
        lines.append(" ".join(f"1.5 2.5 {point}" for point in range(len(points))) + " 3.5 4.5 -1")
    (place / "images.txt").write_text("\n".join(lines) + "\n")
    lines = [
        f"{number} {' '.join(repr(float(v)) for v in point)} {' '.join(map(str, colour))} 0.1 7 0 8 0"
        for number, (point, colour) in enumerate(zip(points, colours, strict=True))
    ]
    (place / "points3D.txt").write_text("\n".join(lines) + "\n")


def colmap_binary(place: Path, cameras: list[Camera], points: np.ndarray, colours: np.ndarray) -> None:
    data = struct.pack("<Q", len(cameras))
    for number, camera in enumerate(cameras):
        data += struct.pack("<iiQQ", number + 1, 4, camera.width, camera.height)
        data += struct.pack("<8d", *colmap_values(camera))
    (place / "cameras.bin").write_bytes(data)
    data = struct.pack("<Q", len(cameras))
    for number, camera in enumerate(cameras):
        data += struct.pack("<i7di", number + 7, *colmap_motion(camera), number + 1)
        data += name(number)[7:].encode() + b"\0" + struct.pack("<Q", len(points) + 1)
        data += b"".join(struct.pack("<ddq", 1.5, 2.5, point) for point in [*range(len(points)), -1])
    (place / "images.bin").write_bytes(data)
    data = struct.pack("<Q", len(points))
    for number, (point, colour) in enumerate(zip(points, colours, strict=True)):
        data += struct.pack("<Q3d3BdQ", number, *point, *colour, 0.1, 2) + struct.pack("<iiii", 7, 0, 8, 0)
    (place / "points3D.bin").write_bytes(data)


def llff(folder: Path, cameras: list[Camera], near: float = 2.0, far: float = 7.0) -> Path:
    """poses_bounds.npy; the focal length is that of the first axis."""
    rows = []
    for number, (camera, picture) in enumerate(zip(cameras, pictures(cameras), strict=True)):
        save(folder / name(number), picture)
        right, up, back, place = camera.pose[:3].numpy().T
        size = [camera.height, camera.width, camera.fx]
        rows.append([*np.stack([-up, right, back, place, size], axis=1).flatten(), near, far])
    np.save(folder / "poses_bounds.npy", np.array(rows))
    return folder


def kitti(folder: Path, cameras: list[Camera]) -> Path:
    for number, picture in enumerate(pictures(cameras)):
        save(folder / "image_l" / f"{number:06d}.png", picture[..., 0])
    matrices = [(camera.pose.numpy() @ np.diag([1.0, -1, -1, 1]))[:3] for camera in cameras]
    lines = [" ".join(repr(float(value)) for value in matrix.flatten()) for matrix in matrices]
    (folder / "poses.txt").write_text("\n".join(lines) + "\n")
    c = cameras[0]
    projection = [c.fx, 0, c.cx - 0.5, 0, 0, c.fy, c.cy - 0.5, 0, 0, 0, 1, 0]
    (folder / "calib.txt").write_text("P0: " + " ".join(map(repr, projection)) + "\n")
    return folder


def facing(count: int = 9) -> list[Camera]:
    """Cameras side by side that look along +y at things 3 and more away."""
    draw = torch.Generator().manual_seed(3)
    places = torch.randn(count, 3, generator=draw) * torch.tensor([0.5, 0.02, 0.3])
    return [
        Camera.from_fov(16, 12, 50, look_at(place, place + torch.tensor([0.02, 6, 0]))) for place in places
    ]


def drive(count: int = 9) -> list[Camera]:
    """Cameras one behind the other that look along their way, +x."""
    return [Camera.from_fov(16, 12, 50, look_at((x, 0.01 * x, 1), (x + 5, 0, 1))) for x in range(count)]
