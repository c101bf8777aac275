//! Frees in the background what has no name any more: long files, and trees removed at once.
//!
//! Invariants:
//! - Work is found by orphan marks, which stand in the volumes' trees: a stop at any point loses
//!   nothing, the next open goes on.
//! - One transaction frees a bounded number of extents or entries, so that nobody waits long.
//! - Nothing that is held open is freed, nor what an earlier process's users may hold: such a node
//!   is parked until the kernel forgets it.

use crate::entry::{purge, remove_entry};
use crate::error::{Result, VfsError};
use crate::event::Effects;
use crate::handle::HandleTable;
use crate::lookup::dentries;
use crate::node::{inode_in, volume_record};
use crate::remove::volume_records;
use crate::{Errno, NodeId, Strangers};
use lockstep_format::inode::flags;
use lockstep_format::{Dentry, FileKind, Inode, InodeId, ViewId, key};
use lockstep_store::{Reader, Store, StoreError, WriteTxn};
use parking_lot::{Condvar, Mutex, RwLock};
use rustc_hash::FxHashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Entries of a removed directory taken apart in one transaction.
const ENTRY_BATCH: usize = 256;
/// How long what found no space to be freed waits.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Queue {
    nodes: Vec<NodeId>,
    busy: bool,
    stopping: bool,
    /// Removed directories that may still have entries.
    trees: FxHashSet<NodeId>,
}

struct Shared {
    store: Arc<Store>,
    handles: Arc<HandleTable>,
    queue: Mutex<Queue>,
    changed: Condvar,
    /// How many `trees` the queue knows of: asked by every call that makes a name.
    trees: AtomicUsize,
    /// Who may hold what the handle table does not know of.
    strangers: RwLock<Option<Arc<dyn Strangers>>>,
    /// What they hold.
    parked: Mutex<FxHashSet<NodeId>>,
}

impl Shared {
    fn add_tree(&self, queue: &mut Queue, node: NodeId) {
        queue.trees.insert(node);
        self.trees.store(queue.trees.len(), Ordering::Release);
    }

    fn remove_tree(&self, queue: &mut Queue, node: NodeId) {
        queue.trees.remove(&node);
        self.trees.store(queue.trees.len(), Ordering::Release);
    }
}

/// The thread, and what it has to do.
pub(crate) struct Reaper {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Reaper {
    pub(crate) fn new(store: Arc<Store>, handles: Arc<HandleTable>) -> Self {
        let shared = Shared {
            store,
            handles,
            queue: Mutex::default(),
            changed: Condvar::new(),
            trees: AtomicUsize::new(0),
            strangers: RwLock::default(),
            parked: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            thread: Mutex::new(None),
        }
    }

