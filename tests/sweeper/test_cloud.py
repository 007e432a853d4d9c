"""Stores in a bucket, spoken to as at Amazon or Google: killed, cut off, robbed of its folder, a run loses no row."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import environment, same, until
from invariants import check_invariants
from store_rows import as_version_1

import sweeper
from sweeper.cloud import lease as leases
from sweeper.cloud import to_read, to_run, url_of, working_copy
from sweeper.cloud.lease import Lease
from sweeper.cloud.mirror import Mirror
from sweeper.cloud.objects import Bucket
from sweeper.errors import StoreInUse, StoreNewer, StoreUnwritable
from sweeper.store import CELL_SCHEMA, SCHEMA_VERSION, Store

BRIEF = {"steps": 20}
SOON = {"push": 0.1, "patience": 2.0}


@dataclass
class Service:
    """A bucket in a service of its own process, and what a command needs to reach it."""

    process: subprocess.Popen
    env: dict[str, str]
    scheme: str

    def url(self, name):
        return f"{self.scheme}://bucket/{self.scheme}/{name}"


@pytest.fixture(scope="module")
def s3():
    argv = [sys.executable, str(Path(__file__).parent / "s3_server.py")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        yield process, address
        process.kill()


@pytest.fixture(params=["s3", "gs"])
def service(request, s3, tmp_path, monkeypatch):
    """Amazon's way or Google's, with a cache folder of this test's own."""
    process, address = s3
    account = {"gcs_base_url": address, "disable_oauth": True} | dict.fromkeys(
        ("client_email", "private_key", "private_key_id"), ""
    )
    env = {
        "AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1", "NO_PROXY": "127.0.0.1",
        "AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret", "SWEEPER_CACHE": str(tmp_path / "cache"),
        "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account),
    }  # fmt: skip
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return Service(process, env, request.param)


# Google's way differs in the address, in credentials and in how a write is made conditional: race and lease show it.
AMAZON = pytest.mark.parametrize("service", ["s3", pytest.param("gs", marks=pytest.mark.slow)], indirect=True)


def run(commands, study, service, url, *more, **faults):
    """Begin `sweeper run` on a store in the bucket."""
    planted = {"unreported": None, "cloud": SOON} | faults
    return commands.start(study.argv("run", "--store", url, *more), env=service.env, faults=planted)


def at(study, folder):
    """The study with a folder in place of its store, for the checks."""
    object.__setattr__(study, "store", folder)
    return study


def rows_there(url):
    return {name for name in Bucket(url).list() if name.startswith("rows/cells/")}


def test_an_url_is_told_from_a_folder_also_as_a_path():
    assert url_of("s3://bucket/a/b/") == url_of(Path("s3://bucket/a/b")) == "s3://bucket/a/b"
    assert url_of("gs://bucket") == "gs://bucket" and url_of("results/s3") is None and url_of("C:/x") is None


@AMAZON
def test_a_run_into_a_bucket_is_whole_there_and_goes_on_elsewhere(tiny, sweeper_command, service, tmp_path):
    """From nothing, and then as if from another machine: what is finished is read, and only what is new is trained."""
    url, study, undisturbed = service.url("whole"), tiny(train=BRIEF), tiny(store="undisturbed", train=BRIEF)
    first = run(sweeper_command, study, service, url, "--set", "cells.seed=0")
    assert first.wait() == 0, first.err
    assert len(rows_there(url)) == 3 and not {"lock.json"} & Bucket(url).list().keys()
    shutil.rmtree(tmp_path / "cache")
    assert len(sweeper.load(url)) == 3
    shown = sweeper_command.run(["status", url], env=service.env)
    assert shown.code == 0 and "3 of 3" in shown.out, shown.out + shown.err
    shutil.rmtree(tmp_path / "cache")
    second = run(sweeper_command, study, service, url)
    assert second.wait() == 0 and "3 already done" in second.err, second.err
    undisturbed.run()
    assert not study.store.exists()
    check_invariants(at(study, working_copy(url)), undisturbed.store)
    shutil.rmtree(tmp_path / "cache")
    assert same(to_read(url), undisturbed.store)
    with pytest.raises(StoreUnwritable, match=f"no store at {service.url('nothing')}"):
        to_read(service.url("nothing"))


