#!/bin/sh
# Puts cosign into the user's cache for the tests that have it make signatures, and prints where it is. Only Debian's
# unstable suite carries it: the package is taken from the machine's own mirror and unpacked aside; nothing is installed.
set -eu
place="${XDG_CACHE_HOME:-$HOME/.cache}/ocid-tests/cosign"
if [ -x "$place/usr/bin/cosign" ]; then
  echo "$place/usr/bin/cosign"
  exit 0
fi
mkdir -p "$(dirname "$place")"
work=$(mktemp -d "$place.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/root"

# The first mirror that apt knows and that is not for security updates, with the key that it is signed by.
cat /etc/apt/sources.list.d/*.sources 2>/dev/null | awk -v RS= '{
  uri = ""; key = ""
  for (i = 1; i < NF; i++) { if ($i == "URIs:") uri = $(i + 1); if ($i == "Signed-By:") key = $(i + 1) }
  if (uri != "" && uri !~ /security/) { print (key ~ /^\// ? "deb [signed-by=" key "] " : "deb ") uri " sid main"; exit }
}' >"$work/sid.list"
if [ ! -s "$work/sid.list" ]; then
  cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
    awk '$1 == "deb" && !/security/ { options = $2 ~ /^\[/ ? $2 " " : ""; print "deb", options ($2 ~ /^\[/ ? $3 : $2), "sid main"; exit }' \
      >"$work/sid.list"
fi
quietly() {
  "$@" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    echo "fetch-cosign: cosign could not be had from $(cat "$work/sid.list")" >&2
    exit 1
  }
}
cd "$work"
apt() {
  quietly apt-get -q -o Dir::Etc::sourcelist="$work/sid.list" -o Dir::Etc::sourceparts=- \
    -o Dir::State::lists="$work/lists" -o Dir::Cache::archives="$work/archives" -o Dir::Cache::pkgcache= \
    -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}
apt update
apt download cosign
quietly dpkg -x "$work"/cosign_*.deb "$work/root"
# Another run may have been faster.
mv -T "$work/root" "$place" 2>/dev/null || true
echo "$place/usr/bin/cosign"
