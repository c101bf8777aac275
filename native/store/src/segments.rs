//! Putting file bytes into segments and getting them back, verified.
//!
//! Invariants:
//! - A chunk's bytes are in the kernel before any record that names them is in the log, and durable
//!   (in their segment, or as a copy in the log) before any such record is.
//! - A segment is sealed only when nobody can add to it: no chunk of it is between its allocation
//!   and its first record (the token's count says so).

use crate::error::{Result, StoreError};
use crate::segment_store::SegmentStore;
use crate::unsynced::{Need, Range, Unsynced};
use blake3::hazmat::{HasherExt, max_subtree_len};
use lockstep_format::limits::{CHUNK_BYTES_MAX, GRAIN_BYTES, SEGMENT_SLOTS_MAX};
use lockstep_format::{ChunkPtr, ChunkRecord, SegmentId, crc32c};
use parking_lot::Mutex;
use std::sync::Arc;

/// A segment takes chunks until it holds this many bytes, or too many chunks.
pub(crate) const SEGMENT_BYTES: u64 = 256 << 20;
/// Chunks of at least a page start on a page of their segment.
const PAGE_ALIGN: u64 = 4096;
const SMALL_ALIGN: u64 = 8;

/// Held by whoever may still add records of chunks of a segment.
#[derive(Debug)]
pub(crate) struct SegmentToken(pub SegmentId);

/// File bytes that lie in a segment but belong to no file yet.
#[derive(Debug)]
pub struct Staged {
    offset: u64,
    length: u64,
    pub(crate) chunks: Vec<StagedChunk>,
}

/// One chunk of [`Staged`] bytes.
#[derive(Debug)]
pub(crate) struct StagedChunk {
    pub(crate) pointer: ChunkPtr,
    pub(crate) record: ChunkRecord,
    /// The file offset of its first byte.
    pub(crate) at: u64,
    _token: Arc<SegmentToken>,
}

impl Staged {
    /// The file offset of the first byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The file offset behind the last byte.
    pub fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// What covers a range of a file.
#[derive(Debug)]
pub struct Pieces {
    pub(crate) length: u64,
    pub(crate) list: Vec<Piece>,
    pub(crate) _reading: Arc<()>,
}

/// A part of a range that is not a hole.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Where in the range it starts.
    pub(crate) at: u64,
    pub(crate) length: u32,
    pub(crate) segment: SegmentId,
    pub(crate) chunk_offset: u32,
    pub(crate) record: ChunkRecord,
}

struct Active {
    token: Arc<SegmentToken>,
    tail: u64,
    next_slot: u32,
}

/// The segments of an open store.
pub(crate) struct Segments {
    store: Box<dyn SegmentStore>,
    active: Mutex<Option<Active>>,
    next_segment: Mutex<u64>,
    unsynced: Mutex<Unsynced>,
    /// Held while segments are synced: whoever finds nothing left to sync waits for whoever took it.
    /// True once a sync failed: a later one that succeeds says nothing about those bytes.
    syncing: Mutex<bool>,
    /// Full, waiting to be sealed.
    full: Mutex<Vec<Arc<SegmentToken>>>,
}

impl Segments {
    /// Segments of `store`; new ones are numbered from `next_segment`.
    pub(crate) fn new(store: Box<dyn SegmentStore>, next_segment: u64) -> Self {
        Self {
            store,
            active: Mutex::new(None),
            next_segment: Mutex::new(next_segment),
            unsynced: Mutex::default(),
            syncing: Mutex::default(),
            full: Mutex::default(),
        }
    }

    /// The store below.
    pub(crate) fn store(&self) -> &dyn SegmentStore {
        &*self.store
    }

    /// The number of the next segment to be made.
    pub(crate) fn next_segment(&self) -> u64 {
        *self.next_segment.lock()
    }

    /// New segments are numbered from `next` at least.
    pub(crate) fn reserve_numbers(&self, next: u64) {
        let mut number = self.next_segment.lock();
        *number = (*number).max(next);
    }

    /// Whether chunks may still be added to `segment`.
    pub(crate) fn is_open(&self, segment: SegmentId) -> bool {
        let active = self
            .active
            .lock()
            .as_ref()
            .is_some_and(|active| active.token.0 == segment);
        active || self.full.lock().iter().any(|token| token.0 == segment)
    }

    /// Full segments to which nothing can be added any more; each is returned once.
    pub(crate) fn take_sealable(&self) -> Vec<SegmentId> {
        let mut full = self.full.lock();
        let (done, busy) = full
            .drain(..)
            .partition(|token| Arc::strong_count(token) == 1);
        *full = busy;
        let done: Vec<Arc<SegmentToken>> = done;
        done.iter().map(|token| token.0).collect()
    }

