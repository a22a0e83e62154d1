# For the scripts beside this file, which source it: starts the server under test and stops it.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
target=${CARGO_TARGET_DIR:-$root/target}

# start_server LOG OPTION…: builds the release binary, serves on a free port with these options of
# `chinwag serve`, and sets `address` (127.0.0.1:PORT) and `server` (the process).
start_server() {
  local log=$1 page; shift
  (cd "$root" && cargo build --release --quiet --bin chinwag) || return
  coproc CHINWAG { exec "$target/release/chinwag" serve --listen 127.0.0.1:0 "$@" 2>"$log"; }
  server=$CHINWAG_PID
  if ! read -r -t 10 page <&"${CHINWAG[0]}"; then
    echo "the server did not start: $(tail -n 3 "$log")" >&2
    return 1
  fi
  address=${page#http://} address=${address%/}
}

# Stops the server the way an operator does; fails where it had died before or does not end well.
stop_server() {
  local status=0
  kill -TERM "$server" 2>/dev/null
  wait "$server" || status=$?
  [ "$status" = 0 ] || { echo "the server ended with status $status" >&2; return 1; }
}
