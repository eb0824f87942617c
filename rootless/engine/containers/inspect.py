"""``inspect``: all that is known of a container, as ``podman container inspect`` has it, and how it is isolated."""

from __future__ import annotations

import os

from rootless.engine.containers import isolation, resources, sessions
from rootless.engine.containers.container import read_json
from rootless.engine.containers.status import status
from rootless.engine.times import ZERO, rfc3339
from rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootless.engine.containers.status import Status
    from rootless.engine.context import Engine

    Object = dict[str, Any]


def inspect(engine: Engine, name: str, *, size: bool = False) -> Object:
    """One container by name, id or the beginning of an id. Raises NotFoundError."""
    containers = engine.store.containers
    container_id = containers.find(name)
    record = containers.load(container_id)
    layout = engine.store.layout
    current = status(engine, container_id)
    try:
        spec = read_json(layout.container_spec(container_id), container_id)
    except RootlessError:
        spec = {}
    options = record.get("options", {})
    directory = containers.path(container_id)
    files = layout.container_files(container_id)
    process = spec.get("process", {})
    arguments = process.get("args", record["command"])
    capabilities = process.get("capabilities", {})
    shown: Object = {
        "Id": container_id,
        "Created": rfc3339(record["created"]),
        "Path": arguments[0] if arguments else "",
        "Args": arguments[1:],
        "State": _state(current, spec),
        "Image": record["image"],
        "ImageDigest": record["image_digest"],
        "ImageName": record["image_name"],
        "Rootfs": record["rootfs"],
        "Pod": "",
        "ResolvConfPath": _existing(f"{files}/resolv.conf"),
        "HostnamePath": _existing(f"{files}/hostname"),
        "HostsPath": _existing(f"{files}/hosts"),
        "StaticDir": directory,
        "OCIConfigPath": layout.container_spec(container_id),
        "OCIRuntime": "rootless-oci",
        "ConmonPidFile": options.get("conmon_pidfile", ""),
        "PidFile": options.get("pidfile", ""),
        "Name": record["name"],
        "RestartCount": current.restarts,
        "Driver": record.get("driver", ""),
        "MountLabel": spec.get("linux", {}).get("mountLabel", ""),
        "ProcessLabel": process.get("selinuxLabel", ""),
        "AppArmorProfile": process.get("apparmorProfile", ""),
        "EffectiveCaps": capabilities.get("effective", []),
        "BoundingCaps": capabilities.get("bounding", []),
        "ExecIDs": sessions.running(engine, container_id),
        "GraphDriver": _graph_driver(engine, container_id, record),
        "Mounts": record.get("mounts", []),
        "Dependencies": [],
        "NetworkSettings": _network_settings(record, current),
        "Namespace": "",
        "IsInfra": False,
        "IsService": False,
        "KubeExitCodePropagation": "invalid",
        "lockNumber": 0,
        "Config": {**_config(record, options, spec), **_health_config(record)},
        "HostConfig": {
            **_host_config(record, options, options.get("log_path") or layout.container_log(container_id)),
            **resources.host_config(options, current.cgroup_manager),
        },
        "Isolation": isolation.shown(record, spec, current),
    }
    if record.get("health"):
        from rootless.engine.containers import health

        shown["State"]["Health"] = health.shown(engine, record)
    if size:
        from rootless.engine.sizes import container_size

        sizes = container_size(engine, container_id)
        shown["SizeRw"], shown["SizeRootFs"] = sizes["rwSize"], sizes["rootFsSize"]
    return shown


def _existing(path: str) -> str:
    return path if os.path.lexists(path) else ""


def _state(current: Status, spec: Object) -> Object:
    return {
        "OciVersion": spec.get("ociVersion", ""),
        "Status": current.state,
        "Running": current.state == "running",
        "Paused": current.state == "paused",
        "Restarting": current.state == "restarting",
        "OOMKilled": current.oom,
        "Dead": False,
        "Pid": current.pid,
        "ConmonPid": current.monitor,
        "ExitCode": current.exit_code,
        "Error": current.error,
        "StartedAt": rfc3339(current.started),
        "FinishedAt": rfc3339(current.finished) if current.finished else ZERO,
        "Health": None,
        "CgroupPath": current.cgroup,
        "CheckpointedAt": ZERO,
        "RestoredAt": ZERO,
        "StoppedByUser": current.stopped,
    }


def _health_config(record: Object) -> Object:
    if not record.get("health"):
        return {}
    from rootless.engine.containers import health

    return health.config(record)


def _restart_policy(record: Object) -> Object:
    name, retries = record.get("restart") or ("no", 0)
    return {"Name": name, "MaximumRetryCount": retries}


def _graph_driver(engine: Engine, container_id: str, record: Object) -> Object:
    directory = engine.store.containers.path(container_id)
    data = {}
    try:
        rootfs = read_json(f"{directory}/launch.json", container_id)["rootfs"]
    except (RootlessError, KeyError):
        rootfs = {}
    for key, field in (("LowerDir", "lower"), ("MergedDir", "merged"), ("UpperDir", "upper"), ("WorkDir", "work")):
        value = rootfs.get(field)
        if value:
            data[key] = ":".join(value) if isinstance(value, list) else value
    return {"Name": record.get("driver", ""), "Data": data}


def _network_settings(record: Object, current: Status) -> Object:
    ports: dict[str, list[dict[str, str]] | None] = {}
    for number, protocols in (record.get("exposed") or {}).items():
        for protocol in protocols:
            ports.setdefault(f"{number}/{protocol}", None)
    for port in record.get("ports", []):
        key = f"{port['container_port']}/{port['protocol']}"
        bindings = ports.get(key) or []
        bindings.append({"HostIp": port["host_ip"] or "0.0.0.0", "HostPort": str(port["host_port"])})
        ports[key] = bindings
    own = record["network"] not in ("host", "none")
    return {
        "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "",
        "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "MacAddress": "", "Bridge": "", "SandboxID": "",
        "HairpinMode": False, "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0, "Ports": ports,
        "SandboxKey": f"/proc/{current.pid}/ns/net" if current.pid and own else "", "Networks": {},
    }  # fmt: skip


