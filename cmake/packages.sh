#!/bin/sh
# Installs the Debian packages that building and running datamux needs, and those named as arguments, and says which.
# Nothing to do: says nothing.
set -eu
need='cmake gcc g++ pkg-config libluajit-5.1-dev libdnnl-dev libsentencepiece-dev libpcre2-8-0 libutf8proc2 zlib1g
libzstd1 libcurl4 lua-busted lua-argparse lua-cjson lua-filesystem lua-check gnuplot-nox expect fasttext'" $*"
command -v dpkg-query > /dev/null || {
  echo 'datamux: this is not Debian. Needed, under the names your system has for them:' $need >&2
  exit 0
}
missing=
for p in $need; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2> /dev/null)" = installed ] || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
echo "installing Debian packages:$missing"
log=$(mktemp)
{ $sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing; } > "$log" 2>&1 || {
  cat "$log" >&2
  exit 1
}
rm -f "$log"
