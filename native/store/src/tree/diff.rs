//! The difference of two trees that share pages: shared pages are skipped unread.

use super::{EMPTY, Source, child};
use crate::error::Result;
use lockstep_format::{Page, PageId};
use std::cmp::Ordering;
use std::sync::Arc;

/// What [`diff`] calls for each key whose value differs: key, value in `from`, value in `to`.
pub(crate) type Each<'a> = &'a mut dyn FnMut(&[u8], Option<&[u8]>, Option<&[u8]>) -> Result<()>;

/// A position in a tree: at an entry of a leaf, or in front of a page not yet entered.
struct Walk<'a> {
    source: &'a dyn Source,
    /// Pages entered, each with the entry to look at next.
    stack: Vec<(Arc<Page>, usize)>,
    /// The root, while it is not yet entered.
    root: Option<PageId>,
}

enum Item {
    /// A page not yet entered: its id, its level, and a key that no entry of it is below.
    Below(PageId, u8, Vec<u8>),
    Entry,
    End,
}

impl<'a> Walk<'a> {
    fn new(source: &'a dyn Source, root: PageId) -> Self {
        Self {
            source,
            stack: Vec::new(),
            root: (root != EMPTY).then_some(root),
        }
    }

    fn item(&mut self) -> Result<Item> {
        if let Some(root) = self.root {
            return Ok(Item::Below(root, self.source.page(root)?.level, Vec::new()));
        }
        while let Some((page, index)) = self.stack.last() {
            if *index < page.len() {
                if page.is_leaf() {
                    return Ok(Item::Entry);
                }
                // Entry 0 has no bound of its own; the nearest page above that was entered in the
                // middle has.
                let low = self.stack.iter().rev().find(|(_, at)| *at > 0);
                let low = low.map_or_else(Vec::new, |(page, at)| page.key(*at).to_vec());
                return Ok(Item::Below(page.child(*index), page.level - 1, low));
            }
            self.stack.pop();
            self.step();
        }
        Ok(Item::End)
    }

    /// Goes past the item.
    fn step(&mut self) {
        self.root = None;
        if let Some((_, index)) = self.stack.last_mut() {
            *index += 1;
        }
    }

    /// Enters the page in front.
    fn enter(&mut self) -> Result<()> {
        let page = match (self.root.take(), self.stack.last()) {
            (Some(root), _) => self.source.page(root)?,
            (None, Some((page, index))) => child(self.source, page, *index)?,
            (None, None) => return Ok(()),
        };
        self.stack.push((page, 0));
        Ok(())
    }

    fn entry(&self) -> Option<(&[u8], &[u8])> {
        let (page, index) = self.stack.last()?;
        Some((page.key(*index), page.value(*index)))
    }
}

/// Calls `each` for every key that differs between the trees `from` and `to`, in key order.
/// Costs the pages that differ, times the depth.
pub(crate) fn diff(source: &dyn Source, from: PageId, to: PageId, each: Each<'_>) -> Result<()> {
    let mut old = Walk::new(source, from);
    let mut new = Walk::new(source, to);
    loop {
        match (old.item()?, new.item()?) {
            (Item::End, Item::End) => return Ok(()),
            (Item::Below(a, a_level, a_low), Item::Below(b, b_level, b_low)) => {
                if a == b {
                    old.step();
                    new.step();
                    continue;
                }
                // The one that may hold the smaller keys, or the taller one, is entered first, so
                // that pages both trees share meet in front of each other.
                match a_level
                    .cmp(&b_level)
                    .reverse()
                    .then_with(|| a_low.cmp(&b_low))
                {
                    Ordering::Less => old.enter()?,
                    Ordering::Greater => new.enter()?,
                    Ordering::Equal => {
                        old.enter()?;
                        new.enter()?;
                    }
                }
            }
            (Item::Below(..), Item::End) => old.enter()?,
            (Item::End, Item::Below(..)) => new.enter()?,
            (Item::Below(_, _, low), Item::Entry) => {
                if new.entry().is_some_and(|(key, _)| key < low.as_slice()) {
                    only_new(&mut new, each)?;
                } else {
                    old.enter()?;
                }
            }
            (Item::Entry, Item::Below(_, _, low)) => {
                if old.entry().is_some_and(|(key, _)| key < low.as_slice()) {
                    only_old(&mut old, each)?;
                } else {
                    new.enter()?;
                }
            }
            (Item::Entry, Item::End) => only_old(&mut old, each)?,
            (Item::End, Item::Entry) => only_new(&mut new, each)?,
            (Item::Entry, Item::Entry) => entries(&mut old, &mut new, each)?,
        }
    }
}

fn only_old(old: &mut Walk<'_>, each: Each<'_>) -> Result<()> {
    if let Some((key, value)) = old.entry() {
        each(key, Some(value), None)?;
    }
    old.step();
    Ok(())
}

fn only_new(new: &mut Walk<'_>, each: Each<'_>) -> Result<()> {
    if let Some((key, value)) = new.entry() {
        each(key, None, Some(value))?;
    }
    new.step();
    Ok(())
}

fn entries(old: &mut Walk<'_>, new: &mut Walk<'_>, each: Each<'_>) -> Result<()> {
    let (Some((old_key, old_value)), Some((new_key, new_value))) = (old.entry(), new.entry())
    else {
        return Ok(());
    };
    match old_key.cmp(new_key) {
        Ordering::Less => only_old(old, each),
        Ordering::Greater => only_new(new, each),
        Ordering::Equal => {
            if old_value != new_value {
                each(old_key, Some(old_value), Some(new_value))?;
            }
            old.step();
            new.step();
            Ok(())
        }
    }
}
