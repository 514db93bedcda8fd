"""Job arrays on a real SLURM: order, dependencies, failures, requeues, refusals."""

from __future__ import annotations

import time

import pytest

from cluster import CORES, LARGEST_ARRAY
from unlearnbench.errors import UserError
from unlearnbench.runners.levels import Level
from unlearnbench.runners.sbatch import Sbatch
from unlearnbench.runners.slurm import Slurm, largest_array, queued, submit

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def settings(**changes):
    values = {
        "partition": None, "gpus": 0, "cpus": 1, "minutes": 10, "memory_gib": None, "array": 64, "largest_array": None,
        "requeues": 3, "sbatch": Sbatch(),
    }  # fmt: skip
    return Slurm(**{**values, **changes})


def level(name, *scripts, gpus=0):
    """A level whose tasks are these lines of shell."""
    commands = tuple(("sh", "-c", script) for script in scripts)
    return Level(name, commands, gpus, (1.0,) * len(commands))


def wait_for(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_levels_run_one_after_the_other_and_the_job_numbers_come_at_once(slurm, tmp_path):
    note = f"echo $NAME >>{tmp_path / 'order'}"
    levels = [
        level("train", f"sleep 1; NAME=t0; {note}", f"NAME=t1; {note}"),
        level("score", *(f"NAME=s{number}; {note}" for number in range(3))),
        level("report", f"NAME=r; {note}"),
    ]
    began = time.monotonic()
    jobs = submit(levels, settings(), tmp_path / "logs")
    assert time.monotonic() - began < 2
    assert len(jobs) == 3 and all(job.isdigit() for job in jobs)
    assert set(queued(tmp_path / "logs")) == set(jobs)
    slurm.until(*jobs)
    order = (tmp_path / "order").read_text().split()
    assert set(order[:2]) == {"t0", "t1"} and set(order[2:5]) == {"s0", "s1", "s2"} and order[5:] == ["r"]
    assert queued(tmp_path / "logs") == []
    assert {path.name for path in (tmp_path / "logs").glob("train*")} == {
        f"train_{jobs[0]}.sh", f"train_{jobs[0]}_0.log", f"train_{jobs[0]}_1.log",
    }  # fmt: skip


def test_a_level_waits_for_all_of_the_one_before_whatever_became_of_it(slurm, tmp_path):
    levels = [
        level("train", "exit 3", f"sleep 1; touch {tmp_path / 'trained'}"),
        level("unlearn", f"[ -e {tmp_path / 'trained'} ]", "true"),
        level("report", f"touch {tmp_path / 'report'}"),
    ]
    jobs = submit(levels, settings(), tmp_path / "logs")
    slurm.until(*jobs)
    assert slurm.states(jobs[0]) == {0: "FAILED", 1: "COMPLETED"}
    assert slurm.states(jobs[1]) == {0: "COMPLETED", 1: "COMPLETED"}
    assert (tmp_path / "report").exists()


STOPS = """trap 'echo stopped >>{log}; exit 143' TERM
echo started >>{log}
[ "$(grep -c started {log})" -gt 1 ] && exit 0
for _ in $(seq 600); do sleep 0.1; done; exit 1"""
"""A worker that ends at SIGTERM (or in a minute), and has nothing left to do the second time."""


def test_a_task_told_to_stop_goes_back_into_the_queue_and_its_child_waits(slurm, tmp_path):
    log = tmp_path / "worker"
    levels = [
        level("train", STOPS.format(log=log), "true"),
        level("unlearn", f"echo child >>{log}", "true"),
    ]
    jobs = submit(levels, settings(), tmp_path / "logs")
    wait_for(log.exists)
    slurm.say("scancel", "--signal=TERM", "--batch", f"{jobs[0]}_0")
    wait_for(lambda: slurm.state(f"{jobs[0]}_0") == "PENDING")
    assert log.read_text().split() == ["started", "stopped"]
    assert slurm.states(jobs[0])[1] == "COMPLETED"  # the other task of the array is left alone
    later = "now+2"  # not in the second of the requeue: the job's old credential still counts in it
    slurm.say("scontrol", "update", f"JobId={jobs[0]}_0", f"StartTime={later}")
    slurm.until(*jobs)
    assert log.read_text().split() == ["started", "stopped", "started", "child"]


def test_a_task_stops_before_its_time_is_up(slurm, tmp_path):
    log = tmp_path / "worker"
    jobs = submit([level("train", STOPS.format(log=log))], settings(minutes=1), tmp_path / "logs")
    wait_for(lambda: log.exists() and "stopped" in log.read_text(), 45)  # SLURM looks every 30 s
    wait_for(lambda: slurm.state(f"{jobs[0]}_0") == "PENDING")


def test_a_preempted_task_goes_back_into_the_queue_once(slurm, tmp_path):
    log = tmp_path / "worker"
    [job] = submit([level("train", STOPS.format(log=log))], settings(cpus=CORES), tmp_path / "logs")
    wait_for(log.exists)
    [urgent] = submit([level("urgent", "sleep 1")], settings(cpus=CORES, partition="urgent"), tmp_path / "urgent")
    wait_for(lambda: slurm.state(f"{job}_0") == "PENDING")
    slurm.until(urgent)
    assert log.read_text().split() == ["started", "stopped"]
    assert "Restarts=1 " in slurm.say("scontrol", "show", "job", "-o", f"{job}_0")
    slurm.say("scontrol", "update", f"JobId={job}_0", "StartTime=now+2")
    slurm.until(job)
    assert slurm.states(job) == {0: "COMPLETED"}


def test_a_cancelled_task_stays_cancelled(slurm, tmp_path):
    log = tmp_path / "worker"
    jobs = submit([level("train", STOPS.format(log=log))], settings(), tmp_path / "logs")
    wait_for(log.exists)
    slurm.say("scancel", f"{jobs[0]}_0")
    slurm.until(*jobs)
    wait_for(lambda: "stopped" in log.read_text())
    time.sleep(1)
    assert slurm.states(jobs[0]) == {0: "CANCELLED"}


def test_a_task_goes_back_into_the_queue_only_so_often(slurm, tmp_path):
    log = tmp_path / "worker"
    levels = [level("train", STOPS.format(log=log)), level("unlearn", f"echo child >>{log}")]
    jobs = submit(levels, settings(requeues=0), tmp_path / "logs")
    wait_for(log.exists)
    slurm.say("scancel", "--signal=TERM", "--batch", f"{jobs[0]}_0")
    slurm.until(*jobs)
    assert slurm.states(jobs[0]) == {0: "FAILED"}
    assert slurm.states(jobs[1]) == {0: "COMPLETED"}
    assert log.read_text().split() == ["started", "stopped", "child"]


def test_long_levels_are_split_and_stay_in_order(slurm, tmp_path):
    levels = [
        level("train", *(f"touch {tmp_path}/t{number}" for number in range(5))),
        level("unlearn", *(f"mv {tmp_path}/t{number} {tmp_path}/u{number}" for number in range(5))),
    ]
    jobs = submit(levels, settings(largest_array=2), tmp_path / "logs")
    assert len(jobs) == 6
    slurm.until(*jobs)
    assert {path.name for path in tmp_path.glob("?[0-9]")} == {f"u{number}" for number in range(5)}


def test_the_cluster_says_how_long_an_array_may_be(slurm):
    assert largest_array() == LARGEST_ARRAY - 1


def test_options_reach_the_job(slurm, tmp_path):
    words = Sbatch(comment="two words", nice=7, exclude=None)
    [job] = submit([level("train", "true", "true")], settings(array=1, sbatch=words), tmp_path / "logs")
    shown = slurm.say("scontrol", "show", "job", "-o", job)
    assert "Comment=two words" in shown and "ArrayTaskThrottle=1" in shown
    assert "KillOInInvalidDependent=Yes" in shown and "Requeue=1" in shown and "TimeLimit=00:10:00" in shown
    assert "nice=7" in slurm.say("squeue", "-h", "-j", job, "-o", "nice=%y").replace("nice=10007", "nice=7")


def test_odd_folders_and_arguments_are_kept(slurm, tmp_path):
    folder = tmp_path / "a b'c%j\"d#e"
    odd = ("printf", "%s\n", "a b", "$HOME", "'q'", '"', "`id`", "\\n", "#x", "é")
    [job] = submit([Level("train", (odd,), 0, (1.0,))], settings(), folder)
    slurm.until(job)
    assert (folder / f"train_{job}_0.log").read_text().splitlines() == list(odd[2:])


def test_a_refused_array_cancels_those_before_it(slurm, tmp_path):
    levels = [level("train", "sleep 60"), level("unlearn", "true", gpus=1)]
    with pytest.raises(UserError, match=r"SLURM refused the array unlearn: .*(gres|not available)"):
        submit(levels, settings(), tmp_path / "logs")
    slurm.until(*[path.stem.rpartition("_")[2] for path in (tmp_path / "logs").glob("train_*.sh")])


def test_an_unknown_partition_is_a_mistake_of_the_user(slurm, tmp_path):
    with pytest.raises(UserError, match=r"(?s)invalid partition.*Try: runner.partition"):
        submit([level("train", "true")], settings(partition="nowhere"), tmp_path / "logs")


def test_nothing_is_submitted_where_nothing_is_left(slurm, tmp_path):
    assert submit([], settings(), tmp_path / "logs") == []
    assert submit([level("train"), level("report")], settings(), tmp_path / "logs") == []
    assert not (tmp_path / "logs").exists()
