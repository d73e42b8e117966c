#!/bin/sh
# Images and records (/var/lib/containers, /var/lib/ocid) are data: they are never deleted by a package.
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || true
fi
if [ "$1" = purge ]; then
  rm -f /etc/ocid/ocid.conf
  rmdir /etc/ocid/ocid.conf.d /etc/ocid 2>/dev/null || true
fi
