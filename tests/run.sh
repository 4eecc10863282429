#!/usr/bin/env bash
# Passes the tests, and installs what they need first. Takes some twenty minutes on two cores the first time.
#
#   bash tests/run.sh
#
# Needs Rust (with rustfmt and clippy) and the registries of Debian, PyPI and npm. Nothing is skipped: what cannot be
# run is a failure. Ends with one line: how many tests passed and how many failed.
set -uo pipefail
cd "$(dirname "$0")/.."

started=$SECONDS
logs="${CARGO_TARGET_DIR:-target}/test-logs"
rm -rf "$logs"
mkdir -p "$logs"
failed_steps=()

say() { printf '\n== %s (%s s)\n' "$*" "$((SECONDS - started))"; }

# step NAME COMMAND... : runs it, shows what it prints, remembers whether it failed.
step() {
  local name=$1
  shift
  say "$name"
  "$@" 2>&1 | tee "$logs/${name// /-}.log"
  local code=${PIPESTATUS[0]}
  [ "$code" = 0 ] || {
    failed_steps+=("$name")
    printf '== %s FAILED (exit code %s)\n' "$name" "$code"
  }
}

rust() {
  local wanted have
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  command -v cargo >/dev/null || {
    echo "cargo is missing: install Rust $wanted or later (https://rustup.rs) and try again"
    return 1
  }
  have=$(rustc --version | cut -d' ' -f2)
  printf '%s\n%s\n' "$wanted" "$have" | sort --check=quiet --version-sort || {
    echo "Rust $wanted or later is needed, this is $have: rustup update"
    return 1
  }
  cargo fmt --version && cargo clippy --version || {
    echo "rustfmt or clippy is missing: rustup component add rustfmt clippy"
    return 1
  }
}

tests() {
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --locked --no-fail-fast && cargo test --locked --doc
  else
    cargo test --locked --no-fail-fast
  fi
}

# What the README says to install it, but into a folder of its own.
release() {
  cargo install --locked --path . --root "${CARGO_TARGET_DIR:-target}/installed" --no-track --force
}

# The first command of the README, as it stands there; and the lines that it prints, pasted.
first_command() {
  DEMO_COMMAND='cargo run --release -- demo' \
    cargo test --locked --test demo the_lines_that_the_demo_prints_work_as_pasted
}

step 'toolchain' rust
if [ ${#failed_steps[@]} = 0 ]; then
  step 'install' bash tests/install.sh
fi
if [ ${#failed_steps[@]} = 0 ]; then
  step 'format' cargo fmt --check
  step 'clippy' cargo clippy --locked --all-targets -- -D warnings
  step 'documentation' env RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items
  # Before the tests, so that no test has to wait for a compiler.
  step 'release build' release
  step 'static build' bash tests/sidecar.sh build
  step 'tests' tests
  step 'first command' first_command
fi

# Sums what the runners say of themselves: cargo test's "test result", nextest's "Summary".
counted=$(sed 's/\x1b\[[0-9;]*m//g' "$logs"/*.log | awk '
  / tests? run: /   { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) passed += $(i - 1); if ($i ~ /^failed/) failed += $(i - 1)
                      if ($i ~ /^timed/) failed += $(i - 1); if ($i ~ /^skipped/) skipped += $(i - 1) } }
  /^test result: / { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) passed += $(i - 1); if ($i ~ /^failed/) failed += $(i - 1)
                      if ($i ~ /^ignored/) skipped += $(i - 1) } }
  END { print passed + 0, failed + 0, skipped + 0 }')
read -r passed failed skipped <<<"$counted"

say 'summary'
for name in "${failed_steps[@]}"; do echo "failed: $name"; done
# A test that was passed over is no test that passed.
[ "$skipped" = 0 ] || failed_steps+=("$skipped tests were skipped")
[ "$passed" -gt 0 ] || failed_steps+=('no test ran')
if [ ${#failed_steps[@]} = 0 ]; then
  echo 'everything passed: format, clippy, documentation, tests, and the first command of the README'
elif [ "$failed" = 0 ]; then
  failed=${#failed_steps[@]}
fi
echo "$passed passed, $failed failed"
[ ${#failed_steps[@]} = 0 ]
