#!/usr/bin/env bash
# Runs clients that others wrote against a running gateway, and fails with the first that is let down.
#
#   GATEWAY=http://127.0.0.1:8080 CLIENT_ID=… CLIENT_SECRET=… bash tests/clients/run.sh oauth|streams|http2
#
# oauth: the gateway stands in front of the sample API. Wants CLIENT_SCOPE and WRONG_SECRET as well.
# http2: it stands in front of the sample API.
# streams: it stands in front of tests/clients/node/streams-upstream.mjs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

: "${GATEWAY:?the address of the gateway, as http://127.0.0.1:8080}"
: "${CLIENT_ID:?the id of a client}" "${CLIENT_SECRET:?its secret}"
bash tests/install.sh clients
python="${CARGO_TARGET_DIR:-target}/test-tools/python/bin/python"

case ${1:-} in
oauth)
  : "${CLIENT_SCOPE:?the scope that the client may ask for}" "${WRONG_SECRET:?one that is not the secret}"
  "$python" "$here/python/oauth_clients.py"
  node "$here/node/oauth-clients.mjs"
  ;;
streams)
  "$python" "$here/python/streams.py"
  node "$here/node/streams.mjs"
  ;;
http2)
  "$python" "$here/python/http2_peers.py"
  bash "$here/http2.sh"
  node "$here/node/http2.mjs"
  ;;
*)
  echo "usage: $0 oauth|streams|http2" >&2
  exit 2
  ;;
esac