    /// Ends the active segment, so that everything can be sealed.
    pub(crate) fn retire_active(&self) {
        if let Some(active) = self.active.lock().take() {
            self.full.lock().push(active.token);
        }
    }

    /// Has a segment of an earlier life sealed by the next commit. That life may have ended before
    /// it synced what replay found in the kernel.
    pub(crate) fn retire(&self, segment: SegmentId) {
        self.unsynced.lock().found(segment);
        self.full.lock().push(Arc::new(SegmentToken(segment)));
    }

    fn allocate(&self, length: usize) -> Result<(ChunkPtr, u64, Arc<SegmentToken>)> {
        let align = if length as u64 >= PAGE_ALIGN {
            PAGE_ALIGN
        } else {
            SMALL_ALIGN
        };
        let mut slot = self.active.lock();
        if slot.as_ref().is_some_and(|active| {
            active.tail >= SEGMENT_BYTES || active.next_slot >= SEGMENT_SLOTS_MAX
        }) && let Some(active) = slot.take()
        {
            self.full.lock().push(active.token);
        }
        if slot.is_none() {
            let segment = {
                let mut number = self.next_segment.lock();
                *number += 1;
                SegmentId(*number - 1)
            };
            self.store.create(segment)?;
            *slot = Some(Active {
                token: Arc::new(SegmentToken(segment)),
                tail: 0,
                next_slot: 0,
            });
        }
        let Some(active) = slot.as_mut() else {
            return Err(StoreError::Exhausted { what: "segments" });
        };
        let offset = active.tail.next_multiple_of(align);
        let pointer = ChunkPtr {
            segment: active.token.0,
            slot: active.next_slot,
        };
        active.tail = offset + length as u64;
        active.next_slot += 1;
        Ok((pointer, offset, Arc::clone(&active.token)))
    }

    /// Writes bytes that will stand at file offset `offset`. See [`crate::Store::stage`]. The
    /// segment in which there was no space for them is ended: sealing it gives back what it was
    /// given and does not use.
    pub(crate) fn stage(&self, offset: u64, bytes: &[u8]) -> Result<Staged> {
        let staged = self.stage_all(offset, bytes);
        if staged.as_ref().is_err_and(StoreError::is_no_space) {
            self.retire_active();
        }
        staged
    }

