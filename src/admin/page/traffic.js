// The numbers, the two plots and the bars: how much there is, how fast it is answered, what was decided.

import { byId, draw, mono, quiet } from "./dom.js";
import { count, duration, micros, plural, rate, share } from "./format.js";
import { Plot } from "./plot.js";
import { decision, reason } from "./words.js";

const SHOWN = 600; // seconds of the plots

export class Traffic {
  constructor() {
    const perSecond = (name) => (point) => point[name] / this.step;
    const known = (name) => (point) => point[name] || null;
    this.requests = new Plot(byId("plot-traffic"), {
      label: "Traffic, point in time",
      strips: [
        { height: 110, format: perSecondOf, series: [{ name: "requests", label: "Requests", area: true, value: perSecond("requests") }] },
        { height: 66, format: perSecondOf, series: [
          { name: "refused", label: "Refused", value: perSecond("refused") },
          { name: "errors", label: "Errors", dashed: true, value: perSecond("errors") },
        ] },
      ],
    });
    this.latency = new Plot(byId("plot-latency"), {
      label: "Latency, point in time",
      strips: [{ height: 174, log: true, format: micros, series: [
        { name: "whole", label: "Whole p99", value: known("p99_us") },
        { name: "whole", label: "Whole p50", dashed: true, value: known("p50_us") },
        { name: "upstream", label: "Upstream p99", value: known("upstream_p99_us") },
        { name: "upstream", label: "Upstream p50", dashed: true, value: known("upstream_p50_us") },
      ] }],
    });
  }

  show(status, now) {
    const { points = [], step_seconds: step = 5 } = status.history ?? {};
    this.step = step;
    const marks = marksOf(status);
    const view = { points, from: now - SHOWN, to: now, step, marks };
    this.requests.show(view);
    this.latency.show(view);
    byId("traffic-empty").hidden = points.some((point) => point.requests > 0);
    tiles(status, now, points.at(-1), step);
    decisions(status.requests);
    answers(status.requests);
  }
}

const perSecondOf = (value) => `${rate(value)}/s`;

// What could explain a change of the lines.
function marksOf({ started_at: started, configuration }) {
  const last = configuration?.last_reload;
  const marks = [{ at: started, label: "started", level: "info" }];
  if (last) marks.push({ at: last.at, label: last.ok ? "reloaded" : "not reloaded", level: last.ok ? "info" : "critical" });
  return marks;
}

function tiles(status, now, point, step) {
  const { requests, connections } = status;
  const refused = total(requests.decisions, (entry) => entry.decision === "refused" && !fromUpstream(entry));
  const errors = total(requests.statuses, (entry) => entry.status >= 500);
  const perSecond = (name) => [point ? rate(point[name] / step) : "–", point ? "/s" : ""];
  tile("requests", ...perSecond("requests"), `${count(requests.total)} in all`);
  tile("refused", ...perSecond("refused"), `${count(refused)} in all, ${share(refused, requests.total)}`);
  tile("errors", ...perSecond("errors"), `${count(errors)} in all, ${share(errors, requests.total)}`);
  tile("p50", ...unit(micros(point?.p50_us || undefined)), `upstream ${micros(point?.upstream_p50_us || undefined)}`);
  tile("p99", ...unit(micros(point?.p99_us || undefined)), `upstream ${micros(point?.upstream_p99_us || undefined)}`);
  tile("connections", count(connections.open), "", `of ${count(connections.limit)}; ${count(connections.http2)} HTTP/2, ${count(connections.tls)} TLS, ${plural(connections.tunnels ?? 0, "tunnel", "tunnels")}`);
  tile("in-flight", count(requests.in_flight), "", `${count(requests.aborted)} broke off so far`);
  tile("uptime", duration(now - status.started_at), "", `${count(connections.accepted)} connections so far`);
}

function tile(name, value, unitOf, below) {
  draw(byId(`tile-${name}`), ["span", { class: "value" }, value, unitOf ? ["span", { class: "unit" }, unitOf] : ""], ["span", { class: "below" }, below]);
}

const unit = (text) => {
  const [value, name] = text.split(" ");
  return [value, name ? ` ${name}` : ""];
};

const total = (entries = [], which = () => true) => entries.filter(which).reduce((sum, entry) => sum + entry.count, 0);

// The upstream's failures are errors and no refusals, though the same decision says both.
const fromUpstream = ({ reason: code }) => code.startsWith("upstream_");

function decisions({ decisions: entries = [], total: all }) {
  const kinds = ["open", "allowed", "own", "reported", "refused"].map((name) => [name, total(entries, (entry) => entry.decision === name)]);
  const present = kinds.filter(([, number]) => number > 0);
  byId("decisions-empty").hidden = present.length > 0;
  byId("decisions-all").hidden = present.length === 0;
  draw(byId("decisions-band"), ...present.map(([name, number]) => ["span", { class: `part kind-${name}`, share: number / all }]));
  draw(byId("decisions-kinds"), ...present.map(([name, number]) => ["li", { title: decision(name).hint },
    ["span", { class: `swatch kind-${name}`, "aria-hidden": "true" }], ["span", {}, decision(name).label], ["b", {}, count(number)], quiet(share(number, all))]));
  bars(byId("refused-reasons"), entries.filter((entry) => entry.decision === "refused"), "refused");
  bars(byId("passed-reasons"), entries.filter((entry) => entry.decision !== "refused"), "passed");
  byId("refused-none").hidden = entries.some((entry) => entry.decision === "refused");
}

// Longest first. The length is that of the share among the bars shown.
function bars(list, entries, kind) {
  const all = total(entries);
  const sorted = [...entries].sort((a, b) => b.count - a.count);
  draw(list, ...sorted.map((entry) => ["li", { class: `bar bar-${kind}` },
    ["span", { class: "bar-words" }, words(entry, kind), " ", ["span", { class: "code" }, entry.reason || entry.decision]],
    ["span", { class: "bar-count" }, count(entry.count)],
    ["span", { class: "bar-share" }, share(entry.count, all)],
    ["span", { class: "bar-length", "aria-hidden": "true", share: all ? entry.count / all : 0 }]]));
}

const words = (entry, kind) => (kind === "refused" ? reason(entry.reason) : `${decision(entry.decision).label}: ${reason(entry.reason)}`);

function answers({ statuses = [], total: all }) {
  const classes = [1, 2, 3, 4, 5].map((digit) => [digit, statuses.filter(({ status }) => Math.floor(status / 100) === digit)]);
  draw(byId("statuses"), ...classes.filter(([, entries]) => entries.length).map(([digit, entries]) => ["li", {},
    ["span", { class: `swatch class-${digit}`, "aria-hidden": "true" }], mono(`${digit}xx`), ["b", {}, count(total(entries))], quiet(share(total(entries), all)),
    ["span", { class: "codes" }, entries.sort((a, b) => b.count - a.count).map(({ status, count: number }) => `${status} × ${count(number)}`).join(", ")]]));
}
