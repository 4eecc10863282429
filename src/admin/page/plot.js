// Plots over time, as SVG: strips one above the other, each with a scale of its own, and one point in time that the
// pointer or the arrow keys choose. Drawn here and not by a library: five lines of 120 points need no more than this
// file, its colours and dashes are those of the style sheet in both schemes, and it can be read and used by keyboard,
// which a canvas can not.

import { attribute, draw } from "./dom.js";
import { clock, minute } from "./format.js";

const LEFT = 52;
const RIGHT = 8;
const TOP = 8;
const BETWEEN = 16;
const AXIS = 20;

export class Plot {
  // figure: an element that holds .plot, .legend and .as-table. strips: [{height, log, format, series: [{name, label,
  // area, dashed, value(point)}]}]; a value of null is a gap.
  constructor(figure, { label, strips }) {
    Object.assign(this, { strips, points: [], chosen: null });
    this.series = strips.flatMap((strip) => strip.series.map((series) => ({ ...series, format: strip.format })));
    this.host = figure.querySelector(".plot");
    this.legend = figure.querySelector(".legend");
    this.table = figure.querySelector(".as-table");
    this.height = TOP + AXIS + strips.reduce((sum, strip) => sum + strip.height, 0) + BETWEEN * (strips.length - 1);
    this.host.setAttribute("aria-label", label);
    new ResizeObserver(() => this.paint()).observe(this.host);
    this.listen();
  }

  listen() {
    this.host.addEventListener("pointermove", (event) => {
      const { left, width } = this.host.getBoundingClientRect();
      const at = this.from + ((event.clientX - left - LEFT) / (width - LEFT - RIGHT)) * (this.to - this.from);
      this.choose(this.nearest(at));
    });
    this.host.addEventListener("pointerleave", () => this.choose(null));
    this.host.addEventListener("blur", () => this.choose(null));
    this.host.addEventListener("keydown", (event) => this.key(event));
    this.table.addEventListener("toggle", () => this.tabulate());
  }

  key(event) {
    const last = this.points.length - 1;
    const now = this.points.findIndex((point) => point.at === this.chosen);
    const at = now < 0 ? last : now;
    const to = {
      ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1,
      PageDown: at - 12, PageUp: at + 12, Home: 0, End: last,
    }[event.key];
    if (event.key === "Escape") this.choose(null);
    else if (to === undefined || last < 0) return;
    else this.choose(this.points[Math.min(last, Math.max(0, to))].at);
    event.preventDefault();
  }

  nearest(at) {
    let best = null;
    for (const point of this.points) {
      if (best === null || Math.abs(point.at - at) < Math.abs(best - at)) best = point.at;
    }
    return best;
  }

  choose(at) {
    this.chosen = at;
    this.paint();
  }

  // points: in the order of time, each with `at`; marks: [{at, label, level}]; step: seconds between two points.
  show({ points, from, to, step, marks }) {
    Object.assign(this, { points: points.filter((point) => point.at >= from), from, to, step, marks });
    this.paint();
    this.tabulate();
  }

  paint() {
    this.width = this.host.clientWidth;
    if (!this.width || this.from === undefined) return;
    const svg = ["svg", { viewBox: `0 0 ${this.width} ${this.height}`, width: this.width, height: this.height, "aria-hidden": "true" }];
    let top = TOP;
    for (const strip of this.strips) {
      svg.push(...this.strip(strip, top));
      top += strip.height + BETWEEN;
    }
    svg.push(...this.times(), ...this.marksOf(), ...this.cursor());
    draw(this.host, svg);
    this.tell();
  }

  x(at) {
    return round(LEFT + ((at - this.from) / (this.to - this.from)) * (this.width - LEFT - RIGHT));
  }

  strip(strip, top) {
    const values = strip.series.flatMap((series) => this.points.map(series.value)).filter((value) => value !== null);
    const scale = strip.log ? logarithmic(values) : linear(values);
    const y = (value) => round(top + strip.height * (1 - scale.place(value)));
    const pieces = scale.ticks.flatMap((tick) => [
      ["line", { class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: y(tick), y2: y(tick) }],
      ["text", { class: "tick", x: LEFT - 8, y: y(tick) + 4, "text-anchor": "end" }, strip.format(tick)],
    ]);
    for (const series of strip.series) {
      const runs = this.runs(series);
      if (series.area) pieces.push(["path", { class: `area ${series.name}`, d: runs.map((run) => this.area(run, y, top + strip.height)).join("") }]);
      pieces.push(["path", { class: `line ${series.name}${series.dashed ? " dashed" : ""}`, d: runs.map((run) => this.line(run, y)).join("") }]);
      const at = this.points.find((point) => point.at === this.chosen);
      const value = at ? series.value(at) : null;
      if (value !== null) pieces.push(["circle", { class: `dot ${series.name}`, cx: this.x(at.at), cy: y(value), r: 3.5 }]);
    }
    return pieces;
  }

