#!/usr/bin/env bash
# A throwaway PostgreSQL on the loopback, for tests and for trying `matx tune --storage`. What is missing is installed
# from Debian's packages.
#
#   tools/postgres.sh install        install the server where it is missing, nothing else
#   tools/postgres.sh start          print "FOLDER URL" of a new, empty server
#   tools/postgres.sh stop FOLDER    stop it and remove its data
set -euo pipefail

find_programs() {
    if command -v initdb >/dev/null && command -v pg_ctl >/dev/null; then
        return
    fi
    local found
    found=$(find /usr/lib/postgresql -maxdepth 2 -name bin -type d 2>/dev/null | sort -V | tail -n 1)
    PATH="${found:-/nonexistent}:$PATH"
    command -v initdb >/dev/null && command -v pg_ctl >/dev/null
}

install_programs() {
    if find_programs; then
        return
    fi
    local root=()
    if [ "$(id -u)" -ne 0 ]; then root=(sudo -n); fi
    "${root[@]}" apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq --no-install-recommends postgresql >&2
    find_programs
}

# The server refuses to run as root.
as_owner() {
    if [ "$(id -u)" -eq 0 ]; then
        runuser -u postgres -- env PATH="$PATH" "$@"
    else
        "$@"
    fi
}

start() {
    install_programs
    local folder port attempt
    folder=$(mktemp -d "${TMPDIR:-/tmp}/matx-postgres.XXXXXX")
    if [ "$(id -u)" -eq 0 ]; then chown postgres "$folder"; fi
    cd "$folder"
    as_owner initdb --pgdata="$folder/data" --username=matx --auth=trust --encoding=UTF8 --locale=C --no-sync \
        >"$folder.log" 2>&1 || { cat "$folder.log" >&2; return 1; }
    for attempt in 1 2 3 4 5; do
        port=$((20000 + RANDOM % 20000))
        # Nothing in it outlives the test, so nothing has to reach the disk.
        if as_owner pg_ctl --pgdata="$folder/data" --log="$folder/server.log" --wait --timeout=60 start --options="\
-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories= -c fsync=off -c synchronous_commit=off \
-c full_page_writes=off -c shared_buffers=16MB" >/dev/null 2>&1; then
            echo "$folder postgresql://matx@127.0.0.1:$port/postgres"
            return
        fi
    done
    cat "$folder/server.log" >&2
    return 1
}

stop() {
    find_programs
    cd /
    as_owner pg_ctl --pgdata="$1/data" --mode=immediate stop >/dev/null 2>&1 || true
    rm -rf "$1" "$1.log"
}

case "${1:-}" in
    install) install_programs ;;
    start) start ;;
    stop) stop "${2:?usage: tools/postgres.sh stop FOLDER}" ;;
    *)
        echo "usage: tools/postgres.sh install | start | stop FOLDER" >&2
        exit 2
        ;;
esac
