"""Which device an artifact fits, and what it provides afterwards."""

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.artifact.provides import contents, expect_fitting, matches, provides_after
from device_agent.artifact.reader import Header
from device_agent.core.component import Contents
from device_agent.errors import UpdateRejected
from schemas.artifact.header import Payload
from schemas.refusal import Code

OLD = {
    "artifact_name": "kiosk-1.4",
    "artifact_group": "kiosks",
    "rootfs-image.version": "9",
    "rootfs-image.app.version": "1",
    "data.app.version": "7",
}


def payload(
    provides: dict[str, str] | None = None,
    depends: dict[str, tuple[str, ...]] | None = None,
    clears: tuple[str, ...] | None = (),
) -> Payload:
    return Payload("single-file", provides or {}, depends or {}, clears, b"")


def header(*payloads: Payload) -> Header:
    return Header(
        name="kiosk-1.5",
        group=None,
        device_types=("kiosk", "kiosk-2"),
        depends_name=(),
        depends_group=(),
        payloads=payloads or (payload(),),
        scripts=(),
        info=b"",
    )


@pytest.mark.parametrize(
    "fits",
    [
        header(),
        replace(header(), depends_name=("kiosk-1.3", "kiosk-1.4")),
        replace(header(), depends_group=("kiosks",)),
        header(payload(depends={"rootfs-image.version": ("8", "9")})),
    ],
)
def test_a_device_that_has_one_of_the_values_of_each_condition_fits(fits: Header) -> None:
    expect_fitting(fits, OLD, "kiosk-2")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (replace(header(), device_types=("tv",)), "it is for tv, this device is kiosk"),
        (replace(header(), depends_name=("a", "b")), "artifact_name a or b, this device has kiosk"),
        (replace(header(), depends_group=("x",)), "artifact_group x, this device has kiosks"),
        (header(payload(depends={"rootfs-image.version": ("8",)})), "8, this device has 9"),
        (header(payload(), payload(depends={"x": ("1",)})), "x 1, this device has nothing"),
    ],
)
def test_a_device_that_lacks_a_value_is_refused_in_words(other: Header, words: str) -> None:
    with pytest.raises(UpdateRejected, match=words) as caught:
        expect_fitting(other, OLD, "kiosk")
    assert caught.value.code == Code.COMPAT


def after(new: Header, provides: Mapping[str, str]) -> Mapping[str, str]:
    return provides_after(contents(new), provides)


def test_a_new_device_provides_what_the_artifact_says() -> None:
    new = replace(header(payload({"a": "1"})), group="g")
    assert after(new, {}) == {
        "artifact_name": "kiosk-1.5",
        "artifact_group": "g",
        "a": "1",
    }


def test_only_what_is_cleared_goes() -> None:
    new = header(payload({"rootfs-image.app.version": "2"}, clears=("rootfs-image.app.*",)))
    assert after(new, OLD | {"rootfs-image.app.name": "x"}) == OLD | {
        "artifact_name": "kiosk-1.5",
        "rootfs-image.app.version": "2",
    }


def test_a_root_filesystem_takes_what_lay_in_it_along() -> None:
    clears = ("artifact_group", "rootfs_image_checksum", "rootfs-image.*")
    new = header(payload({"rootfs-image.version": "10"}, clears=clears))
    assert after(new, OLD) == {
        "artifact_name": "kiosk-1.5",
        "rootfs-image.version": "10",
        "data.app.version": "7",
    }


def test_a_payload_that_says_nothing_of_clearing_clears_all() -> None:
    assert after(header(payload(clears=None)), OLD) == {"artifact_name": "kiosk-1.5"}


def test_no_payload_clears_what_another_one_of_the_artifact_provides() -> None:
    new = header(payload({"a": "1"}), payload({"b": "2"}, clears=("*",)))
    assert after(new, OLD) == {"artifact_name": "kiosk-1.5", "a": "1", "b": "2"}


def test_contents_name_the_modules_of_the_payloads_that_are_not_empty() -> None:
    empty = replace(payload({"a": "1"}), type=None)
    found = contents(replace(header(empty, payload({"b": "2"}, clears=None)), group="g"))
    assert found == Contents(
        name="kiosk-1.5",
        group="g",
        modules=("single-file",),
        provides={"a": "1", "b": "2"},
        clears=("*",),
    )


def test_installing_twice_is_installing_once() -> None:
    new = header(payload({"a": "1"}, clears=("rootfs-image.*", "*.version")))
    once = after(new, OLD)
    assert after(new, once) == once


def test_a_pattern_longer_than_the_key_just_does_not_match() -> None:
    assert not matches("*.rootfs-image-version", "foo")


@given(
    pattern=st.text("ab.*", max_size=8),
    key=st.text("ab.", max_size=8),
)
def test_a_star_is_any_text_and_everything_else_is_itself(pattern: str, key: str) -> None:
    expression = ".*".join(map(re.escape, pattern.split("*")))
    assert matches(pattern, key) == bool(re.fullmatch(expression, key))
