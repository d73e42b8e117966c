#!/bin/sh
# What the guest of the qemu lane runs at boot; the exit code goes to the second serial port.
export HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# For systemctl, which else gives up on a slow systemd after 25 seconds.
export SYSTEMD_BUS_TIMEOUT=900
# Else it comes with the first call to it, and a test takes it for something that it has left.
systemctl start dbus.service
ip link set lo up
mount --make-rshared /
/repo/node /repo/guest.mjs
echo $? >/dev/ttyS1
