#!/bin/sh
# The service is made known and not started: the node's operator says when the kubelet changes its runtime.
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  # After an upgrade a running daemon is replaced; containers go on meanwhile.
  if [ -n "$2" ] && systemctl is-active --quiet ocid.service; then
    systemctl restart ocid.service
  fi
fi
