#!/usr/bin/env python3
"""Try the cluster profile on a real Slurm that lives on this one machine and only for the trial.

Starts munge, Slurm's controller and one node, all with their files in a folder of their own; lets
Snakemake send the shards of an evaluation of a zoo model through `sbatch`, with the profile that
the project ships; holds the merged rows to those of a straight run; and stops what it started.

Nothing is installed. What it needs, on Debian or Ubuntu and as root:

    apt-get install slurm-wlm munge
    pip install snakemake-executor-plugin-slurm
    python tests/cluster/one_machine.py

The node pretends to have two GPUs, so that jobs ask for theirs as they would on a cluster.
"""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import yaml

from infoflow.results.parts import items_of, read_rows, select

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "sinfo")
PARTS = ("evaluation.smk", "evaluations.schema.yml", "requirements.lock", "profiles", "lib")
EVALUATION = {
    "model": "tiny-llava-1.5",
    "task": "pope",
    "measure": "truncation_by_cut",
    "limit": 24,
    "shards": 3,
    "gpus": 1,
}
PATIENCE = 30.0
HOME = Path("/etc/slurm")
"""Where Slurm looks for its settings; inside a job it may not be told another place."""

SLURM = """
ClusterName=trial
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
NodeName=localhost NodeAddr=127.0.0.1 CPUs={cores} RealMemory={megabytes} Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
# Slurm counts GPUs by their files; any will do, for nothing is opened
GRES = "NodeName=localhost Name=gpu File=/dev/null\nNodeName=localhost Name=gpu File=/dev/zero\n"


def find_programs() -> dict[str, str]:
    """Find Slurm's and munge's programs, or end and say how they are installed."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    found = {name: shutil.which(name, path=path) for name in PROGRAMS}
    if missing := [name for name, place in found.items() if place is None]:
        sys.exit(f"error: no {', '.join(missing)}. Run: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        sys.exit("error: only root can start Slurm.")
    if (HOME / "slurm.conf").exists():
        sys.exit(f"error: {HOME}/slurm.conf is there; this machine has a Slurm of its own.")
    return {name: str(place) for name, place in found.items()}


def write_configuration(folder: Path) -> None:
    """Write the settings of a cluster of one node, and the key its parts trust each other by."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    megabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 * 9 // 10
    settings = {"folder": folder, "cores": os.cpu_count(), "megabytes": megabytes}
    (folder / "slurm.conf").write_text(SLURM.format(**settings))
    (folder / "gres.conf").write_text(GRES)
    key = folder / "munge.key"
    key.touch(mode=0o400)
    key.write_bytes(secrets.token_bytes(128))


@contextmanager
def cluster(programs: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Run munge, the controller and the node as children; stop them at the end."""
    write_configuration(folder)
    HOME.mkdir(exist_ok=True)
    settings = [HOME / name for name in ("slurm.conf", "gres.conf")]
    for place in settings:
        place.symlink_to(folder / place.name)
    munge = [f"--{name}={folder}/munge.{name}" for name in ("socket", "pid-file", "log-file")]
    commands = [
        [programs["munged"], "--foreground", "--force", f"--key-file={folder}/munge.key", *munge],
        [programs["slurmctld"], "-D"],
        [programs["slurmd"], "-D", "-N", "localhost"],
    ]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            log = (folder / f"{Path(command[0]).name}.log").open("wb")
            process = subprocess.Popen(command, stdout=log, stderr=log)
            started.append(process)
            time.sleep(1)
            if process.poll() is not None:
                sys.exit(f"error: {command[0]} ended: {Path(log.name).read_text()[-800:]}")
        wait_for_node(programs, folder)
        yield
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()
        for place in settings:
            place.unlink()


def wait_for_node(programs: Mapping[str, str], folder: Path) -> None:
    """Wait until the node takes jobs, and show the cluster."""
    begun = time.monotonic()
    while time.monotonic() < begun + PATIENCE:
        said = subprocess.run(
            [programs["sinfo"], "-o", "%P %a %D %T %G"],
            **{"capture_output": True, "text": True, "check": False},
        )
        if " idle " in said.stdout:
            print(f"$ sinfo\n{said.stdout}", flush=True)
            return
        time.sleep(0.5)
    logs = "".join(log.read_text()[-2000:] for log in sorted(folder.glob("*.log")))
    sys.exit(
        f"error: the node took no jobs within {PATIENCE:.0f} s: {said.stdout}{said.stderr}{logs}"
    )


def make_project(folder: Path) -> None:
    """Copy what the workflow needs, with an evaluation of its own."""
    folder.mkdir()
    for name in PARTS:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)
    text = yaml.safe_dump({"evaluations": {"trial": EVALUATION}}, sort_keys=False)
    (folder / "evaluations.yml").write_text(text)


def run(command: list[str], folder: Path) -> str:
    """Run a command of the trial and show it; ends the trial where it fails."""
    print("$", *command[command.index("-m") + 1 :], flush=True)
    own = {"PYTHONPATH": str(folder / "lib"), "INFOFLOW_QUIET": "1", "OMP_NUM_THREADS": "1"}
    said = subprocess.run(
        command, cwd=folder, env={**os.environ, **own}, stdout=subprocess.PIPE, text=True
    )
    print(said.stdout, flush=True)
    if said.returncode:
        logs = sorted((folder / ".snakemake" / "slurm_logs").rglob("*.log"))
        sys.exit("\n".join(["error: that failed.", *(log.read_text() for log in logs)]))
    return said.stdout


def rows(folder: Path) -> pd.DataFrame:
    """Read a result, its items in the order of their names."""
    rows = read_rows(folder)
    return select(rows, sorted(items_of(rows))).to_pandas()


def main() -> None:
    """Start, evaluate, compare, stop."""
    programs = find_programs()
    python = [sys.executable, "-m"]
    with tempfile.TemporaryDirectory(prefix="slurm-") as place:
        project, slurm = Path(place) / "project", Path(place) / "slurm"
        slurm.mkdir()
        make_project(project)
        with cluster(programs, slurm):
            run(
                [
                    *(*python, "snakemake", "--snakefile", "evaluation.smk"),
                    *("--workflow-profile", "profiles/slurm", "--quiet", "rules"),
                    # what is particular about a cluster of one small machine without accounting
                    *("--default-resources", "slurm_partition=main", "runtime=30", "mem_mb=4000"),
                    *("--slurm-no-account", "--slurm-status-command", "squeue"),
                    *("--slurm-init-seconds-before-status-checks", "3"),
                    *("--latency-wait", "5", "--retries", "1"),
                ],
                project,
            )
        options = [f"--limit={EVALUATION['limit']}", "--results=straight"]
        names = [str(EVALUATION[name]) for name in ("model", "task", "measure")]
        straight = run([*python, "infoflow.cli", "evaluate", *names, *options], project)
        merged = (project / "results" / "evaluations" / "trial.txt").read_text()
        expected, found = (rows(project / told.strip()) for told in (straight, merged))
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
        print(f"The {len(found)} rows of {EVALUATION['shards']} jobs are those of a straight run.")


if __name__ == "__main__":
    main()
