"""What is released works where it is installed: in new environments, on a Debian that boots, in containers, by the guide's words."""

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
import trustme

from tests.kit.documents import ROOT, Block, Said, blocks, type_in
from tests.kit.netns import Namespace, veth

HAVE: Final = os.geteuid() == 0 and shutil.which("apt-get") is not None
PATIENCE: Final = 1800
KEPT: Final = Path.home() / ".cache/socks6-tests"
KEEP_SECONDS: Final = 30 * 86400

pytestmark = [pytest.mark.e2e, pytest.mark.deep]
on_debian = pytest.mark.skipif(not HAVE, reason="needs root on Debian")

GUIDE: Final = "docs/guide/deployment.md"
PASSWORD: Final = "correct horse"
NEAR, WORLD = "11.1.1.1", "11.1.1.2"  # addresses as everybody may reach them, in networks of the tests' own
HOSTS: Final = f"127.0.0.1 localhost\n{NEAR} proxy.example\n{WORLD} example.com\n"
PAGE: Final = "served by the site\n"
SITE: Final = f"""
import http.server, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write({PAGE.encode()!r})
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("CERTIFICATE")
server = http.server.ThreadingHTTPServer(("{WORLD}", 443), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""

LISTENING: Final = "until podman logs container_{}_1 2>&1 | grep listening; do sleep 0.2; done"

# Runs as a service of a Debian that systemd has booted; after `== NAME` stands what a command says, then its code.
# `as_root` gives the password.
DEBIAN_TRIAL: Final = rf"""
say() {{ echo "== $1"; shift; "$@" 2>&1; echo "code $?"; }}
journal() {{ journalctl --unit 'socks6*' --output cat --no-pager 2>/dev/null; }}
as_root() {{ echo '{PASSWORD}' | bash -c "$1"; }}
as_user() {{ runuser --user nobody -- bash -c "$1"; }}
export HOME=/root SYSTEMD_PAGER=
cd /root
ip netns add world && ip link add eth0 type veth peer name eth0 netns world
ip address add {NEAR}/24 dev eth0; ip link set eth0 up
ip -n world address add {WORLD}/24 dev eth0; ip -n world link set eth0 up
ip netns exec world python3 site.py >/dev/null 2>&1 &
curl --silent --retry 30 --retry-delay 1 --retry-all-errors https://example.com/ >/dev/null
GUIDE
fetch() {{ curl --silent --show-error --retry 3 --retry-all-errors --proxy "$1" https://example.com/; }}
say version socks6 --version
say manual test -s /usr/share/man/man1/socks6-server.1.gz
say "curl by HTTP" fetch http://127.0.0.1:1080
sed 's|"users"|"nobody"|' /etc/socks6/main.toml >/etc/socks6/empty.toml; install -m 640 -g socks6 /dev/null /etc/socks6/nobody
say "start without users" systemctl start socks6-server@empty
mv /etc/socks6/proxy.url /root/
say "start client without a proxy" systemctl restart socks6-client
sed 's|socks6+tls:|socks6+quic:|' /root/proxy.url >/etc/socks6/proxy.url
chgrp socks6 /etc/socks6/proxy.url; chmod 640 /etc/socks6/proxy.url
say "start client with QUIC" systemctl restart socks6-client
say "curl by QUIC" fetch socks5h://127.0.0.1:1080
sed -i 's|^listen = \[|listen = ["http+tls://:443", |' /etc/socks6/main.toml
say "listen below 1024" systemctl restart socks6-server@main
main=$(systemctl show --property MainPID --value socks6-server@main)
say "wrong password" socks6 ping -c 1 "$(sed 's|alice:[^@]*@|alice:wrong@|' /root/proxy.url)"
say warnings journalctl --unit socks6-server@main --priority warning --output short-iso --no-pager
say process grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/$main/status
say modes stat -c '%n %U:%G %a' /etc/socks6 /etc/socks6/* /var/lib/socks6/*
say reload systemctl reload socks6-server@main
for _ in $(seq 100); do journal | grep -q '^reloaded' && break; sleep 0.1; done
cp -p /etc/socks6/main.toml /root/good.toml
echo 'nonsense = 1' >>/etc/socks6/main.toml
say "reload of a fault" systemctl reload socks6-server@main
say "still there" systemctl is-active socks6-server@main
cp -p /root/good.toml /etc/socks6/main.toml
say upgrade dpkg -i --force-confold /root/dist/pysocks6_*.deb
say "curl after the upgrade" fetch socks5h://127.0.0.1:1080
say "other process" test "$main" != "$(systemctl show --property MainPID --value socks6-server@main)"
mkdir /etc/systemd/system/socks6-server@main.service.d
printf '[Service]\nMemoryDenyWriteExecute=yes\n' >/etc/systemd/system/socks6-server@main.service.d/strict.conf
sed -i '1i log-file = "/var/log/socks6/main.log"\nverbose = 2' /etc/socks6/main.toml
sed -i 's|, "socks6+quic://:8389"||' /etc/socks6/main.toml; sed -i 's|socks6+quic:|socks6+tls:|' /etc/socks6/proxy.url
systemctl daemon-reload
say "restart without executable memory" systemctl restart socks6-server@main socks6-client
say "curl without executable memory" fetch socks5h://127.0.0.1:1080
say journal journal
say log cat /var/log/socks6/main.log
say "mode of the log" stat -c '%U:%G %a' /var/log/socks6/main.log
say verify systemd-analyze verify socks6-server@main.service socks6-client.service
say security systemd-analyze security --no-pager --threshold=20 socks6-server@main socks6-client
say remove apt-get remove --yes pysocks6
say "nothing runs" systemctl is-active socks6-server@main socks6-client
say "settings stay" test -e /etc/socks6/users
say purge apt-get purge --yes pysocks6
say "nothing left" find /usr/lib /usr/bin /etc /var/lib /var/log ! -type d -name '*socks6*' ! -path '/var/lib/apt/*'
"""
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


def run(
    *command: str | Path,
    cwd: Path = ROOT,
    within: float = PATIENCE,
    environment: Mapping[str, str] = os.environ,
) -> str:
    """Return what a command that ends well has said."""
    result = subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env=environment,
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


def guide(having: str) -> list[Block]:
    """Return the blocks of the guide's section that shows this command."""
    (heading,) = {block.heading for block in blocks(GUIDE) if having in block.text}
    return list(blocks(GUIDE, heading))


def debian(folder: Path, include: Sequence[str] = ()) -> Path:
    """Return the root of a Debian as this one. What debootstrap makes is kept for a month."""
    run("scripts/install-packages", "chroot")
    site, codename = run("apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)").splitlines()[0].split()
    kept = KEPT / f"{'-'.join([codename, *include])}.tar"
    root = folder / "root"
    root.mkdir()
    if kept.exists() and time.time() - kept.stat().st_mtime < KEEP_SECONDS:
        run("tar", "--extract", f"--file={kept}", f"--directory={root}")
        return root
    including = [f"--include={','.join(include)}"] if include else []
    run("debootstrap", "--variant=minbase", *including, codename, root, site)
    KEPT.mkdir(parents=True, exist_ok=True)
    making = kept.with_suffix(f".{os.getpid()}")
    run(
        "tar",
        "--create",
        "--exclude=./var/cache/apt/archives/*.deb",
        f"--file={making}",
        f"--directory={root}",
        ".",
    )
    making.rename(kept)
    return root


def certify(folder: Path, place: Path | None = None) -> Path:
    """Write the site's certificate and its program, which will run in a place. Return the file of the authority."""
    authority = trustme.CA()
    certificate, trusted = folder / "site.pem", folder / "authority.pem"
    authority.issue_cert("example.com").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    authority.cert_pem.write_to_path(str(trusted))
    (folder / "site.py").write_text(SITE.replace("CERTIFICATE", str((place or folder) / "site.pem")))
    return trusted


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
    root = debian(tmp_path, ["systemd", "systemd-sysv", "python3", "curl", "iproute2", "ca-certificates"])
    run("lintian", "--allow-root", "--fail-on=error,warning", package)
    (root / "root/dist").mkdir()
    shutil.copy(package, root / "root/dist")
    authority = certify(root / "root", Path("/root"))
    (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
    shutil.copy(authority, root / "etc/ssl/certs/ca-certificates.crt")
    (root / "etc/hosts").write_text(HOSTS)
    words = [command for block in guide("apt install") for command in block.commands]
    lines = [
        f"say {shlex.quote(text)} {'as_root' if prompt.endswith('#') else 'as_user'} {shlex.quote(text)}"
        for prompt, text in words
    ]
    (root / "root/trial").write_text(DEBIAN_TRIAL.replace("GUIDE", "\n".join(lines)))
    (root / "etc/systemd/system/trial.service").write_text(AT_BOOT)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    (wants / "trial.service").symlink_to("/etc/systemd/system/trial.service")
    run("systemd-nspawn", "--register=no", "--keep-unit", "--private-network", "--boot", "--resolv-conf=off",
        "--console=read-only", f"--directory={root}", within=300)  # fmt: skip
    said = (root / "root/said").read_text()
    print(said)
    steps = outcome(said)
    assert len(words) == 8
    assert {text for _, text in words} <= steps.keys()
    wrong = {
        "start without users",
        "start client without a proxy",
        "reload of a fault",
        "nothing runs",
        "wrong password",
    }
    assert {name for name, (_, code) in steps.items() if code} == wrong
    fetched = [text for name, (text, _) in steps.items() if name.startswith("curl")]
    assert len(fetched) == 5
    assert all(PAGE in text for text in fetched)
    process = steps["process"][0].split()
    assert steps["nothing left"][0] == ""
    assert "Uid:\t0" not in steps["process"][0]
    assert process[process.index("CapEff:") + 1] == f"{1 << 10:016x}"  # CAP_NET_BIND_SERVICE alone
    assert "/etc/socks6/main.toml root:socks6 640" in steps["modes"][0]
    assert "/etc/socks6/users root:socks6 640" in steps["modes"][0]
    assert "/var/lib/socks6/certificate.key socks6:socks6 600" in steps["modes"][0]
    assert "can be reached by others and asks for no password" in steps["journal"][0]
    assert "via-file: /etc/socks6/proxy.url: No such file or directory" in steps["journal"][0]
    assert "\nreloaded\n" in steps["journal"][0]
    assert "unknown key" in steps["journal"][0]
    (refused,) = [line for line in steps["warnings"][0].splitlines() if "authentication failed" in line]
    # the journal's time, and none of ours
    assert re.fullmatch(rf"\S+ \S+ socks6\[\d+\]: authentication failed source={NEAR} .*", refused)
    assert "MemoryDenyWriteExecute, SELinux's execmem" in steps["log"][0]
    assert steps["mode of the log"][0] == "socks6:socks6 640\n"
    assert "Traceback" not in said


@contextmanager
def machine(folder: Path) -> Iterator[Namespace]:
    """Return the network of a machine that is proxy.example, and from where example.com is one hop away."""
    near, world = Namespace(), Namespace()
    try:
        with veth(near, world, 0):
            near.configure("link set right up", f"address add {NEAR}/24 dev right")
            world.configure("link set left up", f"address add {WORLD}/24 dev left")
            with (
                world.entered(),
                subprocess.Popen(["python3", folder / "site.py"], stderr=subprocess.DEVNULL) as site,
            ):
                try:
                    yield near
                finally:
                    site.kill()
    finally:
        near.close()
        world.close()


def podman(folder: Path) -> Mapping[str, str]:
    """Return the environment in which podman keeps all that it has in a folder, and asks for no more than there is here."""
    hosts, networks = folder / "hosts", folder / "networks"
    hosts.write_text(HOSTS)
    networks.mkdir()
    storage, settings = folder / "storage.conf", folder / "containers.conf"
    storage.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder / "images"}"\nrunroot = "{folder / "run"}"\n'
    )
    settings.write_text(
        f'[containers]\nbase_hosts_file = "{hosts}"\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\nnetns = "host"\n'
        f'[engine]\nruntime = "runc"\n[network]\nnetwork_config_dir = "{networks}"\n'
    )
    return {**os.environ, "CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_CONF": str(settings)}


@on_debian
def test_image_is_built_and_serves_from_a_read_only_root(tmp_path: Path) -> None:
    source, state = tmp_path / "source", tmp_path / "state"
    for made in (source, state):
        made.mkdir()
    run("bash", "-c", f"git ls-files -z | tar -c --null -T - | tar -x -C {source}")
    authorities = certify(tmp_path)
    environment = {**podman(state), "CURL_CA_BUNDLE": str(authorities)}
    root = debian(tmp_path)
    for known in (
        "etc/ssl/certs",
        "usr/local/share/ca-certificates",
    ):  # by which this machine knows registries
        shutil.copytree(f"/{known}", root / known, dirs_exist_ok=True, ignore_dangling_symlinks=True)
    run("bash", "-c", f"tar -C {root} -c . | podman import --change ENV=PIP_CERT=/etc/ssl/certs/ca-certificates.crt -"
        " docker.io/library/debian:bookworm-slim", environment=environment)  # fmt: skip
    build, enter, *words = [text for block in guide("podman build") for _, text in block.commands]
    run("bash", "-c", build, cwd=source, environment=environment)
    run("bash", "-c", enter, cwd=source)
    folder = source / shlex.split(enter)[1]
    said: dict[str, Said] = {}
    with machine(tmp_path) as near, near.entered():
        try:
            for line in words:
                said[line] = type_in(
                    line, password=PASSWORD, folder=folder, environment=environment, within=120
                )
                assert said[line].code == 0, said
                if "up -d" in line:
                    name = line.split()[-1]
                    run("bash", "-c", LISTENING.format(name), environment=environment, within=60)
            assert PAGE in said[words[-1]].text
            inside = "podman exec container_server_1 sh -c"
            trial = {
                f"{inside} 'id -u; grep CapEff /proc/1/status'": (0, "1080\nCapEff:\t0000000000000000\n"),
                f"{inside} 'touch /opt/socks6/x'": (1, "Read-only file system"),
                f"{inside} 'stat -c %U:%a /var/lib/socks6/certificate.key'": (0, "socks6:600\n"),
                "sed -i s/alice/bob/ server/proxy.url; podman healthcheck run container_server_1": (1, ""),
                "podman logs container_server_1 container_client_1 2>&1 | grep -c Traceback": (1, "0\n"),
            }
            for line, (code, text) in trial.items():
                done = type_in(line, password=PASSWORD, folder=folder, environment=environment, within=60)
                assert (done.code, text in done.text) == (code, True), (line, done)
        finally:
            run("podman", "rm", "--all", "--force", environment=environment)
            run("podman", "network", "prune", "--force", environment=environment)
            # podman mounts it upon itself
            subprocess.run(["umount", "--lazy", state / "images/overlay"], check=False)


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
