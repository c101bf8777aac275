//! The superblock: what says that a directory is a store, and who may open it.
//!
//! Invariant: the version is looked at before the checksum and the features after it, so that a store
//! of a later Lockstep is told apart from a damaged one.

use crate::codec::{Decoder, Encoder, FormatError};

/// The newest format this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// The first bytes of the superblock file.
pub const SUPERBLOCK_MAGIC: &[u8; 8] = b"LOCKSTEP";
const WHAT: &str = "superblock";

/// Features that a store uses, as bits of three sets; version 1 defines none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Who does not know one of these must not open the store.
    pub incompatible: u64,
    /// Who does not know one of these may read the store and must not change it.
    pub read_only_compatible: u64,
    /// Who does not know one of these may do everything.
    pub compatible: u64,
}

impl Features {
    /// What this program knows.
    pub const KNOWN: Self = Self {
        incompatible: 0,
        read_only_compatible: 0,
        compatible: 0,
    };
}

/// The superblock: written once when the store is made, never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Random number that names the store.
    pub store_id: [u8; 16],
    /// What the store uses.
    pub features: Features,
}

impl Superblock {
    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder
            .raw(SUPERBLOCK_MAGIC)
            .u32(FORMAT_VERSION)
            .raw(&self.store_id)
            .u64(self.features.incompatible)
            .u64(self.features.read_only_compatible)
            .u64(self.features.compatible);
        encoder.finish_with_checksum()
    }

    /// Reads what [`Superblock::encode`] wrote. Whether the store may be opened, the caller asks
    /// [`Superblock::unknown_features`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut decoder = Decoder::new(WHAT, bytes);
        if decoder.raw(8)? != SUPERBLOCK_MAGIC {
            return Err(decoder.invalid("magic"));
        }
        match decoder.u32()? {
            FORMAT_VERSION => {}
            0 => return Err(decoder.invalid("version")),
            found => {
                return Err(FormatError::Version {
                    what: WHAT,
                    found,
                    supported: FORMAT_VERSION,
                });
            }
        }
        let mut store_id = [0; 16];
        store_id.copy_from_slice(decoder.raw(16)?);
        let features = Features {
            incompatible: decoder.u64()?,
            read_only_compatible: decoder.u64()?,
            compatible: decoder.u64()?,
        };
        decoder.end_with_checksum(bytes)?;
        Ok(Self { store_id, features })
    }

    /// The features, by set, that stand in the way of reading the store, and of changing it.
    pub fn unknown_features(&self) -> (u64, u64) {
        (
            self.features.incompatible & !Features::KNOWN.incompatible,
            self.features.read_only_compatible & !Features::KNOWN.read_only_compatible,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_superblock_round_trips(store_id: [u8; 16], bits: [u64; 3]) {
            let [incompatible, read_only_compatible, compatible] = bits;
            let features = Features { incompatible, read_only_compatible, compatible };
            let superblock = Superblock { store_id, features };
            prop_assert_eq!(Superblock::decode(&superblock.encode()).unwrap(), superblock);
        }
    }

    #[test]
    fn a_later_version_is_told_before_any_other_difference() {
        let (store_id, features) = ([7; 16], Features::default());
        let mut bytes = Superblock { store_id, features }.encode();
        bytes[8] = 2;
        bytes.truncate(20);
        let result = Superblock::decode(&bytes);
        assert!(matches!(result, Err(FormatError::Version { found: 2, .. })));
    }
}
