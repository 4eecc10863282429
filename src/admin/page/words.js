// What the codes of logs and metrics mean, in words. A code that is not here is shown as it is.

export const DECISIONS = {
  open: { label: "open", hint: "forwarded; no token was needed" },
  allowed: { label: "allowed", hint: "forwarded, since the token was good" },
  own: { label: "answered here", hint: "by an endpoint of the gateway itself" },
  reported: { label: "reported", hint: "forwarded, though the policy would have refused it: it only reports" },
  refused: { label: "refused", hint: "answered with a refusal, or failed for the upstream's sake" },
};

const REASONS = {
  // let through
  valid_token: "a good token",
  open_route: "the route is open",
  open_method: "the method is open",
  cors_preflight: "a preflight of CORS",
  forward_auth: "an answer for another proxy",
  issued: "a token was issued",
  // credentials and tokens
  no_credential: "no token",
  repeated_credential: "more than one credential",
  malformed_credential: "malformed Authorization",
  no_issuer: "no issuer is configured",
  token_too_large: "the token is too long",
  malformed_token: "not a JWT",
  malformed_header: "the token's header is malformed",
  critical_header: "a critical header that is not understood",
  unsupported_algorithm: "the token's algorithm is not supported",
  wrong_type: "not an access token",
  malformed_claims: "the token's claims are malformed",
  unknown_issuer: "unknown issuer",
  wrong_algorithm: "the issuer does not use this algorithm",
  unknown_key: "unknown key",
  expired: "the token has expired",
  not_yet_valid: "the token is not yet valid",
  issued_in_future: "the token was issued in the future",
  wrong_audience: "the token is for another audience",
  bad_signature: "wrong signature",
  unknown_client: "unknown or removed client",
  unspeakable_claim: "a claim that cannot be a header",
  bound_token: "the token is bound to a key that was not proven",
  inactive: "its issuer says the token is not active",
  no_judge: "nobody is asked about such tokens",
  verification_busy: "too many tokens wait to be checked",
  issuer_unavailable: "the issuer cannot be asked",
  malformed_reference: "malformed reference token",
  unknown_token: "unknown or expired reference token",
  revoked: "the token was revoked",
  store_unavailable: "the store cannot be asked",
  // policies
  route_denied: "the route lets nobody in",
  missing_scope: "a scope is missing",
  wrong_client: "the client is not let in here",
  wrong_issuer: "tokens of this issuer are not let in here",
  wrong_claim: "a claim has another value",
  condition_false: "the condition is not met",
  condition_failed: "the condition has no answer",
  rate_limited: "too many requests",
  // requests
  ambiguous_target: "a path that can be read in two ways",
  ambiguous_length: "a length that can be read in two ways",
  bad_host: "no Host, or more than one",
  body_broken: "the body broke off",
  body_malformed: "malformed body",
  body_stalled: "the body came to a halt",
  body_too_large: "the body is too large",
  client_gone: "the client left",
  expectation: "an expectation that is not understood",
  head_too_large: "the header is too large",
  http_version: "unknown version of HTTP",
  misdirected: "a host that the certificate does not have",
  loop: "the request goes round in circles",
  malformed_request: "malformed request",
  max_forwards: "Max-Forwards is used up",
  method_not_allowed: "the method is not allowed",
  request_timeout: "the request came too slowly",
  target_too_long: "the target is too long",
  transfer_coding: "unknown transfer coding",
  internal: "an error of the gateway",
  // upstreams
  upstream_name: "the upstream's name is not known",
  upstream_refused: "the upstream refuses connections",
  upstream_connections: "no connection to the upstream can be had",
  upstream_tls: "no TLS with the upstream",
  upstream_connect_timeout: "connecting to the upstream takes too long",
  upstream_closed: "the upstream broke off",
  upstream_malformed: "the upstream's answer is malformed",
  upstream_timeout: "the upstream takes too long",
  upstream_upgrade: "the upstream upgraded unasked",
  upstream_unhealthy: "no origin of the upstream is well",
  upstream_saturated: "the upstream has as many requests as it may",
  upstream_status: "the upstream says that it cannot",
  upstream_cut: "the upstream's answer was cut short",
  upstream_reset: "the upstream reset the stream",
  upstream_unprocessed: "the upstream did not take the request",
  upstream_no_tunnel: "the upstream makes no tunnel",
  check_status: "its health check has a bad status",
  // the token endpoint
  wrong_secret: "wrong client secret",
  disabled_client: "the client is disabled",
  invalid_scope: "a scope that the client may not have",
  unsupported_grant_type: "another grant",
  unsupported_content_type: "another content type",
  missing_client: "no client credentials",
  malformed_body: "malformed body",
  missing_grant_type: "no grant is named",
  repeated_parameter: "a parameter came twice",
  two_methods: "two ways of authentication at once",
  bad_assertion: "the client's assertion is wrong",
  replayed_assertion: "the client's assertion was used before",
  throttled: "too many failures",
};

// Object.hasOwn: a code is a word from outside, and `constructor` is no reason.
export const reason = (code) => (Object.hasOwn(REASONS, code) ? REASONS[code] : (code || "no reason").replaceAll("_", " "));
// An error that is such a code, or words already.
export const error = (text) => (Object.hasOwn(REASONS, text) ? REASONS[text] : text);
export const decision = (name) => (Object.hasOwn(DECISIONS, name) ? DECISIONS[name] : { label: name, hint: "" });

const ACCESS = {
  public: "open to everybody",
  mutating: "a token for mutating methods",
  protected: "a token for every method",
  deny: "nobody",
  own: "the gateway's own",
};
export const access = (name) => (Object.hasOwn(ACCESS, name) ? ACCESS[name] : (name ?? "–"));

// States of origins and issuers: how bad, and what it means.
const STATES = {
  healthy: ["ok", "answers"],
  unhealthy: ["critical", "fails its health checks; gets no requests"],
  ejected: ["warning", "failed requests; left out for a while"],
  returning: ["info", "comes back slowly after having been left out"],
  unknown: ["quiet", "not checked yet"],
  fresh: ["ok", "its keys are fresh"],
  stale: ["warning", "its keys are old and could not be fetched anew; they are still used"],
  failing: ["critical", "it cannot be asked; its tokens are answered with 503"],
  waiting: ["quiet", "its keys were not fetched yet"],
  fixed: ["ok", "its keys stand in the configuration"],
  closed: ["ok", "calls go through"],
  open: ["critical", "after many failures nobody is asked for a while"],
  half_open: ["warning", "one call is tried"],
};

export const stateOf = (word) => {
  const [level, hint] = Object.hasOwn(STATES, word) ? STATES[word] : ["quiet", ""];
  return { level, word: String(word ?? "unknown").replaceAll("_", " "), hint };
};
