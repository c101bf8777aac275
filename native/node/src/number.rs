//! Numbers from JavaScript, checked before they are believed.

use crate::error::{Result, from_errno};
use lockstep_vfs::Errno;

/// The largest integer that a JavaScript number holds exactly.
const SAFE_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// An offset or a size: an integer from 0 to 2^53 - 1.
pub(crate) fn whole(value: f64) -> Result<u64> {
    if value.fract() == 0.0 && (0.0..=SAFE_INTEGER_MAX).contains(&value) {
        Ok(value as u64)
    } else {
        Err(from_errno(Errno::Invalid))
    }
}

/// A signed integer that a JavaScript number holds exactly.
pub(crate) fn signed(value: f64) -> Result<i64> {
    if value.fract() == 0.0 && value.abs() <= SAFE_INTEGER_MAX {
        Ok(value as i64)
    } else {
        Err(from_errno(Errno::Invalid))
    }
}

/// An integer from 0 to 2^32 - 1.
pub(crate) fn whole32(value: f64) -> Result<u32> {
    u32::try_from(whole(value)?).map_err(|_| from_errno(Errno::Invalid))
}

/// An integer from 0 to 65,535.
pub(crate) fn whole16(value: f64) -> Result<u16> {
    u16::try_from(whole(value)?).map_err(|_| from_errno(Errno::Invalid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_integers_pass() {
        assert_eq!(whole(0.0).unwrap(), 0);
        assert_eq!(whole(SAFE_INTEGER_MAX).unwrap(), (1 << 53) - 1);
        for bad in [-1.0, 0.5, f64::NAN, f64::INFINITY, SAFE_INTEGER_MAX + 1.0] {
            assert_eq!(whole(bad).unwrap_err().status.as_ref(), "EINVAL", "{bad}");
        }
        assert_eq!(signed(-7.0).unwrap(), -7);
        assert!(signed(f64::NEG_INFINITY).is_err());
        assert!(whole32(4_294_967_296.0).is_err());
        assert_eq!(whole16(65_535.0).unwrap(), 65_535);
        assert!(whole16(65_536.0).is_err());
    }
}
