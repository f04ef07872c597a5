#!/bin/sh
# Any MPI, as a launcher alone: mpirun.sh OUT
set -eu
${MPIRUN:-mpirun} -n 4 stackctl run "$1"
stackctl finalize "$1"
