#!/bin/bash
# wrk against `lockgate run`, as users will do it: small keep-alive requests, then a large file.
#
#   scripts/wrk.sh [SECONDS] [CONNECTIONS] [PROGRAM]     10 seconds each, 64 connections and the release build of
#                                                        lockgate, unless said otherwise
#
# lockgate runs on CPU 0; nginx behind it and wrk on CPU 1. What is printed beside wrk's own figures is
# the CPU time of lockgate: on a machine of few cores, requests per second say more about wrk.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."

seconds=${1:-10} connections=${2:-64} program=${3:-}
# Ports below the range that clients take theirs from.
port=${LOCKGATE_WRK_PORT:-18443} backend=$((port + 1)) greeter=$((port + 2))

main() {
    scripts/install-tools wrk nginx libnginx-mod-stream openssl curl
    if [[ -z $program ]]; then
        cargo build --release --bins --quiet
        program=target/release/lockgate
    fi
    folder=$(mktemp -d)
    chmod 755 "$folder"
    trap stop EXIT
    start
    echo "small requests"
    measure / requests
    echo "a file of 64 MiB"
    measure /bulk/file file
}

start() {
    mkdir "$folder/bulk"
    truncate -s 64M "$folder/bulk/file"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -keyout "$folder/server.key" -out "$folder/server.crt" 2>/dev/null
    sed "s#@PORT@#$backend#; s#@BACKEND@#$greeter#; s#@DIR@#$folder#g" scripts/peers/backend.cfg.in >"$folder/backend.cfg"
    taskset -c 1 nginx -c "$folder/backend.cfg" 2>"$folder/backend.log" &
    nginx=$!
    taskset -c 0 "$program" run --listen "127.0.0.1:$port" --tls-cert-path "$folder/server.crt" \
        --tls-key-path "$folder/server.key" --backend "127.0.0.1:$backend" --log-level error &
    lockgate=$!
    for _ in {1..100}; do
        if curl -sk --max-time 1 -o /dev/null "https://127.0.0.1:$port/"; then return; fi
        kill -0 "$lockgate" "$nginx" || { cat "$folder/backend.log" >&2; exit 1; }
        sleep 0.1
    done
    echo "wrk.sh: nobody answers at 127.0.0.1:$port" >&2
    exit 1
}

measure() {
    local before after
    before=$(ticks)
    taskset -c 1 wrk -t 1 -c "$connections" -d "${seconds}s" --latency "https://127.0.0.1:$port$1" | tee "$folder/wrk.log"
    after=$(ticks)
    # "396 requests in 1.07s, 58.01KB read"
    awk -v ticks=$((after - before)) -v hertz="$(getconf CLK_TCK)" -v what="$2" '/ requests in / {
        seconds = ticks / hertz
        unit["KB"] = 2 ^ 10; unit["MB"] = 2 ^ 20; unit["GB"] = 2 ^ 30
        bytes = $5 * unit[substr($5, length($5) - 1)]
        counted = bytes > 0
        printf "lockgate: %.2f s of CPU", seconds
        if (what == "file" && bytes > 0) printf ", %.3f s per GB", seconds * 1e9 / bytes
        if (what == "requests" && $1 > 0) printf ", %.1f us per request", seconds * 1e6 / $1
        printf "\n\n"
    }
    END { exit !counted }' "$folder/wrk.log"
}

# utime + stime of lockgate, which is one process.
ticks() {
    sed 's/.*) //' "/proc/$lockgate/stat" | awk '{ print $12 + $13 }'
}

stop() {
    # It waits for connections at the first signal, not at the second.
    kill "${lockgate:-}" "${nginx:-}" 2>/dev/null || true
    sleep 0.1
    kill "${lockgate:-}" 2>/dev/null || true
    wait
    rm -rf "$folder"
}

main
