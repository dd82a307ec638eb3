"""What docs/distributed.md has typed, and the files for Slurm and Kubernetes, tried dry: torchrun's
own parser takes it, and convscope's what is left."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from torch.distributed.run import get_args_parser
from typer.main import get_command

from convscope.cli import app

DOCS = Path(__file__).parents[2] / "docs"
SAY = "import json, sys; print(json.dumps(sys.argv[1:]))"
FAKES = {  # what stands in the place of the programs of a cluster
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"',
    "scontrol": 'printf "node7\\n" && sleep 0.2 && printf "node8\\n"',  # whoever reads one is gone
    "hostname": "echo 10.1.2.3",
    "torchrun": f'exec {sys.executable} -c "{SAY}" "$@"',
}


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """The environment of a job, whose launcher says what it was given."""
    for name, script in FAKES.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}


def taken(words: list[str]) -> dict[str, object]:
    """What torchrun and `convscope train` make of these words."""
    launcher = get_args_parser().parse_args(words)
    assert launcher.module and launcher.training_script == "convscope"
    verb, *rest = launcher.training_script_args
    command = get_command(app).commands[verb]  # type: ignore[attr-defined]
    asked = command.make_context(verb, rest).params
    return vars(launcher) | {name: value for name, value in asked.items() if value is not None}


def test_commands_of_the_page_are_understood():
    text = (DOCS / "distributed.md").read_text(encoding="utf-8")
    commands = re.findall(r"^torchrun (.*)$", text, re.MULTILINE)
    assert len(commands) == 2
    one, several = (taken(shlex.split(command)) for command in commands)
    assert one["nproc_per_node"] == "2" and one["data"] == "cifar10"
    assert several["nnodes"] == "4" and several["resume"] and several["batch_size"] == 512


def test_slurm(cluster):
    job = {"SLURM_JOB_NODELIST": "node[7-8]", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "41"}
    job |= {"DATA": "/data/photos", "RUN": "/data/run", "RANKS_PER_NODE": "2"}
    script = DOCS / "deploy" / "slurm.sbatch"
    done = subprocess.run(
        ["bash", script], check=True, env=cluster | job, capture_output=True, text=True
    )
    found = taken(json.loads(done.stdout))
    assert (found["nnodes"], found["nproc_per_node"]) == ("2", "2")
    assert (found["rdzv_endpoint"], found["rdzv_id"]) == ("node7:29500", "41")
    assert (found["data"], str(found["out"])) == ("/data/photos", "/data/run")
    assert found["resume"] and found["max_restarts"] == 3


@pytest.mark.parametrize("index", [0, 3])
def test_kubernetes(cluster, index):
    text = (DOCS / "deploy" / "kubernetes.yaml").read_text(encoding="utf-8")
    service, job = yaml.safe_load_all(text)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    own = {"JOB_COMPLETION_INDEX": str(index)}
    words = [*container["command"], *container["args"]]
    done = subprocess.run(words, check=True, env=cluster | own, capture_output=True, text=True)
    found = taken(json.loads(done.stdout))
    assert found["nnodes"] == str(job["spec"]["completions"]) == str(job["spec"]["parallelism"])
    name = job["metadata"]["name"]  # of a pod: Job and index, then the service
    assert found["rdzv_endpoint"] == f"{name}-0.{service['metadata']['name']}:29500"
    assert found["rdzv_conf"] == f"is_host={int(index == 0)}"
    assert found["local_addr"] == "10.1.2.3"
    assert service["spec"]["selector"] == {"job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    mounts = {one["mountPath"] for one in container["volumeMounts"]}
    assert Path(str(found["out"])).parent.as_posix() in mounts and found["resume"]
