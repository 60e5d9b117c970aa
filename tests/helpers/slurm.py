"""A private SLURM of one node on this machine, with two GPUs that exist only in its config. Needs Debian's packages and
root."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
ETC = Path("/etc/slurm")  # where jobs look, whose environment has no SLURM_CONF
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
MpiDefault=none
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2
ReturnToService=2
MinJobAge=600
KillWait=5
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory={memory} Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=600 State=UP
PartitionName=gpu Nodes={host} MaxTime=600 State=UP
"""


def why_not() -> str:
    """Return why SLURM cannot run on this machine; an empty text if it can."""
    missing = [name for name in PROGRAMS if which(name) is None]
    if missing:
        return f"no {', '.join(missing)}: apt-get install slurm-wlm munge"
    if os.getuid() != 0:
        return "a private SLURM needs root"
    if any((ETC / name).exists() for name in ("slurm.conf", "gres.conf")):
        return f"{ETC} belongs to another SLURM"
    return ""


def which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


@contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """Run SLURM inside a with block: partitions `cpu` and `gpu`, eight CPUs and two GPUs, whatever the machine has."""
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    links = []
    try:
        _start_munge(folder)
        host = socket.gethostname().split(".")[0]
        files = {
            "slurm.conf": CONF.format(host=host, folder=folder, memory=64000),
            "cgroup.conf": "CgroupAutomount=no\n",
        }
        files["gres.conf"] = "".join(f"NodeName={host} Name=gpu File={_device(folder, k)}\n" for k in range(2))
        ETC.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(content)
            (ETC / name).symlink_to(folder / name)
            links.append(ETC / name)
        for program in (["slurmctld", "-i"], ["slurmd"]):
            subprocess.run([which(program[0]), *program[1:]], check=True)
        _wait_for_node()
        yield
    finally:
        for name in ("slurmd", "slurmctld", "munged"):
            _stop(folder / f"{name}.pid")
        for link in links:
            link.unlink()


def _start_munge(folder: Path) -> None:
    munge = folder / "munge"
    for place, mode in ((munge, 0o700), (Path("/run/munge"), 0o755)):
        place.mkdir(exist_ok=True)
        shutil.chown(place, "munge", "munge")
        place.chmod(mode)
    (munge / "key").write_bytes(os.urandom(1024))
    shutil.chown(munge / "key", "munge", "munge")
    (munge / "key").chmod(0o400)
    for parent in folder.parents:  # the munge user has to reach its key
        if parent.owner() == "root" and parent != Path("/") and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    options = {"key-file": munge / "key", "socket": "/run/munge/munge.socket.2", "log-file": munge / "log"}
    options |= {"pid-file": munge / "pid", "seed-file": munge / "seed"}
    munged = [which("munged"), "--force", *(f"--{name}={value}" for name, value in options.items())]
    subprocess.run(["runuser", "-u", "munge", "--", *munged], check=True)
    (folder / "munged.pid").symlink_to(munge / "pid")


def _device(folder: Path, number: int) -> Path:
    """Make a character device that stands for a GPU."""
    place = folder / f"gpu{number}"
    subprocess.run(["mknod", str(place), "c", "1", "3"], check=True)
    return place


def _wait_for_node() -> None:
    for _ in range(60):
        shown = subprocess.run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True, check=False).stdout
        if "idle" in shown:
            return
        time.sleep(0.5)
    raise RuntimeError(f"the node of the private SLURM did not come up: {shown}")


def _stop(pid_file: Path) -> None:
    if not pid_file.exists() or not (text := pid_file.read_text().strip()):
        return
    subprocess.run(["kill", text], check=False)
    for _ in range(100):
        if not Path(f"/proc/{text}").exists():
            return
        time.sleep(0.1)
