"""A bundle: what goes in, that its numbers follow from its scores, and that each way to change it is found."""

from __future__ import annotations

import csv
import json
import shutil
import stat
import zipfile

import numpy as np
import pytest

from scored_runs import scored_run
from unlearnbench.bundles import manifest as listing
from unlearnbench.bundles.check import check
from unlearnbench.bundles.manifest import Manifest
from unlearnbench.bundles.pack import pack, tables
from unlearnbench.bundles.unpack import unpacked
from unlearnbench.commands.report import main as report
from unlearnbench.errors import UserError
from unlearnbench.files import sums, zips
from unlearnbench.files.digests import file_digest
from unlearnbench.report.collect import collect

ONE, TWO = "runs/finetune_m_d_aaaaaaa1", "runs/npo_m_d_aaaaaaa2"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Three finished runs, two of which share original and retrained models."""
    outputs = tmp_path_factory.mktemp("outputs")
    scored_run(outputs, "aaaaaaa1", "finetune")
    scored_run(outputs, "aaaaaaa2", "npo")
    scored_run(outputs, "aaaaaaa3", "none", references=0)
    return outputs


@pytest.fixture(scope="module")
def bundle(outputs, tmp_path_factory):
    target = tmp_path_factory.mktemp("bundles") / "b.zip"
    pack([outputs], target, weights=False)
    return target


def forged(bundle, target, edit, *, honest_tables=False):
    """Change the files of a bundle and make all its sums fit again, as somebody would who wants to deceive."""
    root = target.with_suffix("")
    with unpacked(bundle) as found:
        shutil.copytree(found.root, root)
    edit(root)
    for run in (root / "runs").iterdir():
        names = [file.relative_to(run).as_posix() for file in run.rglob("*") if file.is_file()]
        own = {name: file_digest(run / name) for name in names if name != sums.NAME}
        (run / sums.NAME).write_text(json.dumps(own))
    if honest_tables:
        for name, content in tables(collect([root / "runs"])).items():
            (root / name).write_bytes(content)
    files = {file.relative_to(root).as_posix(): file for file in root.rglob("*") if file.is_file()}
    listed = Manifest(
        schema=listing.SCHEMA, unlearnbench="0", weights=False, files={n: file_digest(f) for n, f in files.items()}
    )
    zips.write(target, {**{listed.member(n): f for n, f in files.items()}, listing.NAME: listed.text()})
    return check(target, fitted=False)


def rewritten(bundle, target, change):
    """Write the members of a zip again, as `change` returns them: name and content."""
    with zipfile.ZipFile(bundle) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            for name, content in change(info.filename, old.read(info)):
                new.writestr(name, content)
    return target


def told(checked):
    return [f"{place}: {why}" for place, why in checked.problems]


def test_all_numbers_follow_from_the_scores(bundle):
    checked = check(bundle)
    assert not checked.problems and checked.farthest == 0
    assert checked.reported == {"relearn_area": 3}
    with unpacked(bundle) as found:
        rows = len((found.root / "results.csv").read_text().splitlines()) - 1
    assert checked.numbers == rows - 3
    assert any("all is well" in line for line in checked.lines())


@pytest.mark.slow
def test_quick_leaves_fitted_attacks_out_and_says_so(bundle):
    checked = check(bundle, fitted=False)
    assert not checked.problems
    assert checked.reported == {"relearn_area": 3} and checked.numbers < check(bundle).numbers
    assert any("--quick" in line for line in checked.lines())


def test_what_is_packed(bundle, outputs, tmp_path):
    with zipfile.ZipFile(bundle) as packed:
        names = packed.namelist()
    assert {f"{ONE}/metrics.csv", f"{ONE}/result.json", "results.csv", "summary.csv", "README.txt"} <= set(names)
    assert not [name for name in names if "exposed" in name or "model/" in name or "run.log" in name]
    assert len([name for name in names if name.startswith("shared/")]) >= 12, "scores of originals are there once"
    again = tmp_path / "again.zip"
    pack([outputs], again, weights=False)
    assert again.read_bytes() == bundle.read_bytes()


def test_a_bundle_is_read_as_its_runs(bundle, outputs):
    with unpacked(bundle) as found:
        assert tables(collect([found.runs])) == tables(collect([outputs]))


def test_a_report_of_a_bundle_names_no_place_that_is_gone(bundle, tmp_path, capsys):
    assert report(["--to", str(tmp_path / "r"), str(bundle)]) == 0
    page, table = ((tmp_path / "r" / name).read_text() for name in ("report.html", "runs.csv"))
    assert ONE.split("/")[-1] in page and str(bundle) in table
    assert "unlearnbench-" not in page + table + capsys.readouterr().out, "the folder where it was unpacked"


def test_a_report_of_a_damaged_bundle_has_the_sound_runs_and_fails(bundle, tmp_path, caplog):
    def spoil(name, content):
        return [(name, b"x" + content[1:] if name == f"{TWO}/metrics.csv" else content)]

    damaged = rewritten(bundle, tmp_path / "damaged.zip", spoil)
    assert report(["--to", str(tmp_path / "r"), str(damaged)]) == 1
    assert f"{TWO}/metrics.csv in {damaged} is left out" in caplog.text
    table = (tmp_path / "r" / "runs.csv").read_text()
    assert ONE.split("/")[-1] in table and TWO.split("/")[-1] not in table


def number(file, old, new):
    """Replace a value of the unlearned model's accuracy on forget."""
    rows = list(csv.reader(file.open(newline="")))
    for row in rows:
        if row[-4:-1] == ["unlearned", "forget", "accuracy"] and (len(row) < 13 and row[0] == "aaaaaaa1"):
            row[-1] = new
    with file.open("w", newline="") as target:
        csv.writer(target, lineterminator="\n").writerows(rows)


