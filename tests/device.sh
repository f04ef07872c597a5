#!/usr/bin/env bash
# Tries a device, in under 4 minutes: tests/device.sh PROGRAM [DEVICE]
#   PROGRAM  a release build of stackctl, which may come from a machine without a device
#   DEVICE   as --device takes it [gpu]
# Needs Python with NumPy, 4 GB in $TMPDIR, and the driver of the device. First the link, then every kernel against the
# processors, then 0.8 GB from end to end: each took at most 1.3 times the longest of `read`,
# `send`, `kernel`, `fetch` and `write` of its profile if stages overlap as they should (seconds of all workers together: divide
# by their number).
set -euo pipefail
program=$(realpath "$1")
device=${2:-gpu}
tests=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"$program" devices --measure
timeout 120 python3 "$tests/device.py" "$program" "$work" "$device" "${CHECKS:-1}"

python3 - <<'MAKE'
import numpy as np

rng = np.random.default_rng(1)
np.save("big.npy", rng.integers(0, 4096, (192, 1024, 2048), dtype=np.uint16))
MAKE
"$program" stitch big.npy -o big.zarr --codec none --chunks 32,512,512 --shards none -q
for expression in 'gaussian(a, 2)' 'median(a, 3)' 'sqrt(a) * 2 + 1'; do
  for on in cpu "$device"; do
    echo "== $expression on $on"
    start=$(date +%s.%N)
    timeout 60 "$program" calc "$expression" a=big.zarr -o out.zarr --overwrite --codec none --profile --device "$on" -q
    echo "took $(echo "$(date +%s.%N) - $start" | bc) s"
  done
done
for on in cpu "$device"; do
  echo "== median along the first axis on $on"
  timeout 60 "$program" reduce big.zarr --op median --axis 0 -o out.npy --overwrite --profile --device "$on" 2>&1 || true
done
