"""Plans for other programs: what they run, in which order, and that it is well formed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
import yaml

from unlearnbench.errors import UserError
from unlearnbench.runners.export import export
from unlearnbench.runners.levels import Level
from unlearnbench.runners.sbatch import Sbatch
from unlearnbench.runners.slurm import Slurm, submit

SETTINGS = Slurm(
    partition=None, gpus=1, cpus=1, minutes=30, memory_gib=1.5, array=3, largest_array=2, requeues=2,
    sbatch=Sbatch(comment="two words"),
)  # fmt: skip
KINDS = ("sbatch", "snakemake", "kubernetes")


def levels(folder, gpus=0):
    """Three levels that note their order: four trainings, four unlearnings, and a report."""
    note = f"echo $1 >>'{folder}/order'"

    def commands(letter, count):
        return tuple(("sh", "-c", note, "it's", f"{letter}{number}") for number in range(count))

    return [
        Level("train", commands("t", 4), gpus, (60.0,) * 4),
        Level("unlearn", commands("u", 4), gpus, (60.0,) * 4),
        Level("report", commands("r", 1), 0, (5.0,)),
    ]


def in_order(folder):
    """Return whether every task ran once, each after what it waits for."""
    order = (folder / "order").read_text().split()
    numbers = range(4)
    assert sorted(order) == sorted(["r0", *(f"{letter}{number}" for letter in "tu" for number in numbers)])
    return [letter for letter, _ in order] == ["t"] * 4 + ["u"] * 4 + ["r"]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_left_is_nothing_to_export(kind):
    with pytest.raises(UserError, match="nothing is left to run"):
        export([Level("train", (), 0, ())], SETTINGS, kind)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_script_of_sbatch_lines_is_shell(tmp_path, shell):
    text = export(levels(tmp_path, gpus=1), SETTINGS, "sbatch", tmp_path / "it's here")
    checked = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert text.count("| sbatch --parsable") == 5  # arrays of at most two tasks
    assert re.findall(r"--dependency=(\S+)\"", text) == [
        "afterany:$train_0:$train_1", "afterany:$train_0:$train_1", "afterany:$unlearn_0:$unlearn_1",
    ]  # fmt: skip
    assert text.count("#SBATCH --gpus-per-node=1") == 4 and text.count("#SBATCH --mem=1536M") == 5


@pytest.mark.slow
@pytest.mark.slurm
def test_the_script_submits_what_the_runner_submits(slurm, tmp_path):
    settings = Slurm(**{**vars(SETTINGS), "memory_gib": None})
    script = tmp_path / "submit.sh"
    script.write_text(export(levels(tmp_path), settings, "sbatch", tmp_path / "logs"))
    done = subprocess.run(["sh", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = [line.split() for line in done.stdout.splitlines()]
    assert [name for name, _ in said] == ["train", "train", "unlearn", "unlearn", "report"]
    slurm.until(*(job for _, job in said))
    assert in_order(tmp_path)
    jobs = submit(levels(tmp_path), settings, tmp_path / "logs")
    for path in (tmp_path / "logs").glob("*.sh"):
        ours = re.sub(r"#SBATCH --dependency=.*\n", "", path.read_text()).rstrip("\n")
        assert f"\n{ours}\n" in script.read_text(), path.name
    slurm.until(*jobs)


def documents(text):
    return list(yaml.safe_load_all(text))


def test_kubernetes_gets_an_indexed_job_a_level(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = export(levels(tmp_path, gpus=2), SETTINGS, "kubernetes")
    train, unlearn, report = documents(text)
    assert [job["metadata"]["name"] for job in (train, unlearn, report)] == [
        "unlearnbench-train", "unlearnbench-unlearn", "unlearnbench-report",
    ]  # fmt: skip
    assert [job["spec"]["completions"] for job in (train, unlearn, report)] == [4, 4, 1]
    assert [job["spec"]["parallelism"] for job in (train, unlearn, report)] == [3, 3, 1]
    assert [job["spec"]["suspend"] for job in (train, unlearn, report)] == [False, True, True]
    assert {job["spec"]["completionMode"] for job in (train, unlearn, report)} == {"Indexed"}
    pod = train["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never" and pod["activeDeadlineSeconds"] == 1800
    [container] = pod["containers"]
    assert container["workingDir"] == container["volumeMounts"][0]["mountPath"] == str(tmp_path)
    assert container["resources"] == {"requests": {"cpu": "1", "memory": "1536Mi"}, "limits": {"nvidia.com/gpu": "2"}}
    assert "limits" not in report["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert text.count("kubectl patch job/") == 2


def test_a_pod_runs_the_command_of_its_index(tmp_path):
    for job in documents(export(levels(tmp_path), SETTINGS, "kubernetes")):
        words = job["spec"]["template"]["spec"]["containers"][0]["command"]
        words = [word.replace("$$", "$") for word in words]  # as Kubernetes does before it starts them
        for index in range(job["spec"]["completions"]):
            subprocess.run(words, env={**os.environ, "JOB_COMPLETION_INDEX": str(index)}, check=True)
    assert in_order(tmp_path)


def test_a_snakefile_has_a_rule_a_level_and_a_marker_a_command(tmp_path):
    text = export(levels(tmp_path, gpus=1), SETTINGS, "snakemake", tmp_path / "marks")
    head, *rules = re.split(r"^rule ", text, flags=re.MULTILINE)
    values: dict[str, object] = {}
    exec(head.partition("\nwildcard_constraints:")[0], values)  # this part is Python
    assert {name: len(found) for name, found in values["COMMANDS"].items()} == {"train": 4, "unlearn": 4, "report": 1}
    assert values["all_of"]("report") == [f"{tmp_path / 'marks'}/report_0.done"]
    assert [rule.partition(":")[0] for rule in rules] == ["all", "train", "unlearn", "report"]
    assert "input" not in rules[1] and "gpu=1" in rules[1] and "runtime=30" in rules[1]
    assert 'input:\n        all_of("train")' in rules[2]
    assert 'input:\n        all_of("unlearn")' in rules[3] and "gpu" not in rules[3]


def test_snakemake_cannot_write_to_a_folder_with_braces(tmp_path):
    with pytest.raises(UserError, match="as wildcards"):
        export(levels(tmp_path), SETTINGS, "snakemake", tmp_path / "{odd}")


@pytest.mark.skipif(shutil.which("snakemake") is None, reason="needs snakemake, which no extra installs")
def test_snakemake_runs_the_snakefile(tmp_path):
    (tmp_path / "Snakefile").write_text(export(levels(tmp_path), SETTINGS, "snakemake", tmp_path / "it's here"))
    words = ["snakemake", "--cores", "2", "--quiet", "all"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert in_order(tmp_path)
    again = subprocess.run(["snakemake", "--cores", "2"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Nothing to be done" in again.stderr, again.stderr