    /// Takes up the marks of an earlier life.
    pub(crate) fn adopt_all(&self) -> Result<()> {
        let volumes = self.shared.store.read(|txn| volume_records(txn))?;
        for (view, _) in volumes {
            match self.adopt(view) {
                // What cannot be read is not freed; the other volumes are served.
                Err(VfsError::Store(error)) if error.is_damage() => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Starts the thread, unless it runs, and tells it whom to ask before it frees anything.
    pub(crate) fn start(&self, strangers: Option<Arc<dyn Strangers>>) -> Result<()> {
        *self.shared.strangers.write() = strangers;
        let parked = std::mem::take(&mut *self.shared.parked.lock());
        self.push(&Vec::from_iter(parked));
        let mut running = self.thread.lock();
        if running.is_some() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("lockstep-reaper".to_owned());
        let thread = thread.spawn(move || shared.run());
        let thread = thread.map_err(StoreError::io("start the reaper"))?;
        *running = Some(thread);
        Ok(())
    }

    /// Takes up the orphan marks of a volume: of one just opened, or born with them.
    pub(crate) fn adopt(&self, view: ViewId) -> Result<()> {
        let marked = self.shared.store.read(|txn| marks(txn, view))?;
        for (node, is_directory) in &marked {
            if *is_directory {
                self.expect_tree(*node);
            }
            self.push(&[*node]);
        }
        Ok(())
    }

    /// Ends the thread after its current step; what is left stays marked.
    pub(crate) fn stop(&self) {
        self.shared.queue.lock().stopping = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            // It panicked: the default hook has said why, and the marks are still there.
            self.shared.queue.lock().busy = false;
        }
    }

    /// More nodes without a name.
    pub(crate) fn push(&self, nodes: &[NodeId]) {
        if nodes.is_empty() {
            return;
        }
        self.shared.queue.lock().nodes.extend_from_slice(nodes);
        self.shared.changed.notify_all();
    }

    /// The kernel let go of a node.
    pub(crate) fn forgotten(&self, node: NodeId) {
        if self.shared.parked.lock().remove(&node) {
            self.push(&[node]);
        }
    }

    /// A directory with entries is about to lose its name.
    pub(crate) fn expect_tree(&self, node: NodeId) {
        self.shared.add_tree(&mut self.shared.queue.lock(), node);
    }

    /// ... or kept it after all.
    pub(crate) fn tree_done(&self, node: NodeId) {
        self.shared.remove_tree(&mut self.shared.queue.lock(), node);
    }

    /// Whether there may be directories that look alive but lie in a removed tree.
    pub(crate) fn has_trees(&self) -> bool {
        self.shared.trees.load(Ordering::Acquire) > 0
    }

    /// Waits until the queue is empty.
    pub(crate) fn settle(&self) {
        let mut queue = self.shared.queue.lock();
        while !queue.stopping && (queue.busy || !queue.nodes.is_empty()) {
            self.shared.changed.wait(&mut queue);
        }
    }
}

fn marks(reader: &dyn Reader, view: ViewId) -> Result<Vec<(NodeId, bool)>> {
    let prefix = key::prefix(InodeId(0), key::kind::ORPHAN);
    let end = key::after_prefix(&prefix).ok_or(Errno::Io)?;
    let mut ids = Vec::new();
    reader.scan(view, &prefix, &end, &mut |key, _| {
        if let Some(id) = key
            .get(prefix.len()..)
            .and_then(|rest| rest.first_chunk::<8>())
        {
            ids.push(InodeId(u64::from_be_bytes(*id)));
        }
        ControlFlow::Continue(())
    })?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let inode = reader.inode(view, id)?;
        let is_directory = inode.is_some_and(|inode| inode.kind == FileKind::Directory);
        found.push((NodeId::new(view, id), is_directory));
    }
    Ok(found)
}

/// What one step left to do.
enum Step {
    /// The node is gone, or waits for its last release.
    Done,
    /// There is more of it.
    More,
    /// The node is gone; if it was a removed directory, no names can hide in it any more.
    TreeDone,
}

impl Shared {
    fn run(&self) {
        loop {
            let node = {
                let mut queue = self.queue.lock();
                queue.busy = false;
                self.changed.notify_all();
                while queue.nodes.is_empty() && !queue.stopping {
                    self.changed.wait(&mut queue);
                }
                if queue.stopping {
                    return;
                }
                let Some(node) = queue.nodes.pop() else {
                    continue;
                };
                queue.busy = true;
                node
            };
            self.work_on(node);
        }
    }

    /// Asks whether somebody outside the handle table may hold the node; then it is parked.
    fn park_if_held(&self, node: NodeId) -> bool {
        let Some(strangers) = self.strangers.read().clone() else {
            return false;
        };
        // Parked first: it may be forgotten while we ask.
        self.parked.lock().insert(node);
        if strangers.may_hold(node) {
            return true;
        }
        self.parked.lock().remove(&node);
        false
    }

    fn work_on(&self, node: NodeId) {
        let mut found = Vec::new();
        // Before the transaction: who is asked may wait for one.
        let parked = self.park_if_held(node);
        let step = self
            .store
            .write(|txn| self.step(txn, node, parked, &mut found));
        let mut queue = self.queue.lock();
        match step {
            Ok(Step::TreeDone) => self.remove_tree(&mut queue, node),
            Ok(Step::More) => {
                queue.nodes.push(node);
                for (child, is_directory) in found {
                    if is_directory {
                        self.add_tree(&mut queue, child);
                    }
                    queue.nodes.push(child);
                }
            }
            // Others may make room.
            Err(error) if error.code() == Errno::NoSpace.code() => {
                queue.nodes.insert(0, node);
                self.changed.wait_for(&mut queue, RETRY_INTERVAL);
            }
            // An error is damage in it, or a closed store: the mark stays for the next open.
            Ok(Step::Done) | Err(_) => {}
        }
    }

