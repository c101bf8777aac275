//! `NativeStore`: an open store.

use crate::error::{Result, catch, catch_free, from_vfs};
use crate::info::{Health, OpenOptions, RecoveryReport, SpaceReport, UserNumbers, VolumeInfo};
use crate::number::{whole, whole32};
use crate::task::{Promised, promise};
use crate::view::NativeView;
use lockstep_vfs::{Caller, StoreOptions, Vfs, VfsError};
use napi_derive::napi;
use std::path::Path;
use std::sync::Arc;

/// An open store: one process at a time.
#[napi]
pub struct NativeStore {
    vfs: Arc<Vfs>,
}

impl NativeStore {
    /// The store, for the other classes.
    pub(crate) fn vfs(&self) -> &Arc<Vfs> {
        &self.vfs
    }

    fn run<T>(&self, call: impl FnOnce(&Vfs) -> Result<T, VfsError>) -> Result<T> {
        catch(&self.vfs, || call(&self.vfs))
    }

    fn later(
        &self,
        call: impl FnOnce(&Vfs) -> Result<(), VfsError> + Send + 'static,
    ) -> Promised<()> {
        let vfs = Arc::clone(&self.vfs);
        promise(move || catch(&vfs, || call(&vfs)))
    }
}

/// The store's life.
#[napi]
impl NativeStore {
    /// Makes a new empty store.
    #[napi]
    pub fn create(dir: String) -> Result<()> {
        catch_free(|| Vfs::create(Path::new(&dir)).map_err(|error| from_vfs(&error)))
    }

    /// Opens a store.
    #[napi(ts_return_type = "Promise<NativeStore>")]
    pub fn open(dir: String, options: Option<OpenOptions>) -> Promised<NativeStore> {
        promise(move || {
            let options = options.unwrap_or_default();
            let waiting = options.waiting == Some(true);
            let options = store_options(&options)?;
            let open = if waiting {
                Vfs::open_waiting
            } else {
                Vfs::open
            };
            catch_free(|| {
                let vfs = open(Path::new(&dir), &options).map_err(|error| from_vfs(&error))?;
                Ok(Self { vfs })
            })
        })
    }

    /// Commits and closes.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn close(&self) -> Promised<()> {
        self.later(Vfs::close)
    }

    /// Frees what has no name, in a store that was opened waiting and is not mounted.
    #[napi]
    pub fn reap(&self) -> Result<()> {
        self.run(|vfs| vfs.reap(None))
    }

    /// Makes everything acknowledged so far durable.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn sync(&self) -> Promised<()> {
        self.later(Vfs::sync)
    }

    /// Where the bytes went.
    #[napi]
    pub fn space(&self) -> Result<SpaceReport> {
        Ok(self.run(Vfs::space)?.into())
    }

    /// What the store accepts.
    #[napi]
    pub fn health(&self) -> Result<Health> {
        self.run(|vfs| Ok(vfs.into()))
    }

    /// What opening it found in the log.
    #[napi]
    pub fn recovery(&self) -> Result<RecoveryReport> {
        self.run(|vfs| Ok(vfs.recovery().into()))
    }

    /// All volumes.
    #[napi]
    pub fn list_volumes(&self) -> Result<Vec<VolumeInfo>> {
        Ok(self
            .run(Vfs::list_volumes)?
            .into_iter()
            .map(VolumeInfo::from)
            .collect())
    }
}

/// Users.
#[napi]
impl NativeStore {
    /// The store as these numbers see it.
    #[napi]
    pub fn view(&self, user: UserNumbers) -> Result<NativeView> {
        let caller = Caller {
            uid: whole32(user.uid)?,
            gid: whole32(user.gid)?,
            groups: user
                .groups
                .into_iter()
                .map(whole32)
                .collect::<Result<_>>()?,
            umask: whole32(user.umask)? & 0o777,
            origin: 0,
        };
        Ok(NativeView::new(Arc::clone(&self.vfs), caller))
    }

    /// The store as the user of this name sees it.
    #[napi]
    pub fn view_of(&self, user_name: String) -> Result<NativeView> {
        let caller = self.run(|vfs| vfs.caller_of(&user_name))?;
        Ok(NativeView::new(Arc::clone(&self.vfs), caller))
    }

    /// The number of a user.
    #[napi]
    pub fn uid_of(&self, name: String) -> Result<u32> {
        self.run(|vfs| vfs.uid_of(&name))
    }

    /// The number of a group.
    #[napi]
    pub fn gid_of(&self, name: String) -> Result<u32> {
        self.run(|vfs| vfs.gid_of(&name))
    }

    /// The name of a user.
    #[napi]
    pub fn user_name(&self, uid: f64) -> Result<String> {
        let uid = whole32(uid)?;
        self.run(|vfs| vfs.user_name(uid))
    }

    /// The name of a group.
    #[napi]
    pub fn group_name(&self, gid: f64) -> Result<String> {
        let gid = whole32(gid)?;
        self.run(|vfs| vfs.group_name(gid))
    }

    /// The names of a user's groups, the primary one first.
    #[napi]
    pub fn groups_of(&self, user_name: String) -> Result<Vec<String>> {
        self.run(|vfs| {
            let caller = vfs.caller_of(&user_name)?;
            let others = caller
                .groups
                .iter()
                .copied()
                .filter(|gid| *gid != caller.gid);
            std::iter::once(caller.gid)
                .chain(others)
                .map(|gid| vfs.group_name(gid))
                .collect()
        })
    }
}

fn store_options(options: &OpenOptions) -> Result<StoreOptions> {
    let default = StoreOptions::default();
    Ok(StoreOptions {
        cache_bytes: options
            .cache_bytes
            .map(whole)
            .transpose()?
            .unwrap_or(default.cache_bytes),
        read_only: options.read_only.unwrap_or(default.read_only),
        cut_log: default.cut_log,
    })
}
