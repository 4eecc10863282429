// A browser that speaks HTTP/2 with a running tollgate: a page, writing with a token and without, a WebSocket.
//
//   GATEWAY=https://127.0.0.1:8443 TOKEN=… node tests/clients/page/http2.mjs

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const { GATEWAY, TOKEN, CHROMIUM = "/usr/bin/chromium" } = process.env;
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--ignore-certificate-errors"] });
try {
  const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
  page.setDefaultTimeout(30_000);
  const answer = await page.goto(`${GATEWAY}/`);
  assert.equal(answer.status(), 200);
  const seen = await page.evaluate(async (token) => {
    const ask = async (path, how) => (await fetch(path, how)).status;
    const write = { method: "POST", body: "x".repeat(100_000) };
    const statuses = {
      read: await ask("/read"),
      refused: await ask("/write", write),
      written: await ask("/write", { ...write, headers: { Authorization: `Bearer ${token}` } }),
      many: (await Promise.all(Array.from({ length: 50 }, (_, at) => ask(`/many?${at}`)))).filter((status) => status === 200).length,
    };
    const socket = new WebSocket(`wss://${location.host}/socket`);
    const echoed = await new Promise((resolve) => {
      socket.onopen = () => socket.send("over HTTP/2");
      socket.onmessage = ({ data }) => resolve(data);
      socket.onerror = () => resolve("an error");
    });
    socket.close();
    const entries = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
    return { ...statuses, echoed, protocols: [...new Set(entries.map(({ nextHopProtocol }) => nextHopProtocol))] };
  }, TOKEN);
  assert.deepEqual(seen, { read: 200, refused: 401, written: 200, many: 50, echoed: "over HTTP/2", protocols: ["h2"] });
  console.log("chromium: fine");
} finally {
  await browser.close();
}
