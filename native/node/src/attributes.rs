//! Attributes as 21 numbers in a `Float64Array`: a third of what an object costs.

use crate::error::{Result, from_errno};
use crate::number::{whole, whole32};
use lockstep_format::limits::VIEW_COUNT_MAX;
use lockstep_format::{InodeId, ViewId};
use lockstep_vfs::{Attributes, Errno, NodeId};

/// Numbers in one record; `ATTRIBUTE` of `lib/native.ts` names them.
pub(crate) const ATTRIBUTE_COUNT: usize = 21;

const HAS_ACL: u32 = 1;
const SNAPSHOTTABLE: u32 = 2;
const READ_ONLY: u32 = 4;

const INODE_BITS: u64 = (1 << 40) - 1;

/// The node's inode as JavaScript knows it: with the mark of a `.snapshot` directory, so that
/// (view, inode) names every node.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn inode_number(node: NodeId) -> f64 {
    (node.0 & INODE_BITS) as f64
}

/// The node that JavaScript calls (view, inode).
pub(crate) fn node_of(view: f64, inode: f64) -> Result<NodeId> {
    let (view, inode) = (whole32(view)?, whole(inode)?);
    if view >= VIEW_COUNT_MAX || inode > INODE_BITS {
        return Err(from_errno(Errno::Invalid));
    }
    Ok(NodeId::new(ViewId(view), InodeId(inode)))
}

/// The record of `attributes`. Integers above 2^53 lose their last bits.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn record(attributes: &Attributes) -> [f64; ATTRIBUTE_COUNT] {
    let flags = [
        (attributes.has_acl, HAS_ACL),
        (attributes.snapshottable, SNAPSHOTTABLE),
        (attributes.read_only, READ_ONLY),
    ];
    let flags = flags
        .iter()
        .filter(|(set, _)| *set)
        .fold(0, |all, (_, bit)| all | bit);
    [
        f64::from(attributes.node.view().0),
        inode_number(attributes.node),
        f64::from(attributes.kind as u8),
        f64::from(attributes.mode),
        f64::from(attributes.nlink),
        f64::from(attributes.uid),
        f64::from(attributes.gid),
        attributes.size as f64,
        attributes.allocated as f64,
        f64::from(attributes.rdev),
        attributes.atime.seconds as f64,
        f64::from(attributes.atime.nanoseconds),
        attributes.mtime.seconds as f64,
        f64::from(attributes.mtime.nanoseconds),
        attributes.ctime.seconds as f64,
        f64::from(attributes.ctime.nanoseconds),
        attributes.btime.seconds as f64,
        f64::from(attributes.btime.nanoseconds),
        attributes.block_size as f64,
        f64::from(attributes.replication),
        f64::from(flags),
    ]
}

/// Writes the record to the start of `into`.
pub(crate) fn fill(attributes: &Attributes, into: &mut [f64]) -> Result<()> {
    let target = into
        .get_mut(..ATTRIBUTE_COUNT)
        .ok_or_else(|| from_errno(Errno::Range))?;
    target.copy_from_slice(&record(attributes));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_survives_the_way_through_javascript() {
        let file = NodeId::new(ViewId(9), InodeId((1 << 39) - 1));
        for node in [NodeId::ROOT, file, file.snapshot_directory()] {
            let back = node_of(f64::from(node.view().0), inode_number(node)).unwrap();
            assert_eq!(back, node);
        }
        assert!(node_of(f64::from(VIEW_COUNT_MAX), 1.0).is_err());
        assert!(node_of(0.0, f64::from(1 << 20) * f64::from(1 << 20)).is_err());
    }
}
