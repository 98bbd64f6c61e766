"""The module `deb`, with the real dpkg in a root directory of its own (dpkg's DPKG_ROOT)."""

import fcntl
import subprocess
from pathlib import Path

import pytest

from device_agent.process import run
from tests.support.shipped_modules import PATH, ShippedModule

OFFLINE = '#!/bin/sh\necho "apt-get $*" >> "$DPKG_ROOT/apt-calls"\nexit 100\n'


class Device:
    """A root with an empty dpkg database, and an apt-get that has no network."""

    def __init__(self, place: Path) -> None:
        self.place, self.root, self.programs = place, place / "root", place / "bin"
        self.administration = self.root / "var" / "lib" / "dpkg"
        self.updates = 0
        for directory in (self.administration / "info", self.administration / "updates"):
            directory.mkdir(parents=True)
        for name in ("status", "available"):
            (self.administration / name).touch()
        self.programs.mkdir()
        self.program("apt-get", OFFLINE)
        self.environment = {
            "PATH": f"{self.programs}:{PATH}",
            "DPKG_ROOT": str(self.root),
            "DPKG_FORCE": "not-root",  # whoever runs the tests owns all that is installed
        }

    def program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def deb(self, name: str, version: str, *, control: str = "", file: str = "") -> Path:
        """Return a package with one file that holds the version; in etc/ it is a conffile."""
        content = self.place / f"{name}-{version}"
        path = content / (file or f"srv/{name}.txt")
        path.parent.mkdir(parents=True)
        path.write_text(version)
        (content / "DEBIAN").mkdir()
        (content / "DEBIAN" / "control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: all\n"
            f"Maintainer: Nobody <nobody@example.org>\nDescription: test\n{control}"
        )
        if file.startswith("etc/"):
            (content / "DEBIAN" / "conffiles").write_text(f"/{file}\n")
        built = self.place / f"{name}_{version}.deb"
        argv = ["dpkg-deb", "--build", str(content), str(built)]
        subprocess.run(argv, check=True, capture_output=True, timeout=60)
        return built

    def update(self, *debs: Path) -> ShippedModule:
        """Return the next update. All of a device's updates share its cache."""
        self.updates += 1
        place = self.place / f"update{self.updates}"
        files = {deb.name: deb.read_bytes() for deb in debs}
        update = ShippedModule(place, "deb", files, environment=self.environment)
        shared = self.place / "deb-cache"
        shared.mkdir(exist_ok=True)
        (place / "state" / "modules" / "v3" / "deb-cache").symlink_to(shared)
        return update

    def installed(self, *debs: Path) -> None:
        self.update(*debs).succeed("ArtifactInstall", "ArtifactCommit", "Cleanup")

    def forget_cache(self) -> None:
        for deb in self.cache:
            (self.place / "deb-cache" / deb).unlink()

    @property
    def cache(self) -> list[str]:
        return sorted(path.name for path in (self.place / "deb-cache").iterdir())

    def dpkg(self, *arguments: str) -> None:
        done = run(["dpkg", *arguments], timeout=60.0, environment=self.environment)
        assert done.ok, done.stderr

    @property
    def packages(self) -> set[str]:
        """Return `name version status` of every package that dpkg knows."""
        shown = "--showformat=${Package} ${Version} ${db:Status-Status}\n"
        argv = ["dpkg-query", "--show", shown]
        done = run(argv, timeout=60.0, environment=self.environment)
        return set(done.stdout.decode().splitlines())


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_packages_are_installed_whatever_their_order(device: Device) -> None:
    app = device.deb("a-app", "1.0", control="Depends: z-library\n")
    device.installed(app, device.deb("z-library", "2.0"))
    assert device.packages == {"a-app 1.0 installed", "z-library 2.0 installed"}
    assert (device.root / "srv" / "a-app.txt").read_text() == "1.0"


def test_a_package_needs_no_ending_to_its_name(device: Device) -> None:
    """As when a release is the package itself: then its file is named `payload`."""
    plain = device.deb("app", "1.0").rename(device.place / "payload")
    device.installed(plain)
    assert device.packages == {"app 1.0 installed"}


def test_a_file_beside_the_packages_is_no_package(device: Device) -> None:
    notes = device.place / "notes.txt"
    notes.write_text("read me")
    device.installed(device.deb("app", "1.0"), notes)
    assert device.packages == {"app 1.0 installed"}


