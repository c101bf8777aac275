//! Users and groups by name, interned in the store.
//!
//! Invariants:
//! - A name keeps its number for the store's whole life, whatever the machine says later.
//! - Names that the machine does not know get numbers from [`FIRST_OWN_ID`] up, never reused.

use crate::error::Result;
use crate::{Caller, Errno, Vfs};
use lockstep_format::key::catalog;
use lockstep_format::limits::NAME_BYTES_MAX;
use lockstep_store::{Reader, WriteTxn};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

/// The first number given to a name that the machine does not know.
const FIRST_OWN_ID: u32 = 1_000_000_000;
/// No user or group has the number that means "leave as it is".
const LAST_OWN_ID: u32 = u32::MAX - 1;
/// The group of those who have none (`nogroup`).
const NO_GROUP: u32 = 65_534;
/// Names remembered in memory; beyond that the catalog is asked.
const CACHE_COUNT_MAX: usize = 4096;
const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// Users (`u`) or groups (`g`), as keys of the catalog call them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Class {
    User,
    Group,
}

impl Class {
    fn letter(self) -> u8 {
        match self {
            Self::User => b'u',
            Self::Group => b'g',
        }
    }
}

/// The uid and gid that this process runs as; of `fallback` if the system does not tell.
pub(crate) fn process_owner(fallback: &Path) -> (u32, u32) {
    let found = std::fs::metadata("/proc/self").or_else(|_| std::fs::metadata(fallback));
    found.map_or((0, 0), |metadata| (metadata.uid(), metadata.gid()))
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

fn parse_users(text: &str) -> Vec<User> {
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields
            .next()
            .filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(User {
            name: name.to_owned(),
            uid,
            gid,
        })
    };
    text.lines().filter_map(user).collect()
}

fn parse_groups(text: &str) -> Vec<Group> {
    let group = |line: &str| {
        let mut fields = line.split(':');
        let name = fields
            .next()
            .filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let gid = fields.nth(1)?.parse().ok()?;
        let members = fields.next().unwrap_or("").split(',').map(str::trim);
        let members = members
            .filter(|member| !member.is_empty())
            .map(str::to_owned)
            .collect();
        Some(Group {
            name: name.to_owned(),
            gid,
            members,
        })
    };
    text.lines().filter_map(group).collect()
}

/// What the machine's two files say, read again when they change.
#[derive(Default)]
struct Machine {
    stamps: [Option<SystemTime>; 2],
    users: Vec<User>,
    groups: Vec<Group>,
}

impl Machine {
    fn refresh(&mut self) {
        let stamp = |path| {
            std::fs::metadata(path)
                .and_then(|file| file.modified())
                .ok()
        };
        let stamps = [stamp(PASSWD), stamp(GROUP)];
        if stamps == self.stamps {
            return;
        }
        // A file that cannot be read knows nobody.
        let read = |path| std::fs::read(path).unwrap_or_default();
        self.users = parse_users(&String::from_utf8_lossy(&read(PASSWD)));
        self.groups = parse_groups(&String::from_utf8_lossy(&read(GROUP)));
        self.stamps = stamps;
    }

    fn id(&self, class: Class, name: &str) -> Option<u32> {
        match class {
            Class::User => self
                .users
                .iter()
                .find(|user| user.name == name)
                .map(|user| user.uid),
            Class::Group => self
                .groups
                .iter()
                .find(|group| group.name == name)
                .map(|group| group.gid),
        }
    }

    fn name(&self, class: Class, id: u32) -> Option<String> {
        match class {
            Class::User => self
                .users
                .iter()
                .find(|user| user.uid == id)
                .map(|user| user.name.clone()),
            Class::Group => self
                .groups
                .iter()
                .find(|group| group.gid == id)
                .map(|group| group.name.clone()),
        }
    }
}

/// What is remembered in memory.
#[derive(Default)]
pub(crate) struct Identity {
    machine: Mutex<Machine>,
    ids: Mutex<FxHashMap<(Class, String), u32>>,
}

impl Identity {
    fn with_machine<T>(&self, ask: impl FnOnce(&Machine) -> T) -> T {
        let mut machine = self.machine.lock();
        machine.refresh();
        ask(&machine)
    }

    fn remember(&self, class: Class, name: &str, id: u32) {
        let mut ids = self.ids.lock();
        if ids.len() >= CACHE_COUNT_MAX {
            ids.clear();
        }
        ids.insert((class, name.to_owned()), id);
    }
}

fn stored_id(reader: &dyn Reader, class: Class, name: &str) -> Result<Option<u32>> {
    let value = reader.catalog_get(&catalog::principal_id(class.letter(), name.as_bytes()))?;
    let Some(value) = value else { return Ok(None) };
    let bytes: [u8; 4] = value.as_slice().try_into().map_err(|_| Errno::Io)?;
    Ok(Some(u32::from_le_bytes(bytes)))
}

fn stored_name(reader: &dyn Reader, class: Class, id: u32) -> Result<Option<String>> {
    let value = reader.catalog_get(&catalog::principal_name(class.letter(), id))?;
    Ok(value.map(|name| String::from_utf8_lossy(&name).into_owned()))
}

/// The next number for a name that the machine does not know.
fn next_own_id(reader: &dyn Reader, class: Class) -> Result<u32> {
    let from = catalog::principal_name(class.letter(), FIRST_OWN_ID);
    let mut to = catalog::principal_name(class.letter(), u32::MAX);
    to.push(0);
    let mut next = FIRST_OWN_ID;
    reader.catalog_scan(&from, &to, &mut |key, _| {
        if let Some(id) = key.get(2..).and_then(|rest| rest.first_chunk::<4>()) {
            let id = u32::from_be_bytes(*id);
            // Numbers of the machine may lie up here, too; only a dense run is ours.
            if id == next {
                next += 1;
                return ControlFlow::Continue(());
            }
        }
        ControlFlow::Break(())
    })?;
    if next > LAST_OWN_ID {
        Err(Errno::NoSpace.into())
    } else {
        Ok(next)
    }
}

