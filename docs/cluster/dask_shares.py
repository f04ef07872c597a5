"""A plan on a cluster of Dask, such as one of dask-jobqueue: dask_shares.py OUT [SCHEDULER]"""

import json
import subprocess
import sys

from distributed import Client


def main(output, scheduler=None):
    shares = json.loads(subprocess.check_output(["stackctl", "status", output, "--json"]))["shares"]
    with Client(scheduler) if scheduler else Client(processes=True, n_workers=2) as client:
        command = ["stackctl", "run", output, "--threads", "1", "--share"]
        runs = [client.submit(subprocess.run, [*command, str(i)], check=True, retries=3) for i in range(shares)]
        client.gather(runs)
    subprocess.run(["stackctl", "finalize", output], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
