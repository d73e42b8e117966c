#!/bin/sh
# The service is made known and not started: the node's operator says when the kubelet changes its runtime.
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
  # On a busy machine this may take longer than systemctl waits; systemd goes on with it.
  systemctl daemon-reload || true
  # After an upgrade a running daemon is replaced; containers go on meanwhile.
  if [ -n "$2" ] && systemctl is-active --quiet ocid.service; then
    systemctl restart ocid.service
  fi
fi
