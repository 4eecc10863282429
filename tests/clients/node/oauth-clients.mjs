// openid-client, oauth4webapi and simple-oauth2, as their users write them, against a running tollgate in front of the
// sample API. Each case gets a token, adds a player with it and removes the player again. Prints one line for each case
// that kept its promise; the first that does not ends the run with an error.

import assert from "node:assert/strict";
import * as oauth from "oauth4webapi";
import * as openid from "openid-client";
import { ClientCredentials } from "simple-oauth2";

const { GATEWAY, CLIENT_ID, CLIENT_SECRET, CLIENT_SCOPE, WRONG_SECRET } = process.env;
for (const name of ["GATEWAY", "CLIENT_ID", "CLIENT_SECRET", "CLIENT_SCOPE", "WRONG_SECRET"]) {
  assert(process.env[name], `${name} is not set`);
}
const TOKEN_URL = `${GATEWAY}/auth/token`;
const PLAYER = JSON.stringify({ firstName: "Giovani", lastName: "Lo Celso" });
const JSON_TYPE = { "Content-Type": "application/json" };

/** The token is good for what needs one; `send` is how this client sends a request with it. */
async function use(send) {
  const added = await send(new URL("/players", GATEWAY), "POST", PLAYER, JSON_TYPE);
  assert.equal(added.status, 201);
  const removed = await send(new URL(added.headers.get("location"), GATEWAY), "DELETE", null, {});
  assert.equal(removed.status, 204);
}

const bearer = (token) => (url, method, body, headers) =>
  fetch(url, { method, body, headers: { ...headers, Authorization: `Bearer ${token}` } });

const openidConfiguration = (authentication) => {
  const configuration = new openid.Configuration(
    { issuer: GATEWAY, token_endpoint: TOKEN_URL },
    CLIENT_ID,
    {},
    authentication,
  );
  openid.allowInsecureRequests(configuration); // plain http, on loopback
  return configuration;
};

async function openidClient(authentication) {
  const configuration = openidConfiguration(authentication);
  const answer = await openid.clientCredentialsGrant(configuration, { scope: CLIENT_SCOPE });
  assert.equal(answer.token_type, "bearer"); // this library lowers it
  assert.equal(answer.expires_in, 3600);
  assert.equal(answer.scope, CLIENT_SCOPE);
  await use((url, method, body, headers) =>
    openid.fetchProtectedResource(configuration, answer.access_token, url, method, body, new Headers(headers)));
}

async function oauth4webapi(authentication) {
  const server = { issuer: GATEWAY, token_endpoint: TOKEN_URL };
  const client = { client_id: CLIENT_ID };
  const options = { [oauth.allowInsecureRequests]: true };
  const response = await oauth.clientCredentialsGrantRequest(
    server, client, authentication, new URLSearchParams({ scope: CLIENT_SCOPE }), options);
  const answer = await oauth.processClientCredentialsResponse(server, client, response);
  await use((url, method, body, headers) =>
    oauth.protectedResourceRequest(answer.access_token, method, url, new Headers(headers), body, options));
}

const simple = (options, secret = CLIENT_SECRET) =>
  new ClientCredentials({
    client: { id: CLIENT_ID, secret },
    auth: { tokenHost: GATEWAY, tokenPath: "/auth/token" },
    options,
  });

async function simpleOauth2(options) {
  const { token } = await simple(options).getToken({ scope: CLIENT_SCOPE });
  assert.equal(token.token_type, "Bearer");
  assert.equal(token.expires_in, 3600);
  assert.equal(token.scope, CLIENT_SCOPE);
  await use(bearer(token.access_token));
}

const cases = {
  "openid-client, Basic form-encoded": () => openidClient(openid.ClientSecretBasic(CLIENT_SECRET)),
  "openid-client, form": () => openidClient(openid.ClientSecretPost(CLIENT_SECRET)),
  "openid-client understands a wrong secret": async () => {
    const request = openid.clientCredentialsGrant(openidConfiguration(openid.ClientSecretPost(WRONG_SECRET)));
    await assert.rejects(request, (error) => {
      assert.equal(error.status ?? error.cause?.status ?? error.cause?.response?.status, 401);
      return true;
    });
  },
  "openid-client understands a scope it may not have": async () => {
    const configuration = openidConfiguration(openid.ClientSecretPost(CLIENT_SECRET));
    const request = openid.clientCredentialsGrant(configuration, { scope: "everything" });
    await assert.rejects(request, { name: "ResponseBodyError", error: "invalid_scope", status: 400 });
  },
  "openid-client understands what a protected path asks for": async () => {
    const configuration = openidConfiguration(openid.ClientSecretPost(CLIENT_SECRET));
    const request = openid.fetchProtectedResource(
      configuration, "not.a.token", new URL("/players/10", GATEWAY), "DELETE");
    await assert.rejects(request, (error) => {
      const challenges = error.cause;
      assert.equal(error.name, "WWWAuthenticateChallengeError");
      assert.equal(challenges[0].scheme, "bearer");
      assert.equal(challenges[0].parameters.error, "invalid_token");
      return true;
    });
  },
  "oauth4webapi, Basic form-encoded": () => oauth4webapi(oauth.ClientSecretBasic(CLIENT_SECRET)),
  "oauth4webapi, form": () => oauth4webapi(oauth.ClientSecretPost(CLIENT_SECRET)),
  "simple-oauth2, Basic form-encoded": () => simpleOauth2({ credentialsEncodingMode: "strict" }),
  "simple-oauth2, Basic raw": () => simpleOauth2({ credentialsEncodingMode: "loose" }),
  "simple-oauth2, form": () => simpleOauth2({ authorizationMethod: "body" }),
  "simple-oauth2, JSON": () => simpleOauth2({ authorizationMethod: "body", bodyFormat: "json" }),
  "simple-oauth2 understands a wrong secret": async () => {
    for (const authorizationMethod of ["header", "body"]) {
      await assert.rejects(simple({ authorizationMethod }, WRONG_SECRET).getToken({}), (error) => {
        assert.equal(error.output.statusCode, 401);
        return true;
      });
    }
  },
};

for (const [name, run] of Object.entries(cases)) {
  await run();
  console.log(`ok ${name}`);
}
console.log(`${Object.keys(cases).length} passed, 0 failed`);
