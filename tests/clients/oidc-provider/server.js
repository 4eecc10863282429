// A real identity provider (https://github.com/panva/node-oidc-provider) for tests/real_provider.rs.
//
//   node server.js PORT KEYS_FILE
//
// Client credentials with resource indicators: https://api.test/<format> gives tokens with aud https://api.test, signed
// with RS256, ES256, PS256 or EdDSA, or opaque. Keys live in KEYS_FILE, so that a restart keeps them. POST
// /control/rotate makes new ones and keeps the last ones published. Says "ready" when it serves.
import { createServer } from "node:http";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { Provider } from "oidc-provider";

const [port, keysFile] = [Number(process.argv[2]), process.argv[3]];
const issuer = `http://127.0.0.1:${port}`;

function newKeys() {
  const kinds = [
    ["RS256", "rsa", { modulusLength: 2048 }],
    ["PS256", "rsa", { modulusLength: 2048 }],
    ["ES256", "ec", { namedCurve: "P-256" }],
    ["EdDSA", "ed25519", {}],
  ];
  return kinds.map(([alg, kind, options]) => ({
    ...generateKeyPairSync(kind, options).privateKey.export({ format: "jwk" }),
    alg,
    use: "sig",
    kid: `${alg}-${randomUUID()}`,
  }));
}

function provider(keys) {
  const made = new Provider(issuer, {
    jwks: { keys },
    cookies: { keys: ["only for the sake of the start"] },
    clients: [
      { client_id: "batch", client_secret: "a secret of batch: 7f3k#=@", grant_types: ["client_credentials"], redirect_uris: [], response_types: [] },
      { client_id: "gateway", client_secret: "a secret of gateway: 9d2m#=@", grant_types: ["client_credentials"], redirect_uris: [], response_types: [] },
    ],
    scopes: ["api:read", "api:write"],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      revocation: { enabled: true },
      introspection: { enabled: true, allowedPolicy: (ctx, client) => client.clientId === "gateway" },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo(ctx, resource) {
          const format = new URL(resource).pathname.slice(1);
          const info = { scope: "api:read api:write", audience: "https://api.test", accessTokenTTL: 600 };
          return format === "opaque"
            ? { ...info, accessTokenFormat: "opaque" }
            : { ...info, accessTokenFormat: "jwt", jwt: { sign: { alg: format } } };
        },
      },
    },
  });
  return made.callback();
}

let keys = existsSync(keysFile) ? JSON.parse(readFileSync(keysFile, "utf8")) : newKeys();
writeFileSync(keysFile, JSON.stringify(keys));
let serve = provider(keys);

createServer((request, response) => {
  if (request.url === "/control/rotate") {
    // the new ones first: the first that fits signs
    keys = [...newKeys(), ...keys.slice(0, 4)];
    writeFileSync(keysFile, JSON.stringify(keys));
    serve = provider(keys);
    response.end("rotated");
    return;
  }
  serve(request, response);
}).listen(port, "127.0.0.1", () => console.log("ready"));
