//! `NativeMount`: a FUSE mount of a store. A build without FUSE answers `ERR_LOCKSTEP_NO_FUSE`.

use crate::error::{Failure, Result, catch_free, failure, rejection};
use crate::info::MountOptions;
use crate::store::NativeStore;
use crate::task::{Promised, promise};
use lockstep_fuse::{Mount, MountEnd, MountError};
use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// A mounted store. The mount ends when this is collected: keep it.
#[napi]
pub struct NativeMount {
    path: String,
    mount: Arc<Mutex<Option<Mount>>>,
    end: MountEnd,
}

fn from_mount(error: &MountError) -> Failure {
    failure(error.code(), error.to_string())
}

#[napi]
impl NativeStore {
    /// Mounts the store on an empty directory.
    #[napi(ts_return_type = "Promise<NativeMount>")]
    pub fn mount(&self, path: String, options: MountOptions) -> Promised<NativeMount> {
        let vfs = Arc::clone(self.vfs());
        promise(move || {
            let holder = options.holder.map(|holder| lockstep_fuse::HolderOptions {
                program: holder.program.into(),
                directory: holder.directory.into(),
                timeout_seconds: holder.timeout_seconds,
            });
            let options = lockstep_fuse::MountOptions {
                allow_other: options.allow_other,
                read_only: options.read_only,
                holder,
                ..lockstep_fuse::MountOptions::default()
            };
            let mount = catch_free(|| {
                lockstep_fuse::mount(vfs, Path::new(&path), &options)
                    .map_err(|error| from_mount(&error))
            })?;
            Ok(NativeMount::new(mount))
        })
    }
}

/// Takes the dead mount at `path` away if process `pid` was killed and cannot die for it.
#[napi(ts_return_type = "Promise<boolean>")]
pub fn free_killed(path: String, pid: u32) -> Promised<bool> {
    promise(move || catch_free(|| Ok(lockstep_fuse::free_killed(Path::new(&path), pid))))
}

impl NativeMount {
    fn new(mount: Mount) -> Self {
        let path = mount.path().to_string_lossy().into_owned();
        let end = mount.end();
        Self {
            path,
            mount: Arc::new(Mutex::new(Some(mount))),
            end,
        }
    }
}

#[napi]
impl NativeMount {
    /// Where the store is mounted.
    #[napi(getter)]
    pub fn path(&self) -> String {
        self.path.clone()
    }

    /// Whether an earlier process made the mount.
    #[napi(getter)]
    pub fn is_taken(&self) -> bool {
        let mount = self.mount.lock().unwrap_or_else(PoisonError::into_inner);
        mount.as_ref().is_some_and(Mount::is_taken)
    }

    /// Leaves a held mount to the next process; this one must end then.
    #[napi]
    pub fn leave(&self) {
        let mount = self
            .mount
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mount) = mount {
            mount.leave();
        }
    }

    /// Unmounts; once done, again does nothing.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn unmount(&self) -> Promised<()> {
        let mount = Arc::clone(&self.mount);
        promise(move || {
            let taken = mount.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(taken) = taken else { return Ok(()) };
            catch_free(|| taken.unmount().map_err(|error| from_mount(&error)))
        })
    }

    /// Resolves when the mount has ended, by whomever. Waits on a thread of its own: the pool's
    /// few threads have work to do.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn ended<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let (deferred, ended) = env.create_deferred()?;
        let end = self.end.clone();
        let waiter = std::thread::Builder::new().name("lockstep-mount-end".to_owned());
        waiter.spawn(move || {
            let why = end.wait();
            deferred.resolve(move |env| settle(env, why));
        })?;
        Ok(ended)
    }
}

fn settle(env: Env, why: Option<String>) -> napi::Result<()> {
    let Some(why) = why else { return Ok(()) };
    let failed: Result<()> = Err(failure("EIO", format!("the mount ended: {why}")));
    failed.map_err(|failure| rejection(env, failure))
}
