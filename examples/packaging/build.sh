#!/usr/bin/env bash
# Makes what is shipped, under target/packaging: the program, its manual, completions for three shells, a list of all that
# it is made of (CycloneDX), and a Debian package of these.
#
#   bash examples/packaging/build.sh
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

cargo cyclonedx --quiet --format json --override-filename sbom
# whoever reads the list need not know in which folder it was made
sed "s|path+file://$PWD|tollgate|g" sbom.json >"$out/tollgate.cdx.json"
rm sbom.json

cargo deb --quiet --no-build --no-strip --output "$out/"
ls -l "$out"
