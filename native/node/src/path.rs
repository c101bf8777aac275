//! Calls that the core offers by node, by path: opening with creation, and making parents.

use crate::error::Result;
use lockstep_vfs::{
    Attributes, Caller, Errno, FileKind, HandleId, NodeId, OpenFlags, RenameMode, Vfs, VfsError,
};

const READ: u32 = 1;
const WRITE: u32 = 2;
const APPEND: u32 = 4;
const TRUNCATE: u32 = 8;
const CREATE: u32 = 16;
const EXCLUSIVE: u32 = 32;
const SYNC: u32 = 64;
const ALL: u32 = 127;

/// Dangling symbolic links that are followed before a file is created.
const LINK_FOLLOW_MAX: usize = 40;
/// Races with others who create and remove the same name, before giving up.
const RACE_COUNT_MAX: usize = 100;
const OWNER_WRITE_SEARCH: u32 = 0o300;

/// What a call answers for a path whose last part is no name: `/`, `.` or `..`.
#[derive(Clone, Copy)]
pub(crate) enum NoName {
    /// One answer for all.
    Always(Errno),
    /// rmdir(2) tells them apart.
    Removal,
}

impl NoName {
    fn errno(self, last: &[u8]) -> Errno {
        match (self, last) {
            (Self::Always(errno), _) => errno,
            (Self::Removal, b".") => Errno::Invalid,
            (Self::Removal, b"..") => Errno::NotEmpty,
            (Self::Removal, _) => Errno::Busy,
        }
    }
}

/// The directory and the last name of a path.
pub(crate) fn parent(
    vfs: &Vfs,
    caller: &Caller,
    path: &[u8],
    no_name: NoName,
) -> Result<(NodeId, Vec<u8>), VfsError> {
    let end = path
        .iter()
        .rposition(|byte| *byte != b'/')
        .map_or(0, |last| last + 1);
    let last = &path[parent_text(path).len()..end];
    if !matches!(last, b"" | b"." | b"..") {
        let (parent, name) = vfs.resolve_parent(caller, path)?;
        return Ok((parent.node, name));
    }
    // What comes before must be there all the same.
    vfs.resolve(caller, path, true)?;
    Err(no_name.errno(last).into())
}

/// The directory and the last name of a path whose last name is to be made, and may not have a
/// slash after it: only a directory could.
pub(crate) fn place(
    vfs: &Vfs,
    caller: &Caller,
    path: &[u8],
) -> Result<(NodeId, Vec<u8>), VfsError> {
    let (parent, name) = parent(vfs, caller, path, NoName::Always(Errno::Exists))?;
    if path.ends_with(b"/") {
        vfs.lookup(caller, parent, &name)?;
        return Err(Errno::Exists.into());
    }
    Ok((parent, name))
}

/// unlink(2).
pub(crate) fn unlink(vfs: &Vfs, caller: &Caller, path: &[u8]) -> Result<(), VfsError> {
    let (parent, name) = parent(vfs, caller, path, NoName::Always(Errno::IsDirectory))?;
    if path.ends_with(b"/") {
        let found = vfs.lookup(caller, parent, &name)?;
        let is_directory = found.kind == FileKind::Directory;
        return Err(if is_directory {
            Errno::IsDirectory
        } else {
            Errno::NotDirectory
        }
        .into());
    }
    vfs.unlink(caller, parent, &name)
}

/// rename(2).
pub(crate) fn rename(
    vfs: &Vfs,
    caller: &Caller,
    from: &[u8],
    to: &[u8],
    mode: RenameMode,
) -> Result<(), VfsError> {
    let busy = NoName::Always(Errno::Busy);
    let source = self::parent(vfs, caller, from, busy);
    let target = match self::parent(vfs, caller, to, busy) {
        // What is wrong with the way to the source is told first, then with that to the target.
        Err(VfsError::Errno(Errno::Busy)) if source.is_err() => return source.map(drop),
        target => target,
    };
    let (parent, name) = match source {
        Err(VfsError::Errno(Errno::Busy)) => return target.and(Err(Errno::Busy.into())),
        source => source?,
    };
    let (to_parent, to_name) = target?;
    // The source must be there before anything is said of the target's name.
    let found = vfs.lookup(caller, parent, &name)?;
    let to_directory = to.ends_with(b"/") && mode != RenameMode::Exchange;
    if found.kind != FileKind::Directory && (from.ends_with(b"/") || to_directory) {
        return Err(Errno::NotDirectory.into());
    }
    vfs.rename(caller, parent, &name, to_parent, &to_name, mode)
}

