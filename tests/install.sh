#!/usr/bin/env bash
# Installs what the tests need and this machine has not got: Debian packages, the Python and Node clients, the sample
# server of an example. Says what it does; what is there already costs nothing. Any part it cannot bring in is an error.
#
#   bash tests/install.sh            everything
#   bash tests/install.sh clients    the clients of tests/clients
#   bash tests/install.sh example    the server of examples/in-front-of-an-api
#   bash tests/install.sh packaging  what builds and checks the packages of examples/packaging
#   bash tests/install.sh page       the browser that looks at the admin page
#   bash tests/install.sh provider   the identity provider of tests/clients/oidc-provider
set -euo pipefail
cd "$(dirname "$0")/.."

part=${1:-everything}
tools="${CARGO_TARGET_DIR:-target}/test-tools"
python=$tools/python
mkdir -p "$tools"

# Tests that need this run at the same time: the first installs, the others wait.
exec 9>"$tools/lock"
flock 9

say() { printf 'install: %s\n' "$*" >&2; }
fail() {
  printf 'install: %s\n' "$*" >&2
  exit 1
}

# debian_packages COMMAND=PACKAGE... : those whose command is missing.
debian_packages() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  if command -v python3 >/dev/null && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    missing+=(python3-venv)
  fi
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null ||
    fail "these are missing, and this is no Debian to install them on: ${missing[*]}; install what they hold and try again"
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null ||
      fail "these Debian packages are missing: ${missing[*]}; as root: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "Debian packages: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

# installed FOLDER LOCK_FILE : whether FOLDER was made from just this LOCK_FILE.
installed() { [ "$(cat "$1/.made-from" 2>/dev/null)" = "$(sha256sum <"$2")" ]; }
made() { sha256sum <"$2" >"$1/.made-from"; }

node_packages() {
  installed "$1/node_modules" "$1/package-lock.json" && return
  local version
  version=$(node --version)
  version=${version#v}
  [ "${version%%.*}" -ge 20 ] || fail "Node.js 20 or later is needed; this is $version"
  say "npm packages of $1"
  (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
  made "$1/node_modules" "$1/package-lock.json"
}

python_packages() {
  local wanted=tests/clients/python/requirements.txt
  installed "$python" "$wanted" && return
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "Python 3.10 or later is needed; this is $(python3 --version)"
  say "Python packages of $wanted"
  python3 -m venv --clear "$python"
  "$python/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$wanted" >&2
  made "$python" "$wanted"
}

# crate NAME VERSION : a tool of crates.io, without optimisation: it runs once.
crate() {
  grep -qF "\"$1 $2 " "$tools/.crates.toml" 2>/dev/null && return
  say "$1 $2"
  CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --debug --force --root "$tools" --version "=$2" "$1" >&2
}

case $part in
clients | example | packaging | page | provider | everything) ;;
*) fail "no such part: $part (clients, example, packaging, page, provider or everything)" ;;
esac
debian_packages bash=bash curl=curl node=nodejs npm=npm python3=python3 unshare=util-linux setpriv=util-linux \
  nginx=nginx-light haproxy=haproxy wrk=wrk nghttp=nghttp2-client h2load=nghttp2-client ldd=libc-bin cc=gcc openssl=openssl
wanted() { [ "$part" = everything ] || [ "$part" = "$1" ]; }
if wanted clients; then
  node_packages tests/clients/node
  python_packages
fi
if wanted packaging; then
  debian_packages man=man-db groff=groff-base systemd-analyze=systemd dpkg-shlibdeps=dpkg-dev
  python_packages
  crate cargo-deb 3.8.0
  crate cargo-cyclonedx 0.5.9
fi
if wanted example; then node_packages examples/in-front-of-an-api; fi
if wanted provider; then node_packages tests/clients/oidc-provider; fi
if wanted page; then
  debian_packages chromium=chromium
  node_packages tests/clients/page
fi