def test_a_changed_number_is_found_though_all_sums_fit(bundle, tmp_path):
    def edit(root):
        number(root / ONE / "metrics.csv", "", "0.5625")

    (line,) = told(forged(bundle, tmp_path / "f.zip", edit, honest_tables=True))
    assert line.startswith(f"{ONE}: accuracy of unlearned on forget is 0.5625; its scores give ")


@pytest.mark.slow
def test_a_number_that_was_left_out_is_found(bundle, tmp_path):
    def edit(root):
        file = root / ONE / "metrics.csv"
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(line for line in lines if "unlearned,forget,mia_loss," not in line))

    (line,) = told(forged(bundle, tmp_path / "f.zip", edit, honest_tables=True))
    assert "mia_loss of unlearned on forget is not in metrics.csv" in line


def test_a_changed_score_is_found_though_all_sums_fit(bundle, tmp_path):
    def edit(root):
        file = root / TWO / "scores" / "unlearned_forget.npz"
        arrays = dict(np.load(file))
        arrays["logits"] = arrays["logits"].copy()
        arrays["logits"][0] += [0.0, 0.0, 0.01]
        file.unlink()  # others may be linked to it
        np.savez(file, **arrays)

    lines = told(forged(bundle, tmp_path / "f.zip", edit))
    assert lines and all(line.startswith(TWO) for line in lines)
    assert any("of unlearned on forget is" in line for line in lines)


@pytest.mark.slow
def test_scores_that_do_not_fit_are_named(bundle, tmp_path):
    def edit(root):
        file = root / TWO / "scores" / "unlearned_forget.npz"
        file.unlink()
        np.savez(file, logits=np.zeros((3, 2)), label=np.array([0, 1, 5]), index=np.arange(3))

    (line,) = told(forged(bundle, tmp_path / "f.zip", edit))
    assert line.endswith("cannot be computed from its scores: unlearned_forget.npz has labels beyond its 2 columns")


@pytest.mark.slow
def test_a_changed_table_is_found(bundle, tmp_path):
    def edit(root):
        text = (root / "summary.csv").read_text().splitlines()
        place = next(i for i, line in enumerate(text) if "unlearned,forget,accuracy," in line)
        text[place] = text[place].rsplit(",", 5)[0] + ",0.999,,,1,1"
        (root / "summary.csv").write_text("\n".join(text) + "\n")

    (line,) = told(forged(bundle, tmp_path / "f.zip", edit))
    assert line.startswith("summary.csv: mean of ") and "is 0.999; the runs give" in line


def test_a_missing_run_is_named(bundle, tmp_path):
    lines = told(forged(bundle, tmp_path / "f.zip", lambda root: shutil.rmtree(root / ONE)))
    assert any(
        "results.csv: has" in line and "of the run aaaaaaa1 (finetune, seed 0), which is missing" in line
        for line in lines
    )
    assert any("runs.csv: has 1 row of the run aaaaaaa1" in line for line in lines)


