"""What a container may do, as the engine has it, against what the compose files say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docker.models.containers import Container


def rights(container: Container) -> dict[str, Any]:
    """Of a container, by the names that the compose files have for them, and what they never give."""
    config, host = container.attrs["Config"], container.attrs["HostConfig"]
    return {
        "user": config["User"],
        "cap_drop": host["CapDrop"],
        "security_opt": host["SecurityOpt"],
        "pids_limit": host["PidsLimit"],
        "read_only": host["ReadonlyRootfs"],
        "cap_add": host["CapAdd"] or [],
        "devices": host["Devices"] or [],
        "privileged": host["Privileged"],
    }


def granted(service: dict[str, Any]) -> dict[str, Any]:
    """What a service of the compose files says, all of it hardened."""
    hardened = {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"], "read_only": True}
    by_service = {name: service[name] for name in ("user", "pids_limit")}
    return by_service | hardened | {"cap_add": [], "devices": [], "privileged": False}
