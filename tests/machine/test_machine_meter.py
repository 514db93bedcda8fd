"""What a meter counts: this process's work and its ended children's, and no waiting."""

from __future__ import annotations

import subprocess
import sys
import time

from unlearnbench.machine.meter import Meter

WORK = "import time\nwhile time.process_time() < 0.3: pass"


def test_work_is_cpu_seconds_and_waiting_is_not():
    meter = Meter("cpu")
    time.sleep(0.3)
    waited = meter.spent()
    assert waited["seconds"] >= 0.3 and waited["cpu_seconds"] < 0.2 and "gpu_seconds" not in waited
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    assert meter.spent()["cpu_seconds"] - waited["cpu_seconds"] >= 0.29


def test_the_work_of_a_process_that_has_ended_counts():
    meter = Meter("cpu")
    subprocess.run([sys.executable, "-c", WORK], check=True)
    assert meter.spent()["cpu_seconds"] >= 0.29
