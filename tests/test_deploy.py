"""What `deploy/` holds is of the form that its tools want, and starts nothing that listens to the world.

No cluster and no container engine are asked: manifests are held against the schemas of Kubernetes and of compose, Dagster's
settings against Dagster's own.
"""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import compose_spec
import kubernetes_validate
import pytest
import yaml

from splat_assets.cli import main

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
MANIFESTS = [
    pytest.param(document, id=f"{path.stem} {document['kind']} {document['metadata']['name']}")
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
PLAIN = [one for one in MANIFESTS if not str(one.values[0]["apiVersion"]).startswith("ray.io/")]


def _pods(document: Any) -> list[dict[str, Any]]:
    """The pod specifications anywhere in a manifest."""
    if isinstance(document, dict):
        own = [document] if "containers" in document else []
        return own + [pod for value in document.values() for pod in _pods(value)]
    return [pod for one in document for pod in _pods(one)] if isinstance(document, list) else []


PODS = [pod for one in MANIFESTS for pod in _pods(one.values[0])]


@pytest.mark.parametrize("document", PLAIN)
def test_a_manifest_has_the_form_of_its_kind(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_a_manifest_of_another_form_is_noticed() -> None:
    wrong = json.loads(json.dumps(PLAIN[-1].values[0]))
    wrong["spec"]["acessModes"] = wrong["spec"].pop("accessModes")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_the_ray_cluster_has_groups_whose_pods_have_the_form_of_pods() -> None:
    (cluster,) = (one.values[0] for one in MANIFESTS if one.values[0]["kind"] == "RayCluster")
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    assert cluster["apiVersion"] == "ray.io/v1"
    for group in groups:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
        assert isinstance(group["rayStartParams"], dict)
    assert all({"groupName", "replicas", "minReplicas", "maxReplicas"} <= group.keys() for group in groups[1:])
    constraints = (DEPLOY.parent / "constraints.txt").read_text()
    assert f"ray=={cluster['spec']['rayVersion']}\n" in constraints


def test_what_a_manifest_speaks_of_is_there() -> None:
    documents = [one.values[0] for one in MANIFESTS]
    named = {(one["kind"], one["metadata"]["name"]) for one in documents}
    own_secrets = set(re.findall(r"create secret generic (\S+)", (DEPLOY / "kubernetes/00-base.yaml").read_text()))
    for pod in PODS:
        assert pod.get("serviceAccountName", "splat") == "splat"
        for container in pod["containers"]:
            for source in container.get("envFrom", []):
                if "configMapRef" in source:
                    assert ("ConfigMap", source["configMapRef"]["name"]) in named
                else:
                    assert source["secretRef"]["name"] in own_secrets
            volumes = {volume["name"] for volume in pod.get("volumes", [])} | {"data"}
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
        for volume in pod.get("volumes", []):
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            assert claim is None or ("PersistentVolumeClaim", claim) in named


def test_no_pod_runs_as_root_or_may_become_more() -> None:
    assert PODS
    for pod in PODS:
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def test_nothing_listens_to_others_but_code_and_a_server_with_a_token() -> None:
    commands = [container.get("command", []) for pod in PODS for container in pod["containers"]]
    open_ones = [command for command in commands if "0.0.0.0" in command]
    assert len(open_ones) == 2
    for command in open_ones:
        assert command[:3] == ["dagster", "api", "grpc"] or "--token-file" in command
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        words = [*service.get("entrypoint", []), *service.get("command", [])]
        assert "0.0.0.0" not in words, name
        assert not service.get("ports") and service["network_mode"] == "host"


def test_the_compose_file_is_one() -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    compose = yaml.safe_load(text)
    assert compose_spec.PyCompose.from_yaml(yaml.safe_dump(compose)) is not None
    with pytest.raises(ValueError, match="restrat"):
        compose_spec.PyCompose.from_yaml(yaml.safe_dump({"services": {"x": {"image": "x", "restrat": "always"}}}))
    assert compose["services"].keys() == {"postgres", "code", "webserver", "daemon", "server", "dashboard"}
    for service in compose["services"].values():
        assert all(name in compose["services"] for name in service.get("depends_on", {}))
    given = set(re.findall(r"\$\{([A-Z_]+)", text))
    assert given <= set(re.findall(r"^#? ?([A-Z_]+)=", (DEPLOY / "example.env").read_text(), re.MULTILINE))


def _instances() -> list[Any]:
    in_cluster = yaml.safe_load_all((DEPLOY / "kubernetes/00-base.yaml").read_text())
    (settings,) = (one["data"] for one in in_cluster if one["metadata"]["name"] == "splat-dagster")
    return [
        pytest.param((DEPLOY / "dagster.yaml").read_text(), id="compose"),
        pytest.param(settings["dagster.yaml"], id="kubernetes"),
    ]


@pytest.mark.parametrize("text", _instances())
def test_dagster_takes_its_settings(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster._core.instance.ref import InstanceRef

    (tmp_path / "dagster.yaml").write_text(text)
    for name, value in (("POSTGRES_HOST", "127.0.0.1"), ("POSTGRES_PORT", "1"), ("POSTGRES_PASSWORD", "x")):
        monkeypatch.setenv(name, value)

    ref = InstanceRef.from_dir(str(tmp_path))

    assert ref.run_storage_data is not None and "postgres" in ref.run_storage_data.module_name
    if "K8sRunLauncher" in text:
        from dagster._config import process_config, resolve_to_config_type
        from dagster_k8s import K8sRunLauncher

        config = yaml.safe_load(text)["run_launcher"]["config"]
        assert process_config(resolve_to_config_type(K8sRunLauncher.config_type()), config).success


def _commands() -> list[Any]:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    found = [service["command"] for service in compose["services"].values() if service.get("image") == "splat"]
    commands = [container.get("command", [""]) for pod in PODS for container in pod["containers"]]
    found += [words[1:] for words in commands if words[0] == "splat"]
    return [pytest.param(words, id=shlex.join(words)) for words in found if words]


@pytest.mark.parametrize("words", _commands())
def test_its_commands_are_those_of_splat(words: list[str]) -> None:
    context = click.Context(main)
    command = main.get_command(context, words[0])
    assert command is not None
    command.make_parser(context).parse_args(words[1:])


def test_the_image_copies_what_is_there() -> None:
    root = DEPLOY.parent
    for line in (DEPLOY / "Containerfile").read_text().splitlines():
        if line.startswith("COPY"):
            assert all((root / name).exists() for name in line.split()[1:-1]), line
    extras = re.search(r"\.\[([a-z,]+)\]", (DEPLOY / "Containerfile").read_text())
    assert extras is not None
    assert all(f"\n{name} = [" in (root / "pyproject.toml").read_text() for name in extras[1].split(","))
