"""What compiled loops over grids share: the weights of a cell's eight corners, and their slopes.

Corner c is the upper one along x if c & 1, along y if c & 2, along z if c & 4.
"""

from rayformer.kernels.compiled import inlined


@inlined
def corner_weights(count, within, weights):
    """The trilinear weights of the corners, given where inside its cell each of `count` places lies."""
    one = within.dtype.type(1)
    for i in range(count):
        x, y, z = within[0, i], within[1, i], within[2, i]
        near_x, near_y, near_z = one - x, one - y, one - z
        yz = near_y * near_z
        weights[0, i], weights[1, i] = near_x * yz, x * yz
        yz = y * near_z
        weights[2, i], weights[3, i] = near_x * yz, x * yz
        yz = near_y * z
        weights[4, i], weights[5, i] = near_x * yz, x * yz
        yz = y * z
        weights[6, i], weights[7, i] = near_x * yz, x * yz


@inlined
def slope_along(met, x, y, z):
    """How the blend of the corners' values `met` changes along each axis at (x, y, z) of the cell."""
    one = met.dtype.type(1)
    near_x, near_y, near_z = one - x, one - y, one - z
    along_x = (near_y * near_z * (met[1] - met[0]) + y * near_z * (met[3] - met[2])
               + near_y * z * (met[5] - met[4]) + y * z * (met[7] - met[6]))  # fmt: skip
    along_y = (near_x * near_z * (met[2] - met[0]) + x * near_z * (met[3] - met[1])
               + near_x * z * (met[6] - met[4]) + x * z * (met[7] - met[5]))  # fmt: skip
    along_z = (near_x * near_y * (met[4] - met[0]) + x * near_y * (met[5] - met[1])
               + near_x * y * (met[6] - met[2]) + x * y * (met[7] - met[3]))  # fmt: skip
    return along_x, along_y, along_z


@inlined
def moving(x, cells, shift, side):
    """How fast a place moves through the cells of a grid: `cells`, or 0 where it is clamped."""
    p = x * cells + shift
    zero = cells - cells
    return cells if p >= zero and p <= side - 1 else zero
