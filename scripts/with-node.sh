#!/bin/sh
# Runs a TypeScript program of the repository on the Node that the repository brings (see package.json), with the
# workspace's sources in place of built packages.
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
exec "$here/node_modules/.bin/node" --conditions=@ocid/source "$@"
