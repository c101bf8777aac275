//! A server over files in memory that can be told to fail, and a client that speaks the protocol
//! in its own words.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::pedantic)]
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use lockstep_transfer::{
    ChecksumKind, ChunkChecksums, Decide, Event, Files, Options, Plan, ReadPlan, Request, Server,
    WritePlan,
};
use lockstep_vfs::{Errno, HandleId, NodeId, OpenFlags, VfsError};
use parking_lot::Mutex;

pub const SUCCESS: u8 = 0;
pub const ERROR: u8 = 1;
pub const ERROR_CHECKSUM: u8 = 2;

/// Files in memory. Reads of `damaged` bytes and writes past `full_at` fail.
#[derive(Default)]
pub struct MemoryFiles {
    pub files: Mutex<HashMap<NodeId, Vec<u8>>>,
    pub damaged: Mutex<Option<u64>>,
    pub full_at: Mutex<Option<u64>>,
    pub syncs: AtomicUsize,
    pub writes: AtomicUsize,
    pub open: Mutex<HashMap<u64, NodeId>>,
    next: AtomicU64,
}

impl MemoryFiles {
    pub fn put(&self, node: u64, bytes: &[u8]) {
        self.files.lock().insert(NodeId(node), bytes.to_vec());
    }

    pub fn get(&self, node: u64) -> Vec<u8> {
        self.files
            .lock()
            .get(&NodeId(node))
            .cloned()
            .unwrap_or_default()
    }
}

impl Files for MemoryFiles {
    fn open(&self, node: NodeId, _: OpenFlags) -> Result<HandleId, VfsError> {
        if !self.files.lock().contains_key(&node) {
            return Err(Errno::NotFound.into());
        }
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.lock().insert(handle, node);
        Ok(HandleId(handle))
    }

    fn release(&self, handle: HandleId) -> Result<(), VfsError> {
        self.open
            .lock()
            .remove(&handle.0)
            .map(|_| ())
            .ok_or(Errno::BadHandle.into())
    }

    fn read(&self, handle: HandleId, offset: u64, into: &mut [u8]) -> Result<usize, VfsError> {
        let end = offset + into.len() as u64;
        if self
            .damaged
            .lock()
            .is_some_and(|at| (offset..end).contains(&at))
        {
            return Err(Errno::Io.into());
        }
        let node = self.open.lock()[&handle.0];
        let files = self.files.lock();
        let bytes = files[&node].get(offset as usize..).unwrap_or_default();
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn write(&self, handle: HandleId, offset: u64, bytes: &[u8]) -> Result<(), VfsError> {
        let end = offset as usize + bytes.len();
        if self.full_at.lock().is_some_and(|at| end as u64 > at) {
            return Err(Errno::NoSpace.into());
        }
        self.writes.fetch_add(1, Ordering::Relaxed);
        let node = self.open.lock()[&handle.0];
        let mut files = self.files.lock();
        let file = files.get_mut(&node).unwrap();
        file.resize(file.len().max(end), 0);
        file[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self, _: HandleId) -> Result<(), VfsError> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn poison(&self) {
        panic!("a connection thread panicked");
    }
}

/// Decides by the numbers in the message; see [`Client::read`] and [`Client::write`].
#[derive(Default)]
pub struct Script {
    pub events: Mutex<Vec<Event>>,
    pub requests: Mutex<Vec<Request>>,
}

impl Decide for Script {
    fn decide(&self, request: Request) -> Option<Plan> {
        let numbers: Vec<u64> = request
            .message
            .chunks_exact(8)
            .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
            .collect();
        let op = request.op;
        self.requests.lock().push(request);
        let checksums = |kind| {
            ChunkChecksums::new(ChecksumKind::from_number(kind as u32).unwrap(), 512).unwrap()
        };
        match (op, numbers.as_slice()) {
            (81, &[node, offset, length, kind]) => Some(Plan::Read(ReadPlan {
                response: b"read".to_vec(),
                node: NodeId(node),
                offset,
                length,
                block_offset: offset,
                checksums: checksums(kind),
            })),
            (80, &[node, file_offset, position, limit, kind]) => Some(Plan::Write(WritePlan {
                response: b"write".to_vec(),
                node: NodeId(node),
                file_offset,
                position,
                limit,
                checksums: checksums(kind),
                sync_on_close: false,
            })),
            (85, _) => Some(Plan::Respond {
                response: b"sum".to_vec(),
                close: false,
            }),
            _ => None,
        }
    }

    fn progress(&self, event: Event) {
        self.events.lock().push(event);
    }
}

/// A server on a free port, and the script that decides for it.
pub fn serve(files: Arc<dyn Files>, connections: usize, idle: Duration) -> (Server, Arc<Script>) {
    let script = Arc::new(Script::default());
    let options = Options {
        host: "127.0.0.1".into(),
        port: 0,
        connections,
        idle,
    };
    let decide = Arc::clone(&script) as Arc<dyn Decide>;
    (Server::start(files, &options, decide).unwrap(), script)
}

pub struct Fixture {
    pub files: Arc<MemoryFiles>,
    pub script: Arc<Script>,
    pub server: Server,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with(16, Duration::from_secs(30))
    }

    pub fn with(connections: usize, idle: Duration) -> Self {
        let files = Arc::new(MemoryFiles::default());
        files.put(1, b"");
        let (server, script) = serve(Arc::clone(&files) as Arc<dyn Files>, connections, idle);
        Self {
            files,
            script,
            server,
        }
    }

    pub fn client(&self) -> Client {
        Client::connect(self.server.port())
    }

    pub fn events(&self) -> Vec<Event> {
        self.script.events.lock().clone()
    }
}

/// The client's end of a connection.
pub struct Client {
    pub stream: TcpStream,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Packet {
    pub offset: i64,
    pub seqno: i64,
    pub is_last: bool,
    pub checksums: Vec<u8>,
    pub data: Vec<u8>,
}

impl Client {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self { stream }
    }

