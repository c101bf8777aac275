//! Where a connection to the kernel comes from: a new mount, or an earlier daemon's, kept by a holder.
//!
//! Invariants:
//! - A mount is taken over only if nobody owned the store between the daemon that served it and
//!   this one: what the kernel has cached is right then, but for what recovery found.
//! - A mount that is held and cannot be taken over is taken away before anything touches it: it
//!   would never answer.

use crate::device::{self, Attached};
use crate::directory::Positions;
use crate::handshake;
use crate::recall::Recall;
use crate::session::prepare;
use crate::{HolderOptions, MountError, MountOptions};
use lockstep_holder::{Hold, Holder, Taken, mount_table};
use lockstep_vfs::Vfs;
use rustc_hash::FxHashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The `flags2` of an INIT, and the bit by which the kernel says that it can ask again.
const INIT_FLAGS2: usize = 40 + 16;
const HAS_RESEND: u8 = 1 << 7;

/// A mounted file system's connection to the kernel.
pub(crate) struct Connection {
    pub(crate) point: PathBuf,
    /// The mount's device number.
    pub(crate) device: (u32, u32),
    /// One for each thread that answers.
    pub(crate) devices: Vec<OwnedFd>,
    /// What the kernel said first.
    pub(crate) init: Vec<u8>,
    /// 0: nobody has answered `init` yet.
    pub(crate) life: u16,
    pub(crate) is_taken: bool,
    pub(crate) holder: Option<Arc<Holder>>,
    pub(crate) notes: Option<(Recall, FxHashMap<u64, Positions>)>,
}

impl Connection {
    /// Takes over the mount at `path` if a holder keeps it, or makes a new one.
    pub(crate) fn open(vfs: &Vfs, path: &Path, options: &MountOptions) -> Result<Self, MountError> {
        if let Some(holder) = &options.holder
            && let Some(connection) = take(vfs, path, holder)?
        {
            return Ok(connection);
        }
        let point = prepare(path)?;
        let failed = |source| MountError::Io {
            path: point.clone(),
            source,
        };
        let attached = device::attach(&point, options)?;
        let entry = mount_table::at(&point).map_err(failed)?;
        let device = entry.map(|entry| entry.device());
        let device = device.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        Self::of_new(vfs, point.clone(), device, attached, options).map_err(|source| {
            // The first error is the one to report.
            device::remove(&point, device);
            failed(source)
        })
    }

    fn of_new(
        vfs: &Vfs,
        point: PathBuf,
        device: (u32, u32),
        attached: Attached,
        options: &MountOptions,
    ) -> io::Result<Self> {
        let Attached {
            device: first,
            by_helper,
        } = attached;
        let init = handshake::read_init(&first)?;
        let mut devices = vec![first];
        for _ in 1..options.threads {
            // Who may not open the device shares one.
            let clone = if by_helper {
                devices[0].try_clone()?
            } else {
                handshake::clone_device(&devices[0])?
            };
            devices.push(clone);
        }
        let mut connection = Self {
            point,
            device,
            devices,
            init,
            life: 0,
            is_taken: false,
            holder: None,
            notes: None,
        };
        let asks_again = connection
            .init
            .get(INIT_FLAGS2)
            .is_some_and(|flags| flags & HAS_RESEND != 0);
        if let Some(holder) = &options.holder
            && asks_again
            && !by_helper
        {
            // Without it the mount ends with this process, as any mount does.
            let _ = connection.start_holder(vfs, holder);
        }
        Ok(connection)
    }

    fn start_holder(&mut self, vfs: &Vfs, options: &HolderOptions) -> io::Result<()> {
        let hold = Hold {
            life: self.life,
            timeout_seconds: options.timeout_seconds,
            device: self.device,
            point: self.point.as_os_str().as_bytes().to_vec(),
            owner: vfs.owners().1,
            init: self.init.clone(),
        };
        let memory = Recall::create()?;
        let HolderOptions {
            program, directory, ..
        } = options;
        let holder = Holder::start(program, directory, &hold, &memory, &self.devices)?;
        self.holder = Some(Arc::new(holder));
        self.notes = Some(Recall::open(memory)?);
        Ok(())
    }
}

/// What the holder of the store keeps, if it is the mount at `path` and its caches can be trusted.
fn take(vfs: &Vfs, path: &Path, options: &HolderOptions) -> Result<Option<Connection>, MountError> {
    let (before, owner) = vfs.owners();
    let failed = |source| MountError::Io {
        path: path.to_path_buf(),
        source,
    };
    let Some(taken) = Holder::take(&options.directory, &owner).map_err(failed)? else {
        return Ok(None);
    };
    let Taken {
        holder,
        hold,
        memory,
        devices,
    } = taken;
    let point = PathBuf::from(OsStr::from_bytes(&hold.point));
    let is_wanted = mount_table::canonical(path).is_ok_and(|path| path == point);
    let is_there = mount_table::at(&point)
        .is_ok_and(|entry| entry.is_some_and(|entry| entry.device() == hold.device));
    if !is_wanted || !is_there || hold.owner != before || devices.is_empty() {
        mount_table::take_away(&point, hold.device);
        holder.end();
        return Ok(None);
    }
    Ok(Some(Connection {
        point,
        device: hold.device,
        devices,
        init: hold.init,
        life: hold.life,
        is_taken: true,
        holder: Some(Arc::new(holder)),
        notes: Some(Recall::open(memory).map_err(failed)?),
    }))
}
