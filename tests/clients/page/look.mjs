// Looks at the admin page of a running tollgate with Chromium, and fails with the first thing that is not as it should be.
//
//   ADMIN=http://127.0.0.1:9090 GATEWAY=http://127.0.0.1:8080 MARKUP='<b>' node tests/clients/page/look.mjs CHECK
//
// Says on standard output what it has seen; tests/page.rs starts and stops the gateway meanwhile.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { busy, quiet } from "./sample.mjs";

const { ADMIN, MARKUP, CHROMIUM = "/usr/bin/chromium" } = process.env;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PATIENCE = 30_000; // milliseconds
const PHONE = { width: 360, height: 740 };
const DESKTOP = { width: 1440, height: 900 };
const say = (words) => console.log(words);

let browser;

// A page that is open, with what went wrong on it. `document`: shown instead of what the gateway says.
async function open({ document, viewport = DESKTOP, scheme = "light", reducedMotion, expected = [], ...more } = {}) {
  const context = await browser.newContext({ viewport, colorScheme: scheme, reducedMotion, ...more });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const faults = [];
  const asked = [];
  page.on("console", (message) => {
    const known = expected.some((text) => message.text().includes(text));
    if (["error", "warning"].includes(message.type()) && !known) faults.push(message.text());
  });
  page.on("pageerror", (error) => faults.push(error.stack));
  page.on("request", (request) => asked.push(request.url()));
  await page.addInitScript(() => {
    window.violations = [];
    window.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  if (document) await serve(page, document);
  const answer = await page.goto(`${ADMIN}/`);
  assert.equal(answer.status(), 200);
  await page.waitForSelector("main[aria-busy=false]");
  return { page, faults, asked, answer };
}

const serve = (page, document) => page.route("**/api/status", (route) => route.fulfill({ json: typeof document === "function" ? document() : document }));
const text = (page, selector) => page.locator(selector).innerText();

// Waits until `see` yields something true.
async function until(page, what, see, argument) {
  await page.waitForFunction(see, argument, { timeout: PATIENCE, polling: 100 }).catch(async () => {
    throw new Error(`${what}: it did not come; the page says ${await text(page, "body")}`);
  });
}

async function clean({ page, faults }) {
  assert.deepEqual(faults, []);
  assert.deepEqual(await page.evaluate(() => window.violations), []);
}

const checks = {
  async loads() {
    const seen = await open();
    const { page, asked, answer } = seen;
    const headers = answer.headers();
    const policy = Object.fromEntries(headers["content-security-policy"].split("; ").map((part) => [part.split(" ")[0], part.split(" ").slice(1).join(" ")]));
    assert.deepEqual(policy, {
      "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'", "connect-src": "'self'",
      "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'", "require-trusted-types-for": "'script'", "trusted-types": "'none'",
    });
    await until(page, "an answer", () => document.getElementById("tile-requests").textContent.includes("in all"));
    assert.equal(await page.title(), "tollgate");
    await page.waitForTimeout(2_500); // over a further question
    await clean(seen);
    assert.ok(asked.filter((url) => url.endsWith("/api/status")).length >= 2, asked.join(" "));
    for (const url of asked) assert.equal(new URL(url).origin, ADMIN);
    assert.equal(await page.locator("[style]:not([style^='--share'])").count(), 0);
    assert.equal(await page.locator("script:not([src]), style").count(), 0);
    // the policy is no mere text: what it forbids does not happen
    const broken = await page.evaluate(async () => {
      const seen = [];
      const script = document.createElement("script");
      try { script.text = "window.ran = 1"; document.body.append(script); } catch (error) { seen.push(error.name); }
      try { document.body.insertAdjacentHTML("beforeend", "<p>"); } catch (error) { seen.push(error.name); }
      try { await fetch("http://localhost:1/"); } catch (error) { seen.push(error.name); }
      return { seen, ran: window.ran ?? null };
    });
    assert.deepEqual(broken, { seen: ["TypeError", "TypeError", "TypeError"], ran: null });
    // a link is followed, a page of the same gateway answers
    for (const href of ["/api/status"]) assert.equal((await page.request.get(ADMIN + href)).status(), 200);
  },

  async traffic() {
    const seen = await open();
    const { page } = seen;
    const inAll = () => Number(/([\d,]+) in all/.exec(document.getElementById("tile-requests").textContent)?.[1].replaceAll(",", ""));
    await until(page, "requests", () => Number(/([\d,]+) in all/.exec(document.getElementById("tile-requests").textContent)?.[1].replaceAll(",", "")) > 0);
    const before = await page.evaluate(inAll);
    await until(page, "more requests", (known) => Number(/([\d,]+) in all/.exec(document.getElementById("tile-requests").textContent)?.[1].replaceAll(",", "")) > known, before);
    await until(page, "a refusal", () => document.querySelector("#refusals tbody tr")?.textContent.includes("no_credential"));
    const refusals = await text(page, "#refusals tbody");
    assert.match(refusals, /POST \/&lt;b&gt;'%3Cscript%3E/);
    assert.match(refusals, /no token/);
    assert.match(refusals, /401/);
    assert.match(await text(page, "#decisions"), /no token\s+no_credential/);
    assert.match(await text(page, "#issuers"), /https:\/\/gateway\.test/);
    const route = page.locator("#routes tbody tr", { hasText: MARKUP });
    assert.equal(await route.count(), 1);
    assert.match(await route.innerText(), /\/orders\/\{\*rest\}/);
    assert.equal(await page.locator("main b:text('orders')").count(), 0);
    assert.equal(await page.locator("main img").count(), 0);
    await until(page, "a line", () => document.querySelector("#plot-traffic path.line.requests")?.getAttribute("d"));
    await until(page, "a rate", () => /\d\/s/.test(document.getElementById("tile-requests").textContent));
    await until(page, "a latency", () => /\d (µs|ms|s)/.test(document.getElementById("tile-p99").textContent));
    await clean(seen);
  },

  // Every text that the gateway could ever say, as markup.
  async markup() {
    const attack = "<img src=x onerror=\"window.ran=1\"><script>window.ran=1</script>${window.ran=1}";
    const poison = (value, key) => {
      if (Array.isArray(value)) return value.map((inner) => poison(inner, key));
      if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, poison(inner, name)]));
      return typeof value === "string" ? attack + (["request_id", "name", "url"].includes(key) ? Math.random() : "") : value;
    };
    const document = poison(busy());
    document.ready = false;
    document.warnings = [{ level: attack, text: attack }];
    const seen = await open({ document });
    const { page } = seen;
    assert.ok((await text(page, "#refusals tbody")).includes(attack));
    assert.ok((await text(page, "#overall")).includes(attack));
    assert.ok((await text(page, "#upstreams")).includes(attack));
    await page.waitForTimeout(300); // for an image that fails to load
    assert.equal(await page.evaluate(() => window.ran ?? null), null);
    assert.equal(await page.locator("main img, body script").count(), 0);
    await clean(seen);
  },

  async schemes() {
    const ground = (page) => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const light = await open({ scheme: "light" });
    const dark = await open({ scheme: "dark" });
    const [day, night] = [await ground(light.page), await ground(dark.page)];
    assert.notEqual(day, night);
    const { page } = light;
    const button = page.locator("#theme");
    assert.match(await button.innerText(), /auto/);
    await button.click(); // light
    await button.click(); // dark
    assert.match(await button.innerText(), /dark/);
    assert.equal(await ground(page), night);
    await page.reload();
    assert.equal(await ground(page), night, "what was chosen is kept");
    await page.waitForSelector("main[aria-busy=false]");
    await button.click(); // as the system again
    assert.equal(await ground(page), day);
    await page.emulateMedia({ colorScheme: "dark" });
    assert.equal(await ground(page), night);
    await clean(light);
    await clean(dark);
  },

  async widths() {
    const long = busy();
    long.routes[1].path = `/${"orders".repeat(40)}/{*rest}`;
    long.refusals[0].path = `/${"x".repeat(200)}`;
    long.refusals[1].client_id = "c".repeat(200);
    long.upstreams[0].origins[1].last_error = "e".repeat(300);
    long.issuers[1].issuer = `https://${"i".repeat(200)}.example.com`;
    for (const document of [undefined, long, quiet()]) {
      const seen = await open({ document, viewport: PHONE });
      const { page } = seen;
      for (const width of [320, 360, 414, 768, 1024, 1440, 2560]) {
        await page.setViewportSize({ width, height: 800 });
        await page.waitForTimeout(150); // for the plots to be drawn anew
        const wide = await page.evaluate(() => ({
          page: document.documentElement.scrollWidth - innerWidth,
          culprits: [...document.querySelectorAll("main *")].filter((node) => node.getBoundingClientRect().right > innerWidth + 1 && !node.closest(".scroller, .unseen")).map((node) => `${node.tagName}.${node.className}`),
        }));
        assert.deepEqual(wide, { page: 0, culprits: [] }, `at ${width}`);
      }
      await clean(seen);
    }
  },

  async keyboard() {
    const seen = await open({ document: () => frozen, reducedMotion: "reduce" }); // what is focused is in view at once
    const { page } = seen;
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
    const visible = await page.locator(".skip").boundingBox();
    assert.ok(visible.y >= 0, "the skip link shows itself");
    // everything that can be used is reached, in the order of the page, and shows that it is
    const wanted = await page.evaluate(() => [...document.querySelectorAll("a[href], button, input, summary, [tabindex='0']")].filter((node) => node.checkVisibility({ checkVisibilityCSS: true }) && !node.closest("details:not([open]) > :not(summary)")).length);
    const reached = [];
    for (let step = 0; step < wanted + 5; step += 1) {
      const focus = await page.evaluate(() => {
        const node = document.activeElement;
        if (node === document.body) return null;
        const { outlineStyle, outlineWidth } = getComputedStyle(node);
        node.reached ??= Math.random();
        return { id: node.reached, name: node.outerHTML.slice(0, 100), ring: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2, inView: node.getBoundingClientRect().bottom > 0 && node.getBoundingClientRect().top < innerHeight };
      });
      if (focus === null || reached.some(({ id }) => id === focus.id)) break;
      assert.ok(focus.ring, `no ring around ${focus.name}`);
      assert.ok(focus.inView, `out of view: ${focus.name}`);
      reached.push(focus);
      await page.keyboard.press("Tab");
    }
    assert.ok(reached.length >= wanted && wanted > 20, `${reached.length} of ${wanted}`);
    // sorting
    const names = () => page.locator("#routes tbody th .name").allInnerTexts();
    const header = page.locator("#routes thead th", { hasText: "Refused" });
    await header.locator("button").focus();
    await page.keyboard.press("Enter");
    assert.equal(await header.getAttribute("aria-sort"), "descending");
    assert.deepEqual((await names()).slice(0, 2), ["default", "orders"]);
    await page.keyboard.press("Space");
    assert.equal(await header.getAttribute("aria-sort"), "ascending");
    assert.deepEqual((await names()).slice(-2), ["orders", "default"]);
    // the point in time of a plot
    const plot = page.locator("#plot-traffic .plot");
    await plot.focus();
    await page.keyboard.press("Home");
    const first = await plot.getAttribute("aria-valuetext");
    await page.keyboard.press("ArrowRight");
    const second = await plot.getAttribute("aria-valuetext");
    assert.match(first, /^\d\d:\d\d:\d\d: Requests \d+\/s, Refused [\d.]+\/s, Errors/);
    assert.notEqual(first, second);
    // the same as a table
    await page.locator("#plot-traffic summary").focus();
    await page.keyboard.press("Enter");
    await until(page, "the table of the plot", () => document.querySelectorAll("#plot-traffic tbody tr").length === 120);
    // what one has come to stays where it is while new things come
    const copy = page.locator("#refusals .copy").nth(2);
    await copy.focus();
    const id = await copy.getAttribute("data-copy");
    const moved = structuredClone(frozen);
    moved.refusals.unshift({ ...moved.refusals[0], request_id: "f".repeat(32) });
    await page.unroute("**/api/status");
    await serve(page, moved);
    await until(page, "word of newer refusals", () => /1 newer/.test(document.getElementById("refusals-note").textContent));
    assert.equal(await page.evaluate(() => document.activeElement.dataset.copy), id);
    await clean(seen);
  },

  async axe() {
    const found = [];
    for (const document of [undefined, frozen, quiet()]) {
      const { page } = await open({ document, reducedMotion: "reduce" });
      await page.evaluate(AXE);
      for (const summary of await page.locator("summary").all()) if (await summary.isVisible()) await summary.click();
      for (const viewport of [DESKTOP, PHONE]) {
        await page.setViewportSize(viewport);
        for (const scheme of ["light", "dark"]) {
          await page.emulateMedia({ colorScheme: scheme });
          const { violations, passed } = await page.evaluate(async () => {
            const { violations, passes } = await window.axe.run(document, { resultTypes: ["violations"] });
            return { passed: passes.length, violations: violations.map(({ id, impact, nodes }) => ({ id, impact, html: nodes[0].html, why: nodes[0].failureSummary })) };
          });
          assert.ok(passed > 20, "axe has looked");
          found.push(...violations.map(({ id, impact, html, why }) => `${impact} ${id} (${scheme}, ${viewport.width}): ${html} ${why}`));
        }
      }
      await page.context().close();
    }
    assert.deepEqual(found, []);
  },

  async states() {
    const calm = () => ({ ...quiet(), upstreams: [{ name: "default", balance: "round_robin", origins: [{ url: "http://127.0.0.1:9000", state: "healthy" }] }] });
    const origin = (state, url = "http://10.0.0.1") => ({ url, state, active: 0, idle: 0, requests: 0, failures: 0, last_error: "refused" });
    const cases = [
      [{}, "Serving", /Nothing needs a look/],
      [{ ready: false, not_ready: "draining" }, "Draining", /takes no new connections/],
      [{ ready: false, not_ready: "no upstream is healthy" }, "Not ready", /No upstream is healthy/],
      [{ upstreams: [{ name: "orders", origins: [origin("unhealthy")] }] }, "Degraded", /The only origin of upstream orders is unhealthy/],
      [{ upstreams: [{ name: "orders", origins: [origin("ejected"), origin("healthy", "http://b")] }] }, "Serving, with warnings", /1 of 2 origins of upstream orders is down/],
      [{ warnings: [{ level: "critical", about: "issuers", text: "the issuer corp cannot be asked" }] }, "Degraded", /The issuer corp cannot be asked\. See issuers/],
      [{ warnings: [{ level: "critical", about: "expiry", text: "the certificate of a has expired" }] }, "Serving, with faults", /The certificate of a has expired/],
      [{ issuers: [{ name: "corp", state: "fixed", keys: [], introspection: { calls: 9, failures: 9, breaker: "open" } }] }, "Degraded", /Issuer corp is not asked/],
      [{ configuration: { generation: 2, loaded_at: 1, file: "gateway.toml", reloads: { ok: 1, failed: 1 }, last_reload: { at: 1, ok: false, faults: ["gateway.toml:3:1: no\n  |\n3 | x\n  | ^"] }, warnings: ["`access.protect` is none"] } }, "Serving", /`access\.protect` is none\. See configuration/],
      [{ connections: { open: 95, limit: 100 } }, "Serving, with warnings", /95 of 100 connections/],
      [{ warnings: [{ level: "warning", about: "log", text: "12 lines of the log were lost" }] }, "Serving, with warnings", /12 lines/],
    ];
    let document = calm();
    const seen = await open({ document: () => document });
    const { page } = seen;
    for (const [change, word, why] of cases) {
      document = { ...calm(), ...change };
      await page.reload();
      await page.waitForSelector("main[aria-busy=false]");
      assert.equal(await text(page, "#state strong"), word);
      assert.match((await text(page, "#overall")).replaceAll("\n", " "), why);
      assert.equal(await page.title(), word === "Serving" ? "tollgate" : `${word} – tollgate`);
      if (change.configuration) assert.equal(await page.locator("#faults-text").textContent(), change.configuration.last_reload.faults[0]);
    }
    // a change is said to those who do not see it
    document = { ...calm(), ready: false, not_ready: "draining" };
    await until(page, "an announcement", () => document.getElementById("announce").textContent.startsWith("Draining"));
    await clean(seen);
    // what there is nothing of is explained
    const empty = await open({ document: quiet() });
    for (const [selector, words] of [["#issuers", /No issuer is believed/], ["#refusals", /Nothing was refused/], ["#routes", /There are no \[\[routes\]\]/], ["#expiry", /has an end/], ["#decisions", /Nothing was decided/], ["#plot-traffic", /No request came/]]) {
      assert.match(await text(empty.page, selector), words);
    }
    await clean(empty);
  },

  async formats() {
    const { page } = await open();
    const told = await page.evaluate(async () => {
      const f = await import("/format.js");
      return {
        counts: [0, 999, 12_345, 999_999, 1_000_000, 43_210_000, 7_000_000_000, null].map(f.count),
        rates: [0, 0.05, 0.4, 9.94, 10, 12_345].map(f.rate),
        shares: [[0, 5], [1, 100_000], [1, 3], [99_950, 100_000], [1, 1], [0, 0]].map(([part, whole]) => f.share(part, whole)),
        micros: [0, 350, 1_000, 2_140, 21_400, 999_499, 1_200_000, 61_000_000, null].map(f.micros),
        durations: [0, 59, 60, 3_599, 3_600, 11_520, 86_400, 94_000, 1_000_000].map(f.duration),
        relatives: [[100, 100], [97, 100], [100, 40]].map(([at, now]) => f.relative(at, now)),
        bytes: [12, 2_048, 9_800_000].map(f.bytes),
      };
    });
    assert.deepEqual(told, {
      counts: ["0", "999", "12,345", "999,999", "1.00 M", "43.2 M", "7.00 G", "–"],
      rates: ["0", "<0.1", "0.4", "9.9", "10", "12,345"],
      shares: ["0%", "<0.1%", "33%", ">99.9%", "100%", "–"],
      micros: ["0 µs", "350 µs", "1.0 ms", "2.1 ms", "21 ms", "999 ms", "1.2 s", "61 s", "–"],
      durations: ["0 s", "59 s", "1 min", "59 min", "1 h", "3 h 12 min", "1 d", "1 d 2 h", "11 days"],
      relatives: ["now", "3 s ago", "in 1 min"],
      bytes: ["12 B", "2.0 KiB", "9.3 MiB"],
    });
  },

  async asking() {
    let questions = 0;
    let broken = false;
    const seen = await open({ expected: ["500", "Failed to load"], document: () => quiet() });
    const { page } = seen;
    await page.unroute("**/api/status");
    await page.route("**/api/status", (route) => {
      questions += 1;
      return broken ? route.fulfill({ status: 500, body: "no" }) : route.fulfill({ json: quiet() });
    });
    const pause = page.locator("#pause");
    await pause.click();
    assert.equal(await pause.getAttribute("aria-pressed"), "true");
    assert.match(await text(page, "#live"), /Paused/);
    await page.waitForTimeout(500); // what was under way comes in
    const before = questions;
    await page.waitForTimeout(2_500);
    assert.equal(questions, before, "a paused page asks nothing");
    broken = true;
    await pause.click();
    await until(page, "the fault", () => document.querySelector("#state strong").textContent === "Unreachable");
    assert.match(await text(page, "#state"), /Since \d\d:\d\d:\d\d .* status 500/);
    const [failed, start] = [questions, Date.now()];
    await page.waitForTimeout(6_000);
    const often = (questions - failed) / ((Date.now() - start) / 1_000);
    assert.ok(often > 0 && often < 0.45, `${often} questions a second while nobody answers`);
    broken = false;
    await page.evaluate(() => dispatchEvent(new Event("online")));
    await until(page, "recovery", () => document.querySelector("#state strong").textContent === "Serving");
    await clean(seen);
  },

  async reload() {
    const seen = await open();
    const { page } = seen;
    await until(page, "that it serves", () => document.querySelector("#state strong").textContent === "Serving");
    say("it is serving");
    await until(page, "the faults", () => document.getElementById("faults").checkVisibility());
    const faults = await page.locator("#faults-text").textContent();
    // place, line and caret, each under the other as the terminal has them
    assert.match(faults, /gateway\.toml:\d+:1/);
    const [line, caret] = faults.split("\n").map((text) => text.indexOf(text.includes("^") ? "^" : "all_off =")).filter((at) => at > 0);
    assert.ok(line > 0 && line === caret, faults);
    assert.match(await text(page, "#overall"), /last reload was not applied.*See configuration/);
    assert.equal(await text(page, "#state strong"), "Serving, with faults");
    await page.locator("#plot-traffic .mark-label", { hasText: "not reloaded" }).waitFor();
    say("the faults are told");
    await until(page, "the good reload", () => /Last reload\s*done/.test(document.getElementById("configuration-facts").textContent));
    assert.equal(await page.locator("#faults").isVisible(), false);
    assert.match(await text(page, "#configuration-facts"), /Generation\s+2, loaded/);
    await clean(seen);
  },

  async restart() {
    const seen = await open({ expected: ["ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "ERR_SOCKET_NOT_CONNECTED"] });
    const { page } = seen;
    await until(page, "that it serves", () => document.querySelector("#state strong").textContent.startsWith("Serving"));
    say("it is serving");
    await until(page, "that it is gone", () => document.querySelector("#state strong").textContent === "Unreachable");
    assert.match(await text(page, "#state"), /Since \d\d:\d\d:\d\d the gateway cannot be asked: it does not answer/);
    assert.match(await text(page, "#live"), /No answer/);
    assert.match(await page.title(), /^Unreachable/);
    say("it cannot be reached");
    await until(page, "that it is back", () => document.querySelector("#overall").textContent.includes("The gateway was restarted at"));
    assert.match(await text(page, "#state strong"), /^Serving/);
    say("it was restarted");
    await clean(seen);
  },
};

// What moves would be another page for every step of a check.
const frozen = busy();

const check = checks[process.argv[2]];
if (!check) throw new Error(`no check ${process.argv[2]}: ${Object.keys(checks).join(", ")}`);
if (!existsSync(CHROMIUM)) throw new Error(`there is no browser at ${CHROMIUM}: bash tests/install.sh page`);
browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
try {
  await check();
} finally {
  await browser.close();
}
