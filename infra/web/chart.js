// A chart over time: lines, the spans of episodes behind them, marks where a version changed.

import { h } from "./dom.js";

const DASHES = [[], [6, 4], [2, 3], [8, 3, 2, 3]];

export const colours = () => {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return {
    text: of("--dim"),
    grid: of("--line"),
    lines: [of("--c1"), of("--c2"), of("--c3"), of("--c4"), of("--c5"), of("--c6")],
    severity: { info: of("--info"), warning: of("--warn"), critical: of("--bad") },
    mark: of("--text"),
  };
};

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

/** Write ticks of the time axis, UTC: what is larger than their step in a second line, where it changes. */
function ticks(splits, step) {
  let before = "";
  return splits.map((at) => {
    const iso = new Date(at * 1000).toISOString();
    const [day, month] = [iso.slice(8, 10), MONTHS[Number(iso.slice(5, 7)) - 1]];
    const fine = step >= 28 * 86400 ? month : step >= 86400 ? `${Number(day)} ${month}` : iso.slice(11, step >= 60 ? 16 : 19);
    const coarse = step >= 86400 ? iso.slice(0, 4) : iso.slice(0, 10);
    const label = coarse === before ? fine : `${fine}\n${coarse}`;
    before = coarse;
    return label;
  });
}

export class Chart {
  /**
   * @param {object} options height (px), format (value → text), range ([low, high] or undefined), label
   */
  constructor({ height = 200, format, range, label }) {
    Object.assign(this, { height, format, range });
    this.root = h("div", { class: "chart", role: "img", "aria-label": label });
    this.empty = h("p", { class: "empty" }, "No data yet.");
    this.legend = h("div", { class: "legend" });
    this.root.append(this.legend, this.empty);
    this.spans = [];
    this.marks = [];
    this.shape = "";
    new ResizeObserver(() => this.#resize()).observe(this.root);
  }

  #width() {
    return Math.max(120, Math.floor(this.root.clientWidth));
  }

