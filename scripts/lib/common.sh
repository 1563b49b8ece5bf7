# Shared by the scripts of this folder: sourced, not run.
# shellcheck shell=bash disable=SC2034

# Where what takes long to build is kept.
cache=${LIFEBOAT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lifeboat}

# step WHAT...: announces what comes next.
step() { printf '\n==> %s\n' "$*" >&2; }

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# need COMMAND=PACKAGE...: commands that must be there; missing ones are installed from Debian's packages where this
# runs as root, and named otherwise.
need() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  ((${#missing[@]})) || return 0
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    die "please install: ${missing[*]} (on Debian: apt-get install ${missing[*]})"
  fi
  step "installing ${missing[*]}"
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

# rust_and_go: what cannot be installed here, and what builds need besides.
rust_and_go() {
  command -v cargo >/dev/null || die "Rust is not installed: https://rustup.rs"
  command -v go >/dev/null || [[ -n ${LIFEBOAT_TESTBED_BIN:-} ]] || die "Go is not installed: https://go.dev/doc/install"
  need cc=gcc make=make
}
