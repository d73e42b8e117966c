#!/bin/sh
# Makes a bare Debian machine ready: the packages of Debian that the project drives, then npm's, both only where
# something is missing. Safe to run again and again; prints only what it changes. With --tests also the programs that
# tests compare with, with --qemu those of the lane under qemu; with --npm nothing of Debian, which needs no root.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
cd "$here"

missing=""
need() { # need COMMAND-OR-FILE PACKAGE
  case "$1" in
    /*) [ -e "$1" ] && return 0 ;;
    *) command -v "$1" >/dev/null 2>&1 && return 0
       for dir in /usr/sbin /sbin; do [ -x "$dir/$1" ] && return 0; done ;;
  esac
  missing="$missing $2"
}
need runc runc
need conmon conmon
need /usr/lib/cni/bridge containernetworking-plugins
need docker-registry docker-registry
need /bin/busybox busybox-static
need iptables iptables
need ip iproute2
# The Node that the repository brings is linked with it.
/sbin/ldconfig -p | grep -q 'libatomic\.so\.1 ' || missing="$missing libatomic1"
if [ "${1:-}" = --tests ]; then
  need crun crun
  need runsc runsc
  need skopeo skopeo
  need podman podman
  need buildah buildah
  need htpasswd apache2-utils
  need openssl openssl
  need getcap libcap2-bin
  need nsenter util-linux
  need python3 python3
  need gpg gnupg
  need chromium chromium
fi
if [ "${1:-}" = --qemu ]; then
  need qemu-system-x86_64 qemu-system-x86
  need mmdebstrap mmdebstrap
  need mke2fs e2fsprogs
fi
[ "${1:-}" != --npm ] || missing=""
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
if [ -n "${missing# }" ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "bootstrap: these Debian packages are missing and only root can install them:$missing" >&2
    exit 1
  fi
  echo "bootstrap: installing from Debian:$missing"
  log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086
  if ! { apt-get update && apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    exit 1
  fi
  rm -f "$log"
fi

if [ "${1:-}" = --tests ]; then
  sh scripts/fetch-cosign.sh >/dev/null
fi

stamp=node_modules/.ocid-install
want=$(cat pnpm-lock.yaml pnpm-workspace.yaml package.json packages/*/package.json apps/*/package.json bench/package.json reference/package.json test/*/package.json 2>/dev/null | cksum)
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$want" ]; then
  echo "bootstrap: installing from npm"
  # Corepack is not asked: it needs a download of its own.
  npx --yes pnpm@12 install --frozen-lockfile --reporter=append-only >"${TMPDIR:-/tmp}/ocid-pnpm.$$" 2>&1 || {
    cat "${TMPDIR:-/tmp}/ocid-pnpm.$$" >&2
    rm -f "${TMPDIR:-/tmp}/ocid-pnpm.$$"
    exit 1
  }
  rm -f "${TMPDIR:-/tmp}/ocid-pnpm.$$"
  printf '%s' "$want" >"$stamp"
fi
