// The page: asks /api/status now and then, and shows what it says. It only ever reads.

import { alerts, summary } from "./alerts.js";
import { byId, draw, icon, mono, quiet, state, time } from "./dom.js";
import { clock, count, day, duration, plural, relative } from "./format.js";
import { Tables } from "./tables.js";
import { Traffic } from "./traffic.js";
import { reason, stateOf } from "./words.js";

const EVERY = 2_000; // milliseconds from one answer to the next question
const SLOWEST = 15_000; // the same while nobody answers
const PATIENCE = 5_000; // for one answer
const RESTART_TOLD = 120; // seconds

const traffic = new Traffic();
const tables = new Tables();

let status = null; // the last that was said
let said = 0; // when, by our own clock
let failing = null; // {since, why, failures} while nobody answers
let paused = false;
let restarted = null; // what the gateway said when it was seen to have started anew
let timer = 0;
let asking = false;

// The gateway's clock, as far as ours tells how long ago it spoke.
const now = () => status.now + (Date.now() - said) / 1_000;

async function ask() {
  clearTimeout(timer);
  if (asking || paused || document.hidden) return;
  asking = true;
  try {
    heard(await read());
  } catch (error) {
    failing = { since: failing?.since ?? Date.now(), why: error.told ?? "it does not answer", failures: (failing?.failures ?? 0) + 1 };
  }
  asking = false;
  timer = setTimeout(ask, failing ? Math.min(SLOWEST, EVERY * 1.5 ** failing.failures) : EVERY);
  show();
}

