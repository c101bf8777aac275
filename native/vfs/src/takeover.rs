//! Taking a mount over from a daemon that died.
//!
//! Invariants:
//! - What the earlier daemon's users may hold open is not freed: neither what had lost its name
//!   before, nor what loses it now, until the kernel has forgotten it.
//! - What the earlier daemon had changed and may not have told is known: a mount's caches are right
//!   once it has heard of [`Vfs::recovered`], if nobody else owned the store in between.

use crate::error::Result;
use crate::{Event, NodeId, Strangers, Vfs};
use lockstep_format::key;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Vfs {
    /// Frees what has no name from now on, but for what `strangers` hold.
    pub fn reap(&self, strangers: Option<Arc<dyn Strangers>>) -> Result<()> {
        let is_waited_for = strangers.is_some();
        self.handles
            .has_strangers
            .store(is_waited_for, Ordering::Relaxed);
        if self.read_only {
            return Ok(());
        }
        self.reaper.start(strangers)
    }

    /// The kernel holds nothing of this node any more.
    pub fn forgotten(&self, node: NodeId) {
        if self.handles.has_strangers.load(Ordering::Relaxed) {
            self.reaper.forgotten(node);
        }
    }

    /// Who owned the store before this process, and the name of this one's ownership.
    pub fn owners(&self) -> (String, String) {
        self.store.owners()
    }

    /// Everything that the last owner changed and that was not yet published when it ended.
    pub fn recovered(&self) -> Vec<Event> {
        let changed = &self.store.recovery().changed;
        let events = changed.iter().filter_map(|(view, key)| {
            let (inode, kind, rest) = key::split(key)?;
            let node = NodeId::new(*view, inode);
            Some(match kind {
                key::kind::DENTRY => Event::Entry {
                    parent: node,
                    name: key::dentry_name(rest),
                },
                _ => Event::Inode {
                    node,
                    offset: 0,
                    length: u64::MAX,
                },
            })
        });
        events.collect()
    }
}
