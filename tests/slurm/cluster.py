"""A real Slurm on this one machine: several node daemons, with accounting or without.

    python -m tests.slurm.cluster up FOLDER [--accounting]     FOLDER: new or empty
    python -m tests.slurm.cluster down FOLDER

Needs root (the daemons run jobs as the user who submits) and the packages that `install.sh` installs.
Every daemon is ours, with its own key, ports and folder; `down` ends exactly those. The only file outside
is /etc/slurm/slurm.conf (and gres.conf, slurmdbd.conf), links into the folder: Slurm's commands look for
it there, and Snakemake's plugin hands no SLURM_CONF on. Where one is there already, we refuse.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

ETC = Path("/etc/slurm")
NODES = ("n1", "n2", "n3")
GPU_NODES = NODES[:2]
CPUS, MEMORY_MB = 2, 6000  # of each node; what the machine really has does not matter
KILL_WAIT = 10  # seconds from SIGTERM to SIGKILL
CLUSTER = "clipsteer"
RECORD = "daemons.json"
_LINKED = ("slurm.conf", "gres.conf", "slurmdbd.conf")  # in /etc/slurm

_SLURM = """\
ClusterName={cluster}
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
# a job that is started again waits until its old credential has expired: 120 s by default
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
SlurmctldPort={controller}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
# a job that is started again is not noticed for up to a minute otherwise
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=2
# a job that takes more memory than it asked for is killed, as cgroups do on a real cluster
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
KillWait={kill_wait}
# a job in the partition `urgent` takes the nodes of others, which are started again afterwards
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=1
MinJobAge={min_job_age}
GresTypes=gpu
"""
_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={database_daemon}
AccountingStoragePass={folder}/munge.socket
"""
_SLURMDBD = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={database_daemon}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
LogFile={folder}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
"""
_USERS = (
    "CREATE DATABASE IF NOT EXISTS slurm_acct_db;"
    " CREATE USER slurm@127.0.0.1 IDENTIFIED BY 'slurm'; CREATE USER slurm@localhost IDENTIFIED BY 'slurm';"
    " GRANT ALL ON slurm_acct_db.* TO slurm@127.0.0.1; GRANT ALL ON slurm_acct_db.* TO slurm@localhost;"
)


class Cluster:
    """The Slurm of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._record = self.folder / RECORD  # [[name, pid, start time], ...] as started
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    # ---- up

    def up(self, *, accounting: bool = False, min_job_age: int = 300) -> None:
        """Start everything; on a fault what was started is ended again.

        `min_job_age`: seconds for which the controller remembers a job that has ended. Raises
        SystemExit with what to do where this machine cannot have a Slurm of ours.
        """
        self._refuse()
        for name in ("log", "state"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)  # munge's key must not be below a folder that others may write
        try:
            self._configure(accounting, min_job_age)
            self._munge()
            if accounting:
                self._database()
            self._start("slurmctld", ["slurmctld", "-D", "-i"])
            for node in NODES:
                self._start(f"slurmd-{node}", ["slurmd", "-D", "-N", node])
            self._until(lambda: _says(["sinfo", "-h", "-o", "%T %D"]) == f"idle {len(NODES)}")
        except BaseException:
            self.down()
            raise

    def _refuse(self) -> None:
        if os.geteuid():
            raise SystemExit("tests/slurm: found no root, expected it: daemons and munge need it.")
        theirs = [name for name in _LINKED if (ETC / name).exists()]
        if theirs:
            place = (ETC / theirs[0]).resolve().parent
            ours = (place / RECORD).exists()
            raise SystemExit(
                f"{ETC}: found {', '.join(theirs)}, expected none: "
                + (
                    f"tests that still run, or were killed, have a Slurm there. To take it down: "
                    f"python -m tests.slurm.cluster down {place}"
                    if ours
                    else "this machine belongs to a Slurm, which is left alone."
                )
            )

    def _configure(self, accounting: bool, min_job_age: int) -> None:
        names = ("controller", "database_daemon", "database", *NODES)
        ports = dict(zip(names, _free_ports(len(names)), strict=True))
        host = socket.gethostname().partition(".")[0]
        values = {
            "folder": self.folder,
            "host": host,
            "cluster": CLUSTER,
            "kill_wait": KILL_WAIT,
            **ports,
        }
        text = _SLURM.format(min_job_age=min_job_age, **values)
        if accounting:
            text += _ACCOUNTING.format(**values)
        for node in NODES:
            gres = " Gres=gpu:1" if node in GPU_NODES else ""
            text += (
                f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[node]} "
                f"CPUs={CPUS} RealMemory={MEMORY_MB}{gres} State=UNKNOWN\n"
            )
        text += f"PartitionName=cpu Nodes={','.join(NODES)} Default=YES MaxTime=1-0 State=UP\n"
        text += f"PartitionName=gpu Nodes={','.join(GPU_NODES)} MaxTime=1-0 State=UP\n"
        text += f"PartitionName=urgent Nodes={','.join(NODES)} PriorityTier=10 State=UP\n"
        self._database_port = ports["database"]
        (self.folder / "slurm.conf").write_text(text)
        # no GPU: /dev/zero stands for its device, so that Slurm counts it and hands its number on
        gpus = f"NodeName={','.join(GPU_NODES)} Name=gpu File=/dev/zero\n"
        (self.folder / "gres.conf").write_text(gpus)
        (self.folder / "slurmdbd.conf").write_text(_SLURMDBD.format(**values))
        (self.folder / "slurmdbd.conf").chmod(0o600)
        ETC.mkdir(exist_ok=True)
        for name in _LINKED:
            (ETC / name).unlink(missing_ok=True)  # a link that leads nowhere any more
            (ETC / name).symlink_to(self.folder / name)

    def _munge(self) -> None:
        key, socket_file = self.folder / "munge.key", self.folder / "munge.socket"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = [
            f"--key-file={key}",
            f"--socket={socket_file}",
            f"--pid-file={self.folder}/munged.pid",
        ]
        files += [
            f"--log-file={self.folder}/log/munged.log",
            f"--seed-file={self.folder}/munge.seed",
        ]
        self._start("munged", ["munged", "--foreground", "--force", *files])
        self._until(lambda: _says(["munge", "-S", str(socket_file), "-n"]) is not None)

    def _database(self) -> None:
        data, place = self.folder / "mysql", self.folder / "mysql.socket.d"
        for made in (data, place):
            made.mkdir()
            shutil.chown(made, "mysql", "mysql")
        with (self.folder / "log/mariadb-install.log").open("w") as log:
            subprocess.run(
                [
                    "mariadb-install-db",
                    "--no-defaults",
                    "--user=mysql",
                    f"--datadir={data}",
                    "--skip-test-db",
                ],
                stdout=log,
                stderr=log,
                check=True,
            )
        file = f"--socket={place}/m.sock"
        words = [
            "--no-defaults",
            "--user=mysql",
            f"--datadir={data}",
            file,
            "--bind-address=127.0.0.1",
        ]
        words += [f"--port={self._database_port}", f"--pid-file={place}/m.pid"]
        words += ["--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900"]
        self._start("mariadbd", ["mariadbd", *words])
        self._until(lambda: _says(["mariadb-admin", "--no-defaults", file, "ping"]) is not None)
        subprocess.run(["mariadb", "--no-defaults", file, "-e", _USERS], check=True)
        self._start("slurmdbd", ["slurmdbd", "-D"])
        self._until(lambda: _says(["sacctmgr", "-n", "show", "cluster"]) is not None)
        for words in (
            ["cluster", CLUSTER],
            ["account", "lab", f"Cluster={CLUSTER}"],
            ["user", "root", "Account=lab"],
        ):
            subprocess.run(
                ["sacctmgr", "-i", "-Q", "add", *words], stdout=subprocess.DEVNULL, check=True
            )

    def _start(self, name: str, words: Sequence[str]) -> None:
        """Start a daemon in the foreground, but in a session of its own: a Ctrl-C is not for it."""
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        with (self.folder / f"log/{name}.out").open("w") as log:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PATH": path},
                executable=shutil.which(words[0], path=path),
            )
        self._children[name] = process
        self._write([*self._daemons(), (name, process.pid, _started(process.pid))])

    def _until(self, done: Callable[[], object], seconds: float = 120.0) -> None:
        limit = time.monotonic() + seconds
        while not done():
            ended = [name for name, child in self._children.items() if child.poll() is not None]
            if ended or time.monotonic() > limit:
                logs = "".join(_tail(path) for path in sorted((self.folder / "log").iterdir()))
                why = f"{', '.join(ended)} ended" if ended else f"not up after {seconds:.0f} s"
                raise SystemExit(f"tests/slurm: Slurm: {why}\n{logs}")
            time.sleep(0.1)

    # ---- down

    def down(self) -> None:
        """End what `up` has started, jobs first, the newest daemon first; remove the links."""
        links = [ETC / name for name in _LINKED]
        ours = [
            link for link in links if link.is_symlink() and self.folder in link.readlink().parents
        ]
        if ours:
            self._cancel()
        for name, pid, started in reversed(self._daemons()):
            _end(name, pid, started)
        for child in self._children.values():
            child.poll()
        self._write([])
        for link in ours:
            link.unlink()

    def _cancel(self) -> None:
        """End all jobs, as far as the controller answers."""
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["scancel", "--user=root"], timeout=10, capture_output=True, check=False)
            for _ in range(150):  # half a minute, beyond KILL_WAIT
                if not _says(["squeue", "--noheader"]):
                    break
                time.sleep(0.2)

    def _daemons(self) -> list[tuple[str, int, str]]:
        with suppress(OSError):
            return [tuple(daemon) for daemon in json.loads(self._record.read_text())]
        return []

    def _write(self, daemons: list[tuple[str, int, str]]) -> None:
        if self.folder.is_dir():
            self._record.write_text(json.dumps(daemons))


