//! `NativeTransfer`: the HDFS data port. JavaScript decides, native threads move the bytes.
//!
//! Invariants:
//! - Connection threads wait for JavaScript; JavaScript never waits for one: closing runs on
//!   Node's thread pool, and from its start no thread waits for a decision any more.
//! - The callbacks are let go when the listener has closed, so that Node may end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use lockstep_transfer::{
    BlockChecksum, ChecksumKind, ChunkChecksums, Decide, Event, Files, Options, Plan, ReadPlan,
    Request, Server, TransferError, WritePlan, block_checksum,
};
use lockstep_vfs::{Errno, NodeId, Vfs};
use napi::bindgen_prelude::{Buffer, Function, Uint8Array};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Status};
use napi_derive::napi;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::attributes::node_of;
use crate::error::{Failure, Result, catch_free, failure, from_errno, from_vfs};
use crate::number::{whole, whole16, whole32};
use crate::store::NativeStore;
use crate::task::{Promised, promise};

/// How often a thread that waits for JavaScript looks whether the listener closes.
const CLOSING_CHECK: Duration = Duration::from_millis(500);

/// Where and how to listen.
#[napi(object)]
pub struct TransferOptions {
    /// Address to bind to.
    pub host: String,
    /// Port; 0 = any.
    pub port: f64,
    /// Most connections at once.
    pub connections: f64,
    /// How long a connection may idle between operations.
    pub idle_ms: f64,
}

/// One operation, to be answered by [`NativeTransfer::answer`].
#[napi(object, object_from_js = false)]
pub struct TransferRequest {
    /// Names the operation.
    pub id: f64,
    /// The opcode.
    pub op: u32,
    /// The protobuf bytes of its message.
    pub message: Buffer,
    /// `ip:port`.
    pub peer: String,
}

/// How far a write has come.
#[napi(object, object_from_js = false)]
pub struct TransferEvent {
    /// The request's id.
    pub id: f64,
    /// Bytes of the block that are in the file.
    pub bytes: f64,
    /// The last packet arrived.
    pub complete: bool,
    /// What ended the write early.
    #[napi(ts_type = "string | null")]
    pub error: Option<String>,
}

/// What to do; which fields are there depends on `kind`.
#[napi(object, object_to_js = false)]
pub struct TransferPlan {
    /// `respond`, `read` or `write`.
    pub kind: String,
    /// The response, without length prefix.
    pub response: Uint8Array,
    /// `respond`: close after it.
    pub close: Option<bool>,
    /// The view of the file.
    pub view: Option<f64>,
    /// The inode of the file.
    pub inode: Option<f64>,
    /// `read`: where the range begins in the file.
    pub offset: Option<f64>,
    /// `read`: bytes to send.
    pub length: Option<f64>,
    /// `read`: where the range begins in the block.
    pub block_offset: Option<f64>,
    /// `read`: false sends no checksums.
    pub send_checksums: Option<bool>,
    /// `write`: where the block begins in the file.
    pub file_offset: Option<f64>,
    /// `write`: bytes of the block that are stored already.
    pub position: Option<f64>,
    /// `write`: most bytes the block may have.
    pub limit: Option<f64>,
    /// `write`: make it durable before the last acknowledgement.
    pub sync_on_close: Option<bool>,
    /// 0 none, 1 CRC-32, 2 CRC-32C.
    pub checksum: Option<f64>,
    /// The grain of the checksums.
    pub bytes_per_checksum: Option<f64>,
}

/// Checksums of a block.
#[napi(object, object_from_js = false)]
pub struct BlockChecksumResult {
    /// MD5 over the checksum words.
    pub md5: Buffer,
    /// The CRC of the bytes as one piece.
    pub composite_crc: u32,
    /// Chunks.
    pub crc_count: f64,
}

type Decision = ThreadsafeFunction<TransferRequest, (), TransferRequest, Status, false>;
type Progress = ThreadsafeFunction<TransferEvent, (), TransferEvent, Status, false>;

/// The listener, for JavaScript.
#[napi]
pub struct NativeTransfer {
    vfs: Arc<Vfs>,
    server: Arc<Server>,
    script: Arc<Script>,
}

