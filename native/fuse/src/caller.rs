//! Who asks: the numbers of a request, and the supplementary groups of the process behind it.
//!
//! Invariant: groups are believed for at most [`GROUPS_TTL`], so a number that a new process took
//! over, or a change of groups, is wrong for no longer than that.

use fuser::Request;
use lockstep_vfs::Caller;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

const GROUPS_TTL: Duration = Duration::from_secs(1);
const CACHED_MAX: usize = 1024;
/// 65,536 groups of ten digits, and the lines before them.
const STATUS_BYTES_MAX: u64 = 1 << 20;

/// A process and the identity it acts with: an identity that changes is another key.
type Key = (u32, u32, u32);

/// Makes [`Caller`]s of requests.
pub(crate) struct Callers {
    origin: u32,
    groups: Mutex<FxHashMap<Key, (Instant, Vec<u32>)>>,
}

impl Callers {
    /// For a mount whose own changes carry the number `origin`.
    pub(crate) fn new(origin: u32) -> Self {
        Self {
            origin,
            groups: Mutex::default(),
        }
    }

    /// The process that made the request. `umask` only matters where something is created.
    pub(crate) fn of(&self, request: &Request, umask: u32) -> Caller {
        let (uid, gid) = (request.uid(), request.gid());
        // The superuser may all, whatever its groups; requests of the kernel itself have no pid.
        let groups = if uid == 0 || request.pid() == 0 {
            Vec::new()
        } else {
            self.groups((request.pid(), uid, gid))
        };
        Caller {
            uid,
            gid,
            groups,
            umask: umask & 0o777,
            origin: self.origin,
        }
    }

    /// The mount itself, for what was already permitted when a handle was opened.
    pub(crate) fn superuser(&self) -> Caller {
        Caller {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            umask: 0,
            origin: self.origin,
        }
    }

    fn groups(&self, key: Key) -> Vec<u32> {
        if let Some((read_at, groups)) = self.groups.lock().get(&key)
            && read_at.elapsed() < GROUPS_TTL
        {
            return groups.clone();
        }
        let groups = read_groups(key.0);
        let mut cache = self.groups.lock();
        if cache.len() >= CACHED_MAX {
            cache.retain(|_, (read_at, _)| read_at.elapsed() < GROUPS_TTL);
            if cache.len() >= CACHED_MAX {
                cache.clear();
            }
        }
        cache.insert(key, (Instant::now(), groups.clone()));
        groups
    }
}

/// A process that is gone has no groups.
fn read_groups(pid: u32) -> Vec<u32> {
    let mut status = Vec::new();
    let read = File::open(format!("/proc/{pid}/status"))
        .and_then(|file| file.take(STATUS_BYTES_MAX).read_to_end(&mut status));
    if read.is_err() {
        return Vec::new();
    }
    parse_groups(&String::from_utf8_lossy(&status))
}

fn parse_groups(status: &str) -> Vec<u32> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Groups:"))
        .map(|numbers| {
            numbers
                .split_ascii_whitespace()
                .filter_map(|n| n.parse().ok())
                .collect()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_parsed() {
        let status = "Name:\tcat\nGid:\t1\t1\t1\t1\nGroups:\t4 24 1000 \nNStgid:\t7\n";
        assert_eq!(parse_groups(status), [4, 24, 1000]);
        assert!(parse_groups("Name:\tx\nGroups:\t \n").is_empty());
        assert!(parse_groups("").is_empty());
    }

    #[test]
    fn this_process_is_readable_and_a_missing_one_has_no_groups() {
        read_groups(std::process::id());
        assert!(read_groups(u32::MAX).is_empty());
    }

    #[test]
    fn the_cache_is_bounded() {
        let callers = Callers::new(1);
        for pid in 0..3 * CACHED_MAX as u32 {
            callers.groups((u32::MAX - pid, 1, 1));
        }
        assert!(callers.groups.lock().len() <= CACHED_MAX);
    }
}
