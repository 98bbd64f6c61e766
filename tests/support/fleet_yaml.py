"""Builders of fleet repositories: YAML texts, and the loader and build() run over them."""

from collections.abc import Mapping

from reconciler.adapters.yaml_loader import Loader
from reconciler.domain.build import Broken, build
from reconciler.domain.build_document import Loaded
from reconciler.domain.desired import Desired
from reconciler.domain.problems import Problem
from reconciler.ports import RepoFile

COMMIT = "c" * 40


def document(kind: str, name: str, spec: str, metadata: str = "") -> str:
    """Return a document; `spec` is a flow mapping, `metadata` more fields of it."""
    more = f", {metadata}" if metadata else ""
    return f"apiVersion: fleetcd/v1\nkind: {kind}\nmetadata: {{name: {name}{more}}}\nspec: {spec}\n"


def fleet(name: str = "kiosks", selector: str = "product=kiosk", more: str = "") -> str:
    tail = f", {more}" if more else ""
    return document(
        "Fleet", name, f'{{selector: "{selector}", components: {{os: demo-os@1}}{tail}}}'
    )


def release(version: str = "1", more: str = "", name: str = "demo-os") -> str:
    tail = f", {more}" if more else ""
    artifact = f'{{compatible: "", sha256: {"a" * 64}, size: 4096}}'
    spec = f'{{version: "{version}", installer: rootfs-ab, artifacts: [{artifact}]{tail}}}'
    return document("Release", name, spec)


def policy(name: str, stages: str, more: str = "") -> str:
    tail = f", {more}" if more else ""
    return document("RolloutPolicy", name, f"{{stages: [{stages}]{tail}}}")


def device(name: str, labels: str = "product: kiosk", spec: str = "{}") -> str:
    return document("Device", name, spec, f"labels: {{{labels}}}")


def load(files: Mapping[str, str | bytes]) -> Loaded:
    contents = {p: t if isinstance(t, bytes) else t.encode() for p, t in files.items()}
    listed = [RepoFile(path, path, len(data)) for path, data in contents.items()]
    return Loader().load(listed, lambda blobs: {blob: contents[blob] for blob in blobs})


def built(*documents: str) -> Desired | Broken:
    """Return what a repository of one file asks for. Line 1 of each document is `---`."""
    return build(
        load({"all.yaml": "---\n" + "---\n".join(documents)}), commit=COMMIT, committed_at=None
    )


def desired(*documents: str) -> Desired:
    result = built(*documents)
    assert isinstance(result, Desired), result
    return result


def problems(*documents: str) -> tuple[Problem, ...]:
    result = built(*documents)
    assert isinstance(result, Broken), result
    return result.problems


def only_problem(*documents: str) -> Problem:
    found = problems(*documents)
    assert len(found) == 1, found
    return found[0]
