//! One connection: operations one after another, until either side has had enough.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::TransferError;
use crate::file::Files;
use crate::input::Input;
use crate::plan::{Decide, Plan, Request};
use crate::wire::{
    MESSAGE_BYTES_MAX, STATUS_ERROR, put_delimited, put_error_response, read_delimited, read_opcode,
};
use crate::{receive, send};

/// How long the peer may keep us waiting in the middle of an operation (as HDFS: eight minutes).
const STALL: Duration = Duration::from_secs(480);
/// How long buffers are kept for the next operation.
const KEEP_BUFFERS: Duration = Duration::from_millis(100);
/// Most bytes of the verdict that ends a read.
const READ_STATUS_BYTES_MAX: usize = 1024;

/// What all connections of a server share.
pub(crate) struct Context {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) decide: Arc<dyn Decide>,
    pub(crate) request_ids: AtomicU64,
    pub(crate) idle: Duration,
}

/// How a connection goes on after an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// With the next operation.
    Operation,
    /// With the client's verdict on what it read, then the next operation.
    ReadStatus,
    /// Not at all.
    Close,
}

/// Memory that operations of a connection use in turn. Grows as needed, never above a piece and a
/// batch; given back when the connection idles.
#[derive(Default)]
pub(crate) struct Buffers {
    data: Vec<u8>,
    side: Vec<u8>,
}

impl Buffers {
    /// The first `count` bytes of the data buffer; what was there before stays.
    pub(crate) fn data(&mut self, count: usize) -> &mut [u8] {
        self.data_and_side(count).0
    }

    /// The same, with the buffer for headers and checksums.
    pub(crate) fn data_and_side(&mut self, count: usize) -> (&mut [u8], &mut Vec<u8>) {
        if self.data.len() < count {
            self.data.resize(count, 0);
        }
        (&mut self.data[..count], &mut self.side)
    }
}

/// Answers an operation that failed before its response was sent; the connection stays usable.
pub(crate) fn respond_error(
    mut stream: &TcpStream,
    error: &TransferError,
) -> Result<Next, TransferError> {
    let mut answer = Vec::new();
    put_error_response(
        &mut answer,
        STATUS_ERROR,
        &format!("{}: {error}", error.code()),
    );
    stream.write_all(&answer)?;
    Ok(Next::Operation)
}

/// Serves `stream` until it ends.
///
/// # Errors
/// What ended it early: the peer's violation of the protocol, a timeout, a failed file.
pub(crate) fn serve(context: &Context, stream: &Arc<TcpStream>) -> Result<(), TransferError> {
    // On some systems an accepted socket inherits this from its listener.
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    let peer = stream.peer_addr()?.to_string();
    let mut input = Input::new(Arc::clone(stream));
    let files = &*context.files;
    let mut buffers = Buffers::default();
    loop {
        if !input.wait(KEEP_BUFFERS.min(context.idle))? {
            buffers = Buffers::default();
            if !input.wait(context.idle)? {
                return Ok(());
            }
        }
        let Some(op) = read_opcode(&mut input)? else {
            return Ok(());
        };
        let message = read_delimited(&mut input, MESSAGE_BYTES_MAX)?;
        let id = context.request_ids.fetch_add(1, Ordering::Relaxed);
        let Some(plan) = context.decide.decide(Request {
            id,
            op,
            message,
            peer: peer.clone(),
        }) else {
            return Ok(());
        };
        let next = match plan {
            Plan::Respond { response, close } => respond(stream, &response, close)?,
            Plan::Read(plan) => send::send(files, stream, &plan, &mut buffers)?,
            Plan::Write(plan) => {
                let decide = &*context.decide;
                let plan = (id, &plan);
                receive::receive(files, &mut input, stream, plan, &mut buffers, decide)?
            }
        };
        match next {
            Next::Operation => {}
            Next::ReadStatus => {
                // A client that sends none closes instead, which ends the connection just as well.
                if !input.wait(context.idle)? {
                    return Ok(());
                }
                read_delimited(&mut input, READ_STATUS_BYTES_MAX)?;
            }
            Next::Close => return Ok(()),
        }
    }
}

fn respond(mut stream: &TcpStream, response: &[u8], close: bool) -> Result<Next, TransferError> {
    let mut answer = Vec::with_capacity(response.len() + 5);
    put_delimited(&mut answer, response);
    stream.write_all(&answer)?;
    Ok(if close { Next::Close } else { Next::Operation })
}