/// How a path is opened.
#[derive(Clone, Copy)]
pub(crate) struct OpenRequest {
    pub(crate) flags: OpenFlags,
    create: bool,
    mode: u32,
}

impl OpenRequest {
    /// From the bits of `OPEN` in `lib/native.ts`.
    pub(crate) fn new(bits: u32, mode: u32) -> Result<Self, Errno> {
        if bits & !ALL != 0 || bits & (READ | WRITE | APPEND) == 0 || mode > 0o7777 {
            return Err(Errno::Invalid);
        }
        let has = |bit| bits & bit != 0;
        let flags = OpenFlags {
            read: has(READ),
            write: has(WRITE) || has(APPEND),
            append: has(APPEND),
            truncate: has(TRUNCATE),
            exclusive: has(EXCLUSIVE) && has(CREATE),
            sync: has(SYNC),
        };
        Ok(Self {
            flags,
            create: has(CREATE),
            mode,
        })
    }
}

/// An opened file.
pub(crate) struct Opened {
    pub(crate) node: NodeId,
    pub(crate) handle: HandleId,
}

/// open(2): follows symbolic links, also to a file that it then creates (unless `exclusive`).
pub(crate) fn open(
    vfs: &Vfs,
    caller: &Caller,
    path: &[u8],
    request: &OpenRequest,
) -> Result<Opened, VfsError> {
    for _ in 0..RACE_COUNT_MAX {
        match try_open(vfs, caller, path, request) {
            Err(VfsError::Errno(Errno::Exists)) if !request.flags.exclusive => {}
            answer => return answer,
        }
    }
    Err(Errno::Busy.into())
}

fn try_open(
    vfs: &Vfs,
    caller: &Caller,
    path: &[u8],
    request: &OpenRequest,
) -> Result<Opened, VfsError> {
    if request.create && (request.flags.exclusive || path.ends_with(b"/")) {
        return create(vfs, caller, path, request);
    }
    match vfs.resolve(caller, path, true) {
        Ok(found) => open_found(vfs, caller, &found, request),
        Err(VfsError::Errno(Errno::NotFound)) if request.create => {
            let target = creation_path(vfs, caller, path)?;
            create(vfs, caller, &target, request)
        }
        Err(error) => Err(error),
    }
}

fn open_found(
    vfs: &Vfs,
    caller: &Caller,
    found: &Attributes,
    request: &OpenRequest,
) -> Result<Opened, VfsError> {
    if request.create && found.kind == FileKind::Directory {
        return Err(Errno::IsDirectory.into());
    }
    let handle = vfs.open_file(caller, found.node, request.flags)?;
    Ok(Opened {
        node: found.node,
        handle,
    })
}

fn create(
    vfs: &Vfs,
    caller: &Caller,
    path: &[u8],
    request: &OpenRequest,
) -> Result<Opened, VfsError> {
    let (parent, name) = parent(vfs, caller, path, NoName::Always(Errno::Exists))?;
    if path.ends_with(b"/") {
        return Err(Errno::IsDirectory.into());
    }
    // A name that stands for something by now is opened by the next round; exclusive keeps a
    // symbolic link that took the name meanwhile from being opened as a file.
    let flags = OpenFlags {
        exclusive: true,
        ..request.flags
    };
    let (made, handle) = vfs.create_file(caller, parent, &name, request.mode, flags)?;
    Ok(Opened {
        node: made.node,
        handle,
    })
}

