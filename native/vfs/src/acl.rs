//! POSIX access control lists, kept as Linux keeps them: the bytes of `system.posix_acl_*`.
//!
//! Invariants:
//! - An access list is stored only if it says more than the mode bits; then the group bits of the
//!   mode are its mask, so that who looks at the mode alone never sees too little protection.
//! - A stored list was checked by [`List::parse`]: one entry per tag or id, in order, complete.

use crate::error::Result;
use crate::{Caller, Errno};
use lockstep_format::inode::flags;
use lockstep_format::{FileKind, Inode, InodeId, ViewId, key};
use lockstep_store::{Reader, WriteTxn};

/// The attribute that holds the access list.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute that holds what new entries of a directory inherit.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const NO_ID: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: u16,
    bits: u16,
    /// Of a named user or group; else [`NO_ID`].
    id: u32,
}

/// A checked list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    entries: Vec<Entry>,
}

impl List {
    /// Reads the bytes of an attribute: `EINVAL` if it is not a complete list. `None`: empty.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let (version, rest) = bytes.split_first_chunk::<4>().ok_or(Errno::Invalid)?;
        if u32::from_le_bytes(*version) != VERSION {
            return Err(Errno::NotSupported.into());
        }
        let (records, tail) = rest.as_chunks::<8>();
        if !tail.is_empty() {
            return Err(Errno::Invalid.into());
        }
        let entries: Vec<Entry> = records
            .iter()
            .map(|[t0, t1, b0, b1, id @ ..]| {
                let tag = u16::from_le_bytes([*t0, *t1]);
                let named = matches!(tag, USER | GROUP);
                Entry {
                    tag,
                    bits: u16::from_le_bytes([*b0, *b1]),
                    id: if named {
                        u32::from_le_bytes(*id)
                    } else {
                        NO_ID
                    },
                }
            })
            .collect();
        if entries.is_empty() {
            return Ok(None);
        }
        let list = Self { entries };
        if list.is_valid() {
            Ok(Some(list))
        } else {
            Err(Errno::Invalid.into())
        }
    }

    fn is_valid(&self) -> bool {
        let named = |tag| matches!(tag, USER | GROUP);
        let known = |tag| matches!(tag, USER_OBJ | USER | GROUP_OBJ | GROUP | MASK | OTHER);
        let rank = |entry: &Entry| (entry.tag, if named(entry.tag) { entry.id } else { 0 });
        let fields = self.entries.iter().all(|entry| {
            known(entry.tag) && entry.bits <= 7 && (!named(entry.tag) || entry.id != NO_ID)
        });
        let ordered = self
            .entries
            .is_sorted_by(|left, right| rank(left) < rank(right));
        let has = |tag| self.bits(tag).is_some();
        let needs_mask = self.entries.iter().any(|entry| named(entry.tag));
        let complete = has(USER_OBJ) && has(GROUP_OBJ) && has(OTHER) && (!needs_mask || has(MASK));
        fields && ordered && complete
    }

    /// The attribute's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.tag.to_le_bytes());
            bytes.extend_from_slice(&entry.bits.to_le_bytes());
            bytes.extend_from_slice(&entry.id.to_le_bytes());
        }
        bytes
    }

    fn bits(&self, tag: u16) -> Option<u16> {
        self.entries
            .iter()
            .find(|entry| entry.tag == tag)
            .map(|entry| entry.bits)
    }

    fn set(&mut self, tag: u16, bits: u32) {
        for entry in self.entries.iter_mut().filter(|entry| entry.tag == tag) {
            entry.bits = (bits & 7) as u16;
        }
    }

    fn group_class(&self) -> u16 {
        if self.bits(MASK).is_some() {
            MASK
        } else {
            GROUP_OBJ
        }
    }

    /// Whether the mode bits say it all.
    pub(crate) fn is_minimal(&self) -> bool {
        self.entries.len() == 3
    }

    /// The nine permission bits that stand for this list.
    pub(crate) fn mode(&self) -> u32 {
        let bits = |tag| u32::from(self.bits(tag).unwrap_or(0));
        bits(USER_OBJ) << 6 | bits(self.group_class()) << 3 | bits(OTHER)
    }

    /// Makes the list agree with a `chmod`.
    pub(crate) fn set_mode(&mut self, mode: u32) {
        self.set(USER_OBJ, mode >> 6);
        self.set(self.group_class(), mode >> 3);
        self.set(OTHER, mode);
    }

    /// Narrows an inherited list to the mode that was asked for.
    fn narrow(&mut self, mode: u32) {
        self.set_mode(self.mode() & mode);
    }

    /// Whether the list gives the caller every bit of `mask`.
    pub(crate) fn allows(&self, caller: &Caller, inode: &Inode, mask: u32) -> bool {
        let want = mask as u16 & 7;
        let ceiling = self.bits(MASK).unwrap_or(7);
        let mut in_group = false;
        for entry in &self.entries {
            let granted = entry.bits & want == want;
            match entry.tag {
                USER_OBJ if caller.uid == inode.uid => return granted,
                USER if caller.uid == entry.id => return granted && ceiling & want == want,
                GROUP_OBJ | GROUP => {
                    let gid = if entry.tag == GROUP {
                        entry.id
                    } else {
                        inode.gid
                    };
                    if caller.in_group(gid) {
                        in_group = true;
                        if granted {
                            return ceiling & want == want;
                        }
                    }
                }
                OTHER => return !in_group && granted,
                _ => {}
            }
        }
        false
    }
}

