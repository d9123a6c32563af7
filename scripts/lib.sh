# shellcheck shell=bash
# Shared by the scripts. Sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/personview
# shellcheck disable=SC2034  # the Python tools live here: `setup` fills it, `test` uses it
lint=$cache/lint
# shellcheck disable=SC2034  # Prometheus and nginx, unpacked and not installed: nothing of them starts by itself
unpacked=$cache/unpacked

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }
have() { command -v "$1" >/dev/null; }

# at_least WANTED FOUND compares versions.
at_least() { printf '%s\n' "$1" "$2" | sort -V -C; }

# Succeeds when `cargo` runs and is new enough for this project.
rust_ready() {
  local wanted found
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
  # A rustup proxy without a toolchain exists as a command, but fails.
  found=$(cargo --version 2>/dev/null) || return 1
  at_least "$wanted" "$(cut -d' ' -f2 <<<"$found")"
}

# Keeps a `cargo` that is good enough. Otherwise uses the one that `setup` installs, for this process only.
use_rust() {
  rust_ready && return
  export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  rust_ready && return
  export RUSTUP_TOOLCHAIN=stable
  rust_ready
}

# Prints the crates that are being compiled now, from the command lines of rustc and the build scripts (which
# compile the native ones).
compiling() {
  cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' |
    sed -n -e 's|.*/build/\([^/]*\)-[0-9a-f]\{16\}/build-script-.*|\1|p' -e '/^--crate-name$/{n;/^build_script/!p}' |
    sort -u | paste -sd' ' || true
}

# Runs a command that may compile for many minutes. A terminal sees the command's own progress;
# anywhere else a line every 30 s says that it is alive.
with_pulse() {
  if [ -t 2 ]; then
    "$@"
    return
  fi
  local began=$SECONDS status=0 pulse crates
  while true; do
    # Keeps no output open, so that its readers do not wait for this sleep once the command has ended.
    sleep 30 >/dev/null 2>&1
    kill -0 $$ 2>/dev/null || exit # the script was killed
    crates=$(compiling)
    say "  ... $(((SECONDS - began) / 60)) min $(((SECONDS - began) % 60)) s, $1 $2${crates:+: compiling $crates}"
  done &
  pulse=$!
  "$@" || status=$?
  kill "$pulse" 2>/dev/null || true
  wait "$pulse" 2>/dev/null || true
  return "$status"
}
