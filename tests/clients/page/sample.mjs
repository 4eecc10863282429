// A status document like that of a busy gateway in some trouble: what the page looks like when there is everything to
// see. It moves with the time that it is given, and says the same for the same time.

const STEP = 5;
const wave = (at, period, phase = 0) => 0.5 + 0.5 * Math.sin((at / period) * 2 * Math.PI + phase);
// a number in [0, 1) that looks like chance
const noise = (at, salt) => {
  const value = Math.sin(at * 12.9898 + salt * 78.233) * 43_758.5453;
  return value - Math.floor(value);
};

function point(at) {
  const requests = Math.round((380 + 240 * wave(at, 420) + 60 * noise(at, 1)) * STEP);
  const trouble = at % 600 > 400 && at % 600 < 460;
  const p50 = 640 + 220 * wave(at, 300) + 90 * noise(at, 4);
  const p99 = (trouble ? 180_000 : 4_200) * (0.8 + 0.5 * noise(at, 5));
  return {
    at, requests,
    refused: Math.round((6 + 9 * wave(at, 90) + (noise(at, 2) > 0.96 ? 60 : 0)) * STEP),
    errors: Math.round((trouble ? 14 + 6 * noise(at, 3) : noise(at, 3) > 0.9 ? 0.4 : 0) * STEP),
    p50_us: Math.round(p50), p99_us: Math.round(p99),
    upstream_p50_us: Math.round(p50 - 110 - 30 * noise(at, 6)), upstream_p99_us: Math.round(p99 * 0.93),
  };
}

function history(now) {
  const last = Math.floor(now / STEP) * STEP;
  return { step_seconds: STEP, points: Array.from({ length: 120 }, (_, index) => point(last - (119 - index) * STEP)) };
}

const route = (name, path, rest) => ({ name, host: null, path, methods: [], access: "protected", policy: "", mode: "enforce", upstream: "default", requests: 0, refused: 0, errors: 0, p50_us: null, p99_us: null, ...rest });

const REASONS = ["no_credential", "expired", "missing_scope", "bad_signature", "wrong_audience", "ambiguous_target", "throttled"];

function refusals(now) {
  return Array.from({ length: 30 }, (_, index) => {
    const at = Math.floor(now) - Math.floor(index * 1.7);
    const reason = REASONS[Math.floor(noise(at, 9) * REASONS.length)];
    const status = { missing_scope: 403, ambiguous_target: 400, throttled: 429 }[reason] ?? 401;
    const id = Math.floor(noise(at + index, 10) * 2 ** 48).toString(16).padStart(12, "0").repeat(3).slice(0, 32);
    const path = index === 3 ? "/search/<img src=x onerror=alert(1)>" : ["/orders", "/players/7", "/admin/users/42/permissions", "/files/reports/2026/november/summary.csv"][index % 4];
    return { at, method: ["POST", "DELETE", "PUT", "PATCH"][index % 4], path, route: ["orders", "default", "admin", "files"][index % 4], reason, status, client: index % 5 ? `203.0.113.${index + 4}` : "2001:db8:85a3::8a2e:370:7334", client_id: index % 3 ? null : "mobile-app", request_id: id };
  });
}

const FAULT = `gateway.toml:31:12: \`all_off\` is no key of a route
   |
31 | all_off = ["orders:write"]
   | ^^^^^^^
   |
   = write \`all_of\``;
const FAULT_OF_A_FILE = `gateway.toml:9:20: the certificate file cert/api.pem cannot be read: no such file
   |
 9 | tls = { certificate_file = "cert/api.pem", private_key_file = "cert/api.key" }
   |                             ^^^^^^^^^^^^
   |
   = put the chain there, the certificate of this server first`;

