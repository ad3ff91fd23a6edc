"""The colors of drawings and pages, by light and by dark.

Those of clusters can be told apart by people who see few colors, and on either ground.

Source: Okabe and Ito, "Color universal design", 2008, darkened or lightened for the ground.
"""

from __future__ import annotations

LIGHT = {
    "paper": "#ffffff",
    "panel": "#f5f6f8",
    "ink": "#1b1f24",
    "soft": "#5b6470",
    "faint": "#d5dae1",
    "accent": "#0b62b0",
    "warm": "#c2410c",
    "c0": "#0072b2",
    "c1": "#d55e00",
    "c2": "#009e73",
    "c3": "#b8589a",
    "c4": "#b58900",
    "c5": "#3a9bdc",
    "c6": "#8a5a2b",
    "c7": "#6a4fb3",
    "c8": "#6b7280",
    "c9": "#a11d33",
}
DARK = {
    "paper": "#14171b",
    "panel": "#1d2127",
    "ink": "#e8ebef",
    "soft": "#9aa4b1",
    "faint": "#343b45",
    "accent": "#5eb0f5",
    "warm": "#fb923c",
    "c0": "#3fa2dd",
    "c1": "#f08a3c",
    "c2": "#2cc79a",
    "c3": "#dd8cc4",
    "c4": "#e3c04a",
    "c5": "#8cc8f2",
    "c6": "#c69763",
    "c7": "#a791ea",
    "c8": "#a3abb8",
    "c9": "#e4677b",
}
_N_OF_CLUSTERS = 10


def of_cluster(number: int) -> str:
    """Return the color of a cluster; those of more than ten come again."""
    return f"c{number % _N_OF_CLUSTERS}"


def css() -> str:
    """Return the colors as variables of a page; paper is light."""
    light, dark = (
        "".join(f"--{name}:{value};" for name, value in colors.items()) for colors in (LIGHT, DARK)
    )
    return (
        f":root{{color-scheme:light dark;{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    )
