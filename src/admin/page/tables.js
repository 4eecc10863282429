// The tables: routes, upstreams, issuers, the latest refusals, caches.

import { Table, byId, draw, icon, mono, quiet, state, time } from "./dom.js";
import { bytes, clock, count, duration, iso, micros, plural, share } from "./format.js";
import { access, error, reason, stateOf } from "./words.js";

const numeric = (label, value, shown = count) => ({ label, numeric: true, sort: value, cell: (item) => [shown(value(item))] });
const badge = (text, kind = "") => ["span", { class: `badge ${kind}` }, text];
// Since when, and what went wrong last: in one cell, for they are read together.
const stateCell = ({ state: known, since, last_error: last }, now, below) => {
  const { level, word, hint } = stateOf(known);
  return [
    ["span", { title: hint }, state(level, word)],
    ...(since ? [" ", ["span", { class: "quiet" }, "for ", ["time", { datetime: iso(since), title: `since ${clock(since)}, ${iso(since)}` }, duration(now - since)]]] : []),
    ...(below ? [["span", { class: "under" }, below]] : []),
    ...(last ? [["span", { class: level === "ok" ? "under" : "under fault" }, `${level === "ok" ? "last failure: " : ""}${error(last)}`]] : []),
  ];
};

const ROUTES = [
  { label: "Route", head: true, sort: (route) => route.name, cell: (route) => [
    ["span", { class: "name" }, route.name],
    ["span", { class: "mono under" }, [route.methods?.join(" "), `${route.host ?? ""}${route.path ?? ""}`].filter(Boolean).join(" ")],
  ] },
  { label: "Policy", sort: (route) => route.access, cell: (route) => [
    ["span", {}, access(route.access), ...(route.mode === "report" ? [" ", badge("only reports", "badge-warning")] : [])],
    ["span", { class: "under" }, route.policy ?? ""],
  ] },
  { label: "Upstream", sort: (route) => route.upstream ?? "", cell: (route) => [route.upstream ?? quiet("–")] },
  numeric("Requests", (route) => route.requests),
  numeric("Refused", (route) => route.refused),
  numeric("Errors", (route) => route.errors),
  numeric("p50", (route) => route.p50_us, micros),
  numeric("p99", (route) => route.p99_us, micros),
];

const ORIGINS = [
  { label: "Origin", head: true, cell: ({ origin, upstream }) => [["span", { class: "mono name" }, origin.url], ["span", { class: "under" }, `${upstream.name}, ${String(upstream.balance ?? "").replaceAll("_", " ")}`]] },
  { label: "State", cell: ({ origin }, now) => stateCell(origin, now) },
  { label: "In flight", numeric: true, cell: ({ origin }) => [count(origin.active)] },
  { label: "Idle", numeric: true, cell: ({ origin }) => [count(origin.idle)] },
  { label: "Requests", numeric: true, cell: ({ origin }) => [count(origin.requests)] },
  { label: "Failed", numeric: true, cell: ({ origin }) => [count(origin.failures)] },
];

const ISSUERS = [
  { label: "Issuer", head: true, cell: (issuer) => [["span", { class: "name" }, issuer.name], ["span", { class: "mono under" }, issuer.issuer ?? ""]] },
  { label: "State", cell: (issuer, now) => stateCell(issuer, now, String(issuer.kind ?? "").replaceAll("_", " ")) },
  { label: "Keys", cell: (issuer) => keys(issuer) },
  { label: "Introspection", cell: ({ introspection: asked }) => (asked ? [
    `${plural(asked.calls, "call", "calls")}, ${plural(asked.failures, "failure", "failures")}`,
    ["span", { class: "under" }, "breaker ", state(stateOf(asked.breaker).level, stateOf(asked.breaker).word)],
  ] : [quiet("–")]) },
];

function keys({ keys: known = [], keys_age_seconds: age }) {
  if (!known.length) return [quiet("none")];
  const when = typeof age === "number" ? `fetched ${duration(age)} ago` : "";
  return [
    ["ul", { class: "keys" }, ...known.slice(0, 8).map(({ kid, algorithm }) => ["li", {}, ["span", { class: "mono" }, kid ?? "no kid"], " ", quiet(algorithm ?? "")])],
    ["span", { class: "under" }, `${plural(known.length, "key", "keys")}${when ? `, ${when}` : ""}`],
  ];
}