  // What belongs together: no line is drawn over a time that nothing is known of.
  runs(series) {
    const runs = [];
    let before = null;
    for (const point of this.points) {
      const value = series.value(point);
      if (value === null) {
        before = null;
        continue;
      }
      if (before === null || point.at - before > this.step * 2.5) runs.push([]);
      runs.at(-1).push([point.at, value]);
      before = point.at;
    }
    return runs;
  }

  line(run, y) {
    if (run.length === 1) return `M${this.x(run[0][0]) - 2},${y(run[0][1])}h4`; // a lone point is to be seen
    return run.map(([at, value], index) => `${index ? "L" : "M"}${this.x(at)},${y(value)}`).join("");
  }

  area(run, y, ground) {
    return `${this.line(run, y)}L${this.x(run.at(-1)[0])},${ground}L${this.x(run[0][0])},${ground}Z`;
  }

  times() {
    const every = this.width < 420 ? 180 : 120;
    const pieces = [];
    for (let at = Math.ceil(this.from / every) * every; at <= this.to; at += every) {
      const x = this.x(at);
      if (x < LEFT + 12 || x > this.width - 20) continue;
      pieces.push(["text", { class: "tick", x, y: this.height - 4, "text-anchor": "middle" }, minute(at)]);
    }
    return pieces;
  }

  marksOf() {
    // each label on a line of its own: two can be near one another
    return this.marks.filter((mark) => mark.at > this.from && mark.at <= this.to).flatMap((mark, row) => {
      const x = this.x(mark.at);
      const late = x > this.width - 80;
      return [
        ["line", { class: `mark level-${mark.level}`, x1: x, x2: x, y1: 0, y2: this.height - AXIS }],
        ["text", { class: `mark-label level-${mark.level}`, x: late ? x - 4 : x + 4, y: TOP + 4 + row * 13, "text-anchor": late ? "end" : "start" }, mark.label],
      ];
    });
  }

  cursor() {
    if (this.chosen === null || this.chosen < this.from) return [];
    const x = this.x(this.chosen);
    return [["line", { class: "cursor", x1: x, x2: x, y1: 0, y2: this.height - AXIS }]];
  }

  // The values of the chosen point, or of the last one, beside the names; and in words.
  tell() {
    const point = this.points.find((known) => known.at === this.chosen) ?? this.points.at(-1);
    const values = this.series.map((series) => [series, point ? series.format(series.value(point)) : "–"]);
    draw(
      this.legend,
      ...values.map(([series, value]) => ["li", {},
        ["svg", { class: "sample", viewBox: "0 0 20 8", "aria-hidden": "true" }, ["path", { class: `line ${series.name}${series.dashed ? " dashed" : ""}`, d: "M0,4H20" }]],
        ["span", {}, series.label], ["b", {}, value]]),
      ["li", { class: "when" }, point ? `${this.chosen === null ? "latest, " : ""}${clock(point.at)}` : ""],
    );
    const last = Math.max(0, this.points.length - 1);
    const index = this.points.indexOf(point);
    attribute(this.host, "aria-valuemin", "0");
    attribute(this.host, "aria-valuemax", String(last));
    attribute(this.host, "aria-valuenow", String(Math.max(0, index)));
    const words = values.map(([series, value]) => `${series.label} ${value}`).join(", ");
    attribute(this.host, "aria-valuetext", point ? `${clock(point.at)}: ${words}` : "nothing yet");
  }

  // The same as a table, made only while it is looked at.
  tabulate() {
    if (!this.table.open) return;
    const head = ["tr", {}, ["th", { scope: "col" }, "Time"], ...this.series.map((series) => ["th", { scope: "col", class: "numeric" }, series.label])];
    const rows = [...this.points].reverse().map((point) => ["tr", {},
      ["th", { scope: "row" }, clock(point.at)], ...this.series.map((series) => ["td", { class: "numeric" }, series.format(series.value(point))])]);
    draw(this.table.querySelector("table"), ["thead", {}, head], ["tbody", {}, ...rows]);
  }
}

const round = (value) => Math.round(value * 10) / 10;

// From nothing to a round number above the largest.
function linear(values) {
  const largest = Math.max(1, ...values);
  const size = 10 ** Math.floor(Math.log10(largest));
  const top = [1, 2, 2.5, 5, 10].map((factor) => factor * size).find((step) => step >= largest);
  return { ticks: [0, top / 2, top], place: (value) => value / top };
}

// Whole decades around the values; further lines between them where the decades are few.
function logarithmic(values) {
  const positive = values.filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.max(1, Math.min(...positive, 1e9))));
  const bottom = positive.length ? low : 2;
  const top = Math.max(bottom + 1, positive.length ? Math.ceil(Math.log10(Math.max(...positive))) : 4);
  const between = top - bottom <= 2 ? [1, 3] : [1];
  const ticks = [];
  for (let power = bottom; power < top; power += 1) ticks.push(...between.map((factor) => factor * 10 ** power));
  ticks.push(10 ** top);
  const place = (value) => (Math.log10(Math.max(value, 10 ** bottom)) - bottom) / (top - bottom);
  return { ticks, place };
}
