"""What programs with Python's Kubernetes library do: a function a part, chosen by the argument.

Each part ends with `<part> done`; whatever is not as it should be is an exception.
"""

import faulthandler
import json
import os
import sys
import threading
import time

from kubernetes import client, config, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError
from kubernetes.stream import portforward, stream

NAMESPACE = os.environ["NAMESPACE"]


def until(what, look):
    """Looks until there is something; a minute is for hung machines."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        seen = look()
        if seen:
            return seen
        time.sleep(0.05)
    raise AssertionError(f"not in time: {what}")


def equal(seen, wanted):
    assert seen == wanted, f"{seen!r} instead of {wanted!r}"


def config_map(name, data, labels=None):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels), data=data)


def informer():
    """A list, a watch from there on, and the same again where the first watch ended."""
    core = client.CoreV1Api()
    cache, seen, stop = {}, [], threading.Event()

    def follow():
        listed = core.list_namespaced_config_map(NAMESPACE, label_selector="app=py")
        version = listed.metadata.resource_version
        cache.update({item.metadata.name: item for item in listed.items})
        while not stop.is_set():
            # Short watches: each ends by its time, and the next goes on from the last version.
            stream_of = watch.Watch().stream(
                core.list_namespaced_config_map,
                NAMESPACE,
                label_selector="app=py",
                resource_version=version,
                allow_watch_bookmarks=True,
                timeout_seconds=1,
            )
            for event in stream_of:
                item = event["object"]
                if event["type"] == "BOOKMARK":
                    version = item["metadata"]["resourceVersion"]
                    continue
                version = item.metadata.resource_version
                seen.append((event["type"], item.metadata.name))
                if event["type"] == "DELETED":
                    cache.pop(item.metadata.name)
                else:
                    cache[item.metadata.name] = item

    core.create_namespaced_config_map(NAMESPACE, config_map("before", {}, {"app": "py"}))
    thread = threading.Thread(target=follow)
    thread.start()
    try:
        until("what was there", lambda: "before" in cache)
        for number in range(20):
            core.create_namespaced_config_map(NAMESPACE, config_map(f"m{number}", {"n": "0"}, {"app": "py"}))
            core.patch_namespaced_config_map(f"m{number}", NAMESPACE, {"data": {"n": "1"}})
            if number % 2:
                core.delete_namespaced_config_map(f"m{number}", NAMESPACE)
            if number % 5 == 0:
                time.sleep(0.4)
        core.create_namespaced_config_map(NAMESPACE, config_map("other", {}, {"app": "other"}))
        core.create_namespaced_config_map(NAMESPACE, config_map("last", {}, {"app": "py"}))
        until("the last", lambda: "last" in cache)
    finally:
        stop.set()
        thread.join()
    listed = core.list_namespaced_config_map(NAMESPACE, label_selector="app=py").items
    equal({item.metadata.name: item.metadata.resource_version for item in listed},
          {name: item.metadata.resource_version for name, item in cache.items()})
    equal(len(seen), 20 + 20 + 10 + 1)
    equal(len(set(seen)), len(seen))
    names, token = [], None
    while token != "":
        page = core.list_namespaced_config_map(NAMESPACE, limit=4, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue or ""
    equal(len(names), len(core.list_namespaced_config_map(NAMESPACE).items))


def patches():
    """Merge, strategic, JSON and apply; dry runs and field managers."""
    apps, core = client.AppsV1Api(), client.CoreV1Api()
    labels = {"app": "web"}
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels),
        spec=client.V1PodSpec(containers=[client.V1Container(name="web", image="web:1"),
                                          client.V1Container(name="side", image="side:1")]))
    deployment = client.V1Deployment(
        metadata=client.V1ObjectMeta(name="web"),
        spec=client.V1DeploymentSpec(replicas=0, selector=client.V1LabelSelector(match_labels=labels), template=template))
    made = apps.create_namespaced_deployment(NAMESPACE, deployment, field_manager="maker")
    equal(made.spec.strategy.type, "RollingUpdate")
    change = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}}}
    strategic = apps.patch_namespaced_deployment("web", NAMESPACE, change)
    equal([c.image for c in strategic.spec.template.spec.containers], ["web:2", "side:1"])
    operations = [{"op": "replace", "path": "/spec/replicas", "value": 0},
                  {"op": "add", "path": "/metadata/labels", "value": {"by": "json"}}]
    equal(apps.patch_namespaced_deployment("web", NAMESPACE, operations).metadata.labels, {"by": "json"})
    merged = apps.patch_namespaced_deployment(
        "web", NAMESPACE, {"metadata": {"labels": {"by": None, "kind": "merge"}}},
        _content_type="application/merge-patch+json")
    equal(merged.metadata.labels, {"kind": "merge"})
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"k": "1"}}
    for value in ["1", "2"]:
        applied["data"]["k"] = value
        answer = core.patch_namespaced_config_map(
            "applied", NAMESPACE, applied, field_manager="py", force=True, _content_type="application/apply-patch+yaml")
        equal(answer.data, {"k": value})
    equal(answer.metadata.managed_fields[0].manager, "py")
    dry = core.patch_namespaced_config_map("applied", NAMESPACE, {"data": {"k": "3"}}, dry_run="All")
    equal((dry.data["k"], core.read_namespaced_config_map("applied", NAMESPACE).data["k"]), ("3", "2"))
    scale = apps.patch_namespaced_deployment_scale("web", NAMESPACE, {"spec": {"replicas": 0}})
    equal((scale.kind, scale.spec.replicas), ("Scale", 0))
    replaced = apps.read_namespaced_deployment("web", NAMESPACE)
    replaced.metadata.annotations = {"note": "replaced"}
    apps.replace_namespaced_deployment("web", NAMESPACE, replaced)
    try:
        apps.replace_namespaced_deployment("web", NAMESPACE, replaced)
        raise AssertionError("the version is an old one")
    except ApiException as error:
        equal(error.status, 409)
    apps.delete_namespaced_deployment("web", NAMESPACE, propagation_policy="Foreground")


def pods():
    """Logs, to their end and as they come; commands in pods, connections to them; eviction."""
    core, policy = client.CoreV1Api(), client.PolicyV1Api()
    container = client.V1Container(name="main", image="naru.local/probe:1",
                                   ports=[client.V1ContainerPort(container_port=8080)])
    spec = client.V1PodSpec(containers=[container], termination_grace_period_seconds=1)
    core.create_namespaced_pod(NAMESPACE, client.V1Pod(metadata=client.V1ObjectMeta(name="probe"), spec=spec))

    def ready():
        conditions = core.read_namespaced_pod("probe", NAMESPACE).status.conditions or []
        return any(c.type == "Ready" and c.status == "True" for c in conditions)

    until("the pod is ready", ready)
    until("its first words", lambda: "probe starts" in core.read_namespaced_pod_log("probe", NAMESPACE))
    for line in watch.Watch().stream(core.read_namespaced_pod_log, "probe", NAMESPACE):
        if "probe listens" in line:
            break
    run = core.connect_get_namespaced_pod_exec
    out = stream(run, "probe", NAMESPACE, command=["sh", "-c", "echo out"], stdout=True, stderr=True, stdin=False, tty=False)
    equal(out, "out\n")
    shell = stream(run, "probe", NAMESPACE, command=["sh"], stdout=True, stderr=True, stdin=True, tty=False,
                   _preload_content=False)
    shell.write_stdin("echo heard; echo wrong >&2; exit 7\n")
    shell.run_forever(timeout=60)
    equal((shell.read_stdout(), shell.read_stderr(), shell.returncode), ("heard\n", "wrong\n", 7))
    forward = portforward(core.connect_get_namespaced_pod_portforward, "probe", NAMESPACE, ports="8080")
    pipe = forward.socket(8080)
    pipe.setblocking(True)
    pipe.sendall(b"GET /host HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n")
    answer = b""
    while chunk := pipe.recv(1024):
        answer += chunk
    pipe.close()
    equal(forward.error(8080), None)
    assert answer.startswith(b"HTTP/1.1 200") and answer.rstrip().endswith(b"probe"), answer
    eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name="probe"))
    core.create_namespaced_pod_eviction("probe", NAMESPACE, eviction)
    until("it goes", lambda: not core.list_namespaced_pod(NAMESPACE).items)
    equal(policy.list_namespaced_pod_disruption_budget(NAMESPACE).items, [])


DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "ingots.python.example.com"},
    "spec": {"group": "python.example.com", "scope": "Namespaced", "names": {"plural": "ingots", "kind": "Ingot"},
             "versions": [{"name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
                           "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                               "spec": {"type": "object", "properties": {"grams": {"type": "integer"}}},
                               "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}}}]},
}


def dynamic():
    """Kinds found by discovery, one of them defined here."""
    api = client.ApiClient()
    every = DynamicClient(api)
    definitions = every.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    definitions.create(body=DEFINITION)
    try:
        every.resources.invalidate_cache()
        ingots = every.resources.get(api_version="python.example.com/v1", kind="Ingot")
        body = {"apiVersion": "python.example.com/v1", "kind": "Ingot", "metadata": {"name": "a"}, "spec": {"grams": 1}}
        made = ingots.create(body=body, namespace=NAMESPACE)
        patched = ingots.patch(name="a", namespace=NAMESPACE, body={"spec": {"grams": 2}},
                               content_type="application/merge-patch+json")
        equal((patched.spec.grams, patched.metadata.generation), (2, 2))
        ingots.status.patch(name="a", namespace=NAMESPACE, body={"status": {"pure": True}},
                            content_type="application/merge-patch+json")
        body["spec"]["grams"] = 3
        applied = ingots.server_side_apply(body=body, name="a", namespace=NAMESPACE, field_manager="py", force_conflicts=True)
        equal((applied.spec.grams, applied.status.pure), (3, True))
        stale = made.to_dict()
        stale["spec"]["grams"] = 9
        try:
            ingots.replace(body=stale, namespace=NAMESPACE)
            raise AssertionError("the version is an old one")
        except ConflictError:
            pass
        events = []
        for event in ingots.watch(namespace=NAMESPACE, resource_version=made.metadata.resourceVersion, timeout=60):
            events.append((event["type"], event["object"].spec.grams))
            if events[-1] == ("MODIFIED", 3):
                ingots.delete(name="a", namespace=NAMESPACE)
            if event["type"] == "DELETED":
                break
        equal(events, [("MODIFIED", 2), ("MODIFIED", 2), ("MODIFIED", 3), ("DELETED", 3)])
        try:
            ingots.get(name="a", namespace=NAMESPACE)
            raise AssertionError("it is gone")
        except NotFoundError:
            pass
        custom = client.CustomObjectsApi(api)
        place = ("python.example.com", "v1", NAMESPACE, "ingots")
        custom.create_namespaced_custom_object(*place, body)
        equal(custom.list_namespaced_custom_object(*place)["items"][0]["spec"], {"grams": 3})
        custom.delete_collection_namespaced_custom_object(*place)
    finally:
        definitions.delete(name="ingots.python.example.com")
    utils.create_from_dict(api, {"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"u{n}"}} for n in range(2)]}, namespace=NAMESPACE)
    maps = every.resources.get(api_version="v1", kind="ConfigMap")
    equal(sorted(m.metadata.name for m in maps.get(namespace=NAMESPACE).items if m.metadata.name[0] == "u"), ["u0", "u1"])


def refusals():
    """What programs tell errors by."""
    core = client.CoreV1Api()
    equal(client.VersionApi().get_code().minor, "36")

    def refused(code, reason, call):
        try:
            call()
        except ApiException as error:
            status = json.loads(error.body)
            equal((error.status, status["code"], status["reason"]), (code, code, reason))
            return status
        raise AssertionError(f"not refused: {reason}")

    refused(404, "NotFound", lambda: core.read_namespaced_config_map("none", NAMESPACE))
    core.create_namespaced_config_map(NAMESPACE, config_map("a", {}))
    status = refused(409, "AlreadyExists", lambda: core.create_namespaced_config_map(NAMESPACE, config_map("a", {})))
    equal(status["details"], {"name": "a", "kind": "configmaps"})
    status = refused(422, "Invalid", lambda: core.create_namespaced_config_map(NAMESPACE, config_map("A b", {})))
    equal(status["details"]["causes"][0]["field"], "metadata.name")
    body = {"metadata": {"name": "b"}, "dataa": {}}
    refused(400, "BadRequest", lambda: core.create_namespaced_config_map(NAMESPACE, body, field_validation="Strict"))
    other = client.ApiClient()
    other.set_default_header("Impersonate-User", "somebody")
    status = refused(403, "Forbidden", lambda: client.CoreV1Api(other).list_namespaced_secret(NAMESPACE))
    equal(status["details"]["kind"], "secrets")
    reviewed = client.AuthenticationV1Api().create_self_subject_review(client.V1SelfSubjectReview())
    assert "system:masters" in reviewed.status.user_info.groups, reviewed
    token = core.create_namespaced_service_account_token(
        "default", NAMESPACE, client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[])))
    assert token.status.token.count(".") == 2


if __name__ == "__main__":
    # What hangs says where.
    faulthandler.dump_traceback_later(120, exit=True)
    config.load_kube_config()
    part = sys.argv[1]
    {"informer": informer, "patches": patches, "pods": pods, "dynamic": dynamic, "refusals": refusals}[part]()
    print(part, "done")
