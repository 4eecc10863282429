// HTTP/2 by Node's own client, through a running tollgate: many requests at once, and a WebSocket by extended CONNECT.

import { connect } from "node:http2";

const { GATEWAY, CLIENT_ID, CLIENT_SECRET } = process.env;
const session = connect(GATEWAY);
session.setTimeout(30_000, () => fail("it takes too long"));

function fail(what) {
  console.error(what);
  process.exit(1);
}

function check(what, seen, wanted) {
  if (seen !== wanted) fail(`${what}: ${seen} instead of ${wanted}`);
}

function ask(headers, body) {
  return new Promise((resolve, reject) => {
    const stream = session.request(headers, { endStream: body === undefined });
    const pieces = [];
    let head;
    stream.on("response", (received) => (head = received));
    stream.on("data", (piece) => pieces.push(piece));
    stream.on("end", () => resolve({ status: head[":status"], head, body: Buffer.concat(pieces).toString() }));
    stream.on("error", reject);
    if (body !== undefined) stream.end(body);
  });
}

const credentials = new URLSearchParams({
  grant_type: "client_credentials",
  client_id: CLIENT_ID,
  client_secret: CLIENT_SECRET,
});
const form = { "content-type": "application/x-www-form-urlencoded" };
const granted = await ask({ ":method": "POST", ":path": "/auth/token", ...form }, credentials.toString());
check("token", granted.status, 200);
const authorization = `Bearer ${JSON.parse(granted.body).access_token}`;

const answers = await Promise.all(Array.from({ length: 100 }, (_, at) => ask({ ":path": `/players?at=${at}` })));
check("all at once", answers.every(({ status }) => status === 200), true);
check("no token", (await ask({ ":method": "DELETE", ":path": "/players/1" })).status, 401);
const json = { "content-type": "application/json" };
const made = await ask(
  { ":method": "POST", ":path": "/players", authorization, ...json },
  JSON.stringify({ squadNumber: 74, firstName: "Iva", lastName: "Ivo" }),
);
check("with a token", made.status, 201);
check("deleted", (await ask({ ":method": "DELETE", ":path": "/players/74", authorization })).status, 204);
check("extended CONNECT", session.remoteSettings.enableConnectProtocol, true);
session.close();
console.log("node:http2: fine");
