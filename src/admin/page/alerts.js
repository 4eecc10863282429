// What an operator should know first: one word for the whole gateway, and every matter that needs a look, the worst
// first. Pure: from the status document to data.

import { clock, day, plural, relative } from "./format.js";
import { stateOf } from "./words.js";

const WORST_FIRST = ["critical", "warning", "info"];

// [{level, text, detail, href}]
export function alerts(status, now) {
  const all = [
    ...ownState(status),
    ...reload(status.configuration),
    ...(status.issuers ?? []).flatMap(issuer),
    ...(status.upstreams ?? []).flatMap(upstream),
    ...expiry(status.expiry ?? [], now),
    ...connections(status.connections ?? {}),
    ...panics(status.requests ?? {}),
    ...(status.warnings ?? []).map(({ level, text }) => ({ level, text })),
    ...(status.configuration?.warnings ?? []).map((text) => ({ level: "info", text })),
  ];
  const texts = new Set();
  const once = all.filter(({ text }) => !texts.has(text) && texts.add(text));
  return once.sort((a, b) => WORST_FIRST.indexOf(a.level) - WORST_FIRST.indexOf(b.level));
}

// {level, word, why}: what the top of the page says.
export function summary(status, found) {
  if (!status.ready) {
    const draining = /drain/i.test(status.not_ready ?? "");
    return draining
      ? { level: "warning", word: "Draining", why: "It takes no new connections; what is in flight may finish." }
      : { level: "critical", word: "Not ready", why: status.not_ready ?? "It asks not to be sent requests." };
  }
  const serious = found.filter(({ level }) => level === "critical");
  const lesser = found.filter(({ level }) => level === "warning");
  const look = (number) => `${plural(number, "matter needs", "matters need")} a look.`;
  if (serious.length) return { level: "critical", word: "Degraded", why: look(serious.length + lesser.length) };
  if (lesser.length) return { level: "warning", word: "Serving, with warnings", why: look(lesser.length) };
  return { level: "ok", word: "Serving", why: "Nothing needs a look." };
}

function ownState({ ready, not_ready: why }) {
  return ready || !why ? [] : [{ level: /drain/i.test(why) ? "warning" : "critical", text: `Not ready: ${why}` }];
}

function reload(configuration) {
  const last = configuration?.last_reload;
  if (!last || last.ok) return [];
  const faults = plural(last.faults?.length ?? 0, "fault", "faults");
  return [{
    level: "warning",
    text: `The configuration was not reloaded at ${clock(last.at)}: ${faults}. What was loaded before stays in force.`,
    href: "#configuration",
  }];
}

function issuer({ name, state, last_error: error, introspection }) {
  const { level, word, hint } = stateOf(state);
  const found = [];
  if (level === "critical" || level === "warning") {
    found.push({ level, text: `Issuer ${name} is ${word}: ${hint}.`, detail: error, href: "#issuers" });
  }
  const breaker = introspection ? stateOf(introspection.breaker) : null;
  if (breaker && breaker.level !== "ok" && breaker.level !== "quiet") {
    found.push({ level: breaker.level, text: `Introspection by issuer ${name} is held back: ${breaker.hint}.`, href: "#issuers" });
  }
  return found;
}

function upstream({ name, origins }) {
  const down = origins.filter(({ state }) => state === "unhealthy" || state === "ejected");
  if (!down.length) return [];
  const all = down.length === origins.length;
  const which = origins.length === 1
    ? `The only origin of upstream ${name} is ${down[0].state}.`
    : `${all ? "All" : down.length} of ${origins.length} origins of upstream ${name} ${down.length === 1 ? "is" : "are"} down: ${down.map(({ url, state }) => `${url} is ${state}`).join(", ")}.`;
  return [{ level: all ? "critical" : "warning", text: which, detail: down.find((origin) => origin.last_error)?.last_error, href: "#upstreams" }];
}

function expiry(things, now) {
  return things.filter(({ level }) => level !== "ok").map(({ what, name, not_after: at, level }) => ({
    level,
    text: `The ${what} ${name} ${at <= now ? "expired" : "expires"} ${relative(at, now)}, on ${day(at)}.`,
    href: "#expiry",
  }));
}

function connections({ open, limit }) {
  return limit && open >= limit * 0.9
    ? [{ level: open >= limit ? "critical" : "warning", text: `${open} of ${limit} connections are open: further ones wait.` }]
    : [];
}

function panics({ panics: number }) {
  return number
    ? [{ level: "warning", text: `${plural(number, "panic", "panics")}, each of which ended one request: a bug of tollgate. The log has more.` }]
    : [];
}
