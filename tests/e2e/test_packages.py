"""What is released works where it is installed: in new environments, on a Debian that boots, in a container."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
HAVE: Final = os.geteuid() == 0 and shutil.which("apt-get") is not None
PATIENCE: Final = 1800

pytestmark = [pytest.mark.e2e, pytest.mark.deep]
on_debian = pytest.mark.skipif(not HAVE, reason="needs root on Debian")

# Runs as a service of a Debian that systemd has booted; after `== NAME` stands what a command says, then its code.
DEBIAN_TRIAL: Final = r"""
say() { echo "== $1"; shift; "$@" 2>&1; echo "code $?"; }
journal() { journalctl --unit 'socks6*' --output cat --no-pager; }
say install dpkg -i /root/package.deb
say version socks6 --version
say "start without users" systemctl start socks6-server@main
echo 'correct horse' | say passwd socks6 passwd --file /etc/socks6/users alice
sed -i 's|^listen = \[|listen = ["http+tls://:443", |; s|^\[users\]|[policy]\nallow-private = true\n[users]|' /etc/socks6/main.toml
say "start server" systemctl enable --now socks6-server@main
url=$(echo 'correct horse' | socks6 share 127.0.0.1:8389 --user alice --password --no-qr)
say "start client without a proxy" systemctl start socks6-client
sed -i "s|^#via = .*|via = \"$url\"|" /etc/socks6/client.toml
say "start client" systemctl enable --now socks6-client
mkdir /srv/www; echo 'served by the site' >/srv/www/index.html
python3 -m http.server --bind 127.0.0.1 --directory /srv/www 8000 >/dev/null 2>&1 &
curl --silent --retry 30 --retry-delay 1 --retry-connrefused http://127.0.0.1:8000/ >/dev/null
fetch() { curl --silent --show-error --proxy "$1" http://127.0.0.1:8000/; }
say manual test -s /usr/share/man/man1/socks6-server.1.gz
say "curl by SOCKS 5" fetch socks5h://127.0.0.1:1080
say "curl by HTTP" fetch http://127.0.0.1:1080
sed -i 's|socks6+tls:|socks6+quic:|' /etc/socks6/client.toml
say "restart client" systemctl restart socks6-client
say "curl by QUIC" fetch socks5h://127.0.0.1:1080
main=$(systemctl show --property MainPID --value socks6-server@main)
say process grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/$main/status
say modes stat -c '%n %U:%G %a' /etc/socks6 /etc/socks6/* /var/lib/socks6/*
say reload systemctl reload socks6-server@main
for _ in $(seq 100); do journal | grep -q '^socks6: reloaded' && break; sleep 0.1; done
cp -p /etc/socks6/main.toml /root/good.toml
echo 'nonsense = 1' >>/etc/socks6/main.toml
say "reload of a fault" systemctl reload socks6-server@main
say "still there" systemctl is-active socks6-server@main
cp -p /root/good.toml /etc/socks6/main.toml
say upgrade dpkg -i --force-confold /root/package.deb
say "curl after the upgrade" fetch socks5h://127.0.0.1:1080
say "other process" test "$main" != "$(systemctl show --property MainPID --value socks6-server@main)"
mkdir /etc/systemd/system/socks6-server@main.service.d
printf '[Service]\nMemoryDenyWriteExecute=yes\n' >/etc/systemd/system/socks6-server@main.service.d/strict.conf
sed -i 's|, "socks6+quic://:8389"||' /etc/socks6/main.toml; sed -i 's|socks6+quic:|socks6+tls:|' /etc/socks6/client.toml
systemctl daemon-reload
say "restart without executable memory" systemctl restart socks6-server@main socks6-client
say "curl without executable memory" fetch socks5h://127.0.0.1:1080
say journal journal
say verify systemd-analyze verify socks6-server@main.service socks6-client.service
say security systemd-analyze security --no-pager --threshold=20 socks6-server@main socks6-client
say remove dpkg --remove pysocks6
say "nothing runs" systemctl is-active socks6-server@main socks6-client
say "settings stay" test -e /etc/socks6/users
say purge dpkg --purge pysocks6
say "nothing left" find /usr/lib /usr/bin /etc /var/lib ! -type d -name '*socks6*'
"""
CONTAINER_TRIAL: Final = r"""
say() { echo "== $1"; shift; "$@" 2>&1; echo "code $?"; }
site='served by the site'
say "who" sh -c 'id -u; while read -r _ at _ how _; do [ "$at" = / ] && echo "${how%%,*}"; done </proc/self/mounts; true'
echo 'correct horse' | say passwd socks6 passwd --file /etc/socks6/users alice
SERVER 2>/tmp/server.log & server=$!
ready() { for _ in $(seq 100); do grep -q "listening on $1" "$2" && return; sleep 0.2; done; cat "$2"; false; }
say "server up" ready socks6+quic /tmp/server.log
echo 'correct horse' | socks6 share 127.0.0.1:8389 --user alice --password --no-qr >/etc/socks6/proxy.url
socks6 CLIENT 2>/tmp/client.log & client=$!
say "client up" ready mixed /tmp/client.log
mkdir /tmp/www; echo "$site" >/tmp/www/index.html
python3 -m http.server --bind 127.0.0.1 --directory /tmp/www 8000 >/dev/null 2>&1 & web=$!
fetch() { python3 -c 'if True:
    import time, urllib.request as u
    time.sleep(1)
    through = u.build_opener(u.ProxyHandler({"http": "http://127.0.0.1:1080"}))
    print(through.open("http://127.0.0.1:8000/", timeout=20).read().decode(), end="")'; }
say "fetched" fetch
say "health" HEALTH
kill -TERM $server; wait $server
say "health without server" HEALTH
kill $client $web
cat /tmp/*.log"""
AT_BOOT: Final = """
[Unit]
After=multi-user.target
[Service]
Type=oneshot
StandardOutput=file:/root/said
StandardError=file:/root/said
ExecStart=/bin/bash /root/trial
ExecStopPost=/bin/systemctl poweroff --no-block
"""


def run(*command: str | Path, cwd: Path = ROOT, within: float = PATIENCE) -> str:
    """Return what a command that ends well has said."""
    result = subprocess.run(
        command,
        check=False,
        cwd=cwd,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=within,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def outcome(said: str) -> dict[str, tuple[str, int]]:
    """Return what a trial's commands said, and their codes."""
    steps = re.findall(r"^== (.*)\n((?:.*\n)*?)code (\d+)$", said, re.MULTILINE)
    return {name: (text, int(code)) for name, text, code in steps}


def debian(folder: Path, include: Sequence[str]) -> Path:
    """Return the root of a Debian as this one."""
    run("scripts/install-packages", "chroot")
    site, codename = run("apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)").splitlines()[0].split()
    root = folder / "root"
    run("debootstrap", "--variant=minbase", f"--include={','.join(include)}", codename, root, site)
    return root


def test_distributions_work_in_new_environments(tmp_path: Path) -> None:
    said = run("make", "dist", f"ARGS=--output {tmp_path / 'dist'}")
    tried = re.findall(r"^ok  (\S+) .*(with the extension|pure Python), request served$", said, re.MULTILINE)
    kinds = {(re.sub(r"^pysocks6-[^-]*?(?=-|\.tar)", "", name), kind) for name, kind in tried}
    assert {(".tar.gz", "with the extension"), (".tar.gz", "pure Python")} <= kinds
    assert ("-py3-none-any.whl", "pure Python") in kinds
    compiled = {name for name, kind in kinds if kind == "with the extension" and name.endswith(".whl")}
    assert compiled
    assert all(re.fullmatch(r"-(cp3\d+)-\1-manylinux\S+\.whl", name) for name in compiled)


@on_debian
def test_debian_package_installs_serves_reloads_upgrades_and_goes(tmp_path: Path) -> None:
    run("make", "deb", f"ARGS={tmp_path}")
    (package,) = tmp_path.glob("*.deb")
    run("scripts/install-packages", "chroot")
    run("lintian", "--allow-root", "--fail-on=error,warning", package)
    root = debian(tmp_path, ["systemd", "systemd-sysv", "python3", "curl"])
    shutil.copy(package, root / "root/package.deb")
    (root / "root/trial").write_text(DEBIAN_TRIAL)
    (root / "etc/systemd/system/trial.service").write_text(AT_BOOT)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    (wants / "trial.service").symlink_to("/etc/systemd/system/trial.service")
    run("systemd-nspawn", "--register=no", "--keep-unit", "--private-network", "--boot",
        "--console=read-only", f"--directory={root}", within=300)  # fmt: skip
    said = (root / "root/said").read_text()
    print(said)
    steps = outcome(said)
    wrong = {
        "start without users",
        "start client without a proxy",
        "reload of a fault",
        "nothing runs",
    }
    assert {name for name, (_, code) in steps.items() if code} == wrong
    for fetched in (
        "curl by SOCKS 5",
        "curl by HTTP",
        "curl by QUIC",
        "curl after the upgrade",
        "curl without executable memory",
    ):
        assert steps[fetched][0] == "served by the site\n"
    process = steps["process"][0].split()
    assert steps["nothing left"][0] == ""
    assert "Uid:\t0" not in steps["process"][0]
    assert process[process.index("CapEff:") + 1] == f"{1 << 10:016x}"  # CAP_NET_BIND_SERVICE alone
    assert "/etc/socks6/main.toml root:socks6 640" in steps["modes"][0]
    assert "/etc/socks6/users root:socks6 640" in steps["modes"][0]
    assert "/var/lib/socks6/certificate.key socks6:socks6 600" in steps["modes"][0]
    assert "can be reached by others and asks for no password" in steps["journal"][0]
    assert "no proxy to go through" in steps["journal"][0]
    assert "socks6: reloaded" in steps["journal"][0]
    assert "unknown key" in steps["journal"][0]
    assert "MemoryDenyWriteExecute, SELinux's execmem" in steps["journal"][0]
    assert "Traceback" not in said


@on_debian
def test_image_is_built_and_serves_from_a_read_only_root(tmp_path: Path) -> None:
    root = debian(tmp_path, [])
    # what this machine knows the registries of packages by
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs/")
    storage = (f"--root={tmp_path / 'images'}", f"--runroot={tmp_path / 'run'}", "--storage-driver=vfs")

    def buildah(command: str, *arguments: str) -> str:
        return run("buildah", *storage, command, *arguments).strip()

    base = buildah("from", "scratch")
    buildah("add", "--quiet", base, str(root), "/")
    buildah("config", "--env", "PIP_CERT=/etc/ssl/certs/ca-certificates.crt", base)
    buildah("commit", "--quiet", "--format=docker", base, "base")
    buildah("build", "--isolation=chroot", "--network=host", "--format=docker", "--build-arg=BASE=localhost/base",
            "--tag=pysocks6", "--file=packaging/container/Containerfile", ".")  # fmt: skip
    config = json.loads(buildah("inspect", "--type=image", "localhost/pysocks6"))["Docker"]["config"]
    assert config["User"] == "1080"
    assert list(config["Volumes"]) == ["/var/lib/socks6"]
    compose = (ROOT / "packaging/container/compose.yaml").read_text()
    client = re.search(r"^ +command: (\[.*\])$", compose, re.MULTILINE)
    assert client is not None
    words = {
        "SERVER": shlex.join([*config["Entrypoint"], *config["Cmd"]]),
        "CLIENT": shlex.join(json.loads(client[1])),
        "HEALTH": shlex.join(config["Healthcheck"]["Test"][1:]),
    }
    container = buildah("from", "localhost/pysocks6")
    image = buildah("mount", container)
    settings, state = tmp_path / "settings", tmp_path / "state"
    for folder in (settings, state):
        folder.mkdir()
        os.chown(folder, 1080, -1)
    example = (ROOT / "packaging/debian/main.toml").read_text()
    (settings / "main.toml").write_text(example + "\n[policy]\nallow-private = true\n")
    trial = re.sub("SERVER|CLIENT|HEALTH", lambda word: words[word[0]], CONTAINER_TRIAL)
    said = run("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--read-only", "--pipe",
               "--user=socks6", f"--bind={settings}:/etc/socks6", f"--bind={state}:/var/lib/socks6",
               *(f"--setenv={variable}" for variable in config["Env"]), f"--directory={image}",
               "/bin/bash", "-c", trial, within=300)  # fmt: skip
    print(said)
    steps = outcome(said)
    assert {name for name, (_, code) in steps.items() if code} == {"health without server"}
    assert steps["who"][0] == "1080\nro\n"
    assert steps["fetched"][0] == "served by the site\n"
    assert (state / "certificate.key").stat().st_uid == 1080
    assert "Traceback" not in said


def test_release_is_made_in_a_clone_and_publishes_nothing() -> None:
    before = run("git", "tag"), run("git", "rev-parse", "HEAD"), run("git", "status", "--porcelain")
    said = run("make", "release", "VERSION=99.0.0", "ARGS=--without-checks")
    assert (run("git", "tag"), run("git", "rev-parse", "HEAD"), run("git", "status", "--porcelain")) == before
    assert "nothing is published" in said
    clone = ROOT / "build/release"
    message = run("git", "for-each-ref", "refs/tags/v99.0.0", "--format=%(contents)", cwd=clone)
    assert message.startswith("## 99.0.0 (")
    assert message.strip() in (clone / "CHANGELOG.md").read_text()
    assert [path.name for path in (clone / "changes.d").iterdir()] == ["README.md"]
    assert (clone / "dist/pysocks6-99.0.0-py3-none-any.whl").exists()
    assert run("git", "status", "--porcelain", cwd=clone) == ""
