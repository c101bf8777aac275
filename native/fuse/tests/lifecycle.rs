//! Mounting, ending, and what is in the way of both.

#![allow(clippy::unwrap_used)] // A test that cannot be set up has failed.

mod support;

use lockstep_fuse::{MountOptions, free_killed, mount};
use lockstep_vfs::{Event, Observer, StoreOptions, Vfs};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Mounted, errno};

fn is_mounted(point: &Path) -> bool {
    let point = point.to_str().unwrap();
    fs::read_to_string("/proc/self/mounts")
        .unwrap()
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(point))
}

#[test]
fn a_mount_ends_cleanly_and_can_be_made_again() {
    let Some(mut mounted) = Mounted::new() else {
        return;
    };
    fs::write(mounted.path("file"), b"kept").unwrap();
    let end = mounted.mount.as_ref().unwrap().end();
    assert!(!end.has_ended());
    mounted.mount.take().unwrap().unmount().unwrap();
    assert!(end.has_ended());
    assert_eq!(end.wait(), None);
    assert!(!is_mounted(&mounted.point()));
    assert_eq!(fs::read_dir(mounted.point()).unwrap().count(), 0);
    let options = MountOptions::default();
    mounted.mount = Some(mount(Arc::clone(&mounted.vfs), &mounted.point(), &options).unwrap());
    assert_eq!(fs::read(mounted.path("file")).unwrap(), b"kept");
    drop(mounted.mount.take());
    assert!(!is_mounted(&mounted.point()));
}

#[test]
fn a_busy_mount_ends_at_once_and_its_users_get_an_error() {
    let Some(mut mounted) = Mounted::new() else {
        return;
    };
    let mut file = File::create(mounted.path("open")).unwrap();
    file.write_all(b"before").unwrap();
    let mut user = Command::new("sleep")
        .arg("600")
        .current_dir(mounted.point())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    mounted.mount.take().unwrap().unmount().unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(!is_mounted(&mounted.point()));
    assert!(file.write_all(b"after").is_err());
    user.kill().unwrap();
    user.wait().unwrap();
    assert_eq!(mounted.read("/open"), b"before");
}

#[test]
fn what_was_mapped_is_written_out_when_a_busy_mount_ends() {
    let Some(mut mounted) = Mounted::new() else {
        return;
    };
    fs::write(mounted.path("mapped"), [b'.'; 4096]).unwrap();
    let file = File::options()
        .read(true)
        .write(true)
        .open(mounted.path("mapped"))
        .unwrap();
    let mut mapping = support::raw::Mapping::new(&file, 4096);
    mapping.set(10, b"late");
    mounted.mount.take().unwrap().unmount().unwrap();
    assert_eq!(&mounted.read("/mapped")[10..14], b"late");
}

