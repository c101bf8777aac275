//! What a change leaves to do once it is made: telling who caches, and freeing what has no name.
//!
//! Invariant: observers are told with no lock held, not even an inode's, after the change and before
//! its answer.

use crate::error::Result;
use crate::{Event, NodeId, Observer, Vfs};
use lockstep_store::WriteTxn;
use parking_lot::RwLock;
use std::sync::Arc;

/// Collected while a transaction runs, carried out after it.
#[derive(Default)]
pub(crate) struct Effects {
    /// Nobody but the asker caches: events need not be kept.
    unheard: bool,
    events: Vec<Event>,
    orphans: Vec<NodeId>,
}

impl Effects {
    /// A name of `parent` appeared, went or means something else; so `parent` changed too.
    pub(crate) fn entry(&mut self, parent: NodeId, name: &[u8]) {
        if !self.unheard {
            self.events.push(Event::Entry {
                parent,
                name: name.to_vec(),
            });
            self.attributes(parent);
        }
    }

    /// Attributes of a node changed.
    pub(crate) fn attributes(&mut self, node: NodeId) {
        self.bytes(node, 0, 0);
    }

    /// Bytes (and so attributes) of a node changed.
    pub(crate) fn bytes(&mut self, node: NodeId, offset: u64, length: u64) {
        if !self.unheard {
            self.events.push(Event::Inode {
                node,
                offset,
                length,
            });
        }
    }

    /// Whether any node waits to be freed.
    pub(crate) fn has_orphans(&self) -> bool {
        !self.orphans.is_empty()
    }

    /// A node without a name waits to be freed.
    pub(crate) fn orphan(&mut self, node: NodeId) {
        self.orphans.push(node);
    }
}

/// Everybody who caches.
#[derive(Default)]
pub(crate) struct Observers {
    list: RwLock<Vec<(u32, Arc<dyn Observer>)>>,
}

impl Observers {
    pub(crate) fn add(&self, origin: u32, observer: Arc<dyn Observer>) {
        let mut list = self.list.write();
        list.retain(|(known, _)| *known != origin);
        list.push((origin, observer));
    }

    pub(crate) fn remove(&self, origin: u32) {
        self.list.write().retain(|(known, _)| *known != origin);
    }

    /// Whether a change by a caller of `origin` is news to nobody.
    fn are_deaf_to(&self, origin: u32) -> bool {
        self.list
            .read()
            .iter()
            .all(|(known, _)| origin != 0 && *known == origin)
    }

    fn tell(&self, origin: u32, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        // Cloned so that an observer may take its time, and may unregister itself.
        let list = self.list.read().clone();
        for (_, observer) in list
            .iter()
            .filter(|(known, _)| origin == 0 || *known != origin)
        {
            observer.changed(events);
        }
    }
}

impl Vfs {
    /// One atomic change by a caller of `origin`, and then what it leaves to do.
    pub(crate) fn change<T>(
        &self,
        origin: u32,
        make: impl FnOnce(&mut WriteTxn<'_>, &mut Effects) -> Result<T>,
    ) -> Result<T> {
        let (value, effects) = self.record(origin, make)?;
        self.carry_out(origin, &effects);
        Ok(value)
    }

    /// The change alone, for callers that hold an inode's lock: an observer may wait for a kernel
    /// whose answer waits for that very lock.
    pub(crate) fn record<T>(
        &self,
        origin: u32,
        make: impl FnOnce(&mut WriteTxn<'_>, &mut Effects) -> Result<T>,
    ) -> Result<(T, Effects)> {
        let mut effects = Effects::default();
        let value = self.transact(|txn| {
            // Asked inside: who starts to cache later cannot have seen the state before.
            effects.unheard = self.observers.are_deaf_to(origin);
            make(txn, &mut effects)
        })?;
        Ok((value, effects))
    }

    /// What a change left to do, with no lock held.
    pub(crate) fn carry_out(&self, origin: u32, effects: &Effects) {
        self.reaper.push(&effects.orphans);
        self.observers.tell(origin, &effects.events);
    }
}
