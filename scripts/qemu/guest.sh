#!/bin/sh
# What the guest of the qemu lane runs at boot; the exit code goes to the second serial port.
export HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ip link set lo up
mount --make-rshared /
cd /repo
sh scripts/with-node.sh scripts/qemu/guest.ts
echo $? >/dev/ttyS1