const REFUSALS = [
  { label: "When", brief: true, cell: (refusal, now) => [time(refusal.at, now)] },
  { label: "Status", brief: true, cell: (refusal) => [["span", { class: `status class-${Math.floor(refusal.status / 100)}` }, String(refusal.status)]] },
  { label: "Request", head: true, cell: ({ method, path }) => [method === "-" ? quiet("could not be read") : ["span", { class: "mono request" }, ["b", {}, method], ` ${path}`]] },
  { label: "Reason", cell: (refusal) => [["span", {}, reason(refusal.reason)], ["span", { class: "code under" }, refusal.reason]] },
  { label: "Route", cell: (refusal) => [refusal.route ?? "–"] },
  { label: "Client", cell: (refusal) => [["span", { class: "mono" }, refusal.client ?? "–"], ...(refusal.client_id ? [["span", { class: "under" }, refusal.client_id]] : [])] },
  { label: "Request id", cell: ({ request_id: id }) => [["span", { class: "id" }, ["span", { class: "mono", title: id }, short(id)],
    ["button", { type: "button", class: "copy", "data-copy": id, "aria-label": `Copy request id ${id}`, title: "Copy the request id" }, icon("copy")]]] },
];

const short = (id) => (id.length > 14 ? `${id.slice(0, 6)}…${id.slice(-6)}` : id);

const CACHES = [
  { label: "Cache", head: true, cell: (cache) => [cache.name] },
  { label: "Entries", numeric: true, cell: (cache) => [count(cache.entries)] },
  { label: "Size", numeric: true, cell: (cache) => [bytes(cache.bytes)] },
  { label: "Hits", numeric: true, cell: (cache) => [share(cache.hits, cache.hits + cache.misses)] },
];

const FEW = 10;

export class Tables {
  constructor() {
    this.routes = new Table(byId("routes-table"), {
      labelledBy: "routes-title", columns: ROUTES, key: (route) => `${route.name} ${route.host} ${route.path} ${route.methods}`, sorted: { at: 3, descending: true },
      empty: ["There are no ", mono("[[routes]]"), ": ", mono("[access]"), " decides about every request."],
    });
    this.origins = new Table(byId("upstreams-table"), {
      labelledBy: "upstreams-title", columns: ORIGINS, key: ({ origin, upstream }) => `${upstream.name} ${origin.url}`,
      empty: ["No upstream is told of."],
    });
    this.issuers = new Table(byId("issuers-table"), {
      labelledBy: "issuers-title", columns: ISSUERS, key: (issuer) => issuer.name,
      empty: ["No issuer is believed: without ", mono("[token]"), " and ", mono("[[issuers]]"), " every request that needs a token is refused."],
    });
    this.refusals = new Table(byId("refusals-table"), {
      labelledBy: "refusals-title", columns: REFUSALS, key: (refusal) => `${refusal.at} ${refusal.request_id}`,
      empty: ["Nothing was refused since the start. What is refused from now on stands here, with its reason."],
    });
    this.caches = new Table(byId("caches-table"), {
      labelledBy: "caches-title", columns: CACHES, key: (cache) => cache.name, empty: ["Nothing is cached."],
    });
    this.all = false;
    byId("refusals-more").addEventListener("click", () => {
      this.all = !this.all;
      this.held = null;
      this.showRefusals();
    });
    byId("routes-filter").addEventListener("input", () => this.showRoutes());
  }

  show(status, now) {
    Object.assign(this, { status, now });
    this.showRoutes();
    this.origins.show((status.upstreams ?? []).flatMap((upstream) => upstream.origins.map((origin) => ({ origin, upstream }))), now);
    this.issuers.show(status.issuers ?? [], now);
    this.caches.show(status.caches ?? [], now);
    this.showRefusals();
  }

  showRoutes() {
    if (!this.status) return;
    const routes = this.status.routes ?? [];
    const wanted = byId("routes-filter").value.trim().toLowerCase();
    const found = routes.filter((route) => `${route.name} ${route.host ?? ""}${route.path} ${route.policy} ${route.access} ${route.upstream}`.toLowerCase().includes(wanted));
    byId("routes-find").hidden = routes.length <= FEW && !wanted;
    draw(byId("routes-note"), found.length === routes.length ? plural(routes.length, "route", "routes") : `${found.length} of ${plural(routes.length, "route", "routes")}`);
    byId("routes-none").hidden = found.length > 0 || routes.length === 0;
    this.routes.show(found, this.now);
    this.routes.empty.hidden = routes.length > 0;
  }

  // While somebody points at the list or is in it by keyboard it stays as it is: what one reads must not move away.
  showRefusals() {
    const section = byId("refusals");
    const held = section.matches(":focus-within") || (matchMedia("(hover: hover)").matches && byId("refusals-table").matches(":hover"));
    const latest = this.status.refusals ?? [];
    if (!held || !this.held?.length) this.held = latest;
    const newer = latest.findIndex((refusal) => refusal.request_id === this.held[0]?.request_id);
    const waiting = this.held === latest ? 0 : newer < 0 ? latest.length : newer;
    draw(byId("refusals-note"), waiting ? `held while you read; ${waiting} newer` : "");
    this.refusals.show(this.all ? this.held : this.held.slice(0, FEW), this.now);
    const more = byId("refusals-more");
    more.hidden = this.held.length <= FEW;
    draw(more, this.all ? `Show the latest ${FEW}` : `Show all ${this.held.length}`);
    more.setAttribute("aria-expanded", String(this.all));
  }
}