def test_of_two_machines_the_first_commit_counts_for_both(tiny, service, tmp_path):
    """Two copies with the same cells, committed apart: the bucket keeps one row of each, and both copies follow."""
    url, study, other = service.url("race"), tiny(train=BRIEF).trained(), tiny(store="other", train=BRIEF)
    other.run()
    ours, theirs = Mirror(Bucket(url), study.store), Mirror(Bucket(url), other.store)
    rows = lambda folder: {path.name: path.read_bytes() for path in (folder / "rows" / "cells").iterdir()}  # noqa: E731
    first, second = rows(study.store), rows(other.store)
    assert first.keys() == second.keys() and first != second  # times differ
    ours.push()
    theirs.push()
    assert rows(study.store) == rows(other.store) == first
    assert other.opened().check() == []
    damaged = sorted(first)[0]
    Bucket(url).put(f"rows/cells/{damaged}", first[damaged][:-20])
    fresh = Mirror(Bucket(url), tmp_path / "fresh")
    fresh.pull()
    store = Store.open(tmp_path / "fresh")
    assert [fault.path.name for fault in store.repair()] == [damaged]
    store.paths.new_row("cells", damaged).write_bytes(second[damaged])
    store.paths.new_row("history", damaged).write_bytes((other.store / "rows" / "history" / damaged).read_bytes())
    fresh.push()
    found = Bucket(url).get(f"rows/cells/{damaged}")
    assert found and found[0] == second[damaged]  # in place of the damaged one


@AMAZON
def test_what_goes_here_goes_there_but_no_row_that_was_not_superseded(tiny, service, tmp_path):
    url, study = service.url("gone"), tiny(train=BRIEF).trained()
    mirror = Mirror(Bucket(url), study.store)
    mirror.push()
    before = rows_there(url)
    study.run("train.steps=30")
    lost = sorted((study.store / "rows" / "cells").iterdir())[0]
    lost.unlink()
    mirror.push()
    after = rows_there(url)
    assert len(after) == 5 and not before & after  # the sixth, new here and lost, was never there
    assert not any(name.startswith("running/") for name in Bucket(url).list())
    sorted((study.store / "rows" / "cells").iterdir())[0].unlink()
    mirror.push()
    assert rows_there(url) == after
    mirror.pull()
    assert {f"rows/cells/{path.name}" for path in (study.store / "rows" / "cells").iterdir()} == after
    (study.store / "store.json").unlink()
    with pytest.raises(StoreUnwritable):
        mirror.push()
    assert rows_there(url) == after


@AMAZON
def test_rows_that_an_upgrade_gave_new_columns_take_the_place_of_those_in_the_bucket(service, tmp_path, monkeypatch):
    """And no others: one that was damaged here leaves the whole one there."""
    url, here = service.url("upgraded"), Store.create(tmp_path / "here")
    as_version_1(monkeypatch, here, (1, 2, 3))
    mirror = Mirror(Bucket(url), here.paths.root)
    mirror.push()
    with here.lock():
        assert here.repair() == []
    mirror.push()
    rows = {name: Bucket(url).get(name)[0] for name in Bucket(url).list() if name.startswith("cells/")}
    assert rows == {f"cells/{path.name}": path.read_bytes() for path in here.paths.cells.iterdir()}
    assert f'"schema_version": {SCHEMA_VERSION}'.encode() in Bucket(url).get("store.json")[0]
    damaged = here.paths.root / min(rows)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    mirror.push()
    assert Bucket(url).get(min(rows))[0] == rows[min(rows)] == damaged.read_bytes()
    Mirror(Bucket(url), tmp_path / "elsewhere").pull()
    there = Store.open(tmp_path / "elsewhere")
    assert len(there.cells()) == 3 and there.check() == []
    assert pq.read_schema(next(there.paths.cells.iterdir())).names == CELL_SCHEMA.names


def test_one_run_at_a_time_by_the_clock_of_the_service(service, monkeypatch):
    bucket = Bucket(service.url("lease"))
    first, second = Lease(bucket, "a"), Lease(bucket, "b")
    first.acquire()
    with pytest.raises(StoreInUse, match=rf"in use by process {os.getpid()} on .*last heard of \d+ s ago"):
        second.acquire()
    Lease(bucket, "a").acquire()  # on the copy of a run that was killed
    with pytest.raises(StoreInUse, match="taken over"):
        first.renew()
    monkeypatch.setattr(leases, "LEASE_S", 0.0)
    second.acquire()
    second.renew()
    second.release()
    assert "lock.json" not in bucket.list()


def test_a_newer_store_in_a_bucket_is_refused_untouched(tiny, sweeper_command, service):
    url, study = service.url("newer"), tiny()
    Bucket(url).put("store.json", b'{"format": "sweeper store", "schema_version": 99}')
    refused = run(sweeper_command, study, service, url)
    assert refused.wait() == 65 and "schema version 99" in refused.err
    with pytest.raises(StoreNewer):
        to_read(url)
    assert Bucket(url).list().keys() - {"clock"} == {"store.json"}


def test_names_from_a_bucket_stay_within_the_copy(service, tmp_path):
    url = service.url("names")
    bucket = Bucket(url)
    bucket.put("store.json", b'{"format": "sweeper store", "schema_version": 1}')
    for name in ("cells/a b", "evil", ".stop.json", "cache/x", "cells/.hidden", "cells/a/b/c/d/e"):
        bucket.put(name, b"x")
    Mirror(bucket, tmp_path / "copy").pull()
    assert [path.name for path in (tmp_path / "copy").rglob("*") if path.is_file()].count("store.json") == 1
    assert {path.name for path in (tmp_path / "copy").rglob("*") if path.is_file()} == {"store.json", "mirror.json"}


