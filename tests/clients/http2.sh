#!/usr/bin/env bash
# HTTP/2 with prior knowledge by curl, nghttp and h2load, through a running gateway in front of the sample API.
#
#   GATEWAY=http://127.0.0.1:8080 CLIENT_ID=… CLIENT_SECRET=… bash tests/clients/http2.sh
set -euo pipefail

: "${GATEWAY:?the address of the gateway}" "${CLIENT_ID:?the id of a client}" "${CLIENT_SECRET:?its secret}"
fail() {
  printf 'http2: %s\n' "$*" >&2
  exit 1
}

told=$(curl -sS --http2-prior-knowledge -o /dev/null -w '%{http_version} %{http_code}' "$GATEWAY/players")
[ "$told" = "2 200" ] || fail "curl GET: $told"
told=$(curl -sS --http2-prior-knowledge -o /dev/null -w '%{http_version} %{http_code}' -d '{}' "$GATEWAY/players")
[ "$told" = "2 401" ] || fail "curl POST without a token: $told"
token=$(curl -sS --http2-prior-knowledge "$GATEWAY/auth/token" --data-urlencode grant_type=client_credentials \
  --data-urlencode "client_id=$CLIENT_ID" --data-urlencode "client_secret=$CLIENT_SECRET" | grep -o '"access_token":"[^"]*' | cut -d'"' -f4)
[ -n "$token" ] || fail "curl got no token"
told=$(curl -sS --http2-prior-knowledge -o /dev/null -w '%{http_version} %{http_code}' -H "Authorization: Bearer $token" \
  -H 'Content-Type: application/json' -d '{"squadNumber":73,"firstName":"Eva","lastName":"Iva"}' "$GATEWAY/players")
[ "$told" = "2 201" ] || fail "curl POST with a token: $told"
told=$(curl -sS --http2-prior-knowledge -o /dev/null -w '%{http_code}' -X DELETE -H "Authorization: Bearer $token" "$GATEWAY/players/73")
[ "$told" = 204 ] || fail "curl DELETE with a token: $told"
told=$(head -c 3000000 /dev/zero | curl -sS --http2-prior-knowledge -o /dev/null -w '%{http_code}' -T - "$GATEWAY/players") || true
[ "$told" = 401 ] || fail "curl PUT of three megabytes without a token: $told"

nghttp -ns --no-dep -m 50 "$GATEWAY/players" | grep -q ' 200 ' || fail "nghttp"
nghttp -nv "$GATEWAY/players" | grep -q 'SETTINGS_ENABLE_CONNECT_PROTOCOL\|ENABLE_CONNECT_PROTOCOL\|UNKNOWN(0x08):1' ||
  fail "nghttp is not told of extended CONNECT"

h2load -n 4000 -c 8 -m 100 "$GATEWAY/players" >/tmp/h2load.$$ || fail "h2load"
grep -q '4000 succeeded, 0 failed, 0 errored' /tmp/h2load.$$ || fail "h2load: $(cat /tmp/h2load.$$)"
rm -f /tmp/h2load.$$
echo "curl, nghttp and h2load: fine"
