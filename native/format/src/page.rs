//! A page of a B+tree: sorted entries, in memory ready for search and change, on disk compact.
//!
//! Invariants:
//! - Keys are strictly ascending.
//! - An interior page's entry `i` points at the child that holds all keys from key `i` up to key
//!   `i + 1`; what key 0 says does not matter, child 0 has no lower bound of its own.
//! - A page never changes once its epoch is over; a later epoch writes a copy under another id.
//!
//! On disk: `crc32c u32 | version u8 | level u8 | id u64 | birth u64 | count varint | entries`, an
//! entry being `shared varint | unshared varint | value length varint | key tail | value`, where
//! `shared` counts the bytes the key has in common with the key before it.

use crate::codec::{Decoder, Encoder, FormatError};
use crate::ids::{Epoch, PageId};
use crate::limits::{KEY_BYTES_MAX, PAGE_BYTES_MAX, TREE_LEVEL_MAX, VALUE_BYTES_MAX};
use std::cmp::Ordering;

const WHAT: &str = "page";
const VERSION: u8 = 1;
/// What an entry costs beside its key and value, in memory.
const SLOT_BYTES: usize = 12;
/// The three lengths of an entry.
const ENTRY_BYTES_MIN: usize = 3;

#[derive(Clone, Copy, Debug)]
struct Slot {
    offset: u32,
    key: u32,
    value: u32,
}

/// A page of a B+tree.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its number.
    pub id: PageId,
    /// The epoch that made it.
    pub birth: Epoch,
    /// 0 for a leaf; the level of its children plus one otherwise.
    pub level: u8,
    slots: Vec<Slot>,
    heap: Vec<u8>,
    /// Bytes of `heap` that no slot uses.
    garbage: usize,
}

