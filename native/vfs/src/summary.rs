//! Sums over a subtree, as HDFS's content summary wants them.

use crate::error::Result;
use crate::lookup::dentries;
use crate::node::{child_node, inode_of};
use crate::permission::{self, READ, SEARCH};
use crate::{Caller, ContentSummary, Errno, NodeId, Vfs, VfsError};
use lockstep_format::{FileKind, Inode};
use lockstep_store::Reader;

/// An entry with its inode, unless it is a directory.
type Counted = (NodeId, Option<Inode>);

/// A directory being walked: the batch at hand, and the name that it ends with.
struct Level {
    node: NodeId,
    after: Option<Vec<u8>>,
    batch: std::vec::IntoIter<Counted>,
}

/// Entries looked at under one lock.
const BATCH: usize = 256;

impl Vfs {
    /// Sums over a node and everything below it, attached volumes included. Read and search
    /// permission is needed on every directory. Memory grows with the depth only; the sums are of
    /// no single instant if the tree changes meanwhile.
    pub fn content_summary(&self, caller: &Caller, node: NodeId) -> Result<ContentSummary> {
        let mut sums = ContentSummary::default();
        let top = self.inspect(|reader| inode_of(reader, node))?;
        if top.kind != FileKind::Directory {
            count(&mut sums, &top);
            return Ok(sums);
        }
        let mut levels = vec![self.enter(caller, node, &mut sums)?];
        while let Some(level) = levels.last_mut() {
            let Some(child) = self.advance(level, &mut sums)? else {
                levels.pop();
                continue;
            };
            match self.enter(caller, child, &mut sums) {
                Ok(level) => levels.push(level),
                // Removed since it was listed.
                Err(VfsError::Errno(Errno::NotFound | Errno::Stale)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sums)
    }

    fn enter(&self, caller: &Caller, node: NodeId, sums: &mut ContentSummary) -> Result<Level> {
        self.inspect(|reader| {
            let inode = inode_of(reader, node)?;
            permission::check(reader, caller, node, &inode, READ | SEARCH)
        })?;
        sums.directories += 1;
        Ok(Level {
            node,
            after: None,
            batch: Vec::new().into_iter(),
        })
    }

    /// Counts files up to the next directory of a level, which is answered.
    fn advance(&self, level: &mut Level, sums: &mut ContentSummary) -> Result<Option<NodeId>> {
        loop {
            for (child, inode) in level.batch.by_ref() {
                match inode {
                    Some(inode) => count(sums, &inode),
                    None => return Ok(Some(child)),
                }
            }
            let (found, last) = self.inspect(|reader| next_batch(reader, level))?;
            if last.is_none() {
                return Ok(None);
            }
            level.after = last;
            level.batch = found.into_iter();
        }
    }
}

fn next_batch(reader: &dyn Reader, level: &Level) -> Result<(Vec<Counted>, Option<Vec<u8>>)> {
    let (view, id) = (level.node.view(), level.node.inode());
    let mut found = Vec::new();
    let mut last = None;
    for (name, dentry) in dentries(reader, view, id, level.after.as_deref(), BATCH)? {
        let child = child_node(reader, level.node, &dentry)?;
        let directory = dentry.kind == FileKind::Directory;
        let inode = if directory {
            None
        } else {
            Some(inode_of(reader, child)?)
        };
        found.push((child, inode));
        last = Some(name);
    }
    Ok((found, last))
}

fn count(sums: &mut ContentSummary, inode: &Inode) {
    sums.files += 1;
    if inode.kind == FileKind::File {
        let copies = u64::from(inode.replication.max(1));
        sums.length = sums.length.saturating_add(inode.size);
        let consumed = inode.size.saturating_mul(copies);
        sums.space_consumed = sums.space_consumed.saturating_add(consumed);
    }
}
