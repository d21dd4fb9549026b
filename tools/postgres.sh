#!/usr/bin/env bash
# A throwaway PostgreSQL on the loopback, for tests and for trying `matx tune --storage`. What is missing is installed
# from Debian's packages.
#
#   tools/postgres.sh install        install the server where it is missing, nothing else
#   tools/postgres.sh start          print "FOLDER URL" of a new, empty server
#   tools/postgres.sh stop FOLDER    stop it and remove its data
set -euo pipefail
PATH="$PATH:/usr/sbin:/sbin"  # runuser, and what apt-get calls

find_programs() {
    if command -v initdb >/dev/null && command -v pg_ctl >/dev/null; then
        return
    fi
    local found
    found=$(find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n 1)
    if [ -n "$found" ]; then PATH="$(dirname "$found"):$PATH"; fi
    command -v initdb >/dev/null && command -v pg_ctl >/dev/null
}

install_programs() {
    if find_programs; then
        return
    fi
    local root=() quietly=(-qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120)
    if ! command -v apt-get >/dev/null; then
        refuse "there is no apt-get here either: install PostgreSQL's server so that initdb and pg_ctl are in PATH"
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            refuse "installing it needs root: run 'apt-get install postgresql' as root, or this script"
        fi
        root=(sudo -n)
    fi
    # One of several sources that cannot be reached need not be the one that has it.
    "${root[@]}" apt-get update "${quietly[@]}" >&2 || true
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${quietly[@]}" \
        postgresql >&2 </dev/null || refuse "apt-get cannot install it: its own message stands above"
    find_programs || refuse "apt-get has installed postgresql, but initdb and pg_ctl are not in /usr/lib/postgresql"
}

refuse() {
    echo "tools/postgres.sh: PostgreSQL's server is missing, and $1" >&2
    exit 1
}

# The server refuses to run as root.
as_owner() {
    if [ "$(id -u)" -eq 0 ]; then
        runuser -u "$(owner)" -- env PATH="$PATH" "$@"
    else
        "$@"
    fi
}

owner() {
    if id postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi
}

# A new folder that the owner reaches: root's own temporary folder may be closed to others.
new_folder() {
    local place folder
    for place in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
        folder=$(mktemp -d "$place/matx-postgres.XXXXXX" 2>/dev/null) || continue
        if [ "$(id -u)" -eq 0 ]; then chown "$(owner)" "$folder"; fi
        if as_owner test -w "$folder"; then
            echo "$folder"
            return
        fi
        rmdir "$folder"
    done
    echo "tools/postgres.sh: no folder can be made in ${TMPDIR:-/tmp}, /tmp or /var/tmp" >&2
    return 1
}

start() {
    install_programs
    local folder port attempt
    folder=$(new_folder)
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
