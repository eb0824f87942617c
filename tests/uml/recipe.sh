# The disk of the machine, made by root of a user namespace: `sh -eu recipe.sh WORK REQUIREMENT…`.
#
# Leaves WORK/disk: an ext4 file system with a small Debian, the Python packages named, and a user "user" whose session
# lives on without a login and may divide all that cgroups divide. What the tests need beyond that comes with the
# checkout (agent.py), so that a change of the tests does not make a new disk.
work=$1
shift
root=$work/root
site=opt/rootless/lib/python3.11/site-packages
PATH=$PATH:/usr/sbin:/sbin
umask 022

# "lxc" is how debootstrap is told that it cannot make device nodes.
packages=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,apparmor,kmod,iproute2,procps,ca-certificates
packages=$packages,uidmap,fuse3,fuse-overlayfs,slirp4netns,passt,libseccomp2,python3,busybox-static,e2fsprogs
packages=$packages,podman,crun,netavark
container=lxc debootstrap --variant=minbase "--include=$packages" bookworm "$root"
rm -rf "$root/var/cache/apt" "$root"/var/lib/apt/lists/* "$root/usr/share/doc" "$root/usr/share/man" \
    "$root/usr/share/locale"

# A virtual environment that was not made by the interpreter that will run in it.
mkdir -p "$root/$site" "$root/opt/rootless/bin"
printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11\n' >"$root/opt/rootless/pyvenv.cfg"
ln -s /usr/bin/python3.11 "$root/opt/rootless/bin/python"
ln -s python "$root/opt/rootless/bin/python3"
"$PYTHON" -m pip --quiet --disable-pip-version-check install --target "$root/$site" --python-version 3.11 \
    --implementation cp --only-binary=:all: --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_34_x86_64 "$@"
chroot "$root" /usr/bin/python3.11 -m compileall -q "/$site" >/dev/null || true # a package may hold what is no Python

mkdir -p "$root/lib/modules"
cp -a /usr/lib/uml/modules/. "$root/lib/modules/"

chroot "$root" useradd --create-home --shell /bin/bash --uid 1000 user
mkdir -p "$root/var/lib/systemd/linger"
: >"$root/var/lib/systemd/linger/user"
grep -q ^user: "$root/etc/subuid" || echo user:100000:65536 >>"$root/etc/subuid"
grep -q ^user: "$root/etc/subgid" || echo user:100000:65536 >>"$root/etc/subgid"

echo uml >"$root/etc/hostname"
echo '127.0.0.1 localhost uml' >"$root/etc/hosts"
echo '/dev/ubda / ext4 defaults 0 1' >"$root/etc/fstab"
# Without an id this would be the machine's first boot, at which systemd goes through all its presets.
echo 6d616368696e652d6f662d7465737473 >"$root/etc/machine-id"
printf 'z /dev/fuse 0666 - - -\nz /dev/net/tun 0666 - - -\n' >"$root/etc/tmpfiles.d/devices.conf"
mkdir -p "$root/etc/systemd/system/user@.service.d"
printf '[Service]\nDelegate=cpu cpuset io memory pids\n' >"$root/etc/systemd/system/user@.service.d/delegate.conf"

# The other end of the line to the tests. It is there before the user's session, which it waits for.
cat >"$root/etc/systemd/system/agent.service" <<'UNIT'
[Unit]
Description=Runs the commands that come down the serial line
Wants=user@1000.service systemd-logind.service
After=user@1000.service systemd-logind.service apparmor.service
[Service]
ExecStart=/usr/local/sbin/agent
StandardOutput=tty
StandardError=tty
TTYPath=/dev/tty0
KillMode=process
[Install]
WantedBy=multi-user.target
UNIT
cat >"$root/usr/local/sbin/agent" <<'SCRIPT'
#!/bin/sh
if [ $$ = 1 ]; then
    # The kernel's first program, in place of systemd.
    mount -t proc -o nosuid,nodev,noexec proc /proc
    mount -t sysfs sysfs /sys
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run
    mkdir -p /dev/pts /dev/shm
    mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
    mount -t tmpfs tmpfs /dev/shm
    install -d -m 700 -o user -g user /run/user/1000
    ip link set lo up
    modprobe -a fuse overlay tun
    chmod 666 /dev/fuse /dev/net/tun
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
fi
# The kernel's command line says where on the host the checkout and the exchange directory are.
for word in $(cat /proc/cmdline); do
    case $word in
    checkout=* | exchange=*)
        mkdir -p "/host/${word%%=*}"
        mount -t hostfs none "/host/${word%%=*}" -o "${word#*=}"
        ;;
    esac
done
exec /usr/bin/python3 -IS /host/checkout/tests/uml/agent.py
SCRIPT
chmod 755 "$root/usr/local/sbin/agent"
wants=$root/etc/systemd/system/multi-user.target.wants
mkdir -p "$wants"
ln -s ../agent.service "$wants/agent.service"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer systemd-tmpfiles-clean.timer systemd-timesyncd.service getty.target getty@tty1.service \
    serial-getty@ttyS0.service console-getty.service systemd-udevd.service systemd-udev-trigger.service \
    systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-pstore.service \
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount sys-kernel-config.mount modprobe@configfs.service \
    modprobe@dm_mod.service modprobe@drm.service modprobe@efi_pstore.service modprobe@loop.service \
    systemd-random-seed.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
    podman.service podman.socket podman-restart.service podman-auto-update.service podman-auto-update.timer; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

truncate -s 3G "$work/disk"
mke2fs -q -F -t ext4 -m 0 -E lazy_itable_init=0,lazy_journal_init=0,nodiscard -O ^metadata_csum -d "$root" "$work/disk"
rm -rf "$root"
