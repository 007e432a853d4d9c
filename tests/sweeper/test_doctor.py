"""`sweeper doctor`: what it looks at, and what it makes of it."""

import json
import os
import re
import signal
import socket
import tomllib
from pathlib import Path

import numpy as np
import pytest
from conftest import until
from store_rows import cell_id, history, row

from sweeper.doctor import PACKAGES
from sweeper.store import Store
from sweeper.store.health import health

ROOT = Path(__file__).parents[2]


@pytest.fixture
def alone(tmp_path):
    """Environment without data, tokens and network."""
    offline = dict.fromkeys(("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    places = {"SWEEPER_DATA": tmp_path / "data", "SWEEPER_CACHE": tmp_path / "cache", "HOME": tmp_path / "home"}
    none = dict.fromkeys(("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_TOKEN"), "")
    return {name: str(path) for name, path in places.items()} | offline | none


@pytest.fixture
def doctor(sweeper_command, alone, drawn_sentences):
    """Runs the command twice: exit code, words, and what the JSON says. `draws`: the first one draws the sentences."""

    def run(*argv, draws=False, **env):
        given = {"drawn": drawn_sentences}
        shown = sweeper_command.run(["doctor", *map(str, argv)], env=alone | env, faults={} if draws else given)
        found = sweeper_command.run(["doctor", *map(str, argv), "--json"], env=alone | env, faults=given)
        assert shown.code == found.code and shown.err == found.err == ""
        return shown.code, shown.out, json.loads(found.out)

    return run


def test_the_versions_are_those_of_all_that_the_package_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {re.split(r"[\[>=]", each)[0] for each in project["dependencies"]} == set(PACKAGES)


def test_without_a_store_it_tells_of_the_machine_and_says_which_data_go_where(doctor, tmp_path):
    code, words, found = doctor(draws=True)
    assert code == 0 and found["store"] is None and found["problems"] == [] and "no problem found" in words
    assert all(found["versions"].values()) and found["machine"]["cores_allowed"] >= 1
    assert {each["name"]: each["state"] for each in found["data"]} == {
        "digits": "verified", "mnist": "missing", "mnist_static": "missing", "omniglot": "missing",
        "cifar10": "missing", "synthetic_text": "verified", "cmudict": "missing", "ud_ewt": "missing",
        "text": "missing",
    }  # fmt: skip
    assert f"put it at $SWEEPER_DATA/mnist/train-images-idx3-ubyte.gz (SWEEPER_DATA is {tmp_path / 'data'})" in words
    assert {each["what"] for each in found["disk"]} == {"store", "data cache", "temporary"}
    assert all(each["free_bytes"] > 0 for each in found["disk"])
    assert not (tmp_path / "cache").exists()  # nothing is downloaded


def test_damaged_data_and_open_tokens_are_problems(doctor, tmp_path):
    path = tmp_path / "data" / "binarized_mnist" / "binarized_mnist_train.amat.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no gzip")
    token = tmp_path / "home" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text("secret")
    token.chmod(0o640)
    code, words, found = doctor(RAY_AUTH_MODE="disabled")
    assert code == 0 and "secret" not in words + json.dumps(found)
    assert any(f"chmod 600 {token}" in each for each in found["problems"])
    assert any("RAY_AUTH_MODE=disabled" in each for each in found["problems"])
    assert any(f"data set mnist_static: {path} is damaged" in each for each in found["problems"])
    assert len(found["problems"]) == 3 and words.count("problem: ") == 3


def test_what_lies_in_a_store_besides_its_results_is_counted(doctor, tmp_path):
    store = Store.create(tmp_path / "store")
    for number in range(3):
        store.commit(row(number), history(number))
        store.save_state(cell_id(number), 500, {"w": np.ones(9, np.float32)}, {})
    store.commit(row(1, 1000), history(1, 1000))
    store.save_running("a", 100, {"w": np.ones((1, 9), np.float32)}, {"cell_ids": [cell_id(7)]})
    two = store.committed()[cell_id(2)][0].path
    two.unlink()
    (store.paths.cells / ".x.parquet.1.0123abcd.tmp").write_bytes(b"torn")
    before = {path: path.stat().st_mtime_ns for path in store.paths.root.rglob("*")}
    code, words, found = doctor(store.paths.root)
    assert code == 0 and found["store"]["damaged"] == []
    counts = {"cells": 2, "states": 3, "unfinished": 1, "superseded": 1, "aside": 0, "histories_alone": 1,
              "states_alone": 1, "temporary": 1}  # fmt: skip
    assert counts.items() <= found["store"].items()
    assert "unfinished stacks: 1, superseded rows: 1, histories without a row: 1, states without a row: 1" in words
    assert found["store"]["sizes"]["checkpoints"] > 0
    assert {path: path.stat().st_mtime_ns for path in store.paths.root.rglob("*")} == before


def test_every_damaged_file_is_named_and_the_exit_code_is_65(doctor, tmp_path):
    store = Store.create(tmp_path / "store")
    for number in range(3):
        store.commit(row(number), history(number))
        store.save_state(cell_id(number), 500, {"w": np.ones(9, np.float32)}, {})
    paths = [
        store.committed()[cell_id(0)][0].path,
        store.paths.row("history", store.committed()[cell_id(1)][0].name),
        next(store.paths.kept(cell_id(2)).glob("*.json")),
    ]
    for path in paths:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    code, words, found = doctor(store.paths.root)
    assert code == found["exit_code"] == 65 and "3 damaged" in words
    assert {each["path"] for each in found["store"]["damaged"]} == set(map(str, paths))
    assert "3 files of the store are damaged" in words
    store.paths.version.write_text('{"format": "sweeper store", "schema_version": 99}')
    code, words, _ = doctor(store.paths.root)
    assert code == 65 and "newer sweeper" in words and "versions: " in words
    code, words, _ = doctor(tmp_path / "nowhere")
    assert code == 74 and "no store at" in words


def test_a_run_in_one_process_listens_on_no_port_and_one_that_does_is_seen(doctor, tiny, sweeper_command):
    study = tiny(train={"steps": 10**6}, evaluation={"every": 0})
    run = sweeper_command.start(study.argv("run"))
    until(study.notes)
    code, words, found = doctor(study.store)
    assert code == 0 and f"run: process {run.pid} on {socket.gethostname()}" in words
    assert found["run"]["processes"] == 1 and found["run"]["ports"] == [] and "none listens on a port" in words
    run.kill()
    run.wait()
    with study.opened().lock(), socket.create_server(("0.0.0.0", 0)) as door:
        _, words, found = doctor(study.store)
        port = door.getsockname()[1]
        assert {"pid": os.getpid(), "address": "0.0.0.0", "port": port}.items() <= found["run"]["ports"][0].items()
        assert f"listens: 0.0.0.0 port {port}" in words
        assert any("can be reached from elsewhere, without a token" in each for each in found["problems"])


def test_what_a_run_replaces_while_it_is_looked_at_is_not_damaged(tiny, sweeper_command):
    study = tiny(train={"steps": 10**6, "checkpoint_s": 0.01}, evaluation={"every": 0})
    run = sweeper_command.start(study.argv("run"))
    until(study.notes)
    found = [health(study.opened()).damaged for _ in range(100)]
    run.kill(signal.SIGTERM)
    assert run.wait() == 143 and found == [[]] * 100