def test_a_rollback_removes_what_was_not_there(device: Device) -> None:
    update = device.update(device.deb("app", "1.0"))
    update.succeed("ArtifactInstall")
    assert update.answer("SupportsRollback") == "Yes\n"
    update.succeed("ArtifactRollback", "ArtifactRollback", "ArtifactFailure", "Cleanup")
    assert device.packages == set()
    assert not (device.root / "srv").exists()


def test_a_rollback_reinstalls_the_version_that_this_module_installed_before(
    device: Device,
) -> None:
    device.installed(device.deb("app", "1.0"))
    update = device.update(device.deb("app", "2.0"))
    update.succeed("ArtifactInstall")
    assert device.packages == {"app 2.0 installed"}
    assert update.answer("SupportsRollback") == "Yes\n"
    update.succeed("ArtifactRollback", "ArtifactRollback", "Cleanup")
    assert device.packages == {"app 1.0 installed"}
    assert (device.root / "srv" / "app.txt").read_text() == "1.0"


def test_a_rollback_still_works_when_commit_was_cut(device: Device) -> None:
    device.installed(device.deb("app", "1.0"))
    update = device.update(device.deb("app", "2.0"))
    update.succeed("ArtifactInstall", "ArtifactCommit", "ArtifactRollback")
    assert device.packages == {"app 1.0 installed"}


def test_an_update_may_lower_the_version(device: Device) -> None:
    device.installed(device.deb("app", "1:2.0"))
    device.installed(device.deb("app", "3.0"))
    assert device.packages == {"app 3.0 installed"}


def test_the_cache_holds_what_is_installed_and_nothing_else(device: Device) -> None:
    device.installed(device.deb("app", "1:1.0"))
    assert device.cache == ["app_1%3a1.0_all.deb"]
    device.installed(device.deb("app", "1:2.0"))
    assert device.cache == ["app_1%3a2.0_all.deb"]
    device.update(device.deb("app", "1:3.0")).succeed(
        "ArtifactInstall", "ArtifactRollback", "ArtifactFailure", "Cleanup"
    )
    assert device.cache == ["app_1%3a2.0_all.deb"]


def test_without_the_former_packages_file_there_is_no_rollback(device: Device) -> None:
    device.installed(device.deb("app", "1.0"))
    device.forget_cache()
    update = device.update(device.deb("app", "2.0"))
    assert update.answer("SupportsRollback") == "No\n"
    update.succeed("ArtifactInstall")
    assert update.answer("SupportsRollback") == "No\n"
    assert "no file to bring back app 1.0" in update.refusal("ArtifactRollback")
    assert device.packages == {"app 2.0 installed"}


def test_a_damaged_file_in_the_cache_counts_as_none(device: Device) -> None:
    device.installed(device.deb("app", "1.0"))
    (device.place / "deb-cache" / device.cache[0]).write_bytes(b"damaged")
    update = device.update(device.deb("app", "2.0"))
    assert update.answer("SupportsRollback") == "No\n"
    update.succeed("ArtifactInstall", "ArtifactCommit", "Cleanup")
    assert device.cache == ["app_2.0_all.deb"]


def test_apt_may_have_the_former_package(device: Device) -> None:
    old = device.deb("app", "1.0")
    device.installed(old)
    device.forget_cache()
    device.program("apt-get", f'#!/bin/sh\necho "Get:1 $*"\ncp {old} app_1.0_all.deb\n')
    update = device.update(device.deb("app", "2.0"))
    assert update.answer("SupportsRollback") == "Yes\n"
    update.succeed("ArtifactInstall", "ArtifactRollback")
    assert device.packages == {"app 1.0 installed"}


def test_the_same_version_again_can_be_rolled_back_to_itself(device: Device) -> None:
    deb = device.deb("app", "1.0")
    device.installed(deb)
    device.forget_cache()
    update = device.update(deb)
    assert update.answer("SupportsRollback") == "Yes\n"
    update.succeed("ArtifactInstall", "ArtifactRollback", "Cleanup")
    assert device.packages == {"app 1.0 installed"}


def test_a_failed_install_is_rolled_back(device: Device) -> None:
    device.installed(device.deb("app", "1.0"))
    needy = device.deb("app", "2.0", control="Depends: not-there\n")
    update = device.update(needy, device.deb("extra", "1.0"))
    assert "dpkg failed with status 1" in update.refusal("ArtifactInstall")
    assert update.answer("SupportsRollback") == "Yes\n"
    update.succeed("ArtifactRollback", "ArtifactFailure", "Cleanup")
    assert device.packages == {"app 1.0 installed"}


