"""Limits of control groups, from folders made as the kernel lays them out."""

import pytest

from sweeper.machine.control_groups import Limits, killed_for_memory, limits


@pytest.fixture
def group(tmp_path):
    """Writes files of groups below a mount point, and asks for the limits of a process in `own`."""

    class Groups:
        def write(self, name, **files):
            folder = tmp_path / "mounted" / name
            folder.mkdir(parents=True, exist_ok=True)
            for file, text in files.items():
                (folder / file.replace("__", ".")).write_text(f"{text}\n")

        def ask(self, own):
            (tmp_path / "own").write_text(own)
            return limits(tmp_path / "mounted", tmp_path / "own")

    return Groups()


def test_without_groups_there_is_no_limit(group):
    assert group.ask("") == Limits(None, None)


def test_a_container_sees_its_group_as_the_root(group):
    """`docker run --cpus 2.5 -m 4g`, with 1 GB used, of which 0.3 GB are files that can be dropped."""
    group.write("", cpu__max="250000 100000", memory__max=4 << 30, memory__current=1 << 30,
                memory__stat=f"anon 5\ninactive_file {3 << 28}")  # fmt: skip
    for own in ("0::/\n", "0::/docker/named otherwise outside\n"):
        assert group.ask(own) == Limits(2.5, (3 << 30) + (3 << 28))


def test_the_strictest_of_the_groups_above_counts(group):
    """A batch job's step without limits, in a job with them."""
    group.write("slurm/job_1", cpu__max="800000 100000", memory__max=8 << 30, memory__current=2 << 30)
    group.write("slurm/job_1/step_0", cpu__max="max 100000", memory__max="max", memory__current=1 << 30)
    group.write("slurm", cpu__max="max 100000", memory__max=1 << 40, memory__current=3 << 30)
    assert group.ask("0::/slurm/job_1/step_0\n") == Limits(8.0, 6 << 30)


def test_groups_of_version_1(group):
    own = "12:memory:/job\n5:cpu,cpuacct:/job\n0::/\n"
    group.write("memory/job", memory__limit_in_bytes=2 << 30, memory__usage_in_bytes=3 << 30)
    group.write("memory", memory__limit_in_bytes=9223372036854771712, memory__usage_in_bytes=1)
    group.write("cpu/job", cpu__cfs_quota_us=-1, cpu__cfs_period_us=100000)
    assert group.ask(own) == Limits(None, 0)
    group.write("cpu/job", cpu__cfs_quota_us=150000, cpu__cfs_period_us=100000)
    assert group.ask(own) == Limits(1.5, 0)


def test_how_many_processes_were_killed_for_memory(group, tmp_path):
    """The group's own count, of version 2, of version 1, or of a container that sees its group as the root."""
    mounted, own, system = (tmp_path / name for name in ("mounted", "own", "vmstat"))
    own.write_text("4:memory:/job\n0::/there\n")
    assert killed_for_memory(mounted, own, system) == 0  # the system does not tell
    system.write_text("nr_free_pages 1\noom_kill 7\n")
    assert killed_for_memory(mounted, own, system) == 7
    group.write("memory/job", memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 3")
    assert killed_for_memory(mounted, own, system) == 3
    group.write("", memory__events="low 0\noom 9\noom_kill 2")
    assert killed_for_memory(mounted, own, system) == 2
    group.write("there", memory__events="low 0\noom 9\noom_kill 1\noom_group_kill 0")
    assert killed_for_memory(mounted, own, system) == 1
    assert killed_for_memory() >= 0
