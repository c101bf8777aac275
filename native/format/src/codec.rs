//! Little-endian integers and varints (LEB128) over a byte slice, with every length checked.

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes end before the record does.
    #[error("{what}: the bytes end early")]
    Truncated {
        /// The record being read.
        what: &'static str,
    },
    /// A field has a value that the format does not allow.
    #[error("{what}: {field} has a value that the format does not allow")]
    Invalid {
        /// The record being read.
        what: &'static str,
        /// The field.
        field: &'static str,
    },
    /// The checksum does not match the bytes.
    #[error("{what}: checksum mismatch (stored {stored:08x}, computed {computed:08x})")]
    Checksum {
        /// The record being read.
        what: &'static str,
        /// What the record says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// The record was written by a later version of Lockstep.
    #[error("{what}: format version {found}, this program reads up to {supported}")]
    Version {
        /// The record being read.
        what: &'static str,
        /// The version found.
        found: u32,
        /// The newest version this program reads.
        supported: u32,
    },
}

/// Appends fields to a buffer.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    /// Appends a fixed 32-bit integer.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Appends a fixed 64-bit integer.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Appends an unsigned integer in 1 to 10 bytes.
    pub fn varint(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
        self
    }

    /// Appends a signed integer, small magnitudes first (zigzag).
    pub fn signed(&mut self, value: i64) -> &mut Self {
        self.varint(((value << 1) ^ (value >> 63)) as u64)
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Appends a length and the bytes.
    pub fn blob(&mut self, bytes: &[u8]) -> &mut Self {
        self.varint(bytes.len() as u64).raw(bytes)
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The buffer, with the checksum of all of it at its end.
    pub fn finish_with_checksum(&mut self) -> Vec<u8> {
        let mut bytes = self.finish();
        bytes.extend_from_slice(&crate::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// The buffer.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

/// Takes fields off the front of a slice; `what` names the record in errors.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Reads `bytes` as a record called `what`.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    /// The next `count` bytes.
    pub fn raw(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let Some((head, tail)) = self.rest.split_at_checked(count) else {
            return Err(FormatError::Truncated { what: self.what });
        };
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let what = self.what;
        self.raw(N)?
            .try_into()
            .map_err(|_| FormatError::Truncated { what })
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(self.array::<1>()?[0])
    }

    /// A fixed 32-bit integer.
    pub fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A fixed 64-bit integer.
    pub fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A fixed 32-bit integer of a key.
    pub fn u32be(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A fixed 64-bit integer of a key.
    pub fn u64be(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// An unsigned integer in 1 to 10 bytes.
    pub fn varint(&mut self) -> Result<u64, FormatError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                return Err(self.invalid("varint"));
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.invalid("varint"))
    }

    /// A varint that must not exceed `max`.
    pub fn bounded(&mut self, field: &'static str, max: u64) -> Result<u64, FormatError> {
        let value = self.varint()?;
        if value > max {
            Err(self.invalid(field))
        } else {
            Ok(value)
        }
    }

    /// A varint that fits 32 bits.
    pub fn varint32(&mut self, field: &'static str) -> Result<u32, FormatError> {
        Ok(self.bounded(field, u64::from(u32::MAX))? as u32)
    }

    /// A signed integer (zigzag).
    pub fn signed(&mut self) -> Result<i64, FormatError> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// A length, at most `max`, and that many bytes.
    pub fn blob(&mut self, field: &'static str, max: usize) -> Result<&'a [u8], FormatError> {
        let length = self.bounded(field, max as u64)? as usize;
        self.raw(length)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Ends the record: bytes left over are an error.
    pub fn end(self) -> Result<(), FormatError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.invalid("trailing bytes"))
        }
    }

    /// Ends a record that [`Encoder::finish_with_checksum`] made; `bytes` are all of it.
    pub fn end_with_checksum(mut self, bytes: &[u8]) -> Result<(), FormatError> {
        let what = self.what;
        let stored = self.u32()?;
        self.end()?;
        let computed = crate::crc32c(&bytes[..bytes.len() - 4]);
        if stored == computed {
            return Ok(());
        }
        Err(FormatError::Checksum {
            what,
            stored,
            computed,
        })
    }

    /// The error for a field of this record.
    pub fn invalid(&self, field: &'static str) -> FormatError {
        FormatError::Invalid {
            what: self.what,
            field,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integers_round_trip(unsigned: u64, signed: i64) {
            let bytes = Encoder::new().varint(unsigned).signed(signed).finish();
            let mut decoder = Decoder::new("test", &bytes);
            prop_assert_eq!(decoder.varint().unwrap(), unsigned);
            prop_assert_eq!(decoder.signed().unwrap(), signed);
            decoder.end().unwrap();
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut decoder = Decoder::new("test", &bytes);
            while decoder.varint().is_ok() && !decoder.is_empty() {}
        }
    }

    #[test]
    fn an_overlong_varint_is_refused() {
        let mut decoder = Decoder::new("test", &[0xff; 11]);
        assert!(decoder.varint().is_err());
    }
}