/// The path that a creation at `path` makes: where a chain of dangling symbolic links ends.
fn creation_path(vfs: &Vfs, caller: &Caller, path: &[u8]) -> Result<Vec<u8>, VfsError> {
    let mut path = path.to_vec();
    for _ in 0..LINK_FOLLOW_MAX {
        let (parent, name) = vfs.resolve_parent(caller, &path)?;
        let found = match vfs.lookup(caller, parent.node, &name) {
            Err(VfsError::Errno(Errno::NotFound)) => return Ok(path),
            found => found?,
        };
        if found.kind != FileKind::Symlink {
            return Ok(path);
        }
        let target = vfs.read_link(caller, found.node)?;
        path = if target.starts_with(b"/") {
            target
        } else {
            [parent_text(&path), target.as_slice()].concat()
        };
    }
    Err(Errno::LinkLoop.into())
}

/// `path` up to and with the slash before its last name.
fn parent_text(path: &[u8]) -> &[u8] {
    let end = path
        .iter()
        .rposition(|byte| *byte != b'/')
        .map_or(0, |last| last + 1);
    let start = path[..end]
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |slash| slash + 1);
    &path[..start]
}

/// mkdir -p; whether something was made. Missing parents get `mode` with write and search for the
/// owner, so that what they are made for can be made.
///
/// `EEXIST` if the path names something else, `ENOTDIR` if a parent does.
pub(crate) fn make_directories(
    vfs: &Vfs,
    caller: &Caller,
    path: &[u8],
    mode: u32,
) -> Result<bool, VfsError> {
    match vfs.resolve(caller, path, true) {
        Ok(found) if found.kind == FileKind::Directory => return Ok(false),
        Ok(_) => return Err(Errno::Exists.into()),
        Err(VfsError::Errno(Errno::NotFound)) => {}
        Err(error) => return Err(error),
    }
    let names: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|n| !n.is_empty())
        .collect();
    let mut created = false;
    let mut prefix = Vec::with_capacity(path.len() + 1);
    for (index, name) in names.iter().enumerate() {
        prefix.push(b'/');
        prefix.extend_from_slice(name);
        let is_last = index + 1 == names.len();
        let mode = if is_last {
            mode
        } else {
            mode | OWNER_WRITE_SEARCH
        };
        created |= make_one(vfs, caller, &prefix, mode, is_last)?;
    }
    Ok(created)
}

fn make_one(
    vfs: &Vfs,
    caller: &Caller,
    path: &[u8],
    mode: u32,
    is_last: bool,
) -> Result<bool, VfsError> {
    match vfs.resolve(caller, path, true) {
        Ok(found) if found.kind == FileKind::Directory => return Ok(false),
        Ok(_) if is_last => return Err(Errno::Exists.into()),
        Ok(_) => return Err(Errno::NotDirectory.into()),
        Err(VfsError::Errno(Errno::NotFound)) => {}
        Err(error) => return Err(error),
    }
    let (parent, name) = vfs.resolve_parent(caller, path)?;
    match vfs.make_directory(caller, parent.node, &name, mode) {
        Ok(_) => Ok(true),
        // Somebody else made it meanwhile, or it is a dangling symbolic link.
        Err(VfsError::Errno(Errno::Exists)) => {
            let found = vfs.resolve(caller, path, true)?;
            if found.kind == FileKind::Directory {
                Ok(false)
            } else {
                Err(Errno::Exists.into())
            }
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_text_keeps_its_slash() {
        assert_eq!(parent_text(b"/a/b"), b"/a/");
        assert_eq!(parent_text(b"/a/b//"), b"/a/");
        assert_eq!(parent_text(b"/a"), b"/");
        assert_eq!(parent_text(b"a"), b"");
    }

    #[test]
    fn flags_are_checked() {
        assert!(OpenRequest::new(0, 0).is_err());
        assert!(OpenRequest::new(READ | 128, 0).is_err());
        assert!(OpenRequest::new(READ, 0o10000).is_err());
        let append = OpenRequest::new(APPEND | CREATE, 0o644).unwrap();
        assert!(append.flags.write && append.flags.append && append.create);
        assert!(
            !OpenRequest::new(READ | EXCLUSIVE, 0)
                .unwrap()
                .flags
                .exclusive
        );
    }
}
