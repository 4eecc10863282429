#!/usr/bin/env bash
# Installs the Debian package of target/packaging for real, in a copy of this machine's root file system that is thrown
# away, and says what it saw.
#
#   bash tests/packaging.sh install
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."

inside() {
  dpkg -i /tmp/tollgate.deb
  stat -c '%n: %a %U %G' /etc/tollgate/secrets /etc/tollgate/secrets/* | sed 's|.*/||'
  tollgate check --config /etc/tollgate/gateway.toml
  systemd-analyze verify /usr/lib/systemd/system/tollgate.service && echo 'the unit is well-formed'

  # in place of the shell, where it runs in one of its own: a signal is the program's
  as_user() { exec setpriv --reuid tollgate --regid tollgate --clear-groups --no-new-privs "$@"; }
  (as_user sh -c 'echo >>/etc/tollgate/gateway.toml') 2>/dev/null || echo 'the tollgate user cannot write its configuration'
  install -d -o tollgate -g tollgate -m 700 /var/lib/tollgate # the unit's StateDirectory
  sed -i 's/127.0.0.1:[89]0[0-9]0"  *#.*/&/; s/listen = "127.0.0.1:8080"/listen = "127.0.0.1:0"/; s/listen = "127.0.0.1:9090"/listen = "unix:\/tmp\/tollgate-admin"/' \
    /etc/tollgate/gateway.toml
  as_user tollgate run --config /etc/tollgate/gateway.toml >/tmp/tollgate.log 2>&1 &
  gateway=$!
  for _ in $(seq 100); do
    (as_user tollgate health --config /etc/tollgate/gateway.toml) >/dev/null 2>&1 && break
    kill -0 "$gateway" || { cat /tmp/tollgate.log; exit 1; }
    sleep 0.1
  done
  (as_user tollgate health --config /etc/tollgate/gateway.toml) && echo 'the gateway answers health as user tollgate'
  kill "$gateway"
  wait "$gateway"

  dpkg --force-confold -P tollgate
  for left in /etc/tollgate /var/lib/tollgate /usr/bin/tollgate /usr/share/doc/tollgate; do
    [ ! -e "$left" ] || { echo "left behind: $left"; ls -lR "$left"; exit 1; }
  done
  echo 'purged: nothing is left'
}

install_() {
  [ "$(id -u)" = 0 ] || { echo 'installing a package needs root' >&2; exit 1; }
  exec unshare --mount --propagation private bash -euc '
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/upper /mnt/work /mnt/root
    mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
    mount -t proc proc /mnt/root/proc
    mount --bind /dev /mnt/root/dev
    cp "$1"/target/packaging/tollgate_*.deb /mnt/root/tmp/tollgate.deb
    cp "$0" /mnt/root/tmp/packaging.sh
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive \
      chroot /mnt/root bash /tmp/packaging.sh inside
  ' "$(realpath "$0")" "$PWD"
}

case ${1:-} in
install) install_ ;;
inside) cd / && inside ;;
*)
  echo "usage: $0 install" >&2
  exit 2
  ;;
esac
