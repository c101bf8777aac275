//! Reading many chunks with several threads and comparing them with their records.

use crate::error::Result;
use crate::segments::Segments;
use lockstep_format::{ChunkPtr, ChunkRecord};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that read and hash; each is bound by one core.
const THREADS_MAX: usize = 4;

/// Ranges of a chunk's segment that are damaged: which chunk of the list, and offset and length.
pub(crate) type Bad = (usize, Vec<(u64, u64)>);

/// Verifies `chunks`. `before` is asked before each, with its size: it may wait, and ends the work
/// by answering false. The second value is false if it did.
pub(crate) fn verify_chunks(
    segments: &Segments,
    chunks: &[(ChunkPtr, ChunkRecord)],
    before: &(dyn Fn(u64) -> bool + Sync),
) -> Result<(Vec<Bad>, bool)> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || -> Result<bool> {
        let mut buffer = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((pointer, record)) = chunks.get(index) else {
                return Ok(true);
            };
            if !before(u64::from(record.length)) {
                return Ok(false);
            }
            let bad = segments.examine(*pointer, record, &mut buffer)?;
            if !bad.is_empty() {
                found.lock().push((index, bad));
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(THREADS_MAX).min(chunks.len());
    let mut whole = true;
    std::thread::scope(|scope| -> Result<()> {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        for other in others {
            // A panic in a thread goes on here.
            whole &= other
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        whole &= own?;
        Ok(())
    })?;
    let mut found = found.into_inner();
    found.sort_unstable();
    Ok((found, whole))
}
