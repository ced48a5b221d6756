#!/usr/bin/env bash
# Runs COMMAND under a User-Mode-Linux kernel, which has IPVS, over this machine's own files; exits as COMMAND does.
#   ipvs-kernel.sh COMMAND [ARG ...]
# Needs root and Debian's user-mode-linux, kmod, iptables, e2fsprogs, and gcc on processors with AMX. One processor,
# no network but loopback and what COMMAND makes, system calls about ten times slower. /mnt is a scratch disk there:
# overlay2 does not work on the machine's files as UML shows them. MESH_MEM sets the memory.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for tool in linux.uml mkfs.ext4 depmod iptables-legacy; do
  command -v "$tool" >/dev/null || { echo "ipvs-kernel: $tool is not installed (see .ci/run)" >&2; exit 125; }
done

work=$(mktemp -d "${TMPDIR:-/tmp}/ipvs-kernel.XXXXXX")
uml=
# UML leaves our session, so neither ctrl-c nor a signal to us reaches it by itself.
trap '[ -z "$uml" ] || kill -TERM "$uml" 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

release=$(basename /usr/lib/uml/modules/*)
mkdir -p /lib/modules
ln -sfn "/usr/lib/uml/modules/$release" "/lib/modules/$release"
depmod "$release"
mkdir "$work/bin"
for tool in iptables ip6tables iptables-restore; do ln -s "/usr/sbin/${tool/tables/tables-legacy}" "$work/bin/$tool"; done
truncate -s 8G "$work/scratch.img"
mkfs.ext4 -q "$work/scratch.img"
# A look-up fails at once, so that an image that no registry has is refused quickly.
echo 'nameserver 127.0.0.1' >"$work/resolv.conf"
printf '%q ' "$@" >"$work/command"
cat >"$work/init" <<INIT
#!/bin/sh
export PATH=$work/bin:$PATH HOME=$HOME
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mkdir -p /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount /dev/ubda /mnt
mount --bind $work/resolv.conf /etc/resolv.conf
for module in overlay bridge br_netfilter veth vxlan ip_vs ip_vs_rr xt_ipvs xt_tcpudp iptable_nat iptable_filter iptable_mangle; do
  modprobe \$module
done
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1
hostname mesh
cd $PWD
sh -c "\$(cat $work/command)"
echo \$? >$work/status
sync
poweroff -f
INIT
chmod +x "$work/init"

preload=
if grep -qm1 ' amx_tile' /proc/cpuinfo; then
  gcc -O2 -shared -fPIC -o "$work/xstate.so" "$here/xstate.c"
  preload=$work/xstate.so
fi
LD_PRELOAD=$preload linux.uml mem="${MESH_MEM:-6G}" root=/dev/root rootfstype=hostfs rootflags=/ rw \
  ubda="$work/scratch.img" init="$work/init" con=null con0=fd:0,fd:1 quiet loglevel=1 </dev/null \
  > >(grep --line-buffered -v -e '^Core dump limits' -e '^Powering off' -e '^reboot: System halted') &
uml=$!
wait "$uml" || true
uml=
exit "$(cat "$work/status" 2>/dev/null || echo 125)"