  #high() {
    return this.height === "fill" ? Math.max(120, Math.floor(this.root.clientHeight) - this.legend.offsetHeight) : this.height;
  }

  #resize() {
    if (this.plot && this.root.clientWidth) this.plot.setSize({ width: this.#width(), height: this.#high() });
  }

  /** Draw: `lines` are {name, values, shadow}; `x` are times in ms. */
  draw(x, lines, { spans = [], marks = [] } = {}) {
    const drawn = lines.filter((line) => line.values?.some((value) => value !== null && value !== undefined));
    this.empty.hidden = x.length > 0 && drawn.length > 0;
    if (!this.empty.hidden) {
      this.legend.replaceChildren();
      this.plot?.destroy();
      this.plot = null;
      return;
    }
    this.spans = spans;
    this.marks = marks;
    // Time only goes on: of several rows at one time the newest counts, and one that goes back is left out.
    const rising = [];
    x.forEach((value, index) => {
      while (rising.length && x[rising.at(-1)] === value) rising.pop();
      if (!rising.length || x[rising.at(-1)] < value) rising.push(index);
    });
    const data = [rising.map((index) => x[index] / 1000), ...drawn.map((line) => rising.map((index) => line.values[index]))];
    const theme = document.documentElement.dataset.theme ?? matchMedia("(prefers-color-scheme: dark)").matches;
    const shape = JSON.stringify([drawn.map((line) => [line.name, line.shadow]), theme]);
    if (this.plot && shape === this.shape) this.plot.setData(data);
    else this.#make(data, drawn, shape);
    this.#showValues(this.plot);
  }

  /** Show the values at the cursor, or the newest. */
  #showValues(plot) {
    const { idx } = plot.cursor;
    this.legend.replaceChildren(
      ...plot.series.slice(1).map((series, index) => {
        const values = plot.data[index + 1];
        const value = idx === null || idx === undefined ? values.findLast((each) => each !== null && each !== undefined) : values[idx];
        const swatch = h("i", { class: series.dash?.length ? "dashed" : "" });
        swatch.style.color = this.look.lines[index % this.look.lines.length];
        return h("span", {}, swatch, series.label, " ", h("b", {}, value === null || value === undefined ? "–" : this.format(value)));
      }),
      idx === null || idx === undefined ? "" : h("span", { class: "when" }, `${new Date(plot.data[0][idx] * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`),
    );
  }

  #make(data, lines, shape) {
    this.plot?.destroy();
    this.shape = shape;
    const look = (this.look = colours());
    const axis = { stroke: look.text, grid: { stroke: look.grid, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    this.plot = new uPlot(
      {
        width: this.#width(),
        height: this.#high(),
        tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), "Etc/UTC"),
        padding: [8, 20, 0, 0],
        cursor: { drag: { x: true, y: false } },
        legend: { show: false },
        scales: { y: this.range ? { range: this.range } : {} },
        axes: [{ ...axis, size: 38, values: (_, splits, index, space, step) => ticks(splits, step) }, { ...axis, size: 56, values: (_, ticks) => ticks.map(this.format) }],
        series: [
          {},
          ...lines.map((line, index) => ({
            label: line.name,
            stroke: look.lines[index % look.lines.length],
            width: line.shadow ? 1.25 : 2,
            dash: line.shadow ? DASHES[1] : DASHES[0],
            spanGaps: true,
            points: { show: false },
          })),
        ],
        hooks: { drawClear: [(plot) => this.#behind(plot)], draw: [(plot) => this.#before(plot)], setCursor: [(plot) => this.#showValues(plot)] },
      },
      data,
      this.root,
    );
    this.#resize();
  }

  #behind(plot) {
    const { ctx, bbox } = plot;
    const look = colours();
    const end = bbox.left + bbox.width;
    ctx.save();
    // What costs something is shaded; what has only moved has a lane at the top, one for each family.
    const lanes = [...new Set(this.spans.filter((span) => !span.shaded).map((span) => span.family))].sort();
    for (const span of this.spans) {
      const from = Math.max(bbox.left, plot.valToPos(span.from / 1000, "x", true));
      const to = Math.min(end, span.to === null ? end : plot.valToPos(span.to / 1000, "x", true));
      if (to < bbox.left || from > end) continue;
      const wide = Math.max(2, to - from);
      ctx.fillStyle = look.severity[span.severity] ?? look.severity.warning;
      ctx.globalAlpha = span.shaded ? 0.14 : 0.75;
      const lane = 4 * devicePixelRatio;
      if (span.shaded) ctx.fillRect(from, bbox.top, wide, bbox.height);
      else ctx.fillRect(from, bbox.top + lane * lanes.indexOf(span.family), wide, lane - devicePixelRatio);
    }
    ctx.restore();
  }

  #before(plot) {
    const { ctx, bbox } = plot;
    const look = colours();
    ctx.save();
    ctx.strokeStyle = look.mark;
    ctx.fillStyle = look.mark;
    ctx.lineWidth = devicePixelRatio;
    ctx.font = `${10 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.setLineDash([2 * devicePixelRatio, 2 * devicePixelRatio]);
    for (const mark of this.marks) {
      const at = plot.valToPos(mark.at / 1000, "x", true);
      if (at < bbox.left || at > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(at, bbox.top);
      ctx.lineTo(at, bbox.top + bbox.height);
      ctx.stroke();
      ctx.fillText(mark.label, at + 3 * devicePixelRatio, bbox.top + 30 * devicePixelRatio);
    }
    ctx.restore();
  }
}

/** Episodes as spans on the time axis in use. */
export const spansOf = (episodes, axis) =>
  (episodes ?? []).map((each) => ({
    from: axis === "ts" ? each.opened_ts : each.opened_at,
    to: each.state === "closed" ? each[axis] : null,
    severity: each.severity,
    family: each.family,
    shaded: each.severity !== "info",
  }));

/** Version changes as marks on the time axis in use. */
export const marksOf = (versions, axis) => (versions?.marks ?? []).filter((each) => !/^(\S+) served → \1 shadow$/.test(each.what)).map((each) => ({ at: each[axis], label: each.what.split("→ ")[1]?.split(" ")[0] ?? each.model }));
