// An upstream that talks for long: WebSocket echo at /echo, server-sent events at /events. The next event is sent when
// somebody asks for /next, so that a client which has seen one knows that nobody held it back. Prints its address; ends
// when its standard input does.

import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const listeners = new Set();
let sent = 0;

const server = createServer((request, response) => {
  if (request.url === "/events") {
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
    response.write(`id: ${++sent}\ndata: hello\n\n`);
    listeners.add(response);
    response.on("close", () => listeners.delete(response));
  } else if (request.url === "/next") {
    sent += 1;
    for (const listener of listeners) listener.write(`id: ${sent}\ndata: {"number": ${sent}}\n\n`);
    response.writeHead(204).end();
  } else if (request.url === "/listeners") {
    response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(listeners.size));
  } else {
    response.writeHead(404).end();
  }
});

const sockets = new WebSocketServer({ server, path: "/echo", maxPayload: 8 * 1024 * 1024 });
sockets.on("connection", (socket, request) => {
  socket.send(JSON.stringify({ client: request.headers["x-auth-client"] ?? null }));
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
});

server.listen(0, "127.0.0.1", () => console.log(`127.0.0.1:${server.address().port}`));
process.stdin.resume().on("end", () => process.exit(0));
