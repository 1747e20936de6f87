"""Checks of this machine that need no LSL: packages, onnxruntime, ports."""

from __future__ import annotations

import os
import platform
import re
import socket
from importlib import metadata
from typing import TYPE_CHECKING

from rtdecode.doctor.finding import Finding, State

if TYPE_CHECKING:
    from collections.abc import Iterable

PORTS = (5555, 5556, 5557)
"""Where the service listens unless its configuration says otherwise."""


def check_packages() -> Finding:
    """Look whether every package of the base install is there, and in which version."""
    data: dict[str, object] = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
    }
    versions: dict[str, str] = {}
    missing: list[str] = []
    try:
        versions["rtdecode"] = metadata.version("rtdecode")
    except metadata.PackageNotFoundError:
        return Finding(
            "packages", State.PROBLEM, "rtdecode is not installed", "install it, e.g. with uv sync", data
        )
    for requirement in metadata.requires("rtdecode") or ():
        name, _, marker = requirement.partition(";")
        if "extra" in marker:
            continue
        name = re.split(r"[^A-Za-z0-9._-]", name.strip(), maxsplit=1)[0]
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            if not marker:  # a package for other systems only is rightly absent
                missing.append(name)
    data["versions"] = versions
    text = f"Python {data['python']}, " + ", ".join(f"{name} {version}" for name, version in versions.items())
    if missing:
        return Finding(
            "packages",
            State.PROBLEM,
            f"missing: {', '.join(missing)}",
            "install them, e.g. with uv sync",
            data,
        )
    return Finding("packages", State.OK, text, data=data)


def check_onnxruntime() -> Finding:
    """Look what would run the decoders; CUDA is tried only where a device is there."""
    try:
        import onnxruntime

        from rtdecode import providers
    except ImportError as error:
        return Finding(
            "onnxruntime", State.PROBLEM, f"cannot be imported: {error}", "install the base packages again"
        )
    n_devices = providers.cuda_device_count()
    asked = providers.usable_providers()
    data = {
        "version": onnxruntime.__version__,
        "built_in": list(onnxruntime.get_available_providers()),
        "cuda_devices": n_devices,
    }
    got = _providers_of_a_session(asked)
    data["in_use"] = got
    text = f"{onnxruntime.__version__}, decoders run on {got[0].removesuffix('ExecutionProvider')}"
    if not n_devices:
        return Finding("onnxruntime", State.OK, f"{text}; no CUDA device", data=data)
    text += f"; {n_devices} CUDA device{'s' if n_devices > 1 else ''}"
    if "CUDAExecutionProvider" not in asked:
        return Finding("onnxruntime", State.WARNING, text, "install onnxruntime-gpu to use the device", data)
    if "CUDAExecutionProvider" not in got:
        advice = (
            "install CUDA and cuDNN in the versions that onnxruntime-gpu needs, e.g. with the extra `train`"
        )
        return Finding("onnxruntime", State.WARNING, text, advice, data)
    return Finding("onnxruntime", State.OK, text, data=data)


def _providers_of_a_session(asked: list[str]) -> list[str]:
    """Providers that a session really gets: what is asked for may fail to load."""
    import onnx
    import onnxruntime

    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "g", values[:1], values[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=asked)
    return list(session.get_providers())


def check_ports(ports: Iterable[int] = PORTS, host: str = "127.0.0.1") -> Finding:
    """Look whether the service's ports are free."""
    taken = []
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            if os.name == "posix":  # ports in TIME_WAIT are free; on Windows this option means another thing
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                taken.append(port)
    data = {"ports": list(ports), "taken": taken}
    if taken:
        return Finding(
            "ports",
            State.WARNING,
            f"in use: {', '.join(map(str, taken))}",
            "if no rtdecode service is running, end the program that has them, or set other ports in [bus]",
            data,
        )
    return Finding("ports", State.OK, f"{', '.join(map(str, ports))} are free", data=data)