fn stored(reader: &dyn Reader, view: ViewId, inode: InodeId, name: &[u8]) -> Result<Option<List>> {
    match reader.get(view, &key::xattr(inode, name))? {
        Some(bytes) => List::parse(&bytes),
        None => Ok(None),
    }
}

/// The access list of an inode that is marked to have one.
pub(crate) fn access_list(
    reader: &dyn Reader,
    view: ViewId,
    inode: InodeId,
) -> Result<Option<List>> {
    stored(reader, view, inode, ACCESS)
}

/// What a new entry of a directory gets.
pub(crate) struct Inherited {
    /// Its permission bits.
    pub mode: u32,
    access: Option<List>,
    default: Option<List>,
}

/// Applies the parent's default list, or the umask if it has none.
pub(crate) fn inherit(
    reader: &dyn Reader,
    view: ViewId,
    parent: (InodeId, &Inode),
    kind: FileKind,
    mode: u32,
    umask: u32,
) -> Result<Inherited> {
    if kind == FileKind::Symlink {
        return Ok(Inherited {
            mode: 0o777,
            access: None,
            default: None,
        });
    }
    let default = if parent.1.flags & flags::HAS_XATTR == 0 {
        None
    } else {
        stored(reader, view, parent.0, DEFAULT)?
    };
    let Some(default) = default else {
        return Ok(Inherited {
            mode: mode & !(umask & 0o777),
            access: None,
            default: None,
        });
    };
    let mut access = default.clone();
    access.narrow(mode);
    Ok(Inherited {
        mode: mode & !0o777 | access.mode(),
        access: (!access.is_minimal()).then_some(access),
        default: (kind == FileKind::Directory).then_some(default),
    })
}

impl Inherited {
    /// Stores the lists of the new inode and marks it.
    pub(crate) fn store(
        &self,
        txn: &mut WriteTxn<'_>,
        view: ViewId,
        id: InodeId,
        inode: &mut Inode,
    ) -> Result<()> {
        for (name, list) in [(ACCESS, &self.access), (DEFAULT, &self.default)] {
            if let Some(list) = list {
                txn.put(view, &key::xattr(id, name), &list.encode())?;
                inode.flags |= flags::HAS_XATTR;
            }
        }
        if self.access.is_some() {
            inode.flags |= flags::HAS_ACL;
        }
        Ok(())
    }
}

/// After a `chmod` of an inode with an access list: the list follows the mode.
pub(crate) fn follow_mode(
    txn: &mut WriteTxn<'_>,
    view: ViewId,
    id: InodeId,
    inode: &Inode,
) -> Result<()> {
    if inode.flags & flags::HAS_ACL != 0
        && let Some(mut list) = access_list(txn, view, id)?
    {
        list.set_mode(inode.mode);
        txn.put(view, &key::xattr(id, ACCESS), &list.encode())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_format::Timestamp;

    fn list(entries: &[(u16, u16, u32)]) -> List {
        let entries = entries.iter().map(|(tag, bits, id)| Entry {
            tag: *tag,
            bits: *bits,
            id: *id,
        });
        List {
            entries: entries.collect(),
        }
    }

    fn inode(mode: u32) -> Inode {
        let time = Timestamp::default();
        Inode {
            kind: FileKind::File,
            mode,
            nlink: 1,
            uid: 1,
            gid: 1,
            size: 0,
            allocated: 0,
            rdev: 0,
            flags: flags::HAS_ACL,
            parent: InodeId::ROOT,
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
            block_size: 0,
            replication: 0,
        }
    }

    fn caller(uid: u32, gid: u32) -> Caller {
        Caller {
            uid,
            gid,
            ..Caller::root()
        }
    }

    #[test]
    fn the_mask_limits_named_users_and_groups_but_not_the_owner() {
        let acl = list(&[
            (USER_OBJ, 7, NO_ID),
            (USER, 7, 5),
            (GROUP_OBJ, 5, NO_ID),
            (GROUP, 6, 9),
            (MASK, 4, NO_ID),
            (OTHER, 0, NO_ID),
        ]);
        assert!(acl.is_valid());
        assert_eq!(acl.mode(), 0o740);
        assert_eq!(List::parse(&acl.encode()).unwrap(), Some(acl.clone()));
        let file = inode(0o740);
        assert!(acl.allows(&caller(1, 1), &file, 7));
        assert!(acl.allows(&caller(5, 7), &file, 4) && !acl.allows(&caller(5, 7), &file, 2));
        assert!(acl.allows(&caller(8, 9), &file, 4) && !acl.allows(&caller(8, 9), &file, 2));
        assert!(!acl.allows(&caller(8, 8), &file, 4));
    }

    #[test]
    fn incomplete_or_unordered_lists_are_refused() {
        let no_mask = list(&[
            (USER_OBJ, 7, 0),
            (USER, 7, 5),
            (GROUP_OBJ, 5, 0),
            (OTHER, 0, 0),
        ]);
        let unordered = list(&[(GROUP_OBJ, 7, 0), (USER_OBJ, 7, 0), (OTHER, 5, 0)]);
        let no_other = list(&[(USER_OBJ, 7, 0), (GROUP_OBJ, 5, 0)]);
        for bad in [no_mask, unordered, no_other] {
            assert!(List::parse(&bad.encode()).is_err());
        }
        assert!(List::parse(&[]).is_err());
        assert!(List::parse(&[2, 0, 0, 0, 1]).is_err());
        assert_eq!(List::parse(&[2, 0, 0, 0]).unwrap(), None);
    }
}
