#!/usr/bin/env bash
# Tries a device, in under 4 minutes: tests/device.sh PROGRAM [DEVICE [PLANES]]
#   PROGRAM  a release build of stackctl, which may come from a machine without a device
#   DEVICE   as --device takes it [gpu]; pocl does on a machine without one
#   PLANES   of 4 MiB, from end to end [192]
# Needs Python with NumPy ($STACKCTL_PYTHON, else python3), 4 GB in $TMPDIR, and the driver of the device. First the link,
# then every kernel against the processors (or one comparison in $CHECKS), then all planes from end to end: each took at most
# 1.3 times the longest of `read`, `send`, `kernel`, `fetch` and `write` of its profile if stages overlap as they should
# (seconds of all workers together: divide by their number).
set -euo pipefail
program=$(realpath "$1")
device=${2:-gpu}
planes=${3:-192}
python=${STACKCTL_PYTHON:-python3}
tests=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"$program" devices --measure
timeout 120 "$python" "$tests/device.py" "$program" "$work" "$device" "${CHECKS:-1}"

"$python" - "$planes" <<'MAKE'
import sys

import numpy as np

rng = np.random.default_rng(1)
np.save("big.npy", rng.integers(0, 4096, (int(sys.argv[1]), 1024, 2048), dtype=np.uint16))
MAKE
"$program" calc a a=big.npy -o big.zarr --codec none --chunks 32,512,512 --shards none -q

# The same by the processors and by the device, with what each took.
both() {
  for on in cpu "$device"; do
    echo "== $* on $on"
    time timeout 60 "$program" "$@" --overwrite --profile --device "$on" -q
  done
}
TIMEFORMAT='took %R s'
for expression in 'gaussian(a, 2)' 'median(a, 3)' 'sqrt(a) * 2 + 1'; do
  both calc "$expression" a=big.zarr -o out.zarr --codec none
done
both reduce big.zarr --op median --axis 0 -o out.npy
