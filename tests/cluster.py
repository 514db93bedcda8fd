"""A real SLURM on this machine for tests: one controller, one node of four cores, loopback only, no privileges.

It comes from the installed `slurm-wlm`, or from Debian's packages, downloaded by apt-get and unpacked into a cache
folder without being installed. Tests that use the fixture `slurm` have the mark `slurm`.
"""

from __future__ import annotations

import getpass
import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins", "libhwloc15")
CORES = 4
"""What the node says it has: sleeping tasks need no real ones."""
LARGEST_ARRAY = 101
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
PluginDir={plugins}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
KillWait=3
ReturnToService=2
MaxArraySize={largest}
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=1000 State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=9
"""


@dataclass(frozen=True)
class Programs:
    """Where SLURM's programs and plugins are."""

    root: Path

    @property
    def libraries(self) -> Path:
        """The folder of the system's libraries: plugins are in a folder of it."""
        return self.root / "usr/lib" / f"{platform.machine()}-linux-gnu"

    def daemon(self, name: str) -> str:
        """Return the path of a daemon: Debian's own names end with -wlm."""
        return str(next(path for end in ("", "-wlm") if (path := self.root / "usr/sbin" / f"{name}{end}").is_file()))

    def environment(self, configuration: Path) -> dict[str, str]:
        """Return what a process needs to find SLURM's programs, libraries and configuration."""
        found = {"SLURM_CONF": str(configuration), "PATH": f"{self.root / 'usr/bin'}:{os.environ['PATH']}"}
        if self.root != Path("/"):
            found["LD_LIBRARY_PATH"] = f"{self.libraries / 'slurm-wlm'}:{self.libraries}"
        return found


@dataclass
class Cluster:
    """A running SLURM, and what a test asks it."""

    folder: Path
    environment: dict[str, str]
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def say(self, *words: str) -> str:
        """Run one of SLURM's commands and return what it prints."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout.strip()

    def states(self, job: str) -> dict[int, str]:
        """Return the state of each task of an array, by its index, as long as SLURM remembers it."""
        lines = self.say("squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%K %T").splitlines()
        return {int(index): state for index, state in (line.split() for line in lines)}

    def state(self, task: str) -> str:
        """Return the state of one task, such as 12_0."""
        job, index = task.split("_")
        return self.states(job)[int(index)]

    def until(self, *jobs: str, seconds: float = 30) -> None:
        """Wait until nothing of these jobs waits or runs."""
        end = time.monotonic() + seconds
        while left := self.say("squeue", "-h", "-r", "-j", ",".join(jobs), "-o", "%i %T %r"):
            assert time.monotonic() < end, f"still in the queue: {left}"
            time.sleep(0.1)

    def empty(self) -> None:
        """Cancel what a test has left in the queue."""
        self.say("scancel", "-u", getpass.getuser())

    def stop(self) -> None:
        """End the jobs and both daemons."""
        try:
            self.empty()
            if left := self.say("squeue", "-h", "-o", "%A").split():
                self.until(*left, seconds=8)
        except (AssertionError, subprocess.TimeoutExpired):
            pass  # the daemons must end all the same
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self.daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def programs() -> Programs:
    """Return SLURM's programs, installed or unpacked; raise FileNotFoundError with the reason where there are none."""
    if shutil.which("sbatch") and any(Path("/usr/sbin", name).is_file() for name in ("slurmctld", "slurmctld-wlm")):
        return Programs(Path("/"))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unlearnbench-tests" / "slurm"
    if not cache.is_dir():
        _unpack(cache)
    return Programs(cache)


def _unpack(cache: Path) -> None:
    """Download Debian's packages and unpack them into a folder, which appears when it is complete."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise FileNotFoundError("neither slurm-wlm nor apt-get is here")
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as temporary:
        folder = Path(temporary)
        download = ["apt-get", "-q", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=5", "download"]
        try:
            subprocess.run([*download, *PACKAGES], cwd=folder, capture_output=True, timeout=60, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise FileNotFoundError("slurm-wlm is not installed and apt-get cannot download it") from error
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, folder / "root"], check=True)
        try:
            (folder / "root").rename(cache)
        except OSError:
            assert cache.is_dir()  # another worker of pytest was faster


def start(folder: Path, found: Programs) -> Cluster:
    """Start the controller and the node in a folder; raise AssertionError where the node does not become idle."""
    for part in ("state", "spool"):
        (folder / part).mkdir()
    configuration = folder / "slurm.conf"
    controller, node = _ports()
    text = CONFIGURATION.format(
        host=socket.gethostname().partition(".")[0], user=getpass.getuser(), folder=folder, controller=controller,
        node=node, plugins=found.libraries / "slurm-wlm", largest=LARGEST_ARRAY, cores=CORES,
    )  # fmt: skip
    configuration.write_text(text)
    cluster = Cluster(folder, found.environment(configuration))
    step = ("-d", found.daemon("slurmstepd"))
    with_us = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []  # should pytest be killed
    for name, more in (("slurmctld", ()), ("slurmd", step)):
        with (folder / f"{name}.out").open("wb") as out:
            words = [*with_us, found.daemon(name), "-D", "-L", str(folder / f"{name}.log"), *more]
            environment = {**os.environ, **cluster.environment}
            cluster.daemons.append(subprocess.Popen(words, stdout=out, stderr=out, env=environment))
    try:
        _await_idle(cluster)
    except BaseException:
        cluster.stop()
        raise
    return cluster


def _ports() -> tuple[int, int]:
    """Return two free ports of this machine."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _await_idle(cluster: Cluster, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and all(daemon.poll() is None for daemon in cluster.daemons):
        environment = {**os.environ, **cluster.environment}
        words = ["sinfo", "-h", "-o", "%T"]
        if subprocess.run(words, env=environment, capture_output=True, text=True, check=False).stdout.strip() == "idle":
            return
        time.sleep(0.2)
    logs = "\n".join(path.read_text()[-2000:] for path in sorted(cluster.folder.glob("*.out")))
    raise AssertionError(f"SLURM did not start:\n{logs}")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A SLURM for all tests of this process, started at first use; skips where it is not available."""
    try:
        found = programs()
    except FileNotFoundError as reason:
        pytest.skip(f"needs SLURM: {reason}")
    running = start(tmp_path_factory.mktemp("slurm"), found)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def slurm(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster, with its commands in this test's PATH; what the test leaves in the queue is cancelled."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    yield cluster
    cluster.empty()
