#!/bin/sh
# Builds datamux as a Debian package: cmake/deb.sh FOLDER [ARGUMENTS OF CMAKE]. It lies in FOLDER, what is in it under
# FOLDER/root.
# ARCH: value of -march (amd64: x86-64-v3, and a processor without AVX2 is refused at installation; arm64: armv8-a). On
# amd64 the package also holds the command built for AVX-512 with VNNI, which takes over by itself where it runs.
# The CUDA object is part of it where nvcc is found; cuBLASLt, which Debian does not have, is up to the machine.
set -eu
cd "$(dirname "$0")/.."
mkdir -p "$1"
build=$(cd "$1" && pwd)
root=$build/root
shift
machine=$(dpkg --print-architecture)
case $machine in
  amd64) arch=${ARCH:-x86-64-v3} ;;
  arm64) arch=${ARCH:-armv8-a} ;;
  *) arch=${ARCH:?the value of -march for $machine} ;;
esac
cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=/usr -DDATAMUX_ARCH="$arch" "$@" > /dev/null
cmake --build "$build" -j"$(nproc)" --target command > "$build/build.log" 2>&1 || { cat "$build/build.log"; exit 1; }
umask 022
rm -rf "$root"
DESTDIR=$root cmake --install "$build" --strip > /dev/null

if [ "$arch" = x86-64-v3 ]; then
  wide=$build-v4
  cmake -S . -B "$wide" -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=/usr -DDATAMUX_CUDA=OFF \
    -DDATAMUX_ARCH='x86-64-v4;-mavx512vnni' "$@" > /dev/null
  cmake --build "$wide" -j"$(nproc)" --target command > "$wide/build.log" 2>&1 || { cat "$wide/build.log"; exit 1; }
  install -s "$wide/datamux" "$root/usr/bin/datamux-x86-64-v4"
fi

# Where Debian has these things.
share=$root/usr/share
doc=$share/doc/datamux
mkdir -p "$share/zsh/vendor-completions" "$root/DEBIAN"
mv "$share/zsh/site-functions/_datamux" "$share/zsh/vendor-completions/"
rmdir "$share/zsh/site-functions"
gzip -9n "$share/man/man1/datamux.1"
strip --remove-section=.comment --remove-section=.note "$root"/usr/bin/datamux*
version=$(sed -n 's/^project(datamux VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
maintainer=${DEBEMAIL:-The datamux authors <datamux@datamux.invalid>}
day=$(date -R -d "@$(git log -1 --format=%ct 2> /dev/null || date +%s)")
printf 'datamux (%s) unstable; urgency=low\n\n  * Built from the source of this day.\n\n -- %s  %s\n' "$version" \
  "$maintainer" "$day" | gzip -9n > "$doc/changelog.gz"
{
  printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: datamux\n\nFiles: *\n'
  sed -n 's/^Copyright (c) /Copyright: /p' LICENSE
  printf 'License: Expat\n'
  sed '1,/^Copyright/d' LICENSE | sed '1{/^$/d}; s/^$/./; s/^/ /'
} > "$doc/copyright"
rm "$doc/LICENSE"

# What the command links, dpkg-shlibdeps knows; what it opens by name when it is needed, and Lua modules, are said here.
mkdir -p "$build/shlibs/debian"
echo 'Source: datamux' > "$build/shlibs/debian/control"
linked=$(cd "$build/shlibs" && dpkg-shlibdeps -O "$root/usr/bin/datamux" 2> "$build/shlibs.log")
linked=${linked#shlibs:Depends=}
opened='libcurl4, libssl3, zlib1g, libzstd1, libpcre2-8-0, libutf8proc2, lua-argparse, lua-cjson, lua-filesystem'
cat > "$root/DEBIAN/control" << END
Package: datamux
Version: $version
Architecture: $machine
Maintainer: $maintainer
Installed-Size: $(du -sk "$root/usr" | cut -f1)
Depends: $linked, $opened
Recommends: gnuplot-nox, libreadline8
Suggests: lua-busted, fasttext
Section: science
Priority: optional
Description: engine for data multiplexing: N texts through a network at once
 DataMUX (Murahari et al., NeurIPS 2022) mixes N inputs into one
 representation, runs the network once and separates N answers. This is an
 engine for it: tensors and fused layers in C, recipes in Lua, and a command
 that trains, scores, and labels files.
END
if [ "$arch" = x86-64-v3 ]; then
  cat > "$root/DEBIAN/preinst" << 'END'
#!/bin/sh
set -e
grep -q ' avx2 ' /proc/cpuinfo || {
  echo 'datamux: this package needs a processor with AVX2; on others build from source (make deb ARCH=x86-64)' >&2
  exit 1
}
END
  chmod 755 "$root/DEBIAN/preinst"
fi
(cd "$root" && find usr -type f -exec md5sum {} + | LC_ALL=C sort -k 2) > "$root/DEBIAN/md5sums"
package=$build/datamux_${version}_$machine.deb
dpkg-deb --root-owner-group --build "$root" "$package" > /dev/null
echo "$package"