/// The HDFS data port.
#[napi]
impl NativeStore {
    /// Listens, and asks `decide` about every operation.
    #[napi(ts_return_type = "Promise<NativeTransfer>")]
    pub fn serve_transfer(
        &self,
        options: TransferOptions,
        decide: Function<'_, TransferRequest, ()>,
        finished: Function<'_, TransferEvent, ()>,
    ) -> napi::Result<Promised<NativeTransfer>> {
        let script = Arc::new(Script {
            callbacks: Mutex::new(Some(Callbacks {
                decide: Arc::new(decide.build_threadsafe_function().build()?),
                progress: Arc::new(finished.build_threadsafe_function().build()?),
            })),
            waiting: Mutex::default(),
        });
        let vfs = Arc::clone(self.vfs());
        Ok(promise(move || {
            let options = listen_options(options)?;
            let decide = Arc::clone(&script) as Arc<dyn Decide>;
            let server = Server::start(Arc::clone(&vfs) as Arc<dyn Files>, &options, decide)
                .map_err(|error| {
                    script.let_go();
                    from_transfer(&error)
                })?;
            Ok(NativeTransfer {
                vfs,
                server: Arc::new(server),
                script,
            })
        }))
    }
}

#[napi]
impl NativeTransfer {
    /// The port that is listened on.
    #[napi(getter)]
    pub fn port(&self) -> u32 {
        u32::from(self.server.port())
    }

    /// Answers a request, once.
    #[napi]
    pub fn answer(&self, id: f64, plan: TransferPlan) -> Result<()> {
        let plan = checked_plan(&plan)?;
        match locked(&self.script.waiting).requests.remove(&whole(id)?) {
            // The thread may be gone, as the listener is closing.
            Some(thread) => drop(thread.send(plan)),
            None => return Err(from_errno(Errno::Stale)),
        }
        Ok(())
    }

    /// Checksums a range of a file.
    #[napi(ts_return_type = "Promise<BlockChecksumResult>")]
    pub fn block_checksum(
        &self,
        view: f64,
        inode: f64,
        offset: f64,
        length: f64,
        checksum: f64,
        bytes_per_checksum: f64,
    ) -> Promised<BlockChecksumResult> {
        let vfs = Arc::clone(&self.vfs);
        promise(move || {
            let node = node_of(view, inode)?;
            let (offset, length) = (whole(offset)?, whole(length)?);
            let kind = checksum_kind(checksum)?;
            let grain = whole32(bytes_per_checksum)? as usize;
            let BlockChecksum {
                md5,
                composite_crc,
                crc_count,
            } = catch_free(|| {
                block_checksum(&*vfs, node, offset, length, kind, grain)
                    .map_err(|error| from_transfer(&error))
            })?;
            let md5 = Buffer::from(md5.to_vec());
            Ok(BlockChecksumResult {
                md5,
                composite_crc,
                crc_count: number(crc_count),
            })
        })
    }

    /// Ends all connections; resolves when their threads are gone.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn close(&self) -> Promised<()> {
        let (server, script) = (Arc::clone(&self.server), Arc::clone(&self.script));
        promise(move || {
            server.close();
            script.let_go();
            Ok(())
        })
    }
}

/// JavaScript, as the packet loop sees it.
struct Script {
    /// `None` once the listener has closed.
    callbacks: Mutex<Option<Callbacks>>,
    waiting: Mutex<Waiting>,
}

struct Callbacks {
    decide: Arc<Decision>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Waiting {
    closing: bool,
    requests: HashMap<u64, Sender<Plan>>,
}

impl Script {
    fn let_go(&self) {
        drop(locked(&self.callbacks).take());
    }

    fn is_closing(&self) -> bool {
        locked(&self.waiting).closing
    }

    /// Waits for what JavaScript sends; `None` if it will not, or the listener closes.
    fn wait<T>(&self, answer: &Receiver<T>) -> Option<T> {
        loop {
            match answer.recv_timeout(CLOSING_CHECK) {
                Ok(value) => return Some(value),
                Err(RecvTimeoutError::Timeout) if !self.is_closing() => {}
                Err(_) => return None,
            }
        }
    }