async function read() {
  const answer = await fetch("/api/status", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  if (answer.ok) return answer.json();
  const denied = answer.status === 401 || answer.status === 403;
  throw Object.assign(new Error("refused"), { told: denied ? "it asks for the admin token: load the page again and give it" : `it answers with status ${answer.status}` });
}

function heard(next) {
  if (status && next.started_at !== status.started_at) restarted = { before: status.version, at: next.started_at };
  if (failing) failing = null;
  status = next;
  said = Date.now();
}

function show() {
  document.body.classList.toggle("stale", Boolean(failing && status));
  if (status) {
    const found = [...ours(), ...alerts(status)];
    showState(failing ? unreachable() : summary(status, found));
    showAlerts(found);
    traffic.show(status, now());
    tables.show(status, now());
    showConfiguration();
    showExpiry();
    showTokens();
  } else if (failing) {
    showState(unreachable());
  }
  byId("main").setAttribute("aria-busy", "false");
  tick();
}

const unreachable = () => ({ level: "critical", word: "Unreachable", why: `Since ${clock(failing.since / 1_000)} the gateway cannot be asked: ${failing.why}.${status ? " Below is what it said last." : ""}` });

// What this page knows and the gateway does not say.
function ours() {
  if (!restarted || now() - restarted.at > RESTART_TOLD) return [];
  const other = restarted.before === status.version ? "" : `. It is version ${status.version} now, this page is of ${restarted.before}: load it again`;
  return [{ level: "info", text: `The gateway was restarted at ${clock(restarted.at)}; its counts began anew${other}` }];
}

let announced = null;

function showState({ level, word, why }) {
  byId("overall").className = `overall level-${level}`;
  draw(byId("state"), icon(level), ["strong", {}, word], ["span", { class: "why" }, why]);
  document.title = `${level === "ok" ? "" : `${word} – `}tollgate`;
  // the first state is read with the page; after that only a change is worth saying
  if (announced !== null && announced !== word) byId("announce").textContent = `${word}. ${why}`;
  announced = word;
}

function showAlerts(found) {
  byId("alerts").hidden = found.length === 0;
  draw(byId("alerts"), ...found.map(({ level, text, detail, href }) => ["li", { class: `alert level-${level}` },
    icon(level), ["span", {}, ["span", { class: "unseen" }, `${level}: `], text, ...(detail ? [": ", ["span", { class: "fault" }, detail]] : []),
      ...(href ? [". ", ["a", { href }, `See ${href.slice(1)}`]] : [])]]));
}

function showConfiguration() {
  const { generation, loaded_at: loaded, file, reloads, last_reload: last } = status.configuration;
  draw(byId("configuration-facts"), ...facts([
    ["File", [mono(file ?? "none; defaults, environment and flags alone")]],
    ["Generation", [count(generation), ", loaded ", time(loaded, now())]],
    ["Reloads", [`${count(reloads?.ok)} done, ${count(reloads?.failed)} failed`]],
    ["Last reload", last ? [state(last.ok ? "ok" : "critical", last.ok ? "done" : "failed"), " ", time(last.at, now()), ...(last.ok ? [] : [`; generation ${generation} stays in force`])] : [quiet("none since the start")]],
  ]));
  const faults = last && !last.ok ? (last.faults ?? []) : [];
  byId("faults").hidden = faults.length === 0;
  draw(byId("faults-title"), plural(faults.length, "fault", "faults"));
  draw(byId("faults-text"), faults.join("\n\n"));
}

const facts = (pairs) => pairs.flatMap(([name, value]) => [["dt", {}, name], ["dd", {}, ...value]]);

function showExpiry() {
  const things = [...(status.expiry ?? [])].sort((a, b) => a.not_after - b.not_after);
  byId("expiry-empty").hidden = things.length > 0;
  draw(byId("expiry-list"), ...things.map(({ what, name, not_after: at, level }) => ["li", {},
    state(level, level === "ok" ? "fine" : relative(at, now()).startsWith("in") ? "soon" : "expired"),
    ["span", {}, ["span", { class: "name" }, name], ["span", { class: "under" }, `${what}, ${relative(at, now())}, `, ["time", { datetime: day(at) }, day(at)]]]]));
}

function showTokens() {
  const { tokens, store } = status;
  const refused = [...(tokens?.refused ?? [])].sort((a, b) => b.count - a.count);
  draw(byId("tokens-facts"), ...facts([
    ["Issued", [count(tokens?.issued)]],
    ["Refused", refused.length ? [["ul", { class: "plain" }, ...refused.map((entry) => ["li", {}, `${count(entry.count)} × ${reason(entry.reason)} `, ["span", { class: "code" }, entry.reason]])]] : ["none"]],
    ["Store", [mono(store?.url ?? "–"), `, ${plural(store?.records ?? 0, "record", "records")}`]],
  ]));
}

// The line about the page itself; also between two questions.
function tick() {
  byId("version").textContent = status ? status.version : "";
  const line = byId("live");
  if (paused) draw(line, state("quiet", "Paused"), status ? ` at ${clock(status.now)}` : "");
  else if (failing) draw(line, state("critical", "No answer"), ` for ${duration((Date.now() - failing.since) / 1_000)}; asked again and again`);
  else if (status) draw(line, state("ok", "Live"), ` ${clock(status.now)}`);
}

function listen() {
  document.addEventListener("visibilitychange", ask);
  addEventListener("online", ask);
  byId("pause").addEventListener("click", () => {
    paused = !paused;
    byId("pause").setAttribute("aria-pressed", String(paused));
    tick();
    if (!paused) ask();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (button) copy(button);
  });
}

async function copy(button) {
  const text = button.dataset.copy;
  let done = true;
  try {
    await navigator.clipboard.writeText(text); // only where the page came over https or from this machine
  } catch {
    done = copyBySelection(text);
  }
  button.classList.toggle("copied", done);
  setTimeout(() => button.classList.remove("copied"), 1_500);
  byId("announce").textContent = done ? `Copied ${text}` : `Could not copy ${text}`;
}

function copyBySelection(text) {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "unseen";
  const focused = document.activeElement;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return done;
}

listen();
setInterval(tick, 1_000);
ask();
