"""Token counts: the integer arithmetic that planning and the operators share. No torch."""

from __future__ import annotations

import math


def removed_tokens(ratio: float, height: int, width: int, cell: tuple[int, int], protect: float = 0.0) -> int:
    """Return r = int(N * ratio), the tokens merged away on a height x width grid with one destination per cell.

    Raises ValueError if there are fewer than r sources besides the int(N * protect) protected tokens.
    """
    tokens, protected = height * width, int(height * width * protect)
    cells = (height // cell[0]) * (width // cell[1])
    removed, sources = int(tokens * ratio), max(tokens - cells - protected, 0)
    if cells == 0 or removed > sources:
        raise ValueError(_too_many(ratio, removed, height, width, cell, sources, protected))
    return removed


def merged_cells(ratio: float, height: int, width: int, cell: tuple[int, int], rule: str) -> int:
    """Return how many whole cells are merged, each into one token.

    `token_matched`: the most that remove at most int(N * ratio) tokens, as the paper's GFLOPs imply; `tile_fraction`:
    int(ratio * cells), Algorithm 3; `quantile`: the most cells whose tokens can all lie below the ratio-quantile of
    all scores (section 3.2.1). Raises ValueError for a ratio that the cells cannot reach.
    """
    cells, size = (height // cell[0]) * (width // cell[1]), cell[0] * cell[1]
    if rule == "quantile" and cells:
        return min(cells, math.ceil(ratio * (height * width - 1)) // size)
    if rule == "tile_fraction" and cells:
        return int(cells * ratio)
    removed, possible = int(height * width * ratio), cells * (size - 1)
    if cells == 0 or removed > possible:
        raise ValueError(_too_many(ratio, removed, height, width, cell, possible, 0))
    return removed // (size - 1)


def whole_cells(height: int, width: int, cell: tuple[int, int]) -> int:
    """Return the number of cells that lie wholly on a grid. Raises ValueError if no cell fits."""
    cells = (height // cell[0]) * (width // cell[1])
    if cells == 0:
        raise ValueError(f"a cell of {cell[0]}x{cell[1]} tokens does not fit into a {height}x{width} grid")
    return cells


def check_plans(k: int, height: int, width: int, cell: tuple[int, int]) -> None:
    """Raise ValueError unless the 3 N drawn integers suffice for k plans with a destination in every cell."""
    most = 3 * height * width // whole_cells(height, width, cell)
    if not 1 <= k <= most:
        raise ValueError(f"{k} plans are not possible on a {height}x{width} grid: allowed are 1 to {most}")


def left_of_tile(ratio: float, tile: tuple[int, int]) -> int:
    """Return how many of a tile's T tokens are left: T - int(T * ratio), at least one below a ratio of 1."""
    size = tile[0] * tile[1]
    return size - int(size * ratio)


def left_of_tiles(ratio: float, height: int, width: int, tile: tuple[int, int]) -> int:
    """Return the tokens left if every whole tile keeps `left_of_tile`, and all tokens outside of whole tiles stay.

    Raises ValueError if no tile fits into the grid.
    """
    merged = tile[0] * tile[1] - left_of_tile(ratio, tile)
    return height * width - whole_cells(height, width, tile) * merged


def largest_ratio(height: int, width: int, cell: tuple[int, int], protect: float = 0.0) -> float:
    """Return the largest merge ratio of a grid, with half a token added so that int() loses none to rounding."""
    tokens = height * width
    sources = tokens - (height // cell[0]) * (width // cell[1]) - int(tokens * protect)
    return (max(sources, 0) + 0.5) / tokens


def _too_many(
    ratio: float, removed: int, height: int, width: int, cell: tuple[int, int], possible: int, protected: int
) -> str:
    among = f" and {protected} protected tokens" if protected else ""
    return (
        f"merge ratio {ratio:g} removes {removed} of the {height * width} tokens of a {height}x{width} grid, but with "
        f"cells of {cell[0]}x{cell[1]}{among} only {possible} can be merged: the largest ratio is "
        f"{possible / (height * width):g}"
    )


def reduced_grid(factor: int, height: int, width: int) -> tuple[int, int]:
    """Return floor(H / s), floor(W / s). Raises ValueError if the factor is below 1 or larger than the grid."""
    if not 1 <= factor <= min(height, width):
        raise ValueError(
            f"downsample factor {factor} does not fit a {height}x{width} grid: allowed are 1 to {min(height, width)}"
        )
    return height // factor, width // factor
