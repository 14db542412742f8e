#!/bin/sh
# Packs what tests/gpu.sh needs beside a compiler, CMake and CUDA, for a machine without package access: the files of
# Debian packages as one tar file.   tests/gpu_pack.sh FILE.tar.gz
set -eu
[ $# = 1 ] || { echo 'usage: tests/gpu_pack.sh FILE.tar.gz' >&2; exit 2; }
case $1 in /*) to=$1 ;; *) to=$PWD/$1 ;; esac
need='libluajit-5.1-dev libluajit-5.1-2 libluajit-5.1-common libdnnl-dev libdnnl2 ocl-icd-libopencl1 libpcre2-8-0
libutf8proc2 zlib1g libzstd1 pkgconf-bin libpkgconf3 lua-busted lua-cliargs lua-luassert lua-mediator lua-penlight lua-say
lua-system lua-term lua-argparse lua-cjson lua-filesystem lua-dkjson'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/debs" "$work/root"
(cd "$work/debs" && apt-get download -qq $need)
for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$work/root"; done
rm -rf "$work/root/usr/share/doc" "$work/root/usr/share/man"
tar -C "$work/root" -czf "$to" .
echo "$to: $(ls "$work/debs" | wc -l) packages, $(($(wc -c < "$to") / 1048576)) MiB"
