"""Extraction and live recognition ask no host for anything: every call by which a program could is watched.

What pages ask for is watched where they are tested: the page in a browser in test_demo_page, JupyterLab in
test_lab_browser, the app by Voilà in test_live_browser, the site in test_site.
"""
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from asl_nb.capture.extractor import load_holistic
from asl_nb.capture.video import VideoWriter
from asl_nb.core.errors import InputError

VIDEO = Path(__file__).resolve().parents[2]/"shared"/"data"/"videos"/"msl150_yo_001.mp4"
# Calls of the system, not of Python: MediaPipe's own threads are seen too, and what is told to a local resolver.
CALLS = "connect,sendto,sendmsg,sendmmsg"
NAME_SERVICE = re.compile(r"sin6?_port=htons\(53\)|sun_path=.*(?:systemd/resolve|mdns|avahi)", re.I)
ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
AT_HOME = re.compile(r"127\.|::1$|::ffff:127\.|0\.0\.0\.0$|::$")


def asks_outside(call):
    "Whether a line of strace is a question to another machine, or to a service that finds machines by name."
    if NAME_SERVICE.search(call): return True
    found = ADDRESS.search(call)
    return bool(found) and not AT_HOME.match(found[1] or found[2])


@pytest.fixture(scope="module")
def watch(tmp_path_factory):
    "Run Python code, and return how it ended and every call by which it asked another machine."
    strace = shutil.which("strace")
    if not strace: pytest.skip("needs the program strace, which watches the calls of another")
    folder = tmp_path_factory.mktemp("watch")
    if subprocess.run([strace, "-o", folder/"try", "true"], capture_output=True).returncode:
        pytest.skip("no program may be watched on this machine (ptrace is not allowed)")

    def run(code, *words):
        trace = folder/"trace"
        command = [strace, "-f", "--seccomp-bpf", "-e", f"trace={CALLS}", "-o", trace, sys.executable, "-c", code]
        done = subprocess.run([*command, *map(str, words)], capture_output=True, text=True, timeout=300)
        return done, [line for line in trace.read_text(errors="replace").splitlines() if asks_outside(line)]
    return run


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    "A person; where the recordings are not at hand, a drawing."
    try: load_holistic()
    except InputError as error: pytest.skip(str(error))
    if VIDEO.exists(): return VIDEO
    path = tmp_path_factory.mktemp("video")/"drawn.mp4"
    with VideoWriter(path, 30) as writer:
        for shade in range(0, 250, 25): writer.write(np.full((240, 320, 3), shade, np.uint8))
    return path


PROGRAM = "from asl_nb.cli import app; app(prog_name='asl-nb')"


def test_extracting_asks_nobody(watch, video, tmp_path):
    done, asked = watch(PROGRAM, "extract", video, "--out", tmp_path/"out", "--sign", "a", "--jobs", "1")
    assert done.returncode == 0 or "nobody was found" in done.stderr, done.stderr
    assert asked == []


def test_live_recognition_asks_nobody(watch, video):
    done, asked = watch(PROGRAM, "live", video, "--headless")
    assert done.returncode == 0, done.stderr
    assert asked == []


@pytest.mark.parametrize("code", [
    "import socket\ntry: socket.getaddrinfo('asl-nb.invalid', 443)\nexcept OSError: pass",
    "import socket\ntry: socket.create_connection(('192.0.2.1', 443), timeout=.1)\nexcept OSError: pass",
    "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 9))",
    "import socket, threading\ndef ask():\n    try: socket.getaddrinfo('asl-nb.invalid', 443)\n"
    "    except OSError: pass\nthreading.Thread(target=ask).start()",
], ids=["a name", "a connection", "a packet", "in a thread"])
def test_a_question_would_be_seen(watch, code):
    "The name is one that never exists, the address one that belongs to nobody."
    _, asked = watch(code)
    assert asked


def test_talk_within_the_machine_is_no_question(watch):
    done, asked = watch("import socket\nserver = socket.create_server(('127.0.0.1', 0))\n"
                        "socket.create_connection(server.getsockname()).close()\nprint('met')")
    assert done.stdout == "met\n" and asked == []


@pytest.mark.parametrize("call, outside", [
    ('7 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16) = 0', True),
    ('7 connect(3, {sa_family=AF_UNIX, sun_path="/run/systemd/resolve/io.systemd.Resolve"}, 42) = 0', True),
    ('7 connect(3, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), '
     'inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = -1 ENETUNREACH', True),
    ('7 connect(3, {sa_family=AF_INET, sin_port=htons(8888), sin_addr=inet_addr("127.0.0.1")}, 16) = 0', False),
    ('7 connect(3, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT', False),
    ('7 sendto(3, [{nlmsg_len=20, nlmsg_type=RTM_GETADDR}], 20, 0, {sa_family=AF_NETLINK, nl_pid=0}, 12) = 20', False)])
def test_what_counts_as_a_question(call, outside): assert asks_outside(call) == outside
