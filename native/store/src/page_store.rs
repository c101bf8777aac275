//! Where pages and the commit record live.

use crate::error::Result;
use lockstep_format::PageId;

/// Pages by number, and one commit record, changed together.
///
/// Pages are never overwritten: a page number is put once and later deleted. What `get` returns is
/// not trusted; the caller verifies the page's checksum.
pub trait PageStore: Send + Sync {
    /// The bytes of a page, or `None` if there is no such page.
    fn get(&self, page: PageId) -> Result<Option<Vec<u8>>>;

    /// The last commit record, or `None` before the first commit.
    fn meta(&self) -> Result<Option<Vec<u8>>>;

    /// Puts and deletes pages and replaces the commit record: all of it or, after a crash or an
    /// error, nothing. When it returns `Ok` the change is durable.
    fn commit(
        &self,
        puts: &mut dyn Iterator<Item = (PageId, Vec<u8>)>,
        deletes: &[PageId],
        meta: &[u8],
    ) -> Result<()>;

    /// Sees to it that commits find `bytes` more than the pages take up now, whatever else fills the
    /// disk: space once promised stays so until commits use it.
    ///
    /// # Errors
    /// One whose [`is_no_space`](crate::StoreError::is_no_space) is true: it cannot be promised.
    fn reserve(&self, _bytes: u64) -> Result<()> {
        Ok(())
    }

    /// The numbers of all pages, for checking; ascending.
    fn list(&self, each: &mut dyn FnMut(PageId, &[u8])) -> Result<()>;

    /// Looks at all that holds the pages together, for checking.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`](crate::StoreError::Corrupt) with what is wrong.
    fn verify(&self) -> Result<()> {
        Ok(())
    }

    /// Bytes the pages take up on disk.
    fn size_bytes(&self) -> Result<u64>;

    /// Releases what the store holds. Nothing else is called afterwards.
    fn close(&self);
}