def _end(name: str, pid: int, started: str) -> None:
    """SIGTERM, and SIGKILL after 15 seconds; not to a process that has the number by now."""
    for number, seconds in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
        limit = time.monotonic() + seconds
        if _started(pid) == started:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        while _started(pid) == started and time.monotonic() < limit:
            time.sleep(0.05)
    if _started(pid) == started:
        print(f"tests/slurm: {name} ({pid}) does not end", file=sys.stderr)


def _started(pid: int) -> str:
    """When a process was started, in the kernel's ticks; nothing for one that is no more."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    return ""


def _says(words: Sequence[str]) -> str | None:
    """What a command prints; None where it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    return None if done.returncode else done.stdout.strip()


def _free_ports(number: int) -> list[int]:
    """Ports that nobody listens on just now."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _tail(path: Path) -> str:
    text = path.read_text(errors="replace").splitlines()[-5:]
    return "".join(f"{path.name}: {line}\n" for line in text)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("action", choices=("up", "down"))
    words.add_argument("folder", type=Path)
    words.add_argument("--accounting", action="store_true", help="with slurmdbd and MariaDB")
    arguments = words.parse_args()
    cluster = Cluster(arguments.folder)
    if arguments.action == "up":
        cluster.up(accounting=arguments.accounting)
    else:
        cluster.down()


if __name__ == "__main__":
    main()