/// How many bytes two keys begin with alike.
fn shared(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The eight bytes of a key behind the first `skip`, as a number that orders as they do; zeros stand
/// for those that it does not have.
fn word_at(key: &[u8], skip: usize) -> u64 {
    let rest = &key[skip..];
    if let Some(word) = rest.first_chunk::<8>() {
        return u64::from_be_bytes(*word);
    }
    let mut word = [0; 8];
    word[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(word)
}

impl Page {
    /// An empty page.
    pub fn new(id: PageId, birth: Epoch, level: u8) -> Self {
        Self {
            id,
            birth,
            level,
            slots: Vec::new(),
            heap: Vec::new(),
            garbage: 0,
        }
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether entries are records rather than children.
    pub fn is_leaf(&self) -> bool {
        self.level == 0
    }

    /// Bytes of the entries, the measure by which pages split and merge.
    pub fn bytes(&self) -> usize {
        self.heap.len() - self.garbage + self.slots.len() * SLOT_BYTES
    }

    /// The key of entry `index`.
    pub fn key(&self, index: usize) -> &[u8] {
        let slot = self.slots[index];
        &self.heap[slot.offset as usize..][..slot.key as usize]
    }

    /// The value of entry `index`.
    pub fn value(&self, index: usize) -> &[u8] {
        let slot = self.slots[index];
        &self.heap[(slot.offset + slot.key) as usize..][..slot.value as usize]
    }

    /// The child of entry `index` of an interior page; 0, which is never a page, if it is damaged.
    pub fn child(&self, index: usize) -> PageId {
        PageId(self.value(index).try_into().map_or(0, u64::from_le_bytes))
    }

    /// The entry with `key`, or where it would be inserted.
    ///
    /// Keys of one page mostly begin alike. What they share is compared once; behind it eight bytes
    /// at a time decide, and the rest of a key is looked at only where those are equal.
    pub fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let Some(last) = self.len().checked_sub(1) else {
            return Err(0);
        };
        // The first key of an interior page is often empty, and shares nothing.
        let first = usize::from(last > 0 && self.key(0).is_empty() && !key.is_empty());
        for (index, before) in [(last, Ordering::Less), (first, Ordering::Greater)] {
            match self.key(index).cmp(key) {
                Ordering::Equal => return Ok(index),
                order if order == before => {
                    return Err(index + usize::from(before == Ordering::Less));
                }
                _ => {}
            }
        }
        let skip = shared(self.key(first), self.key(last));
        let (word, rest) = (word_at(key, skip), &key[skip..]);
        let order = |slot: &Slot| {
            let found = &self.heap[slot.offset as usize..][..slot.key as usize];
            word_at(found, skip)
                .cmp(&word)
                .then_with(|| found[skip..].cmp(rest))
        };
        match self.slots[first..last].binary_search_by(order) {
            Ok(index) => Ok(first + index),
            Err(index) => Err(first + index),
        }
    }

    /// The entry of an interior page whose child holds `key`.
    pub fn child_index(&self, key: &[u8]) -> usize {
        match self.search(key) {
            Ok(index) => index,
            Err(index) => index.saturating_sub(1),
        }
    }

    /// Inserts an entry at `index`, where [`Page::search`] said it belongs.
    pub fn insert(&mut self, index: usize, key: &[u8], value: &[u8]) {
        let offset = self.heap.len() as u32;
        self.heap.extend_from_slice(key);
        self.heap.extend_from_slice(value);
        let slot = Slot {
            offset,
            key: key.len() as u32,
            value: value.len() as u32,
        };
        self.slots.insert(index, slot);
    }

    /// Gives entry `index` another value.
    pub fn replace(&mut self, index: usize, value: &[u8]) {
        let slot = self.slots[index];
        if slot.value as usize == value.len() {
            let start = (slot.offset + slot.key) as usize;
            self.heap[start..start + value.len()].copy_from_slice(value);
            return;
        }
        let key = self.key(index).to_vec();
        self.remove(index);
        self.insert(index, &key, value);
    }

    /// Removes entry `index`.
    pub fn remove(&mut self, index: usize) {
        let slot = self.slots.remove(index);
        self.garbage += (slot.key + slot.value) as usize;
        if self.garbage > self.heap.len() / 2 {
            self.compact();
        }
    }

    /// Inserts a child into an interior page.
    pub fn insert_child(&mut self, index: usize, key: &[u8], child: PageId) {
        self.insert(index, key, &child.0.to_le_bytes());
    }

    /// Points entry `index` of an interior page at another child.
    pub fn set_child(&mut self, index: usize, child: PageId) {
        self.replace(index, &child.0.to_le_bytes());
    }

    /// Takes the key of an interior page's first entry away: its child holds whatever sorts before
    /// the second entry, even keys below the one it was once reached by.
    pub fn unbound_first_child(&mut self) {
        if !self.key(0).is_empty() {
            let child = self.child(0);
            self.remove(0);
            self.insert_child(0, &[], child);
        }
    }

    /// Moves the entries from `at` on into a new page.
    #[must_use]
    pub fn split_off(&mut self, at: usize, id: PageId) -> Self {
        let mut right = Self::new(id, self.birth, self.level);
        right.append(self, at);
        for slot in self.slots.drain(at..) {
            self.garbage += (slot.key + slot.value) as usize;
        }
        self.compact();
        right
    }

    /// Appends the entries of `other` from `from` on; they must sort behind all of this page's.
    pub fn append(&mut self, other: &Self, from: usize) {
        for index in from..other.len() {
            self.insert(self.len(), other.key(index), other.value(index));
        }
    }

    fn compact(&mut self) {
        if self.garbage == 0 {
            return;
        }
        let mut heap = Vec::with_capacity(self.heap.len() - self.garbage);
        for slot in &mut self.slots {
            let start = slot.offset as usize;
            slot.offset = heap.len() as u32;
            heap.extend_from_slice(&self.heap[start..start + (slot.key + slot.value) as usize]);
        }
        self.heap = heap;
        self.garbage = 0;
    }

    /// The page's bytes on disk.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder
            .u32(0)
            .u8(VERSION)
            .u8(self.level)
            .u64(self.id.0)
            .u64(self.birth.0);
        encoder.varint(self.len() as u64);
        let mut previous: &[u8] = &[];
        for index in 0..self.len() {
            let (key, value) = (self.key(index), self.value(index));
            let shared = shared(key, previous);
            encoder
                .varint(shared as u64)
                .varint((key.len() - shared) as u64);
            encoder
                .varint(value.len() as u64)
                .raw(&key[shared..])
                .raw(value);
            previous = key;
        }
        let mut bytes = encoder.finish();
        let crc = crate::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads what [`Page::encode`] wrote: checksum, order and sizes are checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut decoder = Decoder::new(WHAT, bytes);
        if bytes.len() > PAGE_BYTES_MAX {
            return Err(decoder.invalid("size"));
        }
        let stored = decoder.u32()?;
        let computed = crate::crc32c(&bytes[4..]);
        if stored != computed {
            return Err(FormatError::Checksum {
                what: WHAT,
                stored,
                computed,
            });
        }
        if decoder.u8()? != VERSION {
            return Err(decoder.invalid("version"));
        }
        let level = decoder.u8()?;
        if level > TREE_LEVEL_MAX {
            return Err(decoder.invalid("level"));
        }
        let mut page = Self::new(PageId(decoder.u64()?), Epoch(decoder.u64()?), level);
        let count = decoder.bounded("count", (bytes.len() / ENTRY_BYTES_MIN) as u64)? as usize;
        if level > 0 && count == 0 {
            return Err(decoder.invalid("children"));
        }
        page.heap.reserve(bytes.len());
        page.slots.reserve(count);
        let mut key = Vec::new();
        for index in 0..count {
            let shared = decoder.bounded("shared", key.len() as u64)? as usize;
            let unshared = decoder.bounded("unshared", (KEY_BYTES_MAX - shared) as u64)? as usize;
            let length = decoder.bounded("value length", VALUE_BYTES_MAX as u64)? as usize;
            let tail = decoder.raw(unshared)?;
            let ascending = index == 0 || key[shared..] < *tail;
            if !ascending {
                return Err(decoder.invalid("order"));
            }
            key.truncate(shared);
            key.extend_from_slice(tail);
            let value = decoder.raw(length)?;
            if level > 0 && length != 8 {
                return Err(decoder.invalid("child"));
            }
            page.insert(index, &key, value);
            // What keys share takes no bytes here, and memory there.
            if page.bytes() > PAGE_BYTES_MAX {
                return Err(decoder.invalid("size"));
            }
        }
        decoder.end()?;
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn page_of(entries: &BTreeMap<Vec<u8>, Vec<u8>>) -> Page {
        let mut page = Page::new(PageId(3), Epoch(4), 0);
        for (key, value) in entries {
            page.insert(page.len(), key, value);
        }
        page
    }

    fn contents(page: &Page) -> BTreeMap<Vec<u8>, Vec<u8>> {
        (0..page.len())
            .map(|i| (page.key(i).to_vec(), page.value(i).to_vec()))
            .collect()
    }

    proptest! {
        #[test]
        fn a_search_finds_what_a_sorted_list_says(
            shared in prop::collection::vec(0..3u8, 0..12),
            tails in prop::collection::btree_set(prop::collection::vec(0..3u8, 0..12), 0..40),
            empty_first: bool,
            wanted in prop::collection::vec(prop::collection::vec(0..3u8, 0..14), 1..60),
        ) {
            let mut keys: Vec<Vec<u8>> =
                tails.iter().map(|tail| [&shared[..], tail].concat()).collect();
            if empty_first && keys.first().is_some_and(|key| !key.is_empty()) {
                keys.insert(0, Vec::new());
            }
            let mut page = Page::new(PageId(1), Epoch(1), 0);
            for (index, key) in keys.iter().enumerate() {
                page.insert(index, key, b"value");
            }
            let near = wanted.iter().map(|tail| [&shared[..], tail].concat());
            for key in near.chain(wanted.iter().cloned()).chain(keys.clone()) {
                prop_assert_eq!(page.search(&key), keys.binary_search(&key));
            }
        }

        #[test]
        fn a_page_round_trips(entries: BTreeMap<Vec<u8>, Vec<u8>>) {
            let page = page_of(&entries);
            let decoded = Page::decode(&page.encode()).unwrap();
            prop_assert_eq!(contents(&decoded), entries);
            prop_assert_eq!((decoded.id, decoded.birth, decoded.level), (page.id, page.birth, 0));
        }

        #[test]
        fn a_page_behaves_like_a_map(
            operations: Vec<(Vec<u8>, Option<Vec<u8>>)>, at: prop::sample::Index,
        ) {
            let mut model = BTreeMap::new();
            let mut page = Page::new(PageId(1), Epoch(1), 0);
            for (key, value) in operations {
                match (page.search(&key), value) {
                    (Ok(i), Some(v)) => { page.replace(i, &v); model.insert(key, v); }
                    (Err(i), Some(v)) => { page.insert(i, &key, &v); model.insert(key, v); }
                    (Ok(i), None) => { page.remove(i); model.remove(&key); }
                    (Err(_), None) => {}
                }
                prop_assert_eq!(&contents(&page), &model);
            }
            let at = at.index(page.len() + 1);
            let right = page.split_off(at, PageId(2));
            prop_assert_eq!(page.len(), at);
            let mut both = contents(&page);
            both.extend(contents(&right));
            prop_assert_eq!(both, model);
        }

        #[test]
        fn a_flipped_bit_is_found(bit: prop::sample::Index) {
            let entries = (0u8..50).map(|i| (vec![i, 1, 2], vec![i; 9])).collect();
            let mut bytes = page_of(&entries).encode();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Page::decode(&bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_with_a_good_checksum_never_panic(mut bytes: Vec<u8>) {
            if bytes.len() > 4 {
                let crc = crate::crc32c(&bytes[4..]);
                bytes[..4].copy_from_slice(&crc.to_le_bytes());
            }
            let _ = Page::decode(&bytes);
        }
    }
}
