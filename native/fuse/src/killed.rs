//! A daemon without a holder that was killed and cannot die, because the kernel waits for its answer.
//!
//! Invariant: nobody's mount is cut but that of a process that will never answer again: it has been
//! killed, and the mount does not answer.

use crate::session::is_dead_soon;
use lockstep_holder::mount_table;
use std::path::Path;

/// Signal 9 in the masks of `/proc/PID/status`.
const KILL: u64 = 1 << 8;

/// Cuts the connection of the dead mount at `point` if process `pid` was killed and still exists:
/// it may be waiting for what only it could answer. Returns whether there was one to cut.
pub fn free_killed(point: &Path, pid: u32) -> bool {
    let Ok(Some(entry)) = mount_table::canonical(point).and_then(|point| mount_table::at(&point))
    else {
        return false;
    };
    if !entry.is_ours() || !is_killed(pid) || !is_dead_soon(point, &entry).unwrap_or(true) {
        return false;
    }
    mount_table::take_away(point, entry.device());
    true
}

/// Whether a process, or any thread of it, has been killed and is not gone.
fn is_killed(pid: u32) -> bool {
    let status = |path: &Path| std::fs::read_to_string(path).is_ok_and(|text| says_killed(&text));
    let process = format!("/proc/{pid}");
    if status(&Path::new(&process).join("status")) {
        return true;
    }
    std::fs::read_dir(format!("{process}/task")).is_ok_and(|mut threads| {
        threads.any(|thread| thread.is_ok_and(|thread| status(&thread.path().join("status"))))
    })
}

fn says_killed(status: &str) -> bool {
    status.lines().any(|line| {
        let mask = line
            .strip_prefix("SigPnd:")
            .or_else(|| line.strip_prefix("ShdPnd:"));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_some_and(|mask| mask & KILL != 0) || line.starts_with("State:\tZ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_that_is_pending_is_seen() {
        assert!(says_killed("Name:\tx\nShdPnd:\t0000000000000100\n"));
        assert!(says_killed("State:\tZ (zombie)\n"));
        assert!(!says_killed(
            "State:\tD (disk sleep)\nSigPnd:\t0000000000004000\n"
        ));
        assert!(!is_killed(std::process::id()));
        assert!(!free_killed(Path::new("/proc"), std::process::id()));
    }
}
