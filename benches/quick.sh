#!/usr/bin/env bash
# A quick look at the ratios: the Local cache against a bare DashMap, and one caller's GET against
# hiredis. Takes about a minute once everything is built. Ends with 1 where a goal is missed; on a busy machine run it again.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
out=$target/bench
cc=${CC:-cc}
cargo=${CARGO:-cargo}
python=${PYTHON:-python3}
missed=0

step() { printf '[%s] %s\n' "$1" "$2" >&2; }

step 1/4 "building the library and what it is measured against (release)"
"$cargo" build --release --lib --locked --quiet
mkdir -p "$out"
cp --remove-destination "$target/release/liblighter_cache.so" "$out/"
soname=$(readelf -d "$out/liblighter_cache.so" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
[ -z "$soname" ] || [ "$soname" = liblighter_cache.so ] || ln -sf liblighter_cache.so "$out/$soname"

compile() { # SOURCE, more libraries
    "$cc" -O2 -Wall -Wextra -Iinclude "benches/$1.c" -o "$out/$1" -L"$out" -llighter_cache "${@:2}" -Wl,-rpath,'$ORIGIN'
}

# Sets `hiredis` to what a program needs to be built with it: the system's, else the distribution's in the tree.
find_hiredis() {
    hiredis=(-lhiredis)
    if echo '#include <hiredis/hiredis.h>' | "$cc" -E - >/dev/null 2>&1; then return; fi
    local folder=${LC_DEPS_DIR:-.deps}/hiredis
    if [ ! -e "$folder/usr" ]; then
        echo "unpacking libhiredis-dev of the distribution in $folder (nothing is installed)" >&2
        mkdir -p "$folder"
        (cd "$folder" && apt-get download -qq libhiredis-dev && dpkg-deb -x libhiredis-dev_*.deb . && rm -- *.deb) || return
    fi
    hiredis=(-I"$folder/usr/include" "$(find "$folder" -name libhiredis.a)")
}

step 2/4 "Local: 12 rows against a bare DashMap"
"$python" benches/run.py --quick || missed=1
echo

step 3/4 "Redis: one caller against hiredis"
if ! find_hiredis; then
    echo "skipped: hiredis is not here and can't be had by apt-get (install its development files)"
else
    compile redis "${hiredis[@]}"
    # The server inherits the processor.
    cpu=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')
    taskset -c "$cpu" "$python" tests/servers.py exec single "$out/redis" || missed=1
fi
echo

if [ "$missed" = 0 ]; then step 4/4 "done: every goal reached"; else step 4/4 "done: a goal was missed"; fi
exit "$missed"
