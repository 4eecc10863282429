// WebSocket by `ws` and server-sent events by `fetch`, through a running tollgate, with a token.

import assert from "node:assert/strict";
import { once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import WebSocket from "ws";

const { GATEWAY, CLIENT_ID, CLIENT_SECRET } = process.env;
const PATIENCE = 20_000; // milliseconds
const within = () => AbortSignal.timeout(PATIENCE);

async function token() {
  const body = new URLSearchParams({
    grant_type: "client_credentials", client_id: CLIENT_ID, client_secret: CLIENT_SECRET });
  const answer = await fetch(`${GATEWAY}/auth/token`, { method: "POST", body, signal: within() });
  assert.equal(answer.status, 200);
  return (await answer.json()).access_token;
}

const open = (headers) => new WebSocket(`${GATEWAY.replace("http:", "ws:")}/echo`, { headers, handshakeTimeout: PATIENCE });

const cases = {
  "WebSocket echoes with a token": async () => {
    const socket = open({ Authorization: `Bearer ${await token()}` });
    const [greeting] = await once(socket, "message", { signal: within() });
    assert.deepEqual(JSON.parse(greeting), { client: CLIENT_ID });
    for (const message of ["hello", "¡Vamos!", "x".repeat(1 << 20)]) {
      socket.send(message);
      const [echo] = await once(socket, "message", { signal: within() });
      assert.equal(echo.toString(), message);
    }
    socket.close(1000);
    const [code] = await once(socket, "close", { signal: within() });
    assert.equal(code, 1000);
  },
  "WebSocket without a token is refused": async () => {
    const socket = open({});
    const [, response] = await once(socket, "unexpected-response", { signal: within() });
    assert.equal(response.statusCode, 401);
    assert.match(response.headers["www-authenticate"], /^Bearer /);
    socket.on("error", () => {}); // closing before it was open
    socket.terminate();
  },
  "an event stream that the client leaves is left upstream too": async () => {
    const leave = new AbortController();
    const stream = await fetch(`${GATEWAY}/events`, { signal: leave.signal });
    const reader = stream.body.getReader();
    const { value } = await reader.read();
    assert.match(new TextDecoder().decode(value), /data: hello/);
    leave.abort();
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const listeners = await (await fetch(`${GATEWAY}/listeners`, { signal: within() })).json();
      if (listeners === 0) break;
      assert(Date.now() < deadline, "the upstream still sends");
      await pause(20);
    }
  },
};

for (const [name, run] of Object.entries(cases)) {
  await run();
  console.log(`ok ${name}`);
}
console.log(`${Object.keys(cases).length} passed, 0 failed`);
