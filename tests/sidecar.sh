#!/usr/bin/env bash
# Stands in for `docker compose up` with examples/sidecar/compose.yaml where there is no container engine.
#
#   bash tests/sidecar.sh build    runs the Containerfile's own RUN lines on what it COPYs
#   bash tests/sidecar.sh up       runs the result as compose.yaml says, until it is stopped
#
# As there: the same files, the same flags; an image of the binary and the certificates alone; user 65532; a read-only
# root; no capability, and none to be gained; the secrets under /run/secrets. Not as there: the compiler is this
# machine's, the network is this machine's loopback, there are no memory and process limits, and the image has not even
# /proc and /dev. API_PORT (0: any) and TOLLGATE_SERVER__LISTEN move two ports, the admin listener has a free one.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."

example=${EXAMPLE:-examples/sidecar} # where the secrets are
containerfile=examples/sidecar/Containerfile
work="$(realpath "${CARGO_TARGET_DIR:-target}")/sidecar"
source=$work/source
image=$work/image

build() {
  rm -rf "$source" "$work/out" "$image"
  mkdir -p "$source" "$work/target" "$work/out" "$image"
  ln -s "$work/target" "$source/target" # what an earlier run compiled
  local instruction rest stage=none words
  while read -r instruction rest; do
    case $instruction in
    '' | '#'*) continue ;;
    FROM) [ "$rest" = scratch ] && stage=image || stage=build ;;
    WORKDIR) : ;;
    ENV) eval "export $rest" ;;
    RUN)
      [ "$stage" = build ] || { echo "$containerfile: RUN in an empty image" >&2; exit 1; }
      (cd "$source" && env -u CARGO_TARGET_DIR bash -euc "${rest//\/out\//$work/out/}")
      ;;
    COPY)
      read -r -a words <<<"$rest"
      if [ "$stage" = build ]; then
        # Only what is under version control or about to be: an image must not depend on a stray file.
        for word in "${words[@]:0:${#words[@]}-1}"; do cp -rp "$word" "$source/"; done
      else
        local from=${words[1]}
        [[ $from = /out/* ]] && from=$work$from
        install -D "$from" "$image${words[2]}"
      fi
      ;;
    USER | EXPOSE | HEALTHCHECK | ENTRYPOINT | CMD) : ;;
    *) echo "$containerfile: $instruction is unknown here" >&2; exit 1 ;;
    esac
  done <"$containerfile"

  ! ldd "$image/tollgate" 2>/dev/null | grep -q '=>' || { echo 'the binary is not static:' >&2; ldd "$image/tollgate" >&2; exit 1; }
  echo "built: $(stat -c %s "$image/tollgate") bytes, static"
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

up() {
  [ "$(id -u)" = 0 ] || { echo 'this stand-in for a container engine needs root (chroot, mount, setuid)' >&2; exit 1; }
  local api_port=${API_PORT:-9000} admin data root
  [ "$api_port" != 0 ] || api_port=$(free_port)
  data=$(mktemp -d)
  root=$data/root
  cp -r "$image" "$root"
  # The mount points that an engine would make.
  install -D examples/sidecar/gateway.toml "$root/etc/tollgate/gateway.toml"
  mkdir -p "$root/run/secrets"
  cp -p "$example"/secrets/* "$root/run/secrets/"

  cp examples/in-front-of-an-api/db.json "$data/db.json"
  node examples/in-front-of-an-api/node_modules/json-server/lib/cli/bin.js \
    --quiet --host 127.0.0.1 --port "$api_port" "$data/db.json" &
  api=$!
  trap 'kill "$api" "${gateway:-}" 2>/dev/null || true; wait || true; rm -rf "'"$data"'"' EXIT
  trap 'exit 0' INT TERM
  until curl --silent --output "$data/books" "http://127.0.0.1:$api_port/books"; do
    kill -0 "$api"
    sleep 0.1
  done

  admin=127.0.0.1:$(free_port)
  contained() {
    exec unshare --mount --propagation private bash -euc '
      mount --bind "$0" "$0"
      mount -o remount,bind,ro,nosuid,nodev "$0"
      exec env -i TOLLGATE_SERVER__LISTEN="$1" TOLLGATE_UPSTREAM__URL="http://127.0.0.1:$2" TOLLGATE_ADMIN__LISTEN="$3" \
        python3 tests/contained.py "$0" "${@:4}"
    ' "$root" "${TOLLGATE_SERVER__LISTEN:-0.0.0.0:8080}" "$api_port" "$admin" "$@"
  }
  contained &
  gateway=$!
  until (contained health); do # as an engine does
    kill -0 "$gateway"
    sleep 0.2
  done
  echo 'the health check of the image is content'
  wait "$gateway"
}

case ${1:-} in
build) build ;;
up) up ;;
*)
  echo "usage: $0 build|up" >&2
  exit 2
  ;;
esac