@pytest.mark.fault
@pytest.mark.slow
def test_a_service_out_of_reach_ends_the_run_with_74_and_the_same_command_takes_the_rest_there(
    tiny, sweeper_command, service, injected
):
    url, study, undisturbed = service.url("outage"), tiny(train={"steps": 300}), tiny(store="u", train={"steps": 300})
    undisturbed.run()
    cut_off = run(sweeper_command, study, service, url)
    until(lambda: cut_off.poll() is not None or rows_there(url))
    os.kill(service.process.pid, signal.SIGSTOP)
    try:
        assert cut_off.wait() == 74, cut_off.err
        assert "the same command takes it there" in cut_off.err and "Traceback" not in cut_off.err
        assert len(Store.open(working_copy(url)).committed()) == 6
        refused = run(sweeper_command, study, service, url)
        assert refused.wait() == 74
    finally:
        os.kill(service.process.pid, signal.SIGCONT)
    again = run(sweeper_command, study, service, url)
    assert again.wait() == 0 and "nothing is missing" in again.err, again.err
    shutil.rmtree(working_copy(url))
    assert same(to_read(url), undisturbed.store)
    injected("an object store out of reach", 2)


@pytest.mark.fault
@pytest.mark.slow
def test_of_two_machines_at_once_one_leaves_with_75_naming_the_other(
    tiny, sweeper_command, service, tmp_path, injected
):
    url, study, undisturbed = service.url("two"), tiny(train={"steps": 600}), tiny(store="u", train={"steps": 600})
    undisturbed.run()
    first = run(sweeper_command, study, service, url)
    until(lambda: first.poll() is not None or "lock.json" in Bucket(url).list())
    elsewhere = Service(service.process, service.env | {"SWEEPER_CACHE": str(tmp_path / "elsewhere")}, service.scheme)
    second = run(sweeper_command, study, elsewhere, url)
    assert second.wait() == 75 and f"is in use by process {first.pid} on " in second.err, second.err
    assert len(second.err.splitlines()) == 1 and second.cpu_s < 3
    assert first.wait() == 0, first.err
    third = run(sweeper_command, study, elsewhere, url)
    assert third.wait() == 0 and "nothing is missing" in third.err, third.err
    check_invariants(at(study, tmp_path / "elsewhere" / "stores" / working_copy(url).name), undisturbed.store)
    injected("two machines at once on a store in a bucket", 1)


@pytest.mark.fault
@pytest.mark.slow
def test_kills_and_a_lost_working_copy_lose_no_row_of_the_bucket(tiny, sweeper_command, service, times, injected):
    wanted = times(4, 10, 50)
    train = {"steps": 60 * wanted, "checkpoint_s": 0.1}
    url, study, undisturbed = service.url("kills"), tiny(train=train), tiny(store="undisturbed", train=train)
    undisturbed.run()
    share = undisturbed.opened().cells()["wall_s"].sum() / wanted
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng, kills, lost, seen = random.Random(seed), 0, 0, set()
    while True:
        driver = run(sweeper_command, study, service, url)
        if kills < wanted:
            time.sleep(rng.uniform(0, 0.5 + 1.2 * share))
            if driver.poll() is None:
                driver.kill()
        if driver.wait() == 0:
            break
        assert driver.code == -signal.SIGKILL, driver.err
        kills += 1
        now = rows_there(url)
        assert seen <= now
        seen = now
        if kills % 2:
            shutil.rmtree(working_copy(url), ignore_errors=True)
            lost += 1
    assert kills >= 0.7 * wanted
    shutil.rmtree(working_copy(url))
    with to_run(Path(url)) as folder:
        check_invariants(at(study, folder), undisturbed.store, {name.rpartition("/")[2].split("-")[0] for name in seen})
    injected("SIGKILL of the driver of a run into a bucket", kills)
    injected("its working copy deleted after the kill", lost)


def test_a_script_trains_into_a_bucket_and_loads_a_network_from_it(tiny, service):
    """With nothing of it left on this machine in between."""
    study = tiny(cells={"seed": 0, "rho": [0.9, 1]}, train={"steps": 10})
    url = service.url("from-python")
    result = sweeper.train(study.path, url, progress=False)
    assert result.store == url and result.done == 2
    shutil.rmtree(working_copy(url))
    cells = sweeper.load(url)
    model = sweeper.load_model(url, cells["cell_id"][0])
    assert model.step == 10 and model.sample(3).shape == (3, 64)
    assert len(result.critical) == 2
