//! Extended attributes, by full name (`user.x`, `trusted.x`, ...).
//!
//! Invariants:
//! - The flag `HAS_XATTR` is set while an inode has any; `HAS_ACL` while it has an access list.
//! - `trusted.*` exists for the superuser only: others neither see nor list it.

use crate::acl::{ACCESS, DEFAULT, List};
use crate::error::Result;
use crate::node::{inode_of, live_inode};
use crate::permission::{self, READ, STICKY, WRITE};
use crate::{Caller, Errno, NodeId, Vfs, XattrMode};
use lockstep_format::inode::flags;
use lockstep_format::limits::{NAME_BYTES_MAX, XATTR_LIST_BYTES_MAX, XATTR_VALUE_BYTES_MAX};
use lockstep_format::{FileKind, Inode, key};
use lockstep_store::{Reader, WriteTxn};
use std::ops::ControlFlow;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Namespace {
    User,
    Trusted,
    Security,
    Acl,
}

fn namespace(name: &[u8]) -> Result<Namespace> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(&0) {
        return Err(Errno::Range.into());
    }
    if name == ACCESS || name == DEFAULT {
        return Ok(Namespace::Acl);
    }
    let known = [
        (&b"user."[..], Namespace::User),
        (&b"trusted."[..], Namespace::Trusted),
        (&b"security."[..], Namespace::Security),
    ];
    for (prefix, namespace) in known {
        if let Some(rest) = name.strip_prefix(prefix) {
            return if rest.is_empty() {
                Err(Errno::Invalid.into())
            } else {
                Ok(namespace)
            };
        }
    }
    Err(Errno::NotSupported.into())
}

fn holds_user_attributes(inode: &Inode) -> bool {
    matches!(inode.kind, FileKind::File | FileKind::Directory)
}

fn check_get(
    reader: &dyn Reader,
    caller: &Caller,
    node: NodeId,
    inode: &Inode,
    namespace: Namespace,
) -> Result<()> {
    match namespace {
        Namespace::Trusted if !caller.is_superuser() => Err(Errno::NoData.into()),
        Namespace::User if !holds_user_attributes(inode) => Err(Errno::NoData.into()),
        Namespace::User => permission::check(reader, caller, node, inode, READ),
        _ => Ok(()),
    }
}

fn check_set(
    reader: &dyn Reader,
    caller: &Caller,
    node: NodeId,
    inode: &Inode,
    namespace: Namespace,
) -> Result<()> {
    match namespace {
        Namespace::Trusted | Namespace::Security if !caller.is_superuser() => {
            Err(Errno::NotPermitted.into())
        }
        Namespace::Acl if inode.kind == FileKind::Symlink => Err(Errno::NotSupported.into()),
        Namespace::Acl if !caller.owns(inode) => Err(Errno::NotPermitted.into()),
        Namespace::Acl | Namespace::Trusted | Namespace::Security => Ok(()),
        Namespace::User => {
            let shared = inode.kind == FileKind::Directory && inode.mode & STICKY != 0;
            if !holds_user_attributes(inode) || shared && !caller.owns(inode) {
                return Err(Errno::NotPermitted.into());
            }
            permission::check(reader, caller, node, inode, WRITE)
        }
    }
}

fn names(reader: &dyn Reader, node: NodeId) -> Result<Vec<Vec<u8>>> {
    let prefix = key::prefix(node.inode(), key::kind::XATTR);
    let end = key::after_prefix(&prefix).ok_or(Errno::Io)?;
    let mut names = Vec::new();
    reader.scan(node.view(), &prefix, &end, &mut |key, _| {
        names.push(key[prefix.len()..].to_vec());
        ControlFlow::Continue(())
    })?;
    Ok(names)
}

impl Vfs {
    /// The value of an attribute; `ENODATA` if there is none that the caller may see.
    pub fn get_xattr(&self, caller: &Caller, node: NodeId, name: &[u8]) -> Result<Vec<u8>> {
        self.inspect(|reader| {
            let inode = inode_of(reader, node)?;
            let namespace = namespace(name)?;
            check_get(reader, caller, node, &inode, namespace)?;
            if inode.flags & flags::HAS_XATTR == 0 || node.is_snapshot_directory() {
                return Err(Errno::NoData.into());
            }
            let value = reader.get(node.view(), &key::xattr(node.inode(), name))?;
            Ok(value.ok_or(Errno::NoData)?)
        })
    }

