#!/usr/bin/env bash
# Makes what is shipped, under target/packaging: the program, its manual, completions for three shells, a list of all that
# it is made of (CycloneDX), and a Debian package of these.
#
#   bash examples/packaging/build.sh               all of it
#   bash examples/packaging/build.sh sbom FILE     the list alone
#
# Needs `cargo install cargo-deb cargo-cyclonedx`, and dpkg-dev on Debian. BIN=… takes a program that is built already.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/../.."

out=target/packaging # as Cargo.toml has it
for tool in cargo-deb cargo-cyclonedx dpkg-deb; do
  command -v "$tool" >/dev/null || {
    echo "$tool is missing: cargo install cargo-deb cargo-cyclonedx; apt-get install dpkg-dev" >&2
    exit 1
  }
done

mkdir -p target
exec 9>target/packaging.lock # one at a time: each writes to the same places
flock 9

# The list: crates that are linked into the program, with version, licence and digest.
sbom() {
  cargo cyclonedx --quiet --format json --override-filename sbom
  # whoever reads it need not know in which folder it was made
  sed "s|path+file://$PWD|tollgate|g" sbom.json >"$1"
  rm sbom.json
}
if [ "${1:-}" = sbom ]; then
  sbom "${2:?a file to write to}"
  exit
fi

rm -rf "$out"
mkdir -p "$out/man" "$out/completions"

if [ -z "${BIN:-}" ]; then
  cargo build --locked --release --bin tollgate
  BIN=${CARGO_TARGET_DIR:-target}/release/tollgate
fi
install -m 755 "$BIN" "$out/tollgate"

"$out/tollgate" man --folder "$out/man"
gzip -9n "$out"/man/*
"$out/tollgate" completions bash >"$out/completions/tollgate"
"$out/tollgate" completions zsh >"$out/completions/_tollgate"
"$out/tollgate" completions fish >"$out/completions/tollgate.fish"

sbom "$out/tollgate.cdx.json"
cargo deb --quiet --no-build --no-strip --output "$out/"
ls -l "$out"
