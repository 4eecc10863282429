// Shows the page with numbers that are made up, read anew at each load: for working on it.
//
//   node tests/clients/page/preview.mjs [PORT]
//   QUIET=1 node …                                         a gateway that has nothing to tell
//   STATUS=http://127.0.0.1:9090/api/status node …         what a running gateway says, on the page as it stands here

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { busy, quiet } from "./sample.mjs";

const folder = new URL(process.env.PAGE ?? "../../../src/admin/page/", import.meta.url);
const KINDS = { html: "text/html; charset=utf-8", css: "text/css", js: "text/javascript", svg: "image/svg+xml" };
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
const port = Number(process.argv[2] ?? 8099);
const started = Date.now() / 1_000 - 94_000;

async function told() {
  if (process.env.STATUS) return (await fetch(process.env.STATUS)).json();
  return process.env.QUIET ? quiet() : busy(undefined, started);
}

createServer(async (request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  if (pathname === "/api/status") {
    const document = await told().catch(() => null);
    if (document === null) return void response.writeHead(502).end();
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(document));
    return;
  }
  try {
    const name = pathname === "/" ? "index.html" : pathname.slice(1);
    if (!/^[a-z]+\.(html|css|js|svg)$/.test(name)) throw new Error("no such file");
    const text = readFileSync(new URL(name, folder));
    response.writeHead(200, { "content-type": KINDS[name.split(".").at(-1)], "content-security-policy": POLICY }).end(text);
  } catch {
    response.writeHead(404).end();
  }
}).listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${port}/`));
