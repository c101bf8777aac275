//! Scans that go on behind what cannot be read.

use super::{EMPTY, Source, Visit, child};
use crate::error::StoreError;
use crate::problem::{Place, Problem, ProblemKind};
use lockstep_format::{Page, PageId, TreeId};
use std::ops::ControlFlow;
use std::sync::Arc;

/// A page that cannot be read, and the keys it covers.
pub(crate) struct Broken {
    pub(crate) page: PageId,
    pub(crate) from: Vec<u8>,
    pub(crate) to: Option<Vec<u8>>,
    pub(crate) error: StoreError,
}

impl Broken {
    /// The problem that it is, in a tree.
    pub(crate) fn problem(self, tree: TreeId) -> Problem {
        let message = format!("{}: page {}: {}", tree.name(), self.page.0, self.error);
        let place = Place::Page {
            page: self.page,
            tree,
            from: self.from,
            to: self.to,
        };
        Problem::at(ProblemKind::Page, message, place)
    }
}

/// The keys below child `index` of `page`, which itself covers `[from, to)`.
pub(crate) fn bounds<'a>(
    page: &'a Page,
    index: usize,
    (from, to): (&'a [u8], Option<&'a [u8]>),
) -> (&'a [u8], Option<&'a [u8]>) {
    let low = if index == 0 { from } else { page.key(index) };
    let high = (index + 1 < page.len()).then(|| page.key(index + 1));
    (low, high.or(to))
}

/// The root page, or what is broken.
pub(crate) fn root(source: &dyn Source, root: PageId) -> Result<Arc<Page>, Broken> {
    source.page(root).map_err(|error| Broken {
        page: root,
        from: Vec::new(),
        to: None,
        error,
    })
}

/// Calls `each` for every readable entry from `from` up to before `to`, until it breaks. True if
/// nothing in that range was unreadable.
pub(crate) fn scan_readable(
    source: &dyn Source,
    root: PageId,
    from: &[u8],
    to: &[u8],
    each: Visit<'_>,
) -> bool {
    if root == EMPTY || from >= to {
        return true;
    }
    let Ok(page) = source.page(root) else {
        return false;
    };
    let mut whole = true;
    let _ = scan_page(source, &page, (from, to), each, &mut whole);
    whole
}

fn scan_page(
    source: &dyn Source,
    page: &Page,
    (from, to): (&[u8], &[u8]),
    each: Visit<'_>,
    whole: &mut bool,
) -> ControlFlow<()> {
    if page.is_leaf() {
        let start = page.search(from).unwrap_or_else(|index| index);
        for index in start..page.len() {
            if page.key(index) >= to {
                return ControlFlow::Break(());
            }
            each(page.key(index), page.value(index))?;
        }
        return ControlFlow::Continue(());
    }
    let start = page.child_index(from);
    for index in start..page.len() {
        if index > start && page.key(index) >= to {
            return ControlFlow::Break(());
        }
        match child(source, page, index) {
            Ok(below) => scan_page(source, &below, (from, to), each, whole)?,
            Err(_) => *whole = false,
        }
    }
    ControlFlow::Continue(())
}

/// Calls `each` with the number of every page of a tree, readable or not.
pub(crate) fn for_each_page(source: &dyn Source, root: PageId, each: &mut dyn FnMut(PageId)) {
    if root == EMPTY {
        return;
    }
    each(root);
    if let Ok(page) = source.page(root)
        && !page.is_leaf()
    {
        for index in 0..page.len() {
            for_each_page(source, page.child(index), each);
        }
    }
}