def _config(record: Object, options: Object, spec: Object) -> Object:
    from rootless.linux.signals import name as signal_name

    ports = record.get("exposed") or {}
    exposed: Object = {f"{number}/{protocol}": {} for number, protocols in ports.items() for protocol in protocols}
    entrypoint = record.get("entrypoint") or []
    process = spec.get("process", {})
    return {
        "Hostname": spec.get("hostname", ""),
        "Domainname": "",
        "User": record.get("user", ""),
        "AttachStdin": options.get("interactive", False),
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": options.get("tty", False),
        "OpenStdin": options.get("interactive", False),
        "StdinOnce": False,
        "Env": process.get("env", []),
        "Cmd": record["command"][len(entrypoint) :],
        "Image": record["image_name"],
        "Volumes": None,
        "WorkingDir": process.get("cwd", "/"),
        "Entrypoint": entrypoint or None,
        "OnBuild": None,
        "Labels": record["labels"],
        "Annotations": record["annotations"],
        "StopSignal": signal_name(record.get("stop_signal", 15)),
        "StopTimeout": options.get("stop_timeout", 10),
        "Healthcheck": None,
        "HealthcheckOnFailureAction": "none",
        "HealthLogDestination": "local",
        "HealthcheckMaxLogCount": 5,
        "HealthcheckMaxLogSize": 500,
        "CreateCommand": record.get("create_command", []),
        "Secrets": None,
        "ExposedPorts": exposed or None,
        "SystemdMode": False,
        "Umask": f"{options.get('umask', 0o022):04o}",
        "Timeout": options.get("timeout", 0),
        "Passwd": None,
        "sdNotifyMode": options.get("sdnotify", "container"),
    }


def _binds(record: Object) -> list[str]:
    found = []
    for mount in record.get("mounts", []):
        if mount["Type"] in ("bind", "volume"):
            words = [mount["Propagation"], "rw" if mount["RW"] else "ro", *mount["Options"]]
            source = mount["Name"] if mount["Type"] == "volume" else mount["Source"]
            found.append(f"{source}:{mount['Destination']}:{','.join(word for word in words if word)}")
    return found


def _host_config(record: Object, options: Object, log: str) -> Object:
    security = record.get("security", {})
    words = ["no-new-privileges"] if security.get("no_new_privileges") else []
    words += [f"seccomp={security['seccomp']}"] if security.get("seccomp", "default") != "default" else []
    words += [f"apparmor={security['apparmor']}"] if security.get("apparmor") else []
    words += [f"label={part}{':' * bool(value)}{value}" for part, value in security.get("label", {}).items()]
    for key in ("mask", "unmask"):
        words += [f"{key}={':'.join(security[key])}"] if security.get(key) else []
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in record.get("ports", []):
        key = f"{port['container_port']}/{port['protocol']}"
        bindings.setdefault(key, []).append({"HostIp": port["host_ip"], "HostPort": str(port["host_port"])})
    tmpfs = {
        mount["Destination"]: ",".join(mount["Options"])
        for mount in record.get("mounts", [])
        if mount["Type"] == "tmpfs"
    }
    ulimits = [
        {"Name": limit["type"], "Soft": limit["soft"], "Hard": limit["hard"]} for limit in options.get("rlimits", [])
    ]
    devices = [
        {"PathOnHost": one["source"], "PathInContainer": one["destination"], "CgroupPermissions": ""}
        for one in options.get("devices", [])
    ]
    userns = record.get("userns", "")
    return {
        "Binds": _binds(record),
        "CgroupMode": options.get("cgroupns", "private"),
        "ContainerIDFile": record.get("cidfile", ""),
        "LogConfig": {"Type": options.get("log_driver", ""), "Config": None, "Path": log, "Tag": "",
                      "Size": f"{options.get('log_size', 0)}B"},
        "NetworkMode": record["network"] or "pasta",
        "PortBindings": bindings,
        "RestartPolicy": _restart_policy(record),
        "AutoRemove": record["rm"],
        "AutoRemoveImage": False,
        "Annotations": record["annotations"],
        "VolumeDriver": "",
        "VolumesFrom": options.get("volumes_from") or None,
        "CapAdd": options.get("cap_add", []),
        "CapDrop": options.get("cap_drop", []),
        "Dns": options.get("dns", []),
        "DnsOptions": options.get("dns_option", []),
        "DnsSearch": options.get("dns_search", []),
        "ExtraHosts": options.get("add_host", []),
        "GroupAdd": ["keep-groups"] if options.get("keep_groups") else options.get("groups", []),
        "IpcMode": options.get("ipc", "private"),
        "Cgroup": "",
        "Links": None,
        "PidMode": options.get("pid", "private"),
        "Privileged": options.get("privileged", False),
        "PublishAllPorts": options.get("publish_all", False),
        "ReadonlyRootfs": options.get("read_only", False),
        "SecurityOpt": words,
        "Tmpfs": tmpfs,
        "UTSMode": options.get("uts", "private"),
        "UsernsMode": "private" if userns not in ("", "host") else userns,
        "ShmSize": options.get("shm_size", 0),
        "Runtime": "rootless-oci",
        "ConsoleSize": [0, 0],
        "Isolation": "",
        "Devices": devices,
        "DiskQuota": 0,
        "Init": options.get("init", False),
        "Ulimits": ulimits,
    }
