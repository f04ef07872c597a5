#!/usr/bin/env bash
# Tries a device, in under 4 minutes: tests/device.sh PROGRAM [DEVICE [PLANES]]
#   PROGRAM  a release build of stackctl, which may come from a machine without a device
#   DEVICE   as --device takes it [gpu]; pocl does on a machine without one
#   PLANES   of 4 MiB, from end to end [192]
# Needs Python with NumPy ($STACKCTL_PYTHON, else python3), 4 GB in $TMPDIR, and the driver of the device. First the link and
# times, of kernels beside CuPy's where it is installed, and of whole commands beside their longest stage; then every kernel
# against the processors (or one comparison in $CHECKS), as many at once as there are pairs of processors.
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
timeout 150 "$python" "$tests/device_times.py" "$program" "$work" "$device" "$planes" || echo "times: failed" >&2

checks=${CHECKS:-1}
n=$((($(nproc) + 1) / 2))
running=()
for ((i = 0; i < n; i++)); do
  mkdir "$i"
  timeout 200 "$python" "$tests/device.py" "$program" "$work/$i" "$device" $((checks * n)) $((checks * i)) &
  running+=($!)
done
failed=0
for one in "${running[@]}"; do wait "$one" || failed=1; done
exit $failed
