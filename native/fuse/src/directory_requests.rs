//! Answers `readdir` and `readdirplus`.
//!
//! Invariant: a name is given an offset only when it went into the reply, so the next request
//! goes on exactly where this one ended.

use crate::adapter::Adapter;
use crate::convert::{self, attribute_ttl, entry_ttl};
use crate::directory::{AFTER_PARENT, AFTER_SELF, Directory, Filling, Found};
use fuser::{FileHandle, INodeNo};
use lockstep_vfs::{self as vfs, DirectoryEntry, NodeId, VfsError};
use std::ops::ControlFlow;

impl Adapter {
    pub(crate) fn read_directory(
        &self,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut filling: Filling,
    ) {
        let filled = self.answer("readdir", ino, || {
            let directory = self
                .directories
                .get(handle.0, convert::node(ino))
                .ok_or(vfs::Errno::BadHandle)?;
            self.fill(&directory, offset, &mut filling)?;
            self.directories.note(&directory);
            Ok(())
        });
        match filled {
            Ok(()) => filling.ok(),
            Err(errno) => filling.error(errno),
        }
    }

    fn fill(
        &self,
        directory: &Directory,
        offset: u64,
        filling: &mut Filling,
    ) -> Result<(), VfsError> {
        if !self.fill_dots(directory, offset, filling)? {
            return Ok(());
        }
        let of = directory.node;
        let mut positions = directory.positions.lock();
        let resume = positions.resume(offset);
        let mut skip = resume.skip;
        if skip == 0 && !positions.is_last(offset) {
            positions.start_after(&resume.after);
        }
        let after = Some(&*resume.after).filter(|name| !name.is_empty());
        // What may be read was decided when the directory was opened.
        let caller = self.callers.superuser();
        self.vfs.list(
            &caller,
            of,
            after,
            filling.wants_attributes(),
            &mut |entry| {
                if skip > 0 {
                    skip -= 1;
                    if skip == 0 {
                        positions.start_after(&entry.name);
                    }
                    return ControlFlow::Continue(());
                }
                if self.add_entry(of, &entry, positions.next(), filling) {
                    positions.give(&entry.name);
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            },
        )
    }

    /// Adds an entry; `false` if the reply is full.
    fn add_entry(
        &self,
        of: NodeId,
        entry: &DirectoryEntry,
        offset: u64,
        filling: &mut Filling,
    ) -> bool {
        let attributes = if filling.wants_attributes() {
            let known = entry.attributes.clone();
            let Some(known) = known.or_else(|| self.vfs.attributes(entry.node).ok()) else {
                // Removed since it was listed.
                return true;
            };
            Some(convert::attributes(&known))
        } else {
            None
        };
        filling.add(&Found {
            name: &entry.name,
            offset,
            node: entry.node,
            kind: convert::file_type(entry.kind),
            attributes,
            ttl: entry_ttl(of, &entry.name),
        })
    }

    /// Adds `.` and `..` as far as `offset` wants them; `false` if the reply is full.
    fn fill_dots(
        &self,
        directory: &Directory,
        offset: u64,
        filling: &mut Filling,
    ) -> Result<bool, VfsError> {
        let caller = self.callers.superuser();
        for (name, at) in [(".", AFTER_SELF), ("..", AFTER_PARENT)] {
            if offset >= at {
                continue;
            }
            let found = self.vfs.lookup(&caller, directory.node, name.as_bytes())?;
            let added = filling.add(&Found {
                name: name.as_bytes(),
                offset: at,
                node: found.node,
                kind: convert::file_type(found.kind),
                attributes: Some(convert::attributes(&found)),
                ttl: attribute_ttl(found.node),
            });
            if !added {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