    pub fn operation(&mut self, op: u8, message: &[u8]) {
        let mut bytes = vec![0, 28, op];
        varint(&mut bytes, message.len() as u64);
        bytes.extend_from_slice(message);
        self.stream.write_all(&bytes).unwrap();
    }

    pub fn numbers(&mut self, op: u8, numbers: &[u64]) {
        let message: Vec<u8> = numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        self.operation(op, &message);
    }

    /// Asks for a range with checksums of `kind`.
    pub fn read(&mut self, node: u64, offset: u64, length: u64, kind: u64) {
        self.numbers(81, &[node, offset, length, kind]);
        assert_eq!(self.message().unwrap(), b"read");
    }

    /// Sets up a write of the block at `file_offset`, which has `position` of `limit` bytes.
    pub fn write(&mut self, node: u64, file_offset: u64, position: u64, limit: u64) {
        self.numbers(80, &[node, file_offset, position, limit, 2]);
        assert_eq!(self.message().unwrap(), b"write");
    }

    /// A delimited message; `None` where the server closed.
    pub fn message(&mut self) -> Option<Vec<u8>> {
        let mut length = 0;
        for shift in (0..).step_by(7) {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).ok()?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                break;
            }
        }
        let mut message = vec![0; length];
        self.stream.read_exact(&mut message).ok()?;
        Some(message)
    }

    pub fn packet(&mut self) -> Option<Packet> {
        let mut lengths = [0; 6];
        self.stream.read_exact(&mut lengths).ok()?;
        let packet = u32::from_be_bytes(lengths[..4].try_into().unwrap()) as usize;
        assert_eq!(lengths[4..], [0, 25]);
        let mut header = [0; 25];
        self.stream.read_exact(&mut header).ok()?;
        assert_eq!(
            [header[0], header[9], header[18], header[20]],
            [9, 17, 24, 37]
        );
        let data_bytes = u32::from_le_bytes(header[21..].try_into().unwrap()) as usize;
        let mut checksums = vec![0; packet - 4 - data_bytes];
        self.stream.read_exact(&mut checksums).ok()?;
        let mut data = vec![0; data_bytes];
        self.stream.read_exact(&mut data).ok()?;
        Some(Packet {
            offset: i64::from_le_bytes(header[1..9].try_into().unwrap()),
            seqno: i64::from_le_bytes(header[10..18].try_into().unwrap()),
            is_last: header[19] == 1,
            checksums,
            data,
        })
    }

    /// The data of all packets, checked, up to the last one; `None` if the stream ends before.
    pub fn packets(&mut self, offset: u64) -> Option<Vec<u8>> {
        let mut data = Vec::new();
        for seqno in 0.. {
            let packet = self.packet()?;
            assert_eq!(packet.seqno, seqno);
            assert_eq!(packet.offset as u64, offset + data.len() as u64);
            assert_eq!(packet.checksums, crc32c_words(&packet.data));
            assert_eq!(packet.is_last, packet.data.is_empty());
            if packet.is_last {
                break;
            }
            data.extend_from_slice(&packet.data);
        }
        Some(data)
    }

    pub fn read_status(&mut self) {
        self.stream.write_all(&[2, 8, 6]).unwrap();
    }

    /// Sends a packet with good checksums.
    pub fn send(&mut self, offset: u64, seqno: i64, data: &[u8], flags: Flags) {
        let words = crc32c_words(data);
        self.send_raw(offset, seqno, data, &words, flags);
    }

    pub fn send_raw(&mut self, offset: u64, seqno: i64, data: &[u8], words: &[u8], flags: Flags) {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&((4 + words.len() + data.len()) as u32).to_be_bytes());
        bytes.extend_from_slice(&[0, if flags.sync { 27 } else { 25 }, 9]);
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.push(17);
        bytes.extend_from_slice(&seqno.to_le_bytes());
        bytes.extend_from_slice(&[24, u8::from(flags.last), 37]);
        bytes.extend_from_slice(&(data.len() as u32).to_le_bytes());
        if flags.sync {
            bytes.extend_from_slice(&[40, 1]);
        }
        bytes.extend_from_slice(words);
        bytes.extend_from_slice(data);
        self.stream.write_all(&bytes).unwrap();
    }

    /// The next acknowledgement's number and status.
    pub fn acknowledgement(&mut self) -> Option<(i64, u8)> {
        let message = self.message()?;
        assert_eq!(message[0], 8);
        let mut value = 0_u64;
        let mut at = 1;
        loop {
            value |= u64::from(message[at] & 0x7f) << (7 * (at - 1));
            at += 1;
            if message[at - 1] < 0x80 {
                break;
            }
        }
        assert_eq!(message[at], 16);
        Some(((value >> 1) as i64 ^ -((value & 1) as i64), message[at + 1]))
    }

    /// Writes `data` in packets of `packet_bytes` and takes all acknowledgements.
    pub fn write_all(&mut self, position: u64, data: &[u8], packet_bytes: usize) {
        let mut offset = position;
        let mut seqno = 0;
        let mut acknowledged = 0;
        for packet in data.chunks(packet_bytes) {
            self.send(offset, seqno, packet, Flags::default());
            offset += packet.len() as u64;
            seqno += 1;
            if seqno - acknowledged >= 80 {
                assert_eq!(self.acknowledgement(), Some((acknowledged, SUCCESS)));
                acknowledged += 1;
            }
        }
        self.send(
            offset,
            seqno,
            b"",
            Flags {
                last: true,
                sync: false,
            },
        );
        while acknowledged <= seqno {
            assert_eq!(self.acknowledgement(), Some((acknowledged, SUCCESS)));
            acknowledged += 1;
        }
    }

    /// As [`Client::write_all`], with checksums made before, and acknowledgements read by a second
    /// thread as Java's client does.
    pub fn put_fast(&mut self, data: &[u8], words: &[Vec<u8>], packet_bytes: usize) {
        let mut reader = Self {
            stream: self.stream.try_clone().unwrap(),
        };
        let count = words.len() as i64;
        let answers = std::thread::spawn(move || {
            for seqno in 0..=count {
                assert_eq!(reader.acknowledgement(), Some((seqno, SUCCESS)));
            }
        });
        for (index, (packet, words)) in data.chunks(packet_bytes).zip(words).enumerate() {
            let offset = (index * packet_bytes) as u64;
            self.send_raw(offset, index as i64, packet, words, Flags::default());
        }
        self.send(
            data.len() as u64,
            count,
            b"",
            Flags {
                last: true,
                sync: false,
            },
        );
        answers.join().unwrap();
    }

    /// Takes packets up to the last one without looking at them; returns the data's length.
    pub fn get_fast(&mut self) -> usize {
        let mut buffer = vec![0; 1 << 20];
        let mut total = 0;
        loop {
            let mut head = [0; 31];
            self.stream.read_exact(&mut head).unwrap();
            let packet = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
            let data_bytes = u32::from_le_bytes(head[27..].try_into().unwrap()) as usize;
            if data_bytes == 0 {
                return total;
            }
            self.stream.read_exact(&mut buffer[..packet - 4]).unwrap();
            total += data_bytes;
        }
    }

    /// Whether the server closed the connection (what came before that is thrown away).
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[derive(Clone, Copy, Default)]
pub struct Flags {
    pub last: bool,
    pub sync: bool,
}

fn varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// CRC-32C by the bit, so that the server's is judged by another's.
pub fn crc32c(data: &[u8]) -> u32 {
    static TABLE: std::sync::OnceLock<[u32; 256]> = std::sync::OnceLock::new();
    let table = TABLE.get_or_init(|| {
        std::array::from_fn(|index| {
            (0..8).fold(index as u32, |crc, _| {
                crc >> 1 ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
            })
        })
    });
    !data.iter().fold(!0, |crc, byte| {
        crc >> 8 ^ table[(crc as u8 ^ byte) as usize]
    })
}

pub fn crc32c_words(data: &[u8]) -> Vec<u8> {
    data.chunks(512)
        .flat_map(|chunk| crc32c(chunk).to_be_bytes())
        .collect()
}

/// Bytes that differ everywhere.
pub fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("never came true: {what}");
}
