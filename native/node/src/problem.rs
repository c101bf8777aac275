//! Problems of a store as plain objects, with the names of `lib/native.ts`.

use lockstep_format::TreeId;
use lockstep_store::{Affected as StoreAffected, Place, Problem as StoreProblem};
use napi_derive::napi;
use std::fmt::Write;

/// Bytes of a file of the store.
#[napi(object)]
pub struct DamagedBytes {
    /// The file, in the store's directory.
    pub file: String,
    /// The first damaged byte.
    pub offset: f64,
    /// How many.
    pub length: f64,
}

/// A page of a tree.
#[napi(object)]
pub struct DamagedPage {
    /// Its number.
    pub page: f64,
    /// `catalog`, `chunks`, `dead` or `volume`.
    pub tree: String,
    /// Of a volume: its view.
    pub view: Option<f64>,
    /// The first key it may hold, in hexadecimal digits.
    pub from: String,
    /// The key behind its last.
    pub to: Option<String>,
}

/// What a problem takes in one view.
#[napi(object)]
pub struct Affected {
    /// Path of the volume.
    pub volume: String,
    /// Path of the snapshot.
    pub snapshot: Option<String>,
    /// Path of the file.
    pub path: Option<String>,
    /// Its inode.
    pub inode: f64,
    /// The first byte that cannot be read.
    pub offset: Option<f64>,
    /// How many.
    pub length: Option<f64>,
}

/// One thing that is wrong.
#[napi(object)]
pub struct Problem {
    /// What kind of thing.
    pub kind: String,
    /// For people.
    pub message: String,
    /// Which bytes.
    pub bytes: Option<DamagedBytes>,
    /// Which page.
    pub page: Option<DamagedPage>,
    /// Whom it takes.
    pub affected: Vec<Affected>,
    /// How many there are, listed or not.
    pub affected_count: f64,
}

#[allow(clippy::cast_precision_loss)]
fn count(value: u64) -> f64 {
    value as f64
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn tree_name(tree: TreeId) -> &'static str {
    match tree {
        TreeId::CATALOG => "catalog",
        TreeId::CHUNKS => "chunks",
        TreeId::DEAD => "dead",
        _ => "volume",
    }
}

impl From<StoreProblem> for Problem {
    fn from(problem: StoreProblem) -> Self {
        let (mut bytes, mut damaged_page) = (None, None);
        match problem.place {
            Some(Place::Segment {
                segment,
                offset,
                length,
            }) => {
                bytes = Some(DamagedBytes {
                    file: format!("segments/{:016x}.segment", segment.0),
                    offset: count(offset),
                    length: count(length),
                });
            }
            Some(Place::Page {
                page,
                tree,
                from,
                to,
            }) => {
                damaged_page = Some(DamagedPage {
                    page: count(page.0),
                    tree: tree_name(tree).to_owned(),
                    view: tree.as_volume().map(|view| f64::from(view.0)),
                    from: hexadecimal(&from),
                    to: to.as_deref().map(hexadecimal),
                });
            }
            None => {}
        }
        Self {
            kind: problem.kind.name().to_owned(),
            message: problem.message,
            bytes,
            page: damaged_page,
            affected: problem.affected.into_iter().map(Affected::from).collect(),
            affected_count: count(problem.affected_count),
        }
    }
}

impl From<StoreAffected> for Affected {
    fn from(affected: StoreAffected) -> Self {
        Self {
            volume: affected.volume,
            snapshot: affected.snapshot,
            path: affected.path,
            inode: count(affected.inode.0),
            offset: affected.range.map(|(offset, _)| count(offset)),
            length: affected.range.map(|(_, length)| count(length)),
        }
    }
}
