// What an operator should know first: one word for the whole gateway, and every matter that needs a look, the worst
// first. Most of them the gateway names itself; here they are joined by what can be read off its numbers. Pure: from
// the status document to data.

import { plural } from "./format.js";
import { error } from "./words.js";

const WORST_FIRST = ["critical", "warning", "info"];
const SECTIONS = ["configuration", "issuers", "upstreams", "expiry"];
// Matters of these parts do not change how requests are answered now.
const LATER = ["configuration", "expiry", "log"];

// [{level, about, text, detail, href}]
export function alerts(status) {
  const told = status.warnings ?? [];
  const all = [
    ...told.filter(({ about }) => about !== "not_ready").map(({ level, about, text }) => ({ level, about, text: capital(text) })),
    ...(told.some(({ about }) => about === "upstreams") ? [] : (status.upstreams ?? []).flatMap(upstream)),
    ...(status.issuers ?? []).flatMap(breaker),
    ...connections(status.connections ?? {}),
    ...(status.configuration?.warnings ?? []).map((text) => ({ level: "info", about: "configuration", text: capital(text) })),
  ];
  const href = (about) => (SECTIONS.includes(about) ? `#${about}` : null);
  return all
    .map((alert) => ({ ...alert, level: WORST_FIRST.includes(alert.level) ? alert.level : "info", href: href(alert.about) }))
    .sort((a, b) => WORST_FIRST.indexOf(a.level) - WORST_FIRST.indexOf(b.level));
}

// {level, word, why}: what the top of the page says.
export function summary(status, found) {
  if (!status.ready && status.not_ready === "draining") {
    return { level: "warning", word: "Draining", why: "It takes no new connections; what is in flight may finish." };
  }
  if (!status.ready) return { level: "critical", word: "Not ready", why: `${capital(status.not_ready ?? "it asks not to be sent requests")}.` };
  const matters = found.filter(({ level }) => level !== "info");
  const why = `${plural(matters.length, "matter needs", "matters need")} a look.`;
  const critical = matters.filter(({ level }) => level === "critical");
  if (critical.some(({ about }) => !LATER.includes(about))) return { level: "critical", word: "Degraded", why };
  if (critical.length) return { level: "critical", word: "Serving, with faults", why };
  if (matters.length) return { level: "warning", word: "Serving, with warnings", why };
  return { level: "ok", word: "Serving", why: "Nothing needs a look." };
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function upstream({ name, origins }) {
  const down = origins.filter(({ state }) => state === "unhealthy" || state === "ejected");
  if (!down.length) return [];
  const all = down.length === origins.length;
  const which = down.map(({ url, state }) => `${url} is ${state}`).join(", ");
  const text = origins.length === 1
    ? `The only origin of upstream ${name} is ${down[0].state}`
    : `${all ? "All" : down.length} of ${origins.length} origins of upstream ${name} ${down.length === 1 ? "is" : "are"} down: ${which}`;
  return [{ level: all ? "critical" : "warning", about: "upstreams", text, detail: error(down.find((origin) => origin.last_error)?.last_error) }];
}

function breaker({ name, introspection }) {
  return introspection && introspection.breaker === "open"
    ? [{ level: "critical", about: "issuers", text: `Issuer ${name} is not asked for a while, after many failures: its tokens are refused` }]
    : [];
}

function connections({ open, limit }) {
  return limit && open >= limit * 0.9
    ? [{ level: open >= limit ? "critical" : "warning", about: "connections", text: `${open} of ${limit} connections are open: further ones wait` }]
    : [];
}
