"""Products that do not depend on their batch, on whatever processor the tests run."""

import os
import subprocess
import sys

from models.kernels.reproducible import fix_kernels

PRODUCTS = """
import models, torch
torch.set_num_threads(1)
torch.manual_seed(0)
unlike = []
for rows in (1, 5, 8, 16, 50, 100):
    for inner in (3, 8, 10, 13, 64, 784):
        for columns in (5, 10, 13, 40, 200):
            a, b = torch.randn(3, rows, inner), torch.randn(3, inner, columns)
            whole = torch.bmm(a, b)
            if not all(torch.equal(whole[i], torch.bmm(a[i : i + 1], b[i : i + 1])[0]) for i in range(3)):
                unlike.append((rows, inner, columns))
print(unlike)
"""


def test_a_product_in_a_batch_has_the_bits_that_it_has_alone():
    environment = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    done = subprocess.run([sys.executable, "-c", PRODUCTS], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"


def test_only_processors_that_are_not_intels_are_asked(tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    for vendor, before, after in (
        ("GenuineIntel", None, None),
        ("AuthenticAMD", None, "AUTO"),
        ("AuthenticAMD", "COMPATIBLE", "COMPATIBLE"),
        (None, None, None),
    ):
        monkeypatch.delenv("MKL_CBWR", raising=False)
        if before:
            monkeypatch.setenv("MKL_CBWR", before)
        cpuinfo.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n" if vendor else "processor\t: 0\n")
        fix_kernels(cpuinfo)
        assert os.environ.get("MKL_CBWR") == after
    fix_kernels(tmp_path / "not there")
