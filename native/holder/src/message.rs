//! What daemon and holder say to one another.
//!
//! Invariant: every length is checked before it is used; what cannot be understood is `None`.

use crate::notice::Notice;

/// What the holder keeps of a mount for the next daemon, besides descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// How often the mount was taken over.
    pub life: u16,
    /// How long the holder waits for a daemon before it ends the mount.
    pub timeout_seconds: u32,
    /// The mount's device number.
    pub device: (u32, u32),
    /// Where it is mounted.
    pub point: Vec<u8>,
    /// Who opened the store last, as its lock says.
    pub owner: String,
    /// The kernel's first request, which only the first daemon was asked.
    pub init: Vec<u8>,
}

/// What a daemon asks of the holder.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Keep this mount; the first thing said. Descriptors: the socket to listen on, its directory,
    /// the memory, and the devices.
    Hold(Hold),
    /// Hand the mount over to this owner of the store, if nobody serves it. The answer is a
    /// [`Hold`] of the owner before, with the memory and the devices, or nothing but [`BUSY`].
    Take {
        /// What the lock of the store says now.
        owner: String,
    },
    /// Deliver these; the answer is an errno for each, or 0.
    Tell(Vec<Notice>),
    /// The mount is gone: end.
    End,
}

const HOLD: u8 = 1;
const TAKE: u8 = 2;
const TELL: u8 = 3;
const END: u8 = 4;
/// The answer of a holder whose mount is being served.
pub const BUSY: &[u8] = &[0];

/// Takes values off the front of a packet.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl Cursor<'_> {
    pub(crate) fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    pub(crate) fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = u32::from_le_bytes(self.number()?) as usize;
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head.to_vec())
    }
}

pub(crate) fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    into.extend_from_slice(bytes);
}

impl Hold {
    /// As a packet.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![HOLD];
        bytes.extend_from_slice(&self.life.to_le_bytes());
        for number in [self.timeout_seconds, self.device.0, self.device.1] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        put_bytes(&mut bytes, &self.point);
        put_bytes(&mut bytes, self.owner.as_bytes());
        put_bytes(&mut bytes, &self.init);
        bytes
    }

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Option<Self> {
        Some(Self {
            life: u16::from_le_bytes(cursor.number()?),
            timeout_seconds: u32::from_le_bytes(cursor.number()?),
            device: (
                u32::from_le_bytes(cursor.number()?),
                u32::from_le_bytes(cursor.number()?),
            ),
            point: cursor.bytes()?,
            owner: String::from_utf8(cursor.bytes()?).ok()?,
            init: cursor.bytes()?,
        })
    }
}

impl Request {
    /// As a packet.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hold(hold) => hold.encode(),
            Self::Take { owner } => {
                let mut bytes = vec![TAKE];
                put_bytes(&mut bytes, owner.as_bytes());
                bytes
            }
            Self::Tell(notices) => {
                let mut bytes = vec![TELL];
                for notice in notices {
                    notice.encode(&mut bytes);
                }
                bytes
            }
            Self::End => vec![END],
        }
    }

    /// From a packet.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        let [kind] = cursor.number()?;
        let request = match kind {
            HOLD => Self::Hold(Hold::decode(&mut cursor)?),
            TAKE => Self::Take {
                owner: String::from_utf8(cursor.bytes()?).ok()?,
            },
            TELL => {
                let mut notices = Vec::new();
                while !cursor.0.is_empty() {
                    notices.push(Notice::decode(&mut cursor)?);
                }
                Self::Tell(notices)
            }
            END => Self::End,
            _ => return None,
        };
        cursor.0.is_empty().then_some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold() -> Hold {
        Hold {
            life: 3,
            timeout_seconds: 600,
            device: (0, 51),
            point: b"/mnt/a b".to_vec(),
            owner: "12 2026-11-22T10:00:00Z".to_owned(),
            init: vec![1, 2, 3],
        }
    }

    fn requests() -> Vec<Request> {
        let notices = vec![
            Notice::Entry {
                parent: 1,
                name: b"name".to_vec(),
            },
            Notice::Inode {
                node: 2,
                offset: -1,
                length: 0,
            },
            Notice::Refresh { node: 3 },
        ];
        vec![
            Request::Hold(hold()),
            Request::Take {
                owner: "1 x".to_owned(),
            },
            Request::Tell(notices),
            Request::Tell(Vec::new()),
            Request::End,
        ]
    }

    #[test]
    fn what_is_said_is_understood() {
        for request in requests() {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_refused() {
        for request in requests() {
            let whole = request.encode();
            for length in 0..whole.len() {
                if let Some(Request::Tell(_)) = Request::decode(&whole[..length]) {
                    // A batch may end after any of its notices.
                    assert!(matches!(request, Request::Tell(_)));
                } else {
                    assert_eq!(Request::decode(&whole[..length]), None);
                }
            }
            assert_eq!(Request::decode(&[whole, vec![0xff]].concat()), None);
        }
        assert_eq!(Request::decode(&[TAKE, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
