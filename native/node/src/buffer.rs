//! Memory that belongs to JavaScript. The only module of this crate with `unsafe`.
//!
//! Invariants:
//! - The value is referenced while it is held here, so the garbage collector keeps its bytes.
//! - The binding is called by `lib/` alone, which hands out no buffer while an operation on it is
//!   under way and never detaches or shrinks one; JavaScript that touches one all the same may see
//!   torn bytes in that buffer, as with `fs.read`.
#![allow(unsafe_code)]

use napi::bindgen_prelude::{Float64Array, Uint8Array};

/// The bytes of `buffer`, to be filled by the core.
pub(crate) fn bytes_of(buffer: &mut Uint8Array) -> &mut [u8] {
    // SAFETY: the pointer and the length come from Node and stay valid while `buffer` holds its
    // reference; that nobody else writes meanwhile is the module's second invariant.
    unsafe { buffer.as_mut() }
}

/// The numbers of `array`, to be filled during a synchronous call.
pub(crate) fn numbers_of(array: &mut Float64Array) -> &mut [f64] {
    // SAFETY: as above; the call is synchronous, so no JavaScript runs meanwhile.
    unsafe { array.as_mut() }
}