@pytest.mark.slow
def test_files_of_a_run_that_are_gone_are_named(bundle, tmp_path):
    gone = rewritten(bundle, tmp_path / "g.zip", lambda name, text: [] if name.startswith(ONE) else [(name, text)])
    lines = told(check(gone, fitted=False))
    assert f"{ONE}/metrics.csv: is missing" in lines and f"{ONE}/result.json: is missing" in lines


def test_a_damaged_file_is_named_and_the_others_are_checked(bundle, tmp_path):
    def change(name, text):
        return [(name, text.replace(b"0.", b"1.", 1) if name == f"{ONE}/metrics.csv" else text)]

    checked = check(rewritten(bundle, tmp_path / "d.zip", change), fitted=False)
    assert told(checked)[0] == f"{ONE}/metrics.csv: does not have the SHA-256 that bundle.json lists"
    assert checked.numbers > 100


@pytest.mark.slow
def test_flipped_bytes_are_named(bundle, tmp_path):
    with zipfile.ZipFile(bundle) as packed:
        info = packed.getinfo(f"{TWO}/metrics.csv")
    content = bytearray(bundle.read_bytes())
    for place in range(info.header_offset + 200, info.header_offset + 260):
        content[place] ^= 0xFF
    (tmp_path / "x.zip").write_bytes(content)
    lines = told(check(tmp_path / "x.zip", fitted=False))
    assert lines[0].startswith(f"{TWO}/metrics.csv: is damaged")


@pytest.mark.slow
def test_a_file_that_is_not_listed_is_named(bundle, tmp_path):
    target = rewritten(bundle, tmp_path / "m.zip", lambda name, text: [(name, text)])
    with zipfile.ZipFile(target, "a") as packed:
        packed.writestr("runs/other_m_d_aaaaaaa9/result.json", "{}")
    assert told(check(target, fitted=False)) == ["runs/other_m_d_aaaaaaa9/result.json: bundle.json does not list it"]


def with_member(bundle, target, name, content=b"x", mode=0o644):
    shutil.copy(bundle, target)
    with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED) as packed:
        info = zipfile.ZipInfo(name)
        info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
        packed.writestr(info, content)
    return target


@pytest.mark.parametrize(
    "name", ["../out.txt", "/etc/x", "runs/../../x", "a\\b", ".hidden", "runs//x", "x" * 300, "a:b"]
)
def test_names_that_lead_elsewhere_are_refused(bundle, tmp_path, name):
    with pytest.raises(UserError, match="is not a plain name"):
        check(with_member(bundle, tmp_path / "t.zip", name))
    assert [one.name for one in tmp_path.iterdir()] == ["t.zip"]


def test_links_and_bombs_are_refused(bundle, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="a folder, a link or a device"):
        check(with_member(bundle, tmp_path / "l.zip", "runs/link", b"/etc/passwd", stat.S_IFLNK | 0o777))
    monkeypatch.setattr(zips, "SLACK", 2**20)
    bomb = with_member(bundle, tmp_path / "b.zip", "runs/zeros", bytes(150 * bundle.stat().st_size))
    with pytest.raises(UserError, match="it would unpack to"):
        check(bomb)


def test_a_zip_that_was_cut_or_is_none_is_refused(bundle, tmp_path):
    (tmp_path / "cut.zip").write_bytes(bundle.read_bytes()[:-2000])
    with pytest.raises(UserError, match="was cut short"):
        check(tmp_path / "cut.zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as packed:
        packed.writestr("a.txt", "x")
    with pytest.raises(UserError, match=r"it has no bundle\.json"):
        check(tmp_path / "other.zip")


@pytest.mark.parametrize(
    "path", ["../x", "/x", "runs/a/../../x", "runs/a/run.log", "shared/x", "runs/a/model/../../../x"]
)
def test_a_list_that_leads_elsewhere_is_refused(bundle, tmp_path, path):
    def change(name, text):
        listed = json.loads(text) if name == "bundle.json" else {}
        return [(name, json.dumps({**listed, "files": {**listed["files"], path: "ab" * 32}}) if listed else text)]

    with pytest.raises(UserError, match="which no bundle has"):
        check(rewritten(bundle, tmp_path / "p.zip", change))


def test_bundles_are_zips(outputs, tmp_path):
    with pytest.raises(UserError, match="a bundle is one zip"):
        pack([outputs], tmp_path / "folder", weights=False)