export function busy(now = Date.now() / 1_000, started = now - 94_000) {
  const total = 41_870_000 + Math.floor((now % 100_000) * 500);
  const whole = Math.floor(now);
  return {
    version: "0.1.0", started_at: Math.floor(started), now: whole, ready: true, not_ready: null,
    configuration: { generation: 7, loaded_at: whole - 4_260, file: "/etc/tollgate/gateway.toml", reloads: { ok: 6, failed: 1 },
      last_reload: { at: whole - 190, ok: false, faults: [FAULT_OF_A_FILE, FAULT] }, warnings: ["`access.protect` is \"none\": no request needs a token unless a route says so"] },
    connections: { open: 412, limit: 19_936, accepted: 1_204_511, http1: 288, http2: 124, tls: 391, tunnels: 9 },
    requests: { total, aborted: 1_204, panics: 0, in_flight: 37,
      decisions: [
        { decision: "open", reason: "open_method", count: Math.floor(total * 0.71) }, { decision: "open", reason: "open_route", count: Math.floor(total * 0.05) },
        { decision: "allowed", reason: "valid_token", count: Math.floor(total * 0.2) }, { decision: "own", reason: "issued", count: 22_118 },
        { decision: "reported", reason: "missing_scope", count: 8_022 }, { decision: "refused", reason: "no_credential", count: 401_233 + (whole % 1000) },
        { decision: "refused", reason: "expired", count: 220_410 }, { decision: "refused", reason: "missing_scope", count: 90_221 },
        { decision: "refused", reason: "bad_signature", count: 4_120 }, { decision: "refused", reason: "upstream_timeout", count: 1_711 },
        { decision: "refused", reason: "ambiguous_target", count: 233 }, { decision: "refused", reason: "throttled", count: 17 },
      ],
      statuses: [{ status: 200, count: Math.floor(total * 0.82) }, { status: 201, count: Math.floor(total * 0.11) }, { status: 304, count: 1_900_000 }, { status: 401, count: 625_763 }, { status: 403, count: 90_221 }, { status: 404, count: 44_109 }, { status: 400, count: 233 }, { status: 502, count: 212 }, { status: 504, count: 1_711 }] },
    latency: { bounds_us: [100, 1_000, 10_000], gateway: { counts: [1, 2, 3, 0], sum_us: 99 }, upstream: { counts: [1, 2, 3, 0], sum_us: 88 } },
    history: history(now),
    routes: [
      route("default", "/{*rest}", { access: "mutating", path: null, requests: 28_400_120, refused: 401_233, errors: 212, p50_us: 610, p99_us: 4_100 }),
      route("orders", "/orders/{*rest}", { host: "api.example.com", methods: ["POST", "PUT", "DELETE"], policy: "all_of orders:write; 100 requests a minute for each client", upstream: "orders", requests: 9_110_400, refused: 210_044, errors: 1_711, p50_us: 1_900, p99_us: 182_000 }),
      route("admin", "/admin/{*rest}", { policy: "all_of admin, clients ops, claims department", requests: 44_120, refused: 31_009, p50_us: 820, p99_us: 9_000 }),
      route("files", "/files/{*rest}", { policy: "any_of files:read files:write, when …", mode: "report", requests: 1_220_000, refused: 0, p50_us: 2_400, p99_us: 61_000 }),
      route("metrics", "/internal/metrics", { access: "deny", requests: 310, refused: 310 }),
      route("health", "/healthz", { access: "public", methods: ["GET"], requests: 3_100_220, p50_us: 240, p99_us: 700 }),
    ],
    issuers: [
      { name: "own tokens", issuer: "https://gateway.example.com", kind: "own", state: "fixed", keys: [{ kid: "2026-11", algorithm: "ES256" }, { kid: "2026-10", algorithm: "RS256" }], keys_age_seconds: null, last_error: null, introspection: null },
      { name: "corp", issuer: "https://login.corp.example.com/realms/production", kind: "discovery", state: "stale", keys: [{ kid: "VoZwr0Jq6d1mE2s8", algorithm: "RS256" }, { kid: "pQ7nbT4xLd0cZk2v", algorithm: "RS256" }], keys_age_seconds: 5_400, last_error: "https://login.corp.example.com/keys: connection refused", introspection: null },
      { name: "partner", issuer: "https://id.partner.example", kind: "introspection", state: "fresh", keys: [], keys_age_seconds: null, last_error: null, introspection: { calls: 30_221, failures: 12, breaker: "closed" } },
    ],
    upstreams: [
      { name: "default", balance: "least_requests", origins: [
        { url: "http://10.0.0.11:9000", state: "healthy", since: whole - 94_000, active: 14, idle: 22, requests: 20_100_400, failures: 12, last_error: null },
        { url: "http://10.0.0.12:9000", state: "ejected", since: whole - 41, active: 0, idle: 0, requests: 19_210_300, failures: 1_204, last_error: "no answer within 60s" } ] },
      { name: "orders", balance: "round_robin", origins: [
        { url: "https://orders-1.internal.example.com:8443", state: "healthy", since: whole - 3_000, active: 9, idle: 11, requests: 4_510_000, failures: 3, last_error: null },
        { url: "https://orders-2.internal.example.com:8443", state: "returning", since: whole - 12, active: 1, idle: 1, requests: 4_600_100, failures: 88, last_error: "connection reset" } ] },
    ],
    tokens: { issued: 22_118, refused: [{ reason: "wrong_secret", count: 41 }, { reason: "unknown_client", count: 12 }, { reason: "throttled", count: 3 }] },
    caches: [{ name: "verified tokens", entries: 8_112, bytes: 9_800_000, hits: 8_100_220, misses: 91_400 }, { name: "introspection", entries: 410, bytes: 200_400, hits: 88_000, misses: 30_221 }],
    store: { url: "file:/var/lib/tollgate", records: 1_204 },
    refusals: refusals(now),
    expiry: [
      { what: "certificate", name: "api.example.com", not_after: whole + 5 * 86_400 + 7_000, level: "critical" },
      { what: "client secret", name: "mobile-app", not_after: whole + 64 * 86_400, level: "ok" },
      { what: "certificate", name: "*.example.org", not_after: whole + 81 * 86_400, level: "ok" } ],
    warnings: [
      { level: "critical", about: "configuration", text: "the last reload was not applied: 2 faults; what was in force still is" },
      { level: "critical", about: "expiry", text: "the certificate of api.example.com expires in 5 days" },
      { level: "warning", about: "issuers", text: "the issuer corp cannot be asked: its last keys are used" },
    ],
  };
}

// A gateway that has just started, without anything that could be left out.
export function quiet(now = Date.now() / 1_000) {
  const whole = Math.floor(now);
  return {
    ...busy(now), started_at: whole - 4,
    configuration: { generation: 1, loaded_at: whole - 4, file: null, reloads: { ok: 0, failed: 0 }, last_reload: null, warnings: [] },
    connections: { open: 0, limit: 19_936, accepted: 0, http1: 0, http2: 0, tls: 0 },
    requests: { total: 0, aborted: 0, panics: 0, in_flight: 0, decisions: [], statuses: [] },
    history: { step_seconds: STEP, points: [] }, routes: [], issuers: [],
    upstreams: [{ name: "default", balance: "least_requests", origins: [{ url: "http://127.0.0.1:9000", state: "unknown", since: null, active: 0, idle: 0, requests: 0, failures: 0, last_error: null }] }],
    tokens: { issued: 0, refused: [] }, caches: [], store: { url: "memory:", records: 0 }, refusals: [], expiry: [], warnings: [],
  };
}
