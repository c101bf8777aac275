//! `NativeFile`: an open file.
//!
//! Invariants:
//! - The handle is released once: when the file is closed (or collected) and the last operation on
//!   it has ended. Operations under way keep it.

use crate::attributes::{fill, inode_number};
use crate::buffer::{bytes_of, numbers_of};
use crate::error::{Failure, Result, catch, from_errno, rejection};
use crate::info::AttributeChange;
use crate::number::whole;
use crate::task::{Promised, promise};
use lockstep_vfs::{Caller, Errno, HandleId, NodeId, Vfs};
use napi::bindgen_prelude::{AsyncTask, Float64Array, Uint8Array};
use napi::{Env, Task};
use napi_derive::napi;
use std::sync::Arc;

/// A handle with the store it belongs to; released when the last owner goes.
struct OpenFile {
    vfs: Arc<Vfs>,
    caller: Caller,
    handle: HandleId,
    node: NodeId,
    writable: bool,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // A closed store has released its handles already, and nobody is left to tell.
        let _ = catch(&self.vfs, || self.vfs.release(self.handle));
    }
}

/// An open file. Its bytes stay while it is open, even if its last name goes.
#[napi]
pub struct NativeFile {
    open: Option<Arc<OpenFile>>,
    node: NodeId,
}

impl NativeFile {
    pub(crate) fn new(
        vfs: Arc<Vfs>,
        caller: Caller,
        handle: HandleId,
        node: NodeId,
        writable: bool,
    ) -> Self {
        let open = OpenFile {
            vfs,
            caller,
            handle,
            node,
            writable,
        };
        Self {
            open: Some(Arc::new(open)),
            node,
        }
    }

    fn file(&self) -> Result<&Arc<OpenFile>> {
        self.open
            .as_ref()
            .ok_or_else(|| from_errno(Errno::BadHandle))
    }
}

#[napi]
impl NativeFile {
    /// The view it was opened in.
    #[napi(getter)]
    pub fn view(&self) -> u32 {
        self.node.view().0
    }

    /// Its inode.
    #[napi(getter)]
    pub fn inode(&self) -> f64 {
        inode_number(self.node)
    }

    /// Attributes, into at least 21 numbers.
    #[napi]
    pub fn stat(&self, mut into: Float64Array) -> Result<()> {
        let file = self.file()?;
        let attributes = catch(&file.vfs, || file.vfs.handle_attributes(file.handle))?;
        fill(&attributes, numbers_of(&mut into))
    }

    /// Fills `into` from `position`; fewer bytes only at the end of the file.
    #[napi(ts_return_type = "Promise<number>")]
    pub fn read(&self, into: Uint8Array, position: f64) -> AsyncTask<ReadTask> {
        let target = self
            .file()
            .cloned()
            .and_then(|file| Ok((file, whole(position)?)));
        AsyncTask::new(ReadTask {
            target: Some(target),
            into,
        })
    }

    /// Writes all of `bytes`, or fails; resolves to the file's length after it.
    #[napi(ts_return_type = "Promise<number>")]
    pub fn write(&self, bytes: Uint8Array, position: f64) -> AsyncTask<WriteTask> {
        let target = self
            .file()
            .cloned()
            .and_then(|file| Ok((file, whole(position)?)));
        AsyncTask::new(WriteTask {
            target: Some(target),
            bytes,
        })
    }

    /// As `read`, on the calling thread.
    #[napi]
    pub fn read_sync(&self, mut into: Uint8Array, position: f64) -> Result<f64> {
        read(self.file()?, whole(position)?, bytes_of(&mut into))
    }

    /// As `write`, on the calling thread.
    #[napi]
    pub fn write_sync(&self, bytes: Uint8Array, position: f64) -> Result<f64> {
        write(self.file()?, whole(position)?, &bytes)
    }

    /// Sets the length.
    #[napi]
    pub fn truncate(&self, length: f64) -> Result<()> {
        let file = self.file()?;
        let length = whole(length)?;
        if !file.writable {
            return Err(from_errno(Errno::Invalid));
        }
        catch(&file.vfs, || file.vfs.truncate(file.handle, length))?;
        Ok(())
    }

    /// Changes attributes of the open file, also when its last name is gone.
    #[napi]
    pub fn set_attributes(&self, change: AttributeChange) -> Result<()> {
        let (file, change) = (self.file()?, change.checked()?);
        catch(&file.vfs, || {
            file.vfs
                .set_attributes(&file.caller, file.node, &change)
                .map(drop)
        })
    }

    /// Makes the file durable.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn sync(&self) -> Promised<()> {
        let file = self.file().cloned();
        promise(move || {
            let file = file?;
            catch(&file.vfs, || file.vfs.fsync(file.handle))
        })
    }

    /// Ends it; later calls answer `EBADF`. Closing twice does too.
    #[napi]
    pub fn close(&mut self) -> Result<()> {
        self.open
            .take()
            .map(drop)
            .ok_or_else(|| from_errno(Errno::BadHandle))
    }
}

#[allow(clippy::cast_precision_loss)]
fn read(file: &OpenFile, position: u64, into: &mut [u8]) -> Result<f64> {
    catch(&file.vfs, || file.vfs.read(file.handle, position, into)).map(|count| count as f64)
}

#[allow(clippy::cast_precision_loss)]
fn write(file: &OpenFile, position: u64, bytes: &[u8]) -> Result<f64> {
    catch(&file.vfs, || file.vfs.write(file.handle, position, bytes)).map(|length| length as f64)
}

type Target = Result<(Arc<OpenFile>, u64)>;

fn take(target: &mut Option<Target>) -> Target {
    target
        .take()
        .unwrap_or_else(|| Err(from_errno(Errno::BadHandle)))
}

/// A read on the thread pool. The buffer is let go on the event loop, where its reference lives.
pub struct ReadTask {
    target: Option<Target>,
    into: Uint8Array,
}

impl Task for ReadTask {
    type Output = Result<f64, Failure>;
    type JsValue = f64;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        let target = take(&mut self.target);
        Ok(target.and_then(|(file, at)| read(&file, at, bytes_of(&mut self.into))))
    }

    fn resolve(&mut self, env: Env, output: Self::Output) -> napi::Result<f64> {
        output.map_err(|failure| rejection(env, failure))
    }
}

/// A write on the thread pool; see [`ReadTask`].
pub struct WriteTask {
    target: Option<Target>,
    bytes: Uint8Array,
}

impl Task for WriteTask {
    type Output = Result<f64, Failure>;
    type JsValue = f64;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        let target = take(&mut self.target);
        Ok(target.and_then(|(file, at)| write(&file, at, &self.bytes)))
    }

    fn resolve(&mut self, env: Env, output: Self::Output) -> napi::Result<f64> {
        output.map_err(|failure| rejection(env, failure))
    }
}
