"""``python -m control_plane``: serve until Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import tempfile
import threading
from pathlib import Path

from werkzeug.serving import make_server

from control_plane.front import Front, Operation
from control_plane.hosting import Hosting
from control_plane.logs import Logs
from control_plane.runners import DockerRunner, ProcessRunner, Runner
from control_plane.s3 import Store
from control_plane.training import TrainingJobs
from control_plane.transforms import TransformJobs
from control_plane.tuning import TuningJobs


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(prog="control_plane", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=5055)
    parser.add_argument(
        "--runner",
        choices=["docker", "process"],
        default="docker",
        help="process: the command onepass instead of containers, whatever image is asked for",
    )
    parser.add_argument(
        "--hosts",
        type=int,
        default=os.cpu_count() or 1,
        help="hosts that run at a time, of all jobs",
    )
    parser.add_argument("--quiet", action="store_true", help="do not show logs of containers")
    asked = parser.parse_args()
    logging.getLogger("werkzeug").setLevel("ERROR")  # else a line for each request
    runner: Runner = DockerRunner() if asked.runner == "docker" else ProcessRunner()
    endpoint = f"http://127.0.0.1:{asked.port}"

    def show(stream: str, line: str) -> None:
        if not asked.quiet:
            print(f"{stream}: {line}", flush=True)

    with tempfile.TemporaryDirectory(
        prefix="onepass-platform-", ignore_cleanup_errors=True
    ) as folder:
        store, logs = Store(endpoint), Logs(endpoint, show)
        jobs = TrainingJobs(store, runner, logs, Path(folder, "jobs"), n_at_once=asked.hosts)
        hosting = Hosting(store, runner, logs, Path(folder, "endpoints"))
        transforms, tuning = TransformJobs(store, hosting), TuningJobs(jobs)
        operations: dict[str, Operation] = {
            "CreateTrainingJob": jobs.create,
            "DescribeTrainingJob": jobs.describe,
            "ListTrainingJobs": jobs.list,
            "StopTrainingJob": jobs.stop,
            "CreateModel": hosting.create_model,
            "DescribeModel": hosting.describe_model,
            "DeleteModel": hosting.delete_model,
            "CreateEndpointConfig": hosting.create_endpoint_config,
            "DescribeEndpointConfig": hosting.describe_endpoint_config,
            "DeleteEndpointConfig": hosting.delete_endpoint_config,
            "CreateEndpoint": hosting.create_endpoint,
            "UpdateEndpoint": hosting.update_endpoint,
            "DescribeEndpoint": hosting.describe_endpoint,
            "ListEndpoints": hosting.list_endpoints,
            "DeleteEndpoint": hosting.delete_endpoint,
            "CreateTransformJob": transforms.create,
            "DescribeTransformJob": transforms.describe,
            "StopTransformJob": transforms.stop,
            "CreateHyperParameterTuningJob": tuning.create,
            "DescribeHyperParameterTuningJob": tuning.describe,
            "StopHyperParameterTuningJob": tuning.stop,
            "ListTrainingJobsForHyperParameterTuningJob": tuning.list_training_jobs,
        }
        server = make_server("127.0.0.1", asked.port, Front(operations, hosting), threaded=True)
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"export AWS_ENDPOINT_URL={endpoint}", flush=True)
        ended.wait()
        jobs.stop_all()
        hosting.stop_all()
        server.shutdown()


if __name__ == "__main__":
    main()
