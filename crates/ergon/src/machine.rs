//! What this machine, or the control group we run in, gives us: cores and memory.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Percent of the free memory that is ours when no `--memory` is given.
const DEFAULT_BUDGET_PERCENT: u64 = 80;

/// Physical cores this process may use.
pub(crate) fn physical_cores() -> usize {
    // Affinity masks and CPU quotas show up only in the second number.
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    num_cpus::get_physical().clamp(1, allowed)
}

/// 80 % of the free memory in bytes; `None` where the system does not tell.
pub(crate) fn default_memory_budget_bytes() -> Option<u64> {
    free_memory_bytes().map(|free| free / 100 * DEFAULT_BUDGET_PERCENT)
}

/// The least of what the machine and the control group have free, bytes.
fn free_memory_bytes() -> Option<u64> {
    let machine = field_kib(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = control_group_free_bytes(&groups, Path::new("/sys/fs/cgroup"));
    Some(group.map_or(machine, |bytes| bytes.min(machine)))
}

/// The resident size of this process, bytes (`VmRSS`); `None` where the system does not tell.
pub(crate) fn resident_bytes() -> Option<u64> {
    field_kib(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// The largest resident size this process ever had, bytes (`VmHWM`); `None` where the system does not tell.
pub(crate) fn peak_resident_bytes() -> Option<u64> {
    field_kib(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// The value of a `Name:   123 kB` line of a /proc file, in bytes.
fn field_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// What is left under the tightest memory limit of our group and its ancestors, in either version of control groups.
fn control_group_free_bytes(groups: &str, root: &Path) -> Option<u64> {
    let mut free: Option<u64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (base, files) = if controllers.is_empty() {
            (root.to_path_buf(), &VERSION_2)
        } else if controllers.split(',').any(|name| name == "memory") {
            (root.join("memory"), &VERSION_1)
        } else {
            continue;
        };
        for folder in group_and_ancestors(&base, group) {
            if let Some(bytes) = group_free_bytes(&folder, files) {
                free = Some(free.map_or(bytes, |least| least.min(bytes)));
            }
        }
    }
    free
}

/// Names of the files that hold a group's limit and use, and of the reclaimable part within `memory.stat`.
struct GroupFiles {
    limit: &'static str,
    usage: &'static str,
    reclaimable: &'static str,
}

const VERSION_2: GroupFiles =
    GroupFiles { limit: "memory.max", usage: "memory.current", reclaimable: "inactive_file " };
const VERSION_1: GroupFiles = GroupFiles {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file ",
};

/// The group's folder and every folder above it, up to the mount. Inside a container the path named by the kernel often
/// does not exist below the mount; the mount itself is then the group.
fn group_and_ancestors(base: &Path, group: &str) -> Vec<PathBuf> {
    let mut folder = base.join(group.trim_start_matches('/'));
    let mut folders = Vec::new();
    while folder.starts_with(base) {
        folders.push(folder.clone());
        if !folder.pop() {
            break;
        }
    }
    folders
}

/// Limit minus use, plus the page cache the kernel would give back; `None` without a limit.
fn group_free_bytes(folder: &Path, files: &GroupFiles) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let limit = number(files.limit)?;
    let used = number(files.usage)?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let reclaimable: u64 = stat
        .lines()
        .find_map(|line| line.strip_prefix(files.reclaimable))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(reclaimable)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_group(folder: &Path, names: &GroupFiles, limit: &str, used: u64, inactive: u64) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(names.limit), limit).unwrap();
        fs::write(folder.join(names.usage), used.to_string()).unwrap();
        fs::write(folder.join("memory.stat"), format!("anon 5\n{}{inactive}\n", names.reclaimable)).unwrap();
    }

    #[test]
    fn version_2_takes_the_tightest_ancestor() {
        let root = tempfile::tempdir().unwrap();
        write_group(&root.path().join("a"), &VERSION_2, "1000", 600, 100);
        write_group(&root.path().join("a/b"), &VERSION_2, "max", 10, 0);
        assert_eq!(control_group_free_bytes("0::/a/b\n", root.path()), Some(500));
    }

    #[test]
    fn version_1_falls_back_to_the_mount() {
        let root = tempfile::tempdir().unwrap();
        write_group(&root.path().join("memory"), &VERSION_1, "4096", 96, 0);
        let groups = "9:name=systemd:/\n4:cpu,memory:/not/visible/here\n0::/\n";
        assert_eq!(control_group_free_bytes(groups, root.path()), Some(4000));
    }

    #[test]
    fn no_limit_is_no_bound() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(control_group_free_bytes("0::/\n", root.path()), None);
        assert_eq!(control_group_free_bytes("garbage", root.path()), None);
    }

    #[test]
    fn proc_fields_are_kibibytes() {
        assert_eq!(field_kib("VmPeak: 1 kB\nVmHWM:\t  12 kB\n", "VmHWM:"), Some(12 * 1024));
    }
}
