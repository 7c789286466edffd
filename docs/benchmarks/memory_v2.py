#!/usr/bin/env python3
"""Runs `memory.py prove` in a virtual machine whose control groups are of version 2, for machines that have version 1.

    python docs/benchmarks/memory_v2.py --ergon BIN --kernel FOLDER MODEL... [-- ARGUMENTS OF memory.py prove]

FOLDER is an unpacked Debian kernel package (`apt-get download linux-image-...-cloud-amd64; dpkg-deb -x PACKAGE FOLDER`). Needs qemu-system-x86_64, busybox
(static), mke2fs, cpio and depmod. The machine is emulated, so take a model with little arithmetic (`vectors/bench_models.py DIR --only many-q4_k`), or --kvm
where that works. It gets 4 GiB and two processors; models, the program and Python lie on a disk image of its own, which is removed at the end.
"""

import argparse
import lzma
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile

SCRIPT = pathlib.Path(__file__).with_name("memory.py")
# The first program of the machine: finds the disk and goes on from there.
FIRST = """#!/busybox sh
/busybox mount -t devtmpfs none /dev
for module in $(/busybox cat /modules); do /busybox insmod $module; done
until [ -b /dev/vda ]; do /busybox sleep 0.1; done
/busybox mount -t ext4 /dev/vda /disk
exec /busybox switch_root /disk /busybox sh /run.sh
"""
RUN = """/busybox mkdir -p /proc /sys /tmp /dev
/busybox mount -t proc none /proc
/busybox mount -t sysfs none /sys
/busybox mount -t devtmpfs none /dev
/busybox mount -t tmpfs none /tmp
/busybox mount -t cgroup2 none /sys/fs/cgroup
export PATH=/bin HOME=/tmp LD_LIBRARY_PATH=/lib PYTHONHOME=/python
/python/bin/python3 /memory.py prove --ergon /ergon {arguments} </dev/null 2>&1
echo "ended with $?"
/busybox poweroff -f
"""


def libraries(*programs):
    """Shared libraries that programs load, the loader included."""
    found = set()
    for program in programs:
        told = subprocess.run(["ldd", str(program)], capture_output=True, text=True).stdout
        found.update(re.findall(r"(/\S+\.so\S*)", told))
    return found


def modules(kernel):
    """Files of the modules that a virtual disk needs, in the order in which they load."""
    (version,) = (kernel / "lib/modules").iterdir()
    subprocess.run(["depmod", "-b", str(kernel), version.name], check=True)
    needs = dict(line.split(":", 1) for line in (version / "modules.dep").read_text().splitlines())
    order = []

    def add(name):
        for other in reversed(needs[name].split()):
            add(other)
        if name not in order:
            order.append(name)

    built_in = (version / "modules.builtin").read_text()
    for wanted in ("virtio_pci", "virtio_blk"):
        found = [name for name in needs if pathlib.Path(name).name.split(".")[0] == wanted]
        if not found and f"/{wanted}.ko" not in built_in:
            sys.exit(f"{version} has no {wanted}, which virtual disks need; take a kernel that has it (linux-image-...-cloud-amd64)")
        for name in found:
            add(name)
    packed = [name for name in order if not name.endswith((".ko", ".ko.xz"))]
    if packed:
        sys.exit(f"{version / packed[0]}: packed in a way that is not known here; take a kernel whose modules end in .ko or .ko.xz")
    return [version / name for name in order]


def first_disk(folder, kernel):
    """The archive that the kernel starts from."""
    for name in ("dev", "disk"):
        (folder / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), folder / "busybox")
    names = []
    for module in modules(kernel):
        plain = folder / module.name.removesuffix(".xz")
        plain.write_bytes(lzma.decompress(module.read_bytes()) if module.suffix == ".xz" else module.read_bytes())
        names.append(f"/{plain.name}")
    (folder / "modules").write_text("\n".join(names))
    (folder / "init").write_text(FIRST)
    (folder / "init").chmod(0o755)
    archive = folder.with_suffix(".cpio")
    with open(archive, "wb") as out:
        names = "\n".join(str(path.relative_to(folder)) for path in folder.rglob("*"))
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), cwd=folder, stdout=out, check=True)
    return archive


def main_disk(folder, args):
    """The image with Python, the program and the models."""
    (folder / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), folder / "busybox")
    for name in ("sh", "echo", "cat"):
        (folder / "bin" / name).symlink_to("/busybox")
    shutil.copy(args.ergon, folder / "ergon")
    shutil.copy(SCRIPT, folder / "memory.py")
    python = pathlib.Path(sys.executable).resolve()
    (folder / "python/bin").mkdir(parents=True)
    shutil.copy(python, folder / "python/bin/python3")
    library = pathlib.Path(sysconfig.get_path("stdlib"))
    shutil.copytree(library, folder / "python/lib" / library.name, ignore=shutil.ignore_patterns("site-packages", "test", "__pycache__"))
    for name in ("lib", "lib64"):
        (folder / name).mkdir()
    for file in libraries(args.ergon, python, *(library / "lib-dynload").glob("*.so")):
        # The loader is looked for in /lib64, whatever its folder here.
        shutil.copy(file, folder / ("lib64" if "/ld-linux" in file else "lib") / pathlib.Path(file).name)
    models = []
    for model in args.models:
        copy = shutil.copytree if model.is_dir() else shutil.copy
        copy(model, folder / model.name)
        models.append(f"/{model.name}")
    (folder / "run.sh").write_text(RUN.format(arguments=" ".join(models + args.rest)))
    image = folder.with_suffix(".img")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) // 2**20 + 256
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(folder), str(image), f"{size * 11 // 10}M"], check=True)
    return image


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--ergon", required=True, type=pathlib.Path)
    parser.add_argument("--kernel", required=True, type=pathlib.Path)
    parser.add_argument("--kvm", action="store_true", help="on the processor of this machine")
    own, rest = (sys.argv[1:], [])
    if "--" in own:
        at = own.index("--")
        own, rest = own[:at], own[at + 1 :]
    args = parser.parse_args(own)
    args.rest = rest
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        archive, image = first_disk(folder / "first", args.kernel), main_disk(folder / "main", args)
        (kernel,) = (args.kernel / "boot").glob("vmlinuz-*")
        fast = ["-enable-kvm", "-cpu", "host"] if args.kvm else ["-cpu", "max"]
        disk = f"file={image},if=virtio,format=raw,cache=none,aio=threads"
        subprocess.run(
            ["qemu-system-x86_64", *fast, "-m", "4096", "-smp", "2", "-nographic", "-no-reboot", "-kernel", str(kernel), "-initrd", str(archive),
             "-append", "console=ttyS0 quiet panic=-1", "-drive", disk], check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