    fn stage_all(&self, offset: u64, bytes: &[u8]) -> Result<Staged> {
        let mut chunks = Vec::with_capacity(bytes.len() / CHUNK_BYTES_MAX + 2);
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = CHUNK_BYTES_MAX - (at % CHUNK_BYTES_MAX as u64) as usize;
            let (head, tail) = rest.split_at(room.min(rest.len()));
            chunks.push(self.stage_chunk(at, head)?);
            at += head.len() as u64;
            rest = tail;
        }
        Ok(Staged {
            offset,
            length: bytes.len() as u64,
            chunks,
        })
    }

    fn stage_chunk(&self, at: u64, bytes: &[u8]) -> Result<StagedChunk> {
        let (pointer, offset, token) = self.allocate(bytes.len())?;
        self.write(pointer.segment, offset, bytes)?;
        let hash_offset = hash_offset(at, bytes.len());
        let record = ChunkRecord {
            offset,
            length: bytes.len() as u32,
            live: bytes.len() as u32,
            hash_offset,
            hash: chunk_hash(hash_offset, bytes),
            grains: bytes.chunks(GRAIN_BYTES).map(crc32c).collect(),
        };
        Ok(StagedChunk {
            pointer,
            record,
            at,
            _token: token,
        })
    }

    /// Hands bytes to the kernel; a later sync makes them durable.
    pub(crate) fn write(&self, segment: SegmentId, offset: u64, bytes: &[u8]) -> Result<()> {
        self.store.write(segment, offset, bytes)?;
        // Noted after the write: whoever takes the note away has the bytes before it.
        self.unsynced.lock().written(Range {
            segment,
            offset,
            length: bytes.len(),
        });
        Ok(())
    }

    /// What makes all bytes written so far durable.
    pub(crate) fn need(&self) -> Need {
        self.unsynced.lock().need()
    }

    /// The log holds a durable copy of the ranges below number `upto`.
    pub(crate) fn copied(&self, upto: u64) {
        self.unsynced.lock().made_durable(upto);
    }

    /// Makes all bytes written so far durable in their segments.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut failed = self.syncing.lock();
        if *failed {
            let reason = Some("an earlier sync of a segment failed".to_owned());
            return Err(StoreError::Closed { reason });
        }
        let (segments, upto) = self.unsynced.lock().take_segments();
        *failed = true;
        for segment in segments {
            self.store.sync(segment)?;
        }
        *failed = false;
        self.unsynced.lock().made_durable(upto);
        Ok(())
    }

    /// Reads what `pieces` promised. See [`crate::Store::load`].
    pub(crate) fn load(&self, pieces: &Pieces, into: &mut [u8]) -> Result<()> {
        let length = (pieces.length as usize).min(into.len());
        let into = &mut into[..length];
        let mut filled = 0;
        for piece in &pieces.list {
            let start = piece.at as usize;
            let end = start + piece.length as usize;
            into[filled..start].fill(0);
            self.load_piece(piece, &mut into[start..end])?;
            filled = end;
        }
        into[filled..].fill(0);
        Ok(())
    }

    fn load_piece(&self, piece: &Piece, into: &mut [u8]) -> Result<()> {
        let start = piece.chunk_offset as usize;
        let end = start + into.len();
        let whole_start = start.next_multiple_of(GRAIN_BYTES).min(end);
        let mut whole_end = end / GRAIN_BYTES * GRAIN_BYTES;
        if end == piece.record.length as usize {
            whole_end = end;
        }
        let whole_end = whole_end.max(whole_start);
        if start < whole_start {
            self.load_part(piece, start, &mut into[..whole_start - start])?;
        }
        if whole_start < whole_end {
            let middle = &mut into[whole_start - start..whole_end - start];
            self.store.read(
                piece.segment,
                piece.record.offset + whole_start as u64,
                middle,
            )?;
            for (index, grain) in middle.chunks(GRAIN_BYTES).enumerate() {
                verify(piece, whole_start / GRAIN_BYTES + index, grain)?;
            }
        }
        if whole_end < end {
            self.load_part(piece, whole_end, &mut into[whole_end - start..])?;
        }
        Ok(())
    }

    /// Reads a part of one grain, by reading and verifying all of it.
    fn load_part(&self, piece: &Piece, start: usize, into: &mut [u8]) -> Result<()> {
        let mut buffer = [0; GRAIN_BYTES];
        let index = start / GRAIN_BYTES;
        let grain_start = index * GRAIN_BYTES;
        let grain_length = (piece.record.length as usize - grain_start).min(GRAIN_BYTES);
        let grain = &mut buffer[..grain_length];
        self.store.read(
            piece.segment,
            piece.record.offset + grain_start as u64,
            grain,
        )?;
        verify(piece, index, grain)?;
        into.copy_from_slice(&grain[start - grain_start..][..into.len()]);
        Ok(())
    }

    /// Reads a whole chunk and verifies every checksum; `hash` too, if asked.
    pub(crate) fn verify_chunk(
        &self,
        pointer: ChunkPtr,
        record: &ChunkRecord,
        hash: bool,
    ) -> Result<()> {
        let mut bytes = vec![0; record.length as usize];
        self.store
            .read(pointer.segment, record.offset, &mut bytes)?;
        let grains_match = bytes
            .chunks(GRAIN_BYTES)
            .map(crc32c)
            .eq(record.grains.iter().copied());
        if !grains_match || (hash && chunk_hash(record.hash_offset, &bytes) != record.hash) {
            return Err(damaged(
                pointer.segment,
                record.offset,
                record.length as usize,
            ));
        }
        Ok(())
    }
}

/// The chunk's identity: the BLAKE3 chaining value of its bytes as the input from `hash_offset` on.
pub(crate) fn chunk_hash(hash_offset: u64, bytes: &[u8]) -> [u8; 32] {
    blake3::Hasher::new()
        .set_input_offset(hash_offset)
        .update(bytes)
        .finalize_non_root()
}

/// The file offset, if BLAKE3's tree has a subtree that starts there and holds `length` bytes
/// (the hash of the whole file then follows from its chunks' values); else 0.
fn hash_offset(at: u64, length: usize) -> u64 {
    let aligned = at.is_multiple_of(blake3::CHUNK_LEN as u64);
    let fits = aligned && max_subtree_len(at).is_none_or(|room| length as u64 <= room);
    if fits { at } else { 0 }
}

fn damaged(segment: SegmentId, offset: u64, length: usize) -> StoreError {
    let what = format!(
        "segment {:016x}, {length} bytes at {offset}: checksum mismatch",
        segment.0
    );
    StoreError::Corrupt { what }
}

fn verify(piece: &Piece, index: usize, grain: &[u8]) -> Result<()> {
    if piece.record.grains.get(index) == Some(&crc32c(grain)) {
        return Ok(());
    }
    let offset = piece.record.offset + (index * GRAIN_BYTES) as u64;
    Err(damaged(piece.segment, offset, grain.len()))
}