    fn step(
        &self,
        txn: &mut WriteTxn<'_>,
        node: NodeId,
        parked: bool,
        found: &mut Vec<(NodeId, bool)>,
    ) -> Result<Step> {
        let (view, id) = (node.view(), node.inode());
        let gone = txn.view(view)?.is_none();
        let Some(inode) = (if gone { None } else { txn.inode(view, id)? }) else {
            return Ok(Step::TreeDone);
        };
        // A name was found for it after all: a mark that a crash or a rollback left.
        if inode.nlink != 0 {
            txn.delete(view, &key::orphan(id))?;
            return Ok(Step::TreeDone);
        }
        match inode.kind {
            FileKind::Directory => self.directory_step(txn, node, &inode, parked, found),
            _ if parked => Ok(Step::Done),
            _ => self.file_step(txn, node, &inode),
        }
    }

    fn file_step(&self, txn: &mut WriteTxn<'_>, node: NodeId, inode: &Inode) -> Result<Step> {
        if self.handles.keep_until_release(node) {
            return Ok(Step::Done);
        }
        let (view, id) = (node.view(), node.inode());
        if inode.kind == FileKind::File && inode.flags & flags::INLINE == 0 {
            let (change, more) = txn.clear_range(view, id, 0, u64::MAX)?;
            if more {
                let mut inode = inode.clone();
                crate::file::account(&mut inode, change);
                txn.put_inode(view, id, &inode)?;
                return Ok(Step::More);
            }
        }
        purge(txn, view, id, inode)?;
        Ok(Step::Done)
    }

    fn directory_step(
        &self,
        txn: &mut WriteTxn<'_>,
        node: NodeId,
        inode: &Inode,
        parked: bool,
        found: &mut Vec<(NodeId, bool)>,
    ) -> Result<Step> {
        let (view, id) = (node.view(), node.inode());
        let entries = dentries(txn, view, id, None, ENTRY_BATCH)?;
        if entries.is_empty() {
            if parked || self.handles.keep_until_release(node) {
                return Ok(Step::Done);
            }
            purge(txn, view, id, inode)?;
            return Ok(Step::TreeDone);
        }
        let now = self.store.now();
        for (name, dentry) in entries {
            remove_entry(txn, node, &name, &dentry, now)?;
            if let Some(child) = self.drop_child(txn, view, &dentry)? {
                found.push(child);
            }
        }
        // Counting entries out must not bring the link count of a removed directory back.
        crate::entry::update(txn, view, id, |inode| inode.nlink = 0)?;
        Ok(Step::More)
    }

    /// Takes the name of an entry of a removed directory; tells what is left to be freed.
    fn drop_child(
        &self,
        txn: &mut WriteTxn<'_>,
        view: ViewId,
        dentry: &Dentry,
    ) -> Result<Option<(NodeId, bool)>> {
        let id = dentry.inode;
        let node = NodeId::new(view, id);
        let mut inode = inode_in(txn, view, id)?;
        let is_directory = dentry.kind == FileKind::Directory;
        if is_directory {
            check_detached(txn, view, dentry)?;
            inode.nlink = 0;
        } else {
            inode.nlink = inode.nlink.saturating_sub(1);
        }
        inode.ctime = self.store.now();
        if inode.nlink > 0 {
            txn.put_inode(view, id, &inode)?;
            return Ok(None);
        }
        let mut effects = Effects::default();
        if is_directory {
            txn.put(view, &key::orphan(id), &[])?;
            txn.put_inode(view, id, &inode)?;
            return Ok(Some((node, true)));
        }
        crate::entry::forget(&self.handles, txn, &mut effects, node, &inode)?;
        Ok(effects.has_orphans().then_some((node, false)))
    }
}

/// Trees with attached volumes are not removed, and none is attached in a removed tree.
fn check_detached(reader: &dyn Reader, view: ViewId, dentry: &Dentry) -> Result<()> {
    let Some(volume) = dentry.volume else {
        return Ok(());
    };
    match volume_record(reader, volume)? {
        Some(record) if record.attached_to.0 == view => Err(Errno::Busy.into()),
        _ => Ok(()),
    }
}
