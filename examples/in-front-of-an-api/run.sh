#!/usr/bin/env bash
# json-server on 127.0.0.1:9000, tollgate in front of it on 127.0.0.1:8080, until Ctrl-C.
# API_PORT and LISTEN move them; TOLLGATE names the binary.
set -euo pipefail
cd "$(dirname "$0")"

api_port=${API_PORT:-9000}
listen=${LISTEN:-127.0.0.1:8080}
if [ -n "${TOLLGATE:-}" ]; then
  tollgate=("$TOLLGATE")
elif command -v tollgate >/dev/null; then
  tollgate=(tollgate)
else
  tollgate=(cargo run --quiet --release --manifest-path ../../Cargo.toml --)
fi

[ -d node_modules ] || npm ci --no-audit --no-fund

# The server writes to its file; the one in the repository stays as it is.
data=$(mktemp -d)
cp db.json "$data/db.json"
stop() {
  trap - EXIT INT TERM
  kill "${gateway:-}" "${api:-}" 2>/dev/null || true
  wait || true
  rm -r "$data"
}
trap stop EXIT
trap 'exit 0' INT TERM

# Secrets of this machine alone; .gitignore keeps them out of the repository.
umask 077
mkdir -p secrets
[ -s secrets/signing-key ] || "${tollgate[@]}" secret >secrets/signing-key
[ -s secrets/client-secret ] || "${tollgate[@]}" secret >secrets/client-secret

node node_modules/json-server/lib/cli/bin.js --quiet --host 127.0.0.1 --port "$api_port" "$data/db.json" &
api=$!
for _ in $(seq 100); do
  curl --silent --output "$data/books" "http://127.0.0.1:$api_port/books" && break
  kill -0 "$api" 2>/dev/null || { echo "json-server did not start; is port $api_port taken? API_PORT chooses another" >&2; exit 3; }
  sleep 0.1
done

TOLLGATE_UPSTREAM__URL="http://127.0.0.1:$api_port" "${tollgate[@]}" run --listen "$listen" &
gateway=$!
wait "$gateway"