#[test]
fn an_unmount_from_outside_is_noticed() {
    let Some(mut mounted) = Mounted::new() else {
        return;
    };
    let end = mounted.mount.as_ref().unwrap().end();
    let waiting = std::thread::spawn(move || end.wait());
    assert!(
        Command::new("umount")
            .arg(mounted.point())
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(waiting.join().unwrap(), None);
    // Something else at the same place is left alone.
    let tmpfs = ["-t", "tmpfs", "none"];
    assert!(
        Command::new("mount")
            .args(tmpfs)
            .arg(mounted.point())
            .status()
            .unwrap()
            .success()
    );
    mounted.mount.take().unwrap().unmount().unwrap();
    assert!(is_mounted(&mounted.point()));
    assert!(
        Command::new("umount")
            .arg(mounted.point())
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn what_is_in_the_way_is_named_and_nothing_is_changed() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let refuse = |path: &Path| {
        let options = MountOptions::default();
        let error = mount(Arc::clone(&mounted.vfs), path, &options)
            .err()
            .unwrap();
        let text = error.to_string();
        assert!(
            !text.contains('\n') && text.contains(path.to_str().unwrap()),
            "{text}"
        );
        error.code()
    };
    let here = mounted.dir.path();
    assert_eq!(refuse(&mounted.point()), "ERR_LOCKSTEP_MOUNT_BUSY");
    assert_eq!(refuse(here), "ERR_LOCKSTEP_MOUNT_BUSY");
    assert_eq!(refuse(&here.join("missing")), "ERR_LOCKSTEP_MOUNT_POINT");
    fs::write(here.join("file"), b"").unwrap();
    assert_eq!(refuse(&here.join("file")), "ERR_LOCKSTEP_MOUNT_POINT");
    assert_eq!(refuse(&here.join("file/below")), "ERR_LOCKSTEP_MOUNT_POINT");
    assert_eq!(fs::read_dir(mounted.point()).unwrap().count(), 0);
}

#[test]
fn a_read_only_mount_refuses_changes() {
    let options = MountOptions {
        read_only: true,
        ..MountOptions::default()
    };
    let Some(mounted) = Mounted::with(options) else {
        return;
    };
    mounted.create("file", b"readable");
    assert_eq!(fs::read(mounted.path("file")).unwrap(), b"readable");
    assert_eq!(errno(fs::write(mounted.path("file"), b"x")), libc::EROFS);
    assert_eq!(errno(fs::create_dir(mounted.path("dir"))), libc::EROFS);
}

const SERVER: &str = "LOCKSTEP_TEST_SERVER";
const STUCK: &str = "LOCKSTEP_TEST_STUCK";

/// Not a test by itself: what the killed process of the next one runs.
#[test]
fn serve_until_killed() {
    let Ok(dir) = std::env::var(SERVER) else {
        return;
    };
    let dir = Path::new(&dir);
    let vfs = Vfs::open(&dir.join("store"), &StoreOptions::default()).unwrap();
    let _mount = mount(Arc::clone(&vfs), &dir.join("mnt"), &MountOptions::default()).unwrap();
    if std::env::var(STUCK).is_ok() {
        vfs.observe(u32::MAX, Arc::new(NeverReturns(dir.join("mounted"))));
        // Waits for an answer of this very process, which is killed first.
        fs::write(dir.join("mnt/stuck"), b"").unwrap();
    }
    fs::write(dir.join("mounted"), b"").unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

/// Hears of a change before it is answered, and keeps the answer back.
struct NeverReturns(PathBuf);

impl Observer for NeverReturns {
    fn changed(&self, _: &[Event]) {
        fs::write(&self.0, b"").unwrap();
        std::thread::sleep(Duration::from_secs(600));
    }
}

/// Starts a process that serves the store of `mounted`, in the place of this one.
fn serve_elsewhere(mounted: &mut Mounted, environment: Option<(&str, &str)>) -> Child {
    mounted.mount.take().unwrap().unmount().unwrap();
    mounted.vfs.close().unwrap();
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["serve_until_killed", "--exact"])
        .env(SERVER, mounted.dir.path())
        .envs(environment)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !mounted.dir.path().join("mounted").exists() {
        assert!(Instant::now() < deadline && server.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(10));
    }
    server
}

#[test]
fn a_killed_server_that_waits_for_its_own_answer_is_freed() {
    let Some(mut mounted) = Mounted::new() else {
        return;
    };
    let mut server = serve_elsewhere(&mut mounted, Some((STUCK, "1")));
    // Alive it is left alone.
    assert!(!free_killed(&mounted.point(), server.id()));
    server.kill().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(server.try_wait().unwrap().is_none(), "it cannot die");
    let store = mounted.dir.path().join("store");
    let locked = Vfs::open(&store, &StoreOptions::default()).err().unwrap();
    assert_eq!(locked.code(), "ERR_LOCKSTEP_LOCKED");
    assert!(free_killed(&mounted.point(), server.id()));
    server.wait().unwrap();
    mounted.vfs = Vfs::open(&store, &StoreOptions::default()).unwrap();
    let options = MountOptions::default();
    mounted.mount = Some(mount(Arc::clone(&mounted.vfs), &mounted.point(), &options).unwrap());
    assert!(mounted.path("stuck").exists());
}

#[test]
fn the_dead_mount_of_a_killed_server_is_replaced() {
    let Some(mut mounted) = Mounted::new() else {
        return;
    };
    let mut server = serve_elsewhere(&mut mounted, None);
    fs::write(mounted.path("file"), b"acknowledged").unwrap();
    // The kernel goes on answering this from its cache when the server is dead.
    fs::metadata(mounted.point()).unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(errno(fs::write(mounted.path("other"), b"")), libc::ENOTCONN);
    let store = mounted.dir.path().join("store");
    mounted.vfs = Vfs::open(&store, &StoreOptions::default()).unwrap();
    let options = MountOptions::default();
    mounted.mount = Some(mount(Arc::clone(&mounted.vfs), &mounted.point(), &options).unwrap());
    assert_eq!(fs::read(mounted.path("file")).unwrap(), b"acknowledged");
}
