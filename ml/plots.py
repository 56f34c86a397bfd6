"""Figures a person would rather look at than a table; every function gives PNG bytes.

Belongs here: one clean, consistent look, off-screen. Keep out: computing what is shown.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta as beta_distribution
from sklearn.metrics import roc_curve

from ml.churn import Fitted as FittedChurn
from ml.lifetime_value import Fitted as FittedLifetimeValue
from ml.lifetime_value import Holdout
from ml.personas import Fitted as FittedPersonas
from ml.quality import Reliability, auc, reliability

INK, MUTED, GRID = "#1f2933", "#6b7785", "#e3e7ec"
BLUE, ORANGE = "#2563a8", "#d9741a"
CATEGORIES = (
    "#2563a8", "#d9741a", "#2a9d72", "#b5457f", "#7a5cc0", "#b38f00",
    "#3ba7c9", "#8c5a3c", "#6a8f2f", "#c0392b", "#4d5d73", "#d58fb0",
)  # fmt: skip
NOISE = "#c9d0d8"
HEAT = LinearSegmentedColormap.from_list("heat", ["#f7fafd", "#a9c9e8", "#2563a8", "#0f2f57"])
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DOTS_PER_INCH = 110
SHOWN_AT_MOST = 24


def of_churn(fitted: FittedChurn) -> dict[str, bytes]:
    """The pictures stored and shown with a churn model, by name."""
    seen = fitted.evaluation
    return {
        "reliability": reliability_table(reliability(seen.labels, seen.probabilities)),
        "ranking": ranking(seen.labels, seen.probabilities, seen.baseline),
        "importance": importance(fitted.classifier.importance()),
    }


def of_lifetime_value(fitted: FittedLifetimeValue) -> dict[str, bytes]:
    """The pictures stored and shown with a lifetime-value model; none without a holdout."""
    return {} if fitted.holdout is None else {"holdout": holdout(fitted.holdout)}


def of_personas(fitted: FittedPersonas) -> dict[str, bytes]:
    """The pictures stored and shown with personas."""
    names = fitted.personas.set_index("persona_id")["name"]
    shown = [str(names[persona]) for persona in fitted.persona_ids]
    return {"map": persona_map(fitted.clusters.points, fitted.clusters.labels, shown)}


def reliability_table(table: Reliability, title: str = "Do probabilities come true?") -> bytes:
    """Observed share against predicted probability, with what chance alone would scatter."""
    figure, axes = _figure(title, f"calibration error {table.error:.3f}, "
                           f"{table.error_by_chance:.3f} expected by chance", 5.6, 4.8)  # fmt: skip
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.errorbar(
        table.predicted, table.observed, yerr=1.96 * table.noise, fmt="o-", color=BLUE,
        ecolor="#9dbfe0", elinewidth=3, markersize=5, linewidth=1.4, zorder=3,
    )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", ylabel="observed share")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    return _png(figure)


def ranking(
    labels: ArrayLike, scores: ArrayLike, baseline: ArrayLike, title: str = "Who comes first?"
) -> bytes:
    """ROC curves and cumulative gains of a model and its baseline."""
    outcomes = np.asarray(labels).astype(bool)
    figure, roc = _figure(title, "test slice", 9.2, 4.4, columns=2)
    gains = figure.axes[1]
    for values, name, colour in ((baseline, "recency alone", ORANGE), (scores, "model", BLUE)):
        area = auc(outcomes, values).value
        false, true, _ = roc_curve(outcomes, values)
        roc.plot(false, true, color=colour, linewidth=1.8, label=f"{name}, AUC {area:.3f}")
        order = np.argsort(-np.asarray(values, dtype=np.float64), kind="stable")
        found = np.concatenate([[0], np.cumsum(outcomes[order]) / outcomes.sum()])
        share = np.linspace(0, 1, len(found))
        gains.plot(share, found, color=colour, linewidth=1.8, label=name)
    for axes in (roc, gains):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.set(xlim=(0, 1), ylim=(0, 1.005))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.legend(loc="lower right", frameon=False, fontsize=9, labelcolor=INK)
    roc.set(xlabel="false positives", ylabel="true positives")
    gains.set(xlabel="persons, highest score first", ylabel="found of all who churned")
    return _png(figure)


def importance(
    shares: Mapping[str, float], title: str = "What the model looks at", top: int = 12
) -> bytes:
    """Horizontal bars of the largest shares."""
    largest = sorted(shares.items(), key=lambda pair: (-pair[1], pair[0]))[:top]
    if not largest:
        return _nothing(title)
    figure, axes = _figure(title, "share of the total gain", 6.8, 1.5 + 0.3 * len(largest))
    rows = np.arange(len(largest))
    values = [value for _, value in largest]
    axes.barh(rows, values, color=BLUE, height=0.62)
    for row, value in zip(rows, values, strict=True):
        axes.annotate(f"{value:.1%}", (value, row), (4, 0), textcoords="offset points",
                      va="center", fontsize=8.5, color=MUTED)  # fmt: skip
    _name_rows(axes, [name for name, _ in largest])
    axes.set_xlim(0, max(max(values), 1e-9) * 1.12)
    axes.xaxis.set_visible(False)
    axes.grid(visible=False)
    return _png(figure)


def persona_map(
    points: NDArray[np.float64],
    labels: NDArray[np.int64],
    names: Sequence[str],
    title: str = "Personas",
) -> bytes:
    """The first two principal directions of behaviour; grey belongs to nobody."""
    figure, axes = _figure(title, "each dot a person, in the two main directions of behaviour",
                           8.4, 5.2)  # fmt: skip
    lost = labels < 0
    axes.scatter(
        points[lost, 0], points[lost, 1], s=5, color=NOISE, linewidths=0, label="in between"
    )
    for label, name in enumerate(names):
        own = labels == label
        colour = CATEGORIES[label % len(CATEGORIES)]
        axes.scatter(
            points[own, 0], points[own, 1], s=8, color=colour, alpha=0.55, linewidths=0, label=name
        )
    legend = axes.legend(
        loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9, labelcolor=INK
    )
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
            handle.set_sizes([40])  # type: ignore[attr-defined]
    axes.set(xticks=[], yticks=[])
    return _png(figure)


def holdout(check: Holdout, title: str = "Orders forecast and come") -> bytes:
    """Mean orders per person in the held-out time, by repeat orders before it."""
    ratio = check.predicted.sum() / max(check.actual.sum(), 1)
    figure, axes = _figure(
        title,
        f"{check.days:.0f} days held out, {ratio:.2f} of the actual orders forecast",
        6.8,
        4.2,
    )
    persons = np.maximum(check.persons, 1)
    groups = np.arange(len(persons))
    axes.plot(groups, check.actual / persons, "o-", color=INK, linewidth=1.6, label="came")
    axes.plot(groups, check.predicted / persons, "s--", color=BLUE, linewidth=1.6, label="forecast")
    last = len(persons) - 1
    axes.set_xticks(groups, [*map(str, range(last)), f"{last}+"])
    axes.set(xlabel="repeat orders before the cut", ylabel="orders per person", ylim=(0, None))
    axes.legend(loc="upper left", frameon=False, fontsize=9, labelcolor=INK)
    return _png(figure)


def send_time_heat_map(probabilities: ArrayLike, title: str = "When people answer") -> bytes:
    """168 probabilities, Monday 00 first, as days × hours; the best hour is framed."""
    table = np.asarray(probabilities, dtype=np.float64).reshape(7, 24)
    day, hour = np.unravel_index(int(table.argmax()), table.shape)
    best = f"best: {DAYS[day]} {hour:02d}:00 ({table[day, hour]:.2%})"
    figure, axes = _figure(title, f"local hour of week, {best}", 9.2, 3.6)
    image = axes.imshow(table, aspect="auto", cmap=HEAT, vmin=min(table.min(), 0))
    axes.add_patch(
        Rectangle((hour - 0.5, day - 0.5), 1, 1, fill=False, edgecolor=ORANGE, linewidth=2)
    )
    axes.set_yticks(range(7), DAYS)
    axes.set_xticks(range(0, 24, 3), [f"{hour:02d}" for hour in range(0, 24, 3)])
    axes.grid(visible=False)
    bar = figure.colorbar(image, ax=axes, pad=0.02, format=PercentFormatter(1, decimals=1))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8.5, colors=MUTED, length=0)
    return _png(figure)


def bandit_posteriors(posteriors: pd.DataFrame, title: str = "What each arm earns") -> bytes:
    """Mean and 95 % interval of each arm: columns arm, alpha, beta, matured_count.

    Rows should be of one program and persona.
    """
    if posteriors.empty:
        return _nothing(title)
    rows = posteriors.assign(mean=lambda row: row["alpha"] / (row["alpha"] + row["beta"]))
    rows = rows.sort_values(["mean", "arm"], ascending=[False, True]).head(SHOWN_AT_MOST)
    low, high = beta_distribution.ppf([[0.025], [0.975]], rows["alpha"], rows["beta"])
    figure, axes = _figure(title, "posterior mean and 95 % interval", 7.2, 1.6 + 0.34 * len(rows))
    at = np.arange(len(rows))
    axes.hlines(at, low, high, color="#9dbfe0", linewidth=5)
    axes.plot(rows["mean"], at, "o", color=BLUE, markersize=6.5)
    for row, matured in zip(at, rows["matured_count"], strict=True):
        axes.annotate(f"{int(matured):,} matured", (high[row], row), (6, 0), va="center",
                      textcoords="offset points", fontsize=8.5, color=MUTED)  # fmt: skip
    _name_rows(axes, rows["arm"].tolist())
    axes.set_xlim(0, float(high.max()) * 1.22)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    return _png(figure)


def policy_values(evaluations: pd.DataFrame, title: str = "What policies would earn") -> bytes:
    """Doubly robust value and interval of each policy: columns policy, estimator, value, lower,
    upper, effective_sample_size; what was logged stands beside them. Rows of one program."""
    rows = evaluations[evaluations["estimator"].isin(["dr", "on_policy"])]
    rows = rows[np.isfinite(rows["lower"]) & np.isfinite(rows["upper"])]
    if rows.empty:
        return _nothing(title)
    rows = rows.sort_values(["value", "policy"], ascending=[False, True]).head(SHOWN_AT_MOST)
    figure, axes = _figure(title, "reward per decision, 95 % interval", 7.2, 1.6 + 0.34 * len(rows))
    at = np.arange(len(rows))
    axes.hlines(at, rows["lower"], rows["upper"], color="#9dbfe0", linewidth=5)
    axes.plot(rows["value"], at, "o", color=BLUE, markersize=6.5)
    for row, (size, end) in enumerate(
        zip(rows["effective_sample_size"], rows["upper"], strict=True)
    ):
        axes.annotate(f"worth {size:,.0f} decisions", (end, row), (6, 0), va="center",
                      textcoords="offset points", fontsize=8.5, color=MUTED)  # fmt: skip
    _name_rows(axes, rows["policy"].tolist())
    low, high = min(0.0, float(rows["lower"].min())), float(rows["upper"].max())
    axes.set_xlim(low, high + 0.3 * max(high - low, 1e-9))
    return _png(figure)


def budgets(plan: pd.DataFrame, title: str = "Daily budgets") -> bytes:
    """Before and after: columns campaign_id, previous_amount, proposed_amount, currency."""
    if plan.empty:
        return _nothing(title)
    rows = plan.sort_values(["proposed_amount", "campaign_id"], ascending=[False, True])
    rows = rows.head(SHOWN_AT_MOST)
    before = rows["previous_amount"].to_numpy(dtype=np.float64)
    after = rows["proposed_amount"].to_numpy(dtype=np.float64)
    unit = rows["currency"].iloc[0]
    sums = f"{before.sum():,.0f} → {after.sum():,.0f} {unit} a day in all"
    figure, axes = _figure(title, sums, 7.2, 1.7 + 0.42 * len(rows))
    at = np.arange(len(rows))
    axes.hlines(at, before, after, color=NOISE, linewidth=3)
    axes.plot(before, at, "o", color="white", markeredgecolor=MUTED, markersize=8, label="before")
    axes.plot(after, at, "o", color=BLUE, markersize=8, label="after")
    for row, (old, new) in enumerate(zip(before, after, strict=True)):
        change = f"{new / old - 1:+.0%}" if old > 0 else "new"
        axes.annotate(change, (max(old, new), row), (9, 0), textcoords="offset points",
                      va="center", fontsize=8.5, color=MUTED)  # fmt: skip
    _name_rows(axes, rows["campaign_id"].astype(str).tolist())
    axes.set_xlim(0, max(before.max(), after.max(), 1e-9) * 1.14)
    axes.set_xlabel(f"{unit} a day")
    axes.legend(loc="lower right", frameon=False, fontsize=9, labelcolor=INK)
    return _png(figure)


def removal_effects(
    effects: pd.DataFrame, title: str = "What would be lost without a channel"
) -> bytes:
    """Rows of ml.channel_removal_effects as one line per channel over the months."""
    latest = effects.sort_values(["month", "version"]).drop_duplicates(
        ["month", "channel"], keep="last"
    )
    table = latest.pivot(index="month", columns="channel", values="removal_effect")
    order = table.iloc[-1].sort_values(ascending=False, na_position="last").index
    figure, axes = _figure(title, "share of the month's conversions, by removal effect", 8.2, 4)
    months = [f"{month:%b %y}" for month in pd.to_datetime(table.index)]
    for channel, colour in zip(order[:SHOWN_AT_MOST], CATEGORIES * 2, strict=False):
        axes.plot(months, table[channel], marker="o", color=colour, label=channel)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8.5, frameon=False)
    return _png(figure)


def person_edges(edges: pd.DataFrame, title: str = "What makes one person") -> bytes:
    """Identifiers on a circle, the edges between them: left, right, verdict, reason.

    Accepted edges are drawn through, rejected ones dashed with their reason.
    """
    if edges.empty:
        return _nothing(title)
    names = sorted({*edges["left"], *edges["right"]})
    angles = np.pi / 2 - 2 * np.pi * np.arange(len(names)) / len(names)
    place = dict(zip(names, np.column_stack([np.cos(angles), np.sin(angles)]), strict=True))
    figure, axes = _figure(title, "edges between identifiers; dashed: rejected", 7.4, 5.6)
    for left, right, verdict, reason in edges[["left", "right", "verdict", "reason"]].to_numpy():
        ends = np.array([place[left], place[right]])
        held = verdict == "accepted"
        colour = BLUE if held else ORANGE
        axes.plot(*ends.T, color=colour, linestyle="-" if held else "--", linewidth=1.6, zorder=1)
        if not held:
            axes.annotate(
                reason, ends.mean(axis=0), ha="center", va="center", fontsize=8.5, color=ORANGE,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )  # fmt: skip
    for name, (x, y) in place.items():
        axes.scatter([x], [y], s=70, color=INK, zorder=2)
        side = "left" if x > 0.05 else "right" if x < -0.05 else "center"
        axes.annotate(
            name, (x, y), (9 * np.sign(round(x, 1)), 11 * np.sign(round(y, 1))),
            textcoords="offset points", ha=side, va="center", fontsize=9, color=INK,
        )  # fmt: skip
    axes.set_xlim(-1.75, 1.75)
    axes.set_ylim(-1.3, 1.3)
    axes.set_axis_off()
    return _png(figure)


def match_weights(
    weights: Mapping[str, float], probability: float, title: str = "Do two cards mean one person?"
) -> bytes:
    """Bits that each field adds to the odds of a match, one after the other."""
    names = [*weights, "together"]
    bits = np.array([*weights.values(), sum(weights.values())])
    starts = np.array([0.0, *np.cumsum(bits[:-2]), 0.0]) if len(bits) > 1 else np.zeros(1)
    figure, axes = _figure(
        title, f"match weight in bits; probability {probability:.3f}", 7, 0.8 + 0.36 * len(names)
    )
    colours = [BLUE if value >= 0 else ORANGE for value in bits[:-1]] + [INK]
    axes.barh(range(len(names)), bits, left=starts, color=colours, height=0.62)
    for row, (start, value) in enumerate(zip(starts, bits, strict=True)):
        axes.annotate(
            f"{value:+.1f}", (max(start, start + value), row), (4, 0),
            textcoords="offset points", va="center", fontsize=8.5, color=MUTED,
        )  # fmt: skip
    axes.axvline(0, color=MUTED, linewidth=0.8)
    _name_rows(axes, names)
    return _png(figure)


def _figure(
    title: str, subtitle: str, width: float, height: float, columns: int = 1
) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.14, h_pad=0.1)  # type: ignore[union-attr, call-arg]
    panels = figure.subplots(1, columns, squeeze=False)[0]
    for axes in panels:
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(GRID)
        axes.tick_params(length=0, labelsize=9, labelcolor=MUTED)
        axes.xaxis.label.set(color=MUTED, fontsize=9.5)
        axes.yaxis.label.set(color=MUTED, fontsize=9.5)
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    panels[0].set_title(title, loc="left", fontsize=13, fontweight="bold", color=INK, pad=26)
    panels[0].annotate(
        subtitle, (0, 1), (0, 9), xycoords="axes fraction", textcoords="offset points",
        fontsize=9.5, color=MUTED,
    )  # fmt: skip
    return figure, panels[0]


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), list(names), color=INK)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def _nothing(title: str) -> bytes:
    figure, axes = _figure(title, "nothing to show yet", 5.6, 1.6)
    axes.set_axis_off()
    return _png(figure)


def _png(figure: Figure) -> bytes:
    """The same figure gives the same bytes: no software version, no time inside."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
