#!/bin/sh
# Installs a package of datamux in a fresh Debian 12, uses it as an ordinary user, and removes it again; run as root.
#   cmake/deb_test.sh build-deb/datamux_0.1.0_amd64.deb [FOLDER]
# Needs debootstrap and a network. FOLDER is where the system is made (default: a temporary one), and removed at the end.
set -eu
package=$(realpath "$1")
root=${2:-$(mktemp -d)}
mkdir -p "$root"
chmod 755 "$root"
trap 'umount "$root/proc" 2> /dev/null || true; rm -rf "$root"' EXIT
log=$(mktemp)
debootstrap --variant=minbase bookworm "$root" > "$log" 2>&1 || { tail -20 "$log"; exit 1; }
mount -t proc proc "$root/proc"
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp "$package" "$root/tmp/datamux.deb"
inside() {
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"
}
# What is there, but for what apt and the kernel keep for themselves.
files() { (cd "$root" && find bin etc home lib opt root sbin srv usr var/spool var/opt | sort); }
install() { inside apt-get install -y -qq --no-install-recommends "$@" > "$log" 2>&1 || { cat "$log"; exit 1; }; }

# Man pages are left out of small images; here they are wanted. What the package depends on comes first, so that its own
# files can be told from theirs.
inside apt-get update -qq 2> "$log" || { cat "$log"; exit 1; }
# shellcheck disable=SC2046
install man-db bash-completion zsh fish $(dpkg-deb -f "$package" Depends | sed 's/([^)]*)//g; s/|[^,]*//g; s/,/ /g')
inside useradd -m ada
before=$(mktemp) after=$(mktemp)
files > "$before"
inside apt-get install -y --no-install-recommends /tmp/datamux.deb 2>&1 | grep -E '^(Unpacking|Setting up)'

user() { inside su - ada -c "export LC_ALL=C.UTF-8 DATAMUX_THREADS=${DATAMUX_THREADS:-$(nproc)}; $1"; }
user 'datamux --version'
user 'datamux doctor' | tail -1
user 'datamux run recipes/quickstart.lua warmup.steps=20 train.steps=20 -q' | head -1
user 'echo "the soup was not bad" | datamux predict runs/quickstart/latest'
user 'man -w datamux && man datamux | head -3 | grep -i datamux'
user 'bash -c ". /usr/share/bash-completion/bash_completion; _completion_loader datamux; complete -p datamux"'
# shellcheck disable=SC2016
user 'zsh -c "autoload -Uz compinit; compinit -D; print \$_comps[datamux]"'
user 'fish -c "complete -C \"datamux exp\""'
user 'rm -rf runs .config .local'
inside apt-get purge -y -qq datamux > /dev/null 2>&1
files > "$after"
diff "$before" "$after" || { echo 'removed, but the files above differ' >&2; exit 1; }
echo 'removed: nothing is left'
rm -f "$before" "$after" "$log"