fn intern(txn: &mut WriteTxn<'_>, class: Class, name: &str, known: Option<u32>) -> Result<u32> {
    if let Some(id) = stored_id(txn, class, name)? {
        return Ok(id);
    }
    let id = match known {
        Some(id) => id,
        None => next_own_id(txn, class)?,
    };
    let letter = class.letter();
    txn.catalog_put(
        &catalog::principal_id(letter, name.as_bytes()),
        &id.to_le_bytes(),
    )?;
    // The first name of a number stays its name.
    if stored_name(txn, class, id)?.is_none() {
        txn.catalog_put(&catalog::principal_name(letter, id), name.as_bytes())?;
    }
    Ok(id)
}

fn check_principal(name: &str) -> Result<()> {
    let bad = |byte: u8| matches!(byte, 0 | b':' | b'\n' | b'/');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.bytes().any(bad) {
        return Err(Errno::Invalid.into());
    }
    Ok(())
}

impl Vfs {
    /// The number of a user; taken from the machine at first sight, else given by the store (from
    /// 1,000,000,000 up).
    pub fn uid_of(&self, name: &str) -> Result<u32> {
        self.id_of(Class::User, name)
    }

    /// The number of a group, as [`Vfs::uid_of`].
    pub fn gid_of(&self, name: &str) -> Result<u32> {
        self.id_of(Class::Group, name)
    }

    fn id_of(&self, class: Class, name: &str) -> Result<u32> {
        check_principal(name)?;
        let known = self
            .identity
            .ids
            .lock()
            .get(&(class, name.to_owned()))
            .copied();
        if let Some(id) = known {
            return Ok(id);
        }
        let stored = self.inspect(|reader| stored_id(reader, class, name))?;
        let id = match stored {
            Some(id) => Ok(id),
            None => self.new_id(class, name),
        };
        match id {
            Ok(id) => {
                self.identity.remember(class, name, id);
                Ok(id)
            }
            // A store that takes no changes is read by whom the machine knows. The name gets its
            // number for good when it can be stored.
            Err(error) => self.machine_id(class, name).ok_or(error),
        }
    }

    fn machine_id(&self, class: Class, name: &str) -> Option<u32> {
        self.identity
            .with_machine(|machine| machine.id(class, name))
    }

    fn new_id(&self, class: Class, name: &str) -> Result<u32> {
        let machine = self.machine_id(class, name);
        self.transact(|txn| intern(txn, class, name, machine))
    }

    /// The name of a user's number; the number in decimal if it has none.
    pub fn user_name(&self, uid: u32) -> Result<String> {
        self.name_of_id(Class::User, uid)
    }

    /// The name of a group's number; the number in decimal if it has none.
    pub fn group_name(&self, gid: u32) -> Result<String> {
        self.name_of_id(Class::Group, gid)
    }

    fn name_of_id(&self, class: Class, id: u32) -> Result<String> {
        if let Some(name) = self.inspect(|reader| stored_name(reader, class, id))? {
            return Ok(name);
        }
        let name = self
            .identity
            .with_machine(|machine| machine.name(class, id));
        Ok(name.unwrap_or_else(|| id.to_string()))
    }

    /// A caller for a user name: primary and supplementary groups from the machine. A user whom
    /// the machine does not know has one group, of his own name.
    pub fn caller_of(&self, name: &str) -> Result<Caller> {
        let uid = self.uid_of(name)?;
        let (gid, mut groups) = self.identity.with_machine(|machine| {
            let user = machine.users.iter().find(|user| user.name == name);
            let member = |group: &&Group| group.members.iter().any(|member| member == name);
            let groups = machine.groups.iter().filter(member).map(|group| group.gid);
            (user.map(|user| user.gid), groups.collect::<Vec<u32>>())
        });
        let gid = match gid {
            Some(gid) => gid,
            None => self.own_group(name)?,
        };
        groups.retain(|group| *group != gid);
        groups.sort_unstable();
        groups.dedup();
        Ok(Caller {
            uid,
            gid,
            groups,
            umask: 0o022,
            origin: 0,
        })
    }

    /// The group of a user whom the machine does not know: of his name, unless the machine means
    /// something else by it. A user called like a powerful group must not become a member.
    fn own_group(&self, name: &str) -> Result<u32> {
        let taken = self.machine_id(Class::Group, name);
        if taken.is_some() || self.read_only {
            return Ok(NO_GROUP);
        }
        self.gid_of(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_files_are_understood() {
        let users =
            parse_users("root:x:0:0:root:/root:/bin/sh\nbad line\nbob:x:7:8::/:\n#c:x:1:1\n");
        let bob = User {
            name: "bob".to_owned(),
            uid: 7,
            gid: 8,
        };
        assert_eq!(users.len(), 2);
        assert_eq!(users[1], bob);
        let groups = parse_groups("staff:x:50:bob,alice\nempty:x:51:\nbroken\n");
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].members, ["bob", "alice"]);
        assert!(groups[1].members.is_empty());
    }

    #[test]
    fn names_that_would_break_the_files_are_refused() {
        assert!(check_principal("al ice@REALM").is_ok());
        for bad in ["", "a:b", "a/b", "a\0"] {
            assert!(check_principal(bad).is_err());
        }
    }
}
