//! `mount` where the build has no FUSE.

use crate::error::failure;
use crate::info::MountOptions;
use crate::store::NativeStore;
use crate::task::{Promised, promise};
use napi_derive::napi;

#[napi]
impl NativeStore {
    /// Answers that there is no FUSE.
    #[napi(ts_return_type = "Promise<never>")]
    pub fn mount(&self, path: String, _options: MountOptions) -> Promised<()> {
        let message = format!("{path} cannot be mounted: this build of Lockstep has no FUSE");
        promise(move || Err(failure("ERR_LOCKSTEP_NO_FUSE", message)))
    }
}

/// There is no mount.
#[napi(ts_return_type = "Promise<boolean>")]
pub fn free_killed(_path: String, _pid: u32) -> Promised<bool> {
    promise(|| Ok(false))
}