    fn forget(&self, id: u64) {
        locked(&self.waiting).requests.remove(&id);
    }
}

impl Decide for Script {
    fn decide(&self, request: Request) -> Option<Plan> {
        let callback = locked(&self.callbacks)
            .as_ref()
            .map(|all| Arc::clone(&all.decide))?;
        let id = request.id;
        let (thread, answer) = channel();
        {
            let mut waiting = locked(&self.waiting);
            if waiting.closing {
                return None;
            }
            waiting.requests.insert(id, thread);
        }
        let Request {
            op, message, peer, ..
        } = request;
        let message = Buffer::from(message);
        let request = TransferRequest {
            id: number(id),
            op: u32::from(op),
            message,
            peer,
        };
        let status = callback.call(request, ThreadsafeFunctionCallMode::NonBlocking);
        if status != Status::Ok {
            self.forget(id);
            return None;
        }
        let plan = self.wait(&answer);
        self.forget(id);
        plan
    }

    fn progress(&self, event: Event) {
        let Some(callback) = locked(&self.callbacks)
            .as_ref()
            .map(|all| Arc::clone(&all.progress))
        else {
            return;
        };
        let Event {
            id,
            bytes,
            complete,
            error,
        } = event;
        let error = error.map(str::to_owned);
        let event = TransferEvent {
            id: number(id),
            bytes: number(bytes),
            complete,
            error,
        };
        let (done, heard) = channel();
        let returned = move |result: napi::Result<()>, _: Env| {
            // Fails only if the thread stopped waiting.
            let _ = done.send(());
            result
        };
        let mode = ThreadsafeFunctionCallMode::NonBlocking;
        if callback.call_with_return_value(event, mode, returned) == Status::Ok {
            self.wait(&heard);
        }
    }

    fn closing(&self) {
        let mut waiting = locked(&self.waiting);
        waiting.closing = true;
        // Their threads see the senders go, and end.
        waiting.requests.clear();
    }
}

/// A panic under one of these locks would leave nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[allow(clippy::cast_precision_loss)]
fn number(value: u64) -> f64 {
    value as f64
}

fn from_transfer(error: &TransferError) -> Failure {
    match error {
        TransferError::Vfs(error) => from_vfs(error),
        other => failure(other.code(), other.to_string()),
    }
}

fn listen_options(options: TransferOptions) -> Result<Options> {
    Ok(Options {
        host: options.host,
        port: whole16(options.port)?,
        connections: whole32(options.connections)? as usize,
        idle: Duration::from_millis(whole(options.idle_ms)?),
    })
}

fn checksum_kind(value: f64) -> Result<ChecksumKind> {
    ChecksumKind::from_number(whole32(value)?).ok_or_else(|| from_errno(Errno::Invalid))
}

fn checked_plan(plan: &TransferPlan) -> Result<Plan> {
    let response = plan.response.to_vec();
    Ok(match plan.kind.as_str() {
        "respond" => Plan::Respond {
            response,
            close: plan.close.unwrap_or(false),
        },
        "read" => Plan::Read(ReadPlan {
            response,
            node: plan.node()?,
            offset: needed(plan.offset)?,
            length: needed(plan.length)?,
            block_offset: needed(plan.block_offset)?,
            checksums: plan.checksums(plan.send_checksums.unwrap_or(true))?,
        }),
        "write" => Plan::Write(WritePlan {
            response,
            node: plan.node()?,
            file_offset: needed(plan.file_offset)?,
            position: needed(plan.position)?,
            limit: needed(plan.limit)?,
            checksums: plan.checksums(true)?,
            sync_on_close: plan.sync_on_close.unwrap_or(false),
        }),
        _ => return Err(from_errno(Errno::Invalid)),
    })
}

fn needed(value: Option<f64>) -> Result<u64> {
    whole(value.ok_or_else(|| from_errno(Errno::Invalid))?)
}

impl TransferPlan {
    fn node(&self) -> Result<NodeId> {
        let invalid = || from_errno(Errno::Invalid);
        node_of(
            self.view.ok_or_else(invalid)?,
            self.inode.ok_or_else(invalid)?,
        )
    }

    fn checksums(&self, are_sent: bool) -> Result<ChunkChecksums> {
        let invalid = || from_errno(Errno::Invalid);
        let kind = checksum_kind(self.checksum.ok_or_else(invalid)?)?;
        let kind = if are_sent { kind } else { ChecksumKind::Null };
        let grain = usize::try_from(needed(self.bytes_per_checksum)?).map_err(|_| invalid())?;
        ChunkChecksums::new(kind, grain).map_err(|error| from_transfer(&error))
    }
}
