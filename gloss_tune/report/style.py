"""How all pictures look, and how they leave memory. The only module that knows matplotlib's settings."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gloss_tune.errors import InputError
from gloss_tune.wording import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Inches: at 100 dots an inch, what a laptop's window shows without scrolling sideways.
WIDTH = 9.0
#: Told apart by people of all kinds of colour vision (Okabe and Ito 2008).
BLUE, ORANGE, GREEN, RED, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#8c8c8c"
PALETTE = (BLUE, ORANGE, GREEN, RED, "#cc79a7", "#56b4e9", "#b8a600", "#5b3a8c", "#4d4d4d", "#a05a2c")
STATE_COLORS = {"complete": BLUE, "pruned": ORANGE, "fail": RED, "running": GREEN}
# as many points as an eye counts
_FEW = 20
# from here on points are drawn as an image inside the picture: a vector for each would be megabytes
MANY = 2000

_SETTINGS: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that pictures are the same everywhere
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",  # no reader needs our font
    "svg.hashsalt": "gloss-tune",  # the same study gives the same file
    "text.parse_math": False,  # a class may be called "$100"
}


def draw(height: float, paint: Callable[[Figure], None], width: float = WIDTH) -> bytes:
    """A picture as SVG.

    Args:
        height: inches.
        paint: fills an empty figure.
        width: inches.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError(
            "A report's pictures need matplotlib, which is not installed; run: pip install 'gloss-tune[report]'"
        ) from None
    file = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height))
        paint(figure)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def one_axes(figure: Figure, x_label: str, y_label: str) -> Axes:
    """The figure's only axes, labelled."""
    axes: Axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return axes


def whole_numbers(axis: Any) -> None:
    """Ticks at whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, nbins=12))


def plain_log_ticks(axis: Any) -> None:
    """Ticks of a logarithmic axis as numbers and not as powers, at most one for each factor of two or so."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = sorted(axis.get_view_interval())
    decades = max(high / low, 1.0)
    axis.set_major_locator(
        LogLocator(subs=(1.0,) if decades > 300 else (1.0, 3.0) if decades > 12 else (1, 2, 5))
    )
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def visible_blues() -> Any:
    """Colours from light to dark blue, none so light that it is lost on white."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    blues = matplotlib.colormaps["Blues"]
    return ListedColormap([blues(0.22 + 0.78 * step / 255) for step in range(256)])


def focused(values: Sequence[float]) -> tuple[float, float]:
    """Limits of an axis that show most values well, where a few at the bottom would squeeze them.

    All of few values are seen. Of many, those are cut off that lie farther below the lower quartile than 3 times the
    distance from there to the top, so that never more than a quarter is; :func:`say_cut_off` says how many.
    """
    ordered = sorted(value for value in values if math.isfinite(value)) or [0.0]
    top, quartile, low = ordered[-1], ordered[len(ordered) // 4], ordered[0]
    if len(ordered) > _FEW:
        farthest = quartile - 3 * max(top - quartile, 1e-3)
        low = next(value for value in ordered if value >= farthest)
    margin = 0.06 * max(top - low, 1e-3)
    return low - margin, top + margin


def say_cut_off(axes: Axes, values: Sequence[float], low: float, noun: str = "trial") -> None:
    """Write at the lower edge how many values lie below it, where any do."""
    below = sum(value < low for value in values)
    if below:
        axes.text(
            0.008, 0.03, f"↓ {count(below, noun)} below", transform=axes.transAxes, fontsize=8,
            color="#555555", va="bottom", bbox={"facecolor": "white", "alpha": 0.8, "pad": 1.0, "linewidth": 0},
        )  # fmt: skip


def shortened(text: str, length: int = 22) -> str:
    """A label that fits; its end tells more often what is special about it, so the middle is left out."""
    if len(text) <= length:
        return text
    half = (length - 1) // 2
    return f"{text[: length - 1 - half]}…{text[-half:]}"
