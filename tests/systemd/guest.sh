#!/bin/bash
# Becomes the first process of a throw-away system: systemd over an overlay of this machine's root, in the
# private namespaces of whoever runs this. Nothing of it reaches the machine: what is written goes to memory,
# and the kernel's settings can only be read.
#   guest.sh STATE UNITS PROGRAM...
# STATE is an empty directory; UNITS a directory of units; PROGRAM are binds "from:to" for the program's files.
# Exits with 77 when this machine does not let it.
set -euo pipefail
state=$1 units=$2; shift 2
root=$state/root

refuse() { echo "$*" >&2; exit 77; }

mount -t tmpfs -o size=512m,mode=755 memory "$state" || refuse "no tmpfs may be mounted"
mkdir "$root" "$state/upper" "$state/work"
mount -t overlay -o "lowerdir=/,upperdir=$state/upper,workdir=$state/work" overlay "$root" || refuse "no overlay may be mounted"

mount -t proc -o nosuid,nodev,noexec proc "$root/proc" || refuse "no proc may be mounted"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys" || refuse "no sysfs may be mounted"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup" || refuse "no cgroup2 may be mounted"
mount -t tmpfs -o mode=755,nosuid,nodev run "$root/run"
mount -t tmpfs -o mode=1777,nosuid,nodev tmp "$root/tmp"

mount -t tmpfs -o mode=755,nosuid dev "$root/dev"
for node in null zero full random urandom tty; do
    : > "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t tmpfs -o mode=1777,nosuid,nodev shm "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts" || refuse "no devpts may be mounted"
ln -s pts/ptmx "$root/dev/ptmx"

for bind in "$@"; do
    mkdir -p "$root${bind#*:}"
    mount --bind "${bind%%:*}" "$root${bind#*:}"
    mount -o remount,bind,ro "$root${bind#*:}"
done

# Only what the service needs of a system: its units, the journal, and the directories it expects.
etc=$root/etc/systemd/system
mount -t tmpfs -o mode=755 units "$etc"
for wanted in "$root"/lib/systemd/system/{sysinit,basic,local-fs,sockets,timers}.target.wants/*; do
    case ${wanted##*/} in
        systemd-journald.s* | systemd-journald-dev-log.socket | systemd-tmpfiles-setup.service | *'*') ;;
        *) ln -sf /dev/null "$etc/${wanted##*/}" ;;
    esac
done
cp "$units"/* "$etc/"
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n' > "$etc/guest.target"
rm -rf "$root/var/log/journal" "$root"/etc/systemd/journald.conf.d
mkdir -p "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\nForwardToSyslog=no\n' > "$root/etc/systemd/journald.conf.d/guest.conf"
: > "$root/etc/fstab"
rm -f "$root/etc/machine-id"
tr -d - < /proc/sys/kernel/random/uuid > "$root/etc/machine-id"

hostname guest
cd "$root"
mkdir -p mnt/before
pivot_root . mnt/before
cd /
umount -l /mnt/before
mount --make-rshared /
exec env -i container=sidecar-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    setpriv --bounding-set=-sys_time,-sys_module,-sys_boot,-sys_rawio,-syslog \
    /lib/systemd/systemd --unit=guest.target --show-status=no
