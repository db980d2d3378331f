"""What the dashboards are made of: panels with a unit and a description, rows, a task to choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as queries

SOURCE: Final = models.DataSourceRef("prometheus", "${datasource}")
WIDTH: Final = 24
"""Columns of Grafana's grid."""
GOOD, WARNING, BAD = "green", "orange", "red"
REFERENCE: Final = "reference"
"""How the legend of a line begins that others are to be compared with: it is drawn dashed."""
RATIO: Final = "percentunit"
NATS: Final = "suffix:nats"
PER_SECOND: Final = "suffix:/s"

Panel = timeseries.Panel | stat.Panel | table.Panel


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, and how the legend calls its series.

    Attributes
    ----------
    expr
        PromQL; `$task` is the task that the reader chose.
    legend
        May name labels: `{{model}}`.
    """

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on a value is worth a look, and from where on it is bad, in the panel's unit.

    Attributes
    ----------
    warning, bad
        Drawn as lines, or as the colour of a number; None: there is none.
    """

    warning: float | None = None
    bad: float | None = None

    def steps(self) -> dashboard.ThresholdsConfig:
        """Return them as Grafana has them."""
        found = [models.Threshold(None, GOOD)]
        if self.warning is not None:
            found.append(models.Threshold(self.warning, WARNING))
        if self.bad is not None:
            found.append(models.Threshold(self.bad, BAD))
        return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)


def number(
    title: str, says: str, unit: str, expr: str, limits: Limits | None = None, none: str = "no data"
) -> stat.Panel:
    """Make a number with its recent course behind it.

    Parameters
    ----------
    title, says
        What it is, in a few words; what it means and what to do.
    unit
        As Grafana names units.
    expr
        PromQL that gives one series.
    limits
        Where its colour changes.
    none
        What is shown where the expression gives nothing.
    """
    made = (
        stat.Panel()
        .title(title)
        .description(says)
        .unit(unit)
        .no_value(none)
        .height(4)
        .span(4)
        .datasource(SOURCE)
        .graph_mode(shapes.BigValueGraphMode.AREA)
        .color_mode(shapes.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_target(Query(expr), "A"))
    )
    return made.thresholds((limits or Limits()).steps())


def lines(
    title: str,
    says: str,
    unit: str,
    *asked: Query,
    limits: Limits | None = None,
    least: float | None = None,
    width: int = 12,
) -> timeseries.Panel:
    """Make lines over time.

    Parameters
    ----------
    title, says, unit
        As of `number`.
    asked
        What is drawn; a legend that begins with `reference` is drawn dashed.
    limits
        Drawn as dashed lines.
    least
        The axis goes down to here at least.
    width
        In columns of 24.
    """
    made = (
        timeseries.Panel()
        .title(title)
        .description(says)
        .unit(unit)
        .height(8)
        .span(width)
        .datasource(SOURCE)
        .line_width(1.5)
        .fill_opacity(0)
        .show_points(shapes.VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI))
        .legend(
            common.VizLegendOptions()
            .display_mode(shapes.LegendDisplayMode.TABLE)
            .placement(shapes.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull"])
        )
        .override_by_regexp(
            f"/^{REFERENCE}/",
            [
                models.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 6]}),
                models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": "text"}),
            ],
        )
    )
    if least is not None:
        made = made.axis_soft_min(least)
    for name, query in zip("ABCDEFGH", asked, strict=False):
        made = made.with_target(_target(query, name))
    if limits is not None:
        style = common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED)
        made = made.thresholds(limits.steps()).thresholds_style(style)
    return made


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: one number for each row."""

    head: str
    unit: str
    expr: str
    limits: Limits | None = None


def rows_of(title: str, says: str, label: str, head: str, *columns: Column) -> table.Panel:
    """Make a table of the newest values, a row for each value of a label.

    Parameters
    ----------
    title, says
        As of `number`.
    label, head
        The label, and what stands above it.
    columns
        In order; each expression gives series with that label alone.
    """
    made = (
        table.Panel()
        .title(title)
        .description(says)
        .unit("none")
        .align(shapes.FieldTextAlignment.AUTO)
        .inspect(False)
        .height(12)
        .span(WIDTH)
        .datasource(SOURCE)
    )
    names = {label: head}
    for name, column in zip("ABCDEFGH", columns, strict=False):
        query = _target(Query(column.expr), name).instant().format(queries.PromQueryFormat.TABLE)
        shown = [models.DynamicConfigValue("unit", column.unit)]
        if column.limits is not None:
            shown.append(models.DynamicConfigValue("thresholds", column.limits.steps().build()))
            shown.append(models.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
        names[f"Value #{name}"] = column.head
        made = made.with_target(query).override_by_name(column.head, shown)
    merge = models.DataTransformerConfig("merge", options={})
    options = {"excludeByName": {"Time": True}, "renameByName": names}
    return made.transformations([merge, models.DataTransformerConfig("organize", options=options)])


def _target(query: Query, name: str) -> prometheus.Dataquery:
    made = prometheus.Dataquery().ref_id(name).expr(query.expr).range().datasource(SOURCE)
    return made.legend_format(query.legend) if query.legend else made


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a title, from left to right and down; a row of a dashboard."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Marks:
    """Spans of time that are marked in all panels of a dashboard.

    Attributes
    ----------
    expr
        PromQL that gives a series while something is so, and none else.
    """

    name: str
    colour: str
    expr: str


def variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """Make something that the reader chooses: the values are asked for when the dashboard is opened."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(models.VariableRefresh.ON_DASHBOARD_LOAD)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )


def board(
    name: str,
    says: str,
    rows: Sequence[Row],
    marks: Sequence[Marks] = (),
    variables: Sequence[dashboard.QueryVariable] = (),
) -> models.Dashboard:
    """Make a dashboard: all of them have a data source and a task to choose, and links to each other.

    Parameters
    ----------
    name
        Unique; the uid is made of it.
    says
        What it answers.
    rows
        From top to bottom.
    marks
        What is marked in all panels.
    variables
        Further ones to choose, beside the task.
    """
    made = (
        dashboard.Dashboard(f"riverloop / {name}")
        .uid("riverloop-" + name.lower().replace(" ", "-"))
        .description(says)
        .tags(["riverloop"])
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(variable("task", "Task", "label_values(riverloop_ready, task)"))
        .link(
            dashboard.DashboardLink("riverloop")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["riverloop"])
            .include_vars(True)
            .keep_time(True)
        )
    )
    for each in variables:
        made = made.with_variable(each)
    for mark in marks:
        made = made.annotation(
            dashboard.AnnotationQuery()
            .name(mark.name)
            .datasource(SOURCE)
            .enable(True)
            .icon_color(mark.colour)
            .expr(mark.expr)
        )
    number = 0
    for row in rows:
        number += 1
        made = made.with_row(dashboard.Row(row.title).id(number))
        for panel in row.panels:
            number += 1
            made = made.with_panel(panel.id(number))
    return made.build()
