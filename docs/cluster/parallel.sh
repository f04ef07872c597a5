#!/bin/sh
# GNU parallel, on this machine or with --sshloginfile on others: parallel.sh OUT
set -eu
for range in $(stackctl status "$1" --array | tr , ' '); do seq "${range%-*}" "${range#*-}"; done |
  parallel --jobs 4 --joblog run.log --retries 3 stackctl run "$1" --share {} --threads 1
stackctl finalize "$1"
