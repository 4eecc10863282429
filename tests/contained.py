"""contained.py ROOT: becomes the program of examples/sidecar's image inside ROOT, as compose.yaml has it run.
contained.py ROOT health: becomes its health check instead.

User 65532, no group but its own, no capability, none to be gained. It tells on standard output what it has become.
"""

import ctypes
import errno
import os
import re
import sys

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 24, 38, 47, 4
USER = 65532

root = sys.argv[1]
compose = open("examples/sidecar/compose.yaml", encoding="utf-8").read()
containerfile = open("examples/sidecar/Containerfile", encoding="utf-8").read()
for promise in [
    f'user: "{USER}:{USER}"',
    "read_only: true",
    "cap_drop: [ALL]",
    'security_opt: ["no-new-privileges:true"]',
]:
    if promise not in compose:
        sys.exit(f"compose.yaml no longer says {promise}: say here what it says")
entrypoint = re.search(r'^ENTRYPOINT \["(.*)"\]$', containerfile, re.M)[1].split('", "')
command = re.search(r'^CMD \["(.*)"\]$', containerfile, re.M)[1].split('", "')

if sys.argv[2:] == ["health"]:
    check = re.search(r'^HEALTHCHECK .*\n  CMD \["(.*)"\]$', containerfile, re.M)[1].split('", "')
    entrypoint, command = check[:1], check[1:]

libc = ctypes.CDLL(None, use_errno=True)
with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
    last = int(file.read())


def prctl(option, argument, extra=0):
    if libc.prctl(option, argument, extra, 0, 0) != 0:
        sys.exit(f"prctl {option}: {os.strerror(ctypes.get_errno())}")


status = os.open("/proc/self/status", os.O_RDONLY)
os.chroot(root)
os.chdir("/")
try:  # as root still: what refuses is the file system
    os.open("/written", os.O_WRONLY | os.O_CREAT)
    sys.exit("the image can be written to")
except OSError as error:
    if error.errno != errno.EROFS:
        raise
    refused = error.strerror
for capability in range(last + 1):
    prctl(PR_CAPBSET_DROP, capability)
os.setgroups([])
os.setresgid(USER, USER, USER)
os.setresuid(USER, USER, USER)
prctl(PR_SET_NO_NEW_PRIVS, 1)
prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)

become = dict(line.split(":\t", 1) for line in os.read(status, 65536).decode().splitlines() if ":\t" in line)
os.close(status)
for name, wanted in {
    "Uid": f"{USER}\t{USER}\t{USER}\t{USER}",
    "CapPrm": "0" * 16,
    "CapEff": "0" * 16,
    "CapBnd": "0" * 16,
    "CapAmb": "0" * 16,
    "NoNewPrivs": "1",
}.items():
    if become[name] != wanted:
        sys.exit(f"{name} is {become[name]!r}, not {wanted!r}")
if sys.argv[2:] != ["health"]:
    print(f"contained: user {USER}, no capabilities, no new privileges, root: {refused.lower()}", flush=True)
os.execve(entrypoint[0], entrypoint + command, dict(os.environ))
