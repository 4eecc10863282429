// Calls a gateway from web pages of two origins with Chromium, and fails with the first answer that is not as it should be.
//
//   GATEWAY=http://127.0.0.1:8080 LISTED=8001 STRANGER=8002 TOKEN=eyJ… node tests/clients/page/cors.mjs

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const { GATEWAY, LISTED, STRANGER, TOKEN, CHROMIUM = "/usr/bin/chromium" } = process.env;

const site = (port) =>
  new Promise((ready) => {
    const server = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<title>a page</title>"));
    server.listen(Number(port), "127.0.0.1", () => ready(server));
  });

// What a page sees of an answer, or that it sees none.
const ask = (page, path, init) =>
  page.evaluate(
    async ([url, init]) => {
      try {
        const answer = await fetch(url, init);
        return { status: answer.status, challenge: answer.headers.get("www-authenticate"), text: await answer.text() };
      } catch {
        return "kept from the page";
      }
    },
    [GATEWAY + path, init],
  );

const sites = await Promise.all([site(LISTED), site(STRANGER)]);
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
try {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${LISTED}/`);
  assert.deepEqual(await ask(page, "/players", {}), { status: 200, challenge: null, text: "hello" });
  const refused = await ask(page, "/players", { method: "POST" });
  assert.equal(refused.status, 401);
  assert.equal(refused.challenge, 'Bearer realm="tollgate"');
  assert.match(refused.text, /no_credential/);
  const headers = { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" };
  const allowed = await ask(page, "/players", { method: "PUT", headers, body: "{}" });
  assert.equal(allowed.status, 200);
  // neither another header nor cookies were allowed
  assert.equal(await ask(page, "/players", { headers: { "x-other": "1" } }), "kept from the page");
  assert.equal(await ask(page, "/players", { credentials: "include" }), "kept from the page");

  await page.goto(`http://127.0.0.1:${STRANGER}/`);
  for (const init of [{}, { method: "POST" }, { method: "PUT", headers, body: "{}" }]) {
    assert.equal(await ask(page, "/players", init), "kept from the page");
  }
  console.log("well");
} finally {
  await browser.close();
  sites.forEach((server) => server.close());
}
