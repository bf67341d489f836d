#!/bin/sh
# Runs when Debian is there; $1 is the root file system. It leaves an archive of
# each image in $1/images.
set -eu
root=$1
here=$(dirname "$0")
unset APT_CONFIG # it is for apt outside
export DEBIAN_FRONTEND=noninteractive
mkdir "$root/images"

apt() { chroot "$root" apt-get -qq -y "$@"; }
take() {
  tar --create --file "$root/images/$1.tar" --directory "$root" --one-file-system --numeric-owner --sort=name \
    --exclude='./images' --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' --exclude='./run/*' --exclude='./tmp/*' \
    --exclude='./etc/resolv.conf' --exclude='./etc/hostname' --exclude='./usr/sbin/policy-rc.d' \
    --exclude='./etc/apt/apt.conf.d/99mmdebstrap' --exclude='./etc/dpkg/dpkg.cfg.d/99mmdebstrap' \
    --exclude='./var/lib/apt/lists/*' --exclude='./var/cache/apt/*' --exclude='./var/cache/debconf/*-old' --exclude='./var/lib/dpkg/*-old' \
    --exclude='./var/log/*.log' --exclude='./var/log/apt/*' .
}

# The first packages are unpacked before dpkg knows what to leave out.
rm -rf "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/locale/* "$root"/usr/share/lintian
find "$root/usr/share/doc" -type f ! -name copyright -delete
take debian

apt install ca-certificates tzdata netbase
take golang

apt install python3 python3-pip python3-venv
ln -s /usr/bin/python3 "$root/usr/local/bin/python"
rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED # the original lets pip install
take python
rm "$root/usr/local/bin/python"
apt purge --autoremove python3 python3-pip python3-venv

# The user's number is the original's, so that volumes can move.
chroot "$root" groupadd --system --gid 999 postgres
chroot "$root" useradd --system --gid postgres --uid 999 --home-dir /var/lib/postgresql --shell /bin/bash postgres
mkdir -p "$root/etc/postgresql-common"
echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
apt -o Dpkg::Options::=--force-confold install postgresql-15
sed -i "s/^#\?listen_addresses = 'localhost'/listen_addresses = '*'/" "$root/usr/share/postgresql/15/postgresql.conf.sample"
mkdir -p "$root/docker-entrypoint-initdb.d"
mkdir -p "$root/var/lib/postgresql/data"
chroot "$root" chown postgres:postgres /var/lib/postgresql/data /var/run/postgresql
install -m 755 "$here/postgres-entrypoint.sh" "$root/usr/local/bin/docker-entrypoint.sh"
take postgres