def test_a_package_that_took_over_files_gives_them_back(device: Device) -> None:
    device.installed(device.deb("app", "1.0", file="srv/shared.txt"))
    update = device.update(
        device.deb("app", "2.0", control="Depends: app-data\n"),
        device.deb("app-data", "2.0", file="srv/shared.txt", control="Replaces: app (<< 2)\n"),
    )
    update.succeed("ArtifactInstall", "ArtifactRollback")
    assert device.packages == {"app 1.0 installed"}
    assert (device.root / "srv" / "shared.txt").read_text() == "1.0"


KILLED_HALF_WAY = """#!/bin/sh
case "$*" in
*--install*)
    for deb; do case "$deb" in *.deb) /usr/bin/dpkg --unpack "$deb"; break ;; esac; done
    kill -9 $PPID ;;
*) exec /usr/bin/dpkg "$@" ;;
esac
"""


def test_killed_between_two_packages_it_can_be_rolled_back(device: Device) -> None:
    device.installed(device.deb("a-app", "1.0"))
    update = device.update(device.deb("a-app", "2.0"), device.deb("b-extra", "1.0"))
    device.program("dpkg", KILLED_HALF_WAY)
    assert update.call("ArtifactInstall").status == -9
    assert device.packages == {"a-app 2.0 unpacked"}
    (device.programs / "dpkg").unlink()
    assert update.answer("SupportsRollback") == "Yes\n"
    update.succeed("ArtifactRollback", "ArtifactFailure", "Cleanup")
    assert device.packages == {"a-app 1.0 installed"}


def test_what_an_interrupted_dpkg_left_is_finished_first(device: Device) -> None:
    device.dpkg("--unpack", str(device.deb("other", "1.0")))
    assert device.packages == {"other 1.0 unpacked"}
    device.update(device.deb("app", "1.0")).succeed("ArtifactInstall")
    assert device.packages == {"app 1.0 installed", "other 1.0 installed"}


def test_a_broken_package_does_not_keep_its_own_repair_out(device: Device) -> None:
    broken = device.deb("app", "1.0", control="Depends: not-there\n")
    device.dpkg("--unpack", str(broken))
    device.update(device.deb("app", "2.0")).succeed("ArtifactInstall")
    assert device.packages == {"app 2.0 installed"}


def test_a_configuration_file_that_was_edited_is_kept(device: Device) -> None:
    file = "etc/app.conf"
    device.installed(device.deb("app", "1.0", file=file))
    (device.root / file).write_text("edited")
    update = device.update(device.deb("app", "2.0", file=file))
    update.succeed("ArtifactInstall")
    assert (device.root / file).read_text() == "edited"
    update.succeed("ArtifactRollback")
    assert (device.root / file).read_text() == "edited"


def test_it_waits_for_another_package_manager(device: Device) -> None:
    update = device.update(device.deb("app", "1.0"))
    argv = [str(update.program), "ArtifactInstall", str(update.path)]
    with (device.administration / "lock-frontend").open("ab") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        with subprocess.Popen(argv, stderr=subprocess.PIPE, env=update.environment) as waiting:
            assert waiting.stderr is not None
            assert b"waiting for" in waiting.stderr.readline()
            assert device.packages == set()
            fcntl.lockf(lock, fcntl.LOCK_UN)
            waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert device.packages == {"app 1.0 installed"}


def test_what_is_no_package_is_refused_and_changes_nothing(device: Device) -> None:
    broken = device.place / "broken.deb"
    broken.write_bytes(b"no package")
    update = device.update(broken, device.deb("app", "1.0"))
    assert "broken.deb is not a Debian package" in update.refusal("ArtifactInstall")
    assert update.answer("SupportsRollback") == "Yes\n"
    update.succeed("ArtifactRollback", "ArtifactFailure", "Cleanup")
    assert device.packages == set()


def test_a_payload_without_packages_is_refused(device: Device) -> None:
    assert "the payload has no package" in device.update().refusal("ArtifactInstall")


def test_without_dpkg_it_says_so(tmp_path: Path) -> None:
    environment = {"DPKG_ROOT": str(tmp_path)}
    update = ShippedModule(tmp_path, "deb", {"a.deb": b"x"}, environment=environment)
    assert "this device has no dpkg" in update.refusal("ArtifactInstall")
