//! What the entries of a live volume say of its inodes, beside the inodes' own records.

use crate::error::{Result, StoreError};
use lockstep_format::inode::flags;
use lockstep_format::key;
use lockstep_format::{Dentry, Extent, FileKind, Inode, InodeId};
use rustc_hash::{FxHashMap, FxHashSet};

/// What is said of one inode.
#[derive(Default)]
struct Tally {
    inode: Option<Inode>,
    names: u64,
    entries: Vec<InodeId>,
    subdirectories: u64,
    other_volumes: u64,
    xattrs: u64,
    bytes: u64,
    inline: Option<u64>,
    orphan: bool,
    snapshottable: bool,
}

/// What is said of all inodes of a volume.
#[derive(Default)]
pub(crate) struct Tallies(FxHashMap<InodeId, Tally>);

impl Tallies {
    fn of(&mut self, inode: InodeId) -> &mut Tally {
        self.0.entry(inode).or_default()
    }

    /// Counts an entry of the volume's tree.
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let Some((inode, kind, tail)) = key::split(key) else {
            return Err(StoreError::Corrupt {
                what: "a key is too short".into(),
            });
        };
        let marked = || InodeId(tail.try_into().map_or(0, u64::from_be_bytes));
        match kind {
            key::kind::INODE => self.of(inode).inode = Some(Inode::decode(value)?),
            key::kind::INLINE => self.of(inode).inline = Some(value.len() as u64),
            key::kind::ORPHAN => self.of(marked()).orphan = true,
            key::kind::SNAPSHOTTABLE => self.of(marked()).snapshottable = true,
            key::kind::XATTR => self.of(inode).xattrs += 1,
            key::kind::EXTENT => self.of(inode).bytes += u64::from(Extent::decode(value)?.length),
            key::kind::DENTRY => self.add_name(inode, &Dentry::decode(value)?),
            _ => {
                return Err(StoreError::Corrupt {
                    what: format!("a key has the kind {kind}"),
                });
            }
        }
        Ok(())
    }

    fn add_name(&mut self, directory: InodeId, dentry: &Dentry) {
        let tally = self.of(directory);
        tally.subdirectories += u64::from(dentry.kind == FileKind::Directory);
        if dentry.volume.is_some() {
            tally.other_volumes += 1;
            return;
        }
        tally.entries.push(dentry.inode);
        self.of(dentry.inode).names += 1;
    }

    /// How many inodes there are, and how many bytes extents cover.
    pub(crate) fn sums(&self) -> (u64, u64) {
        let each = self.0.values();
        each.map(|tally| (u64::from(tally.inode.is_some()), tally.bytes))
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// What does not fit, of all that `root` reaches. A clone of a directory carries what lies
    /// outside of it, unseen.
    pub(crate) fn problems(&self, root: InodeId) -> Vec<(InodeId, String)> {
        let reachable = self.reach(root);
        let mut list = Vec::new();
        for (inode, tally) in &self.0 {
            if tally.orphan || reachable.contains(inode) {
                let problems = tally.problems(*inode == root);
                list.extend(problems.into_iter().map(|problem| (*inode, problem)));
            }
        }
        list.sort_unstable();
        list
    }

    fn reach(&self, root: InodeId) -> FxHashSet<InodeId> {
        let mut reached: FxHashSet<InodeId> = std::iter::once(root).collect();
        let mut queue = vec![root];
        while let Some(directory) = queue.pop() {
            let entries = self.0.get(&directory).map(|tally| &tally.entries);
            for inode in entries.into_iter().flatten() {
                if reached.insert(*inode) {
                    queue.push(*inode);
                }
            }
        }
        reached
    }
}

impl Tally {
    fn problems(&self, is_root: bool) -> Vec<String> {
        let Some(inode) = &self.inode else {
            return vec!["a name or record speaks of it, but it does not exist".into()];
        };
        let mut list = Vec::new();
        if self.snapshottable != (inode.flags & flags::SNAPSHOTTABLE != 0) {
            list.push("the mark that snapshots are allowed does not match the inode".into());
        }
        let mut expect = |what: &str, recorded: u64, found: u64| {
            if recorded != found {
                list.push(format!("{what} is {recorded}, found {found}"));
            }
        };
        if inode.kind == FileKind::Directory {
            if !self.orphan {
                expect(
                    "link count",
                    u64::from(inode.nlink),
                    2 + self.subdirectories,
                );
                if !is_root {
                    expect("number of names", 1, self.names);
                }
            }
            let entries = self.entries.len() as u64 + self.other_volumes;
            expect("number of entries", inode.size, entries);
        } else {
            expect("link count", u64::from(inode.nlink), self.names);
        }
        if inode.flags & flags::INLINE != 0 {
            // Zeros at the end are not stored.
            expect("allocated", inode.allocated, self.inline.unwrap_or(0));
            expect(
                "length",
                inode.size.max(self.inline.unwrap_or(0)),
                inode.size,
            );
        } else if inode.kind == FileKind::File {
            expect("allocated", inode.allocated, self.bytes);
        }
        list
    }
}