    /// Names of all attributes that the caller may see.
    pub fn list_xattrs(&self, caller: &Caller, node: NodeId) -> Result<Vec<Vec<u8>>> {
        self.inspect(|reader| {
            let inode = inode_of(reader, node)?;
            if inode.flags & flags::HAS_XATTR == 0 || node.is_snapshot_directory() {
                return Ok(Vec::new());
            }
            let mut names = names(reader, node)?;
            if !caller.is_superuser() {
                names.retain(|name| !name.starts_with(b"trusted."));
            }
            Ok(names)
        })
    }

    /// Sets an attribute. An access list also sets the mode, as `chmod` sets the list.
    pub fn set_xattr(
        &self,
        caller: &Caller,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        self.change(caller.origin, |txn, effects| {
            let mut inode = live_inode(txn, node)?;
            let namespace = namespace(name)?;
            check_set(txn, caller, node, &inode, namespace)?;
            if value.len() > XATTR_VALUE_BYTES_MAX {
                return Err(Errno::TooBig.into());
            }
            let key = key::xattr(node.inode(), name);
            let exists = txn.get(node.view(), &key)?.is_some();
            match mode {
                XattrMode::Create if exists => return Err(Errno::Exists.into()),
                XattrMode::Replace if !exists => return Err(Errno::NoData.into()),
                _ => {}
            }
            if namespace == Namespace::Acl {
                set_list(txn, caller, node, &mut inode, name, value)?;
            } else {
                if !exists {
                    check_room(txn, node, name)?;
                }
                txn.put(node.view(), &key, value)?;
                inode.flags |= flags::HAS_XATTR;
            }
            inode.ctime = self.store.now();
            txn.put_inode(node.view(), node.inode(), &inode)?;
            effects.attributes(node);
            Ok(())
        })
    }

    /// Removes an attribute; `ENODATA` if there is none.
    pub fn remove_xattr(&self, caller: &Caller, node: NodeId, name: &[u8]) -> Result<()> {
        self.change(caller.origin, |txn, effects| {
            let mut inode = live_inode(txn, node)?;
            let namespace = namespace(name)?;
            check_set(txn, caller, node, &inode, namespace)?;
            if !txn.delete(node.view(), &key::xattr(node.inode(), name))? {
                return Err(Errno::NoData.into());
            }
            forget_attribute(txn, node, &mut inode, name)?;
            inode.ctime = self.store.now();
            txn.put_inode(node.view(), node.inode(), &inode)?;
            effects.attributes(node);
            Ok(())
        })
    }
}

fn check_room(reader: &dyn Reader, node: NodeId, name: &[u8]) -> Result<()> {
    let used: usize = names(reader, node)?
        .iter()
        .map(|known| known.len() + 1)
        .sum();
    if used + name.len() + 1 > XATTR_LIST_BYTES_MAX {
        return Err(Errno::NoSpace.into());
    }
    Ok(())
}

/// Clears the flags that the last attribute of their kind leaves behind.
fn forget_attribute(
    txn: &mut WriteTxn<'_>,
    node: NodeId,
    inode: &mut Inode,
    name: &[u8],
) -> Result<()> {
    if name == ACCESS {
        inode.flags &= !flags::HAS_ACL;
    }
    if names(txn, node)?.is_empty() {
        inode.flags &= !flags::HAS_XATTR;
    }
    Ok(())
}

fn set_list(
    txn: &mut WriteTxn<'_>,
    caller: &Caller,
    node: NodeId,
    inode: &mut Inode,
    name: &[u8],
    value: &[u8],
) -> Result<()> {
    let list = List::parse(value)?;
    let key = key::xattr(node.inode(), name);
    if name == DEFAULT && inode.kind != FileKind::Directory {
        // Nothing to take away is fine; something to inherit makes no sense.
        return if list.is_none() {
            Ok(())
        } else {
            Err(Errno::Access.into())
        };
    }
    if name == ACCESS
        && let Some(list) = &list
    {
        inode.mode = inode.mode & !0o777 | list.mode();
        if !caller.is_superuser() && !caller.in_group(inode.gid) {
            inode.mode &= !permission::SET_GID;
        }
    }
    let stored = list.filter(|list| name == DEFAULT || !list.is_minimal());
    if let Some(list) = stored {
        txn.put(node.view(), &key, &list.encode())?;
        inode.flags |= flags::HAS_XATTR;
        if name == ACCESS {
            inode.flags |= flags::HAS_ACL;
        }
    } else {
        txn.delete(node.view(), &key)?;
        forget_attribute(txn, node, inode, name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_told_apart() {
        assert!(namespace(b"user.x").is_ok_and(|found| found == Namespace::User));
        assert!(namespace(ACCESS).is_ok_and(|found| found == Namespace::Acl));
        for bad in [&b"user."[..], b"x", b"system.other", b"", &[b'u'; 256]] {
            assert!(namespace(bad).is_err());
        }
    }
}
