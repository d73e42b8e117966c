#!/bin/sh
# Containers outlive the daemon; whoever removes the package for good has drained the node before.
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
  systemctl stop ocid.service || true
fi
