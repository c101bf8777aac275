//! Daemons are killed (-9) while programs use their mount, and others go on in their place.

#![allow(clippy::unwrap_used)] // A test that cannot be set up has failed.

#[path = "../../fuse/tests/support/raw.rs"]
#[allow(dead_code, unreachable_pub)]
mod raw;

use lockstep_fuse::{HolderOptions, MountOptions, mount};
use lockstep_holder::SOCKET;
use lockstep_vfs::{Caller, OpenFlags, StoreOptions, Vfs};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SERVER: &str = "LOCKSTEP_TEST_SERVER";
const TIMEOUT: &str = "LOCKSTEP_TEST_TIMEOUT";
const HAMMER: &str = "LOCKSTEP_TEST_HAMMER";
const PATIENCE: Duration = Duration::from_secs(60);

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A store, a mount point, and the daemon of the moment.
struct Served {
    dir: TempDir,
    server: Option<Child>,
    environment: Vec<(&'static str, &'static str)>,
}

impl Served {
    /// `None` (and the reason is printed) where mounts cannot be tried.
    fn new(environment: &[(&'static str, &'static str)]) -> Option<Self> {
        if !Path::new("/dev/fuse").exists() || !rustix::process::geteuid().is_root() {
            eprintln!("skipped: no /dev/fuse, or not root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        Vfs::create(&dir.path().join("store")).unwrap();
        fs::create_dir(dir.path().join("mnt")).unwrap();
        let mut served = Self {
            dir,
            server: None,
            environment: environment.to_vec(),
        };
        served.start();
        Some(served)
    }

    fn start(&mut self) {
        let ready = self.dir.path().join("ready");
        let server = Command::new(std::env::current_exe().unwrap())
            .args(["serve_until_killed", "--exact", "--nocapture"])
            .env(SERVER, self.dir.path())
            .envs(self.environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = self.server.insert(server);
        wait_for("the server", || {
            assert!(server.try_wait().unwrap().is_none());
            ready.exists()
        });
        fs::remove_file(ready).unwrap();
    }

    fn kill(&mut self) {
        let mut server = self.server.take().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// Ends the server in order.
    fn stop(&mut self) {
        let mut server = self.server.take().unwrap();
        drop(server.stdin.take());
        assert!(server.wait().unwrap().success());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("mnt").join(name)
    }

    fn open_store(&self) -> Arc<Vfs> {
        Vfs::open(&self.dir.path().join("store"), &StoreOptions::default()).unwrap()
    }

    fn has_holder(&self) -> bool {
        self.dir.path().join("store").join(SOCKET).exists()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        let point = self.dir.path().join("mnt");
        let _ = Command::new("umount")
            .arg("-lf")
            .arg(point)
            .stderr(Stdio::null())
            .status();
    }
}

/// Not a test by itself: what the processes that are killed run.
#[test]
fn serve_until_killed() {
    let Ok(dir) = std::env::var(SERVER) else {
        return;
    };
    let (dir, store) = (Path::new(&dir), Path::new(&dir).join("store"));
    let timeout = std::env::var(TIMEOUT).map_or(30, |seconds| seconds.parse().unwrap());
    let vfs = Vfs::open_waiting(&store, &StoreOptions::default()).unwrap();
    let options = MountOptions {
        allow_other: true,
        holder: Some(HolderOptions {
            program: env!("CARGO_BIN_EXE_lockstep-holder").into(),
            directory: store,
            timeout_seconds: timeout,
        }),
        ..MountOptions::default()
    };
    let mounted = mount(Arc::clone(&vfs), &dir.join("mnt"), &options).unwrap();
    assert!(mounted.is_held());
    if std::env::var(HAMMER).is_ok() {
        for thread in 0..2 {
            let vfs = Arc::clone(&vfs);
            std::thread::spawn(move || hammer(&vfs, thread));
        }
    }
    fs::write(dir.join("ready"), b"").unwrap();
    // Ends when the test closes it.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    mounted.unmount().unwrap();
    vfs.close().unwrap();
}

/// Changes names and bytes by another view as fast as it goes, until the store is closed.
fn hammer(vfs: &Vfs, thread: u64) {
    let root = Caller::root();
    let top = lockstep_vfs::NodeId::ROOT;
    let flags = OpenFlags {
        write: true,
        ..OpenFlags::default()
    };
    let change = |round: u64| -> Result<(), lockstep_vfs::VfsError> {
        let name = format!("hammered-{thread}-{}", round % 7);
        let (_, handle) = vfs.create_file(&root, top, name.as_bytes(), 0o644, flags)?;
        vfs.write(handle, round % 5000, &[b'x'; 5000])?;
        vfs.release(handle)?;
        if round.is_multiple_of(3) {
            vfs.unlink(&root, top, name.as_bytes())?;
        }
        Ok(())
    };
    let mut rounds = 0..;
    while rounds.next().is_some_and(|round| change(round).is_ok()) {}
}

fn names(dir: impl Iterator<Item = std::io::Result<fs::DirEntry>>) -> Vec<String> {
    dir.map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn open_files_and_directories_go_on_with_the_next_daemon() {
    let Some(mut served) = Served::new(&[]) else {
        return;
    };
    fs::write(served.path("read"), vec![b'r'; 100_000]).unwrap();
    let mut reader = File::open(served.path("read")).unwrap();
    let mut log = File::options();
    let log = log.append(true).create(true);
    let mut log = log.open(served.path("log")).unwrap();
    log.write_all(b"first\n").unwrap();
    let both = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(served.path("both"))
        .unwrap();
    both.write_all_at(&[b'.'; 8192], 0).unwrap();
    let mut mapping = raw::Mapping::new(&both, 8192);
    mapping.set(5000, b"mapped");
    let mut gone = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(served.path("gone"))
        .unwrap();
    gone.write_all(&vec![b'g'; 50_000]).unwrap();
    fs::remove_file(served.path("gone")).unwrap();
    // Loses its name in the next life.
    let mut later = File::create_new(served.path("later")).unwrap();
    later.write_all(b"still here").unwrap();
    fs::create_dir(served.path("dir")).unwrap();
    for index in 0..3000 {
        File::create_new(served.path(&format!("dir/file-{index:04}"))).unwrap();
    }
    let mut listing = fs::read_dir(served.path("dir")).unwrap();
    let mut seen = names(listing.by_ref().take(1000));
    for name in &seen {
        fs::remove_file(served.path(&format!("dir/{name}"))).unwrap();
    }

    served.kill();
    // What is asked while nobody is there waits.
    let path = served.path("made-meanwhile");
    let meanwhile = std::thread::spawn(move || {
        fs::write(path, b"waited")?;
        log.write_all(b"second\n")
    });
    std::thread::sleep(Duration::from_millis(200));
    assert!(!meanwhile.is_finished());
    served.start();
    meanwhile.join().unwrap().unwrap();

    assert_eq!(fs::read(served.path("made-meanwhile")).unwrap(), b"waited");
    assert_eq!(fs::read(served.path("log")).unwrap(), b"first\nsecond\n");
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, vec![b'r'; 100_000]);
    both.write_all_at(b"written", 100).unwrap();
    assert_eq!(mapping.byte(100), b'w');
    mapping.set(6000, b"again");
    mapping.sync();
    assert_eq!(
        &fs::read(served.path("both")).unwrap()[5000..5006],
        b"mapped"
    );
    gone.seek(SeekFrom::Start(0)).unwrap();
    bytes.clear();
    gone.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, vec![b'g'; 50_000]);
    gone.write_all(b"more").unwrap();
    gone.sync_all().unwrap();
    fs::remove_file(served.path("later")).unwrap();
    later.write_all(b", too").unwrap();
    assert_eq!(later.metadata().unwrap().len(), 15);
    seen.extend(names(listing));
    seen.sort();
    let all: Vec<_> = (0..3000).map(|index| format!("file-{index:04}")).collect();
    assert_eq!(seen, all);

    // What is open survives a second time, and is freed once nobody holds it.
    served.kill();
    served.start();
    gone.write_all(b"and more").unwrap();
    drop((gone, later, mapping, both));
    served.stop();
    let vfs = served.open_store();
    vfs.settle();
    let left = vfs.statistics(lockstep_vfs::NodeId::ROOT).unwrap().inodes;
    assert_eq!(
        left,
        1 + 4 + 1 + 2000,
        "the root, four files, a directory and its files"
    );
}

/// Does things that cannot be done twice until told to stop; returns how often.
fn insist(
    dir: PathBuf,
    thread: u64,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let own = |name: &str| dir.join(format!("{name}-{thread}"));
        let mut log = File::options();
        let mut log = log.append(true).open(dir.join("log")).unwrap();
        let mut round = 0;
        while !stop.load(Ordering::Relaxed) {
            round += 1;
            let line = format!("{thread} {round}\n");
            log.write_all(line.as_bytes()).unwrap();
            fs::create_dir(own("dir")).unwrap();
            std::os::unix::fs::symlink("target", own("link")).unwrap();
            let mut file = File::options();
            let file = file.write(true).create_new(true).mode(0o400);
            let mut file = file.open(own("dir").join("file")).unwrap();
            file.write_all(b"bytes").unwrap();
            fs::hard_link(own("dir").join("file"), own("other")).unwrap();
            fs::rename(own("other"), own("moved")).unwrap();
            assert_eq!(fs::read(own("moved")).unwrap(), b"bytes");
            fs::remove_file(own("moved")).unwrap();
            fs::remove_file(own("link")).unwrap();
            fs::remove_file(own("dir").join("file")).unwrap();
            fs::remove_dir(own("dir")).unwrap();
            done.fetch_add(1, Ordering::Relaxed);
        }
        round
    })
}

fn kills(least: u64) -> u64 {
    std::env::var("KILLS").map_or(least, |kills| kills.parse().unwrap())
}

/// Kills again and again while threads insist; every one of them must go on without an error.
fn kill_under_load(served: &mut Served, count: u64) {
    fs::write(served.path("log"), b"").unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let point = served.dir.path().join("mnt");
    let threads: Vec<_> = (0..4)
        .map(|thread| insist(point.clone(), thread, Arc::clone(&stop), Arc::clone(&done)))
        .collect();
    for kill in 0..count {
        let before = done.load(Ordering::Relaxed);
        wait_for("progress", || {
            done.load(Ordering::Relaxed) > before || threads.iter().any(JoinHandle::is_finished)
        });
        std::thread::sleep(Duration::from_micros(kill * 7919 % 20_000));
        served.kill();
        served.start();
    }
    stop.store(true, Ordering::Relaxed);
    let mut expected = Vec::new();
    for (thread, handle) in threads.into_iter().enumerate() {
        let rounds = handle.join().unwrap();
        expected.extend((1..=rounds).map(|round| format!("{thread} {round}")));
    }
    let log = fs::read_to_string(served.path("log")).unwrap();
    let mut lines: Vec<_> = log.lines().map(str::to_owned).collect();
    for line in expected {
        let found = lines.iter().position(|found| *found == line);
        lines.swap_remove(found.unwrap_or_else(|| panic!("line {line:?} is lost")));
    }
    assert_eq!(lines, [""; 0], "lines that are there twice");
}

#[test]
fn requests_that_a_killed_daemon_had_read_are_done_once() {
    let Some(mut served) = Served::new(&[]) else {
        return;
    };
    kill_under_load(&mut served, kills(20));
    served.stop();
    let vfs = served.open_store();
    vfs.settle();
    let left = vfs.statistics(lockstep_vfs::NodeId::ROOT).unwrap().inodes;
    assert_eq!(left, 2, "the root and the log");
}

#[test]
fn a_daemon_killed_while_it_tells_the_kernel_dies_at_once() {
    let Some(mut served) = Served::new(&[(HAMMER, "1")]) else {
        return;
    };
    // Readers of what is changed hold the locks that the telling waits for.
    let stop = Arc::new(AtomicBool::new(false));
    let reading: Vec<_> = (0..2)
        .map(|thread| {
            let (dir, stop) = (served.dir.path().join("mnt"), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for name in names(fs::read_dir(&dir).unwrap()) {
                        match fs::read(dir.join(&name)) {
                            Err(error) if error.kind() == ErrorKind::NotFound => {}
                            Err(error) if error.kind() == ErrorKind::IsADirectory => {}
                            read => drop(read.unwrap()),
                        }
                    }
                    match File::create(dir.join(format!("hammered-{thread}-0"))) {
                        // Removed by the other view between the kernel's look and its opening.
                        Err(error) if error.kind() == ErrorKind::NotFound => {}
                        made => drop(made.unwrap()),
                    }
                }
            })
        })
        .collect();
    kill_under_load(&mut served, kills(20));
    stop.store(true, Ordering::Relaxed);
    for thread in reading {
        thread.join().unwrap();
    }
    served.stop();
    wait_for("the holder's end", || !served.has_holder());
}

#[test]
fn the_holder_ends_with_the_mount() {
    let Some(mut served) = Served::new(&[]) else {
        return;
    };
    assert!(served.has_holder());
    let held = fs::metadata(served.dir.path().join("store").join(SOCKET)).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&held.permissions()) & 0o777,
        0o600
    );
    served.stop();
    assert!(!served.has_holder());
    assert_eq!(fs::read_dir(served.path("")).unwrap().count(), 0);
    // And when the mount is taken away while nobody serves it.
    served.start();
    served.kill();
    let point = served.dir.path().join("mnt");
    assert!(
        Command::new("umount")
            .arg("-lf")
            .arg(point)
            .status()
            .unwrap()
            .success()
    );
    wait_for("the holder's end", || !served.has_holder());
    served.start();
    fs::write(served.path("file"), b"again").unwrap();
    served.stop();
}

#[test]
fn a_mount_that_nobody_takes_over_is_taken_away_in_time() {
    let Some(mut served) = Served::new(&[(TIMEOUT, "1")]) else {
        return;
    };
    let mut file = File::create_new(served.path("file")).unwrap();
    served.kill();
    let started = Instant::now();
    assert_eq!(
        file.write_all(b"too late").unwrap_err().raw_os_error(),
        Some(libc::ENOTCONN)
    );
    assert!(started.elapsed() < Duration::from_secs(20));
    wait_for("the holder's end", || !served.has_holder());
    served.start();
    assert_eq!(fs::read(served.path("file")).unwrap(), b"");
    served.stop();
}

#[test]
fn a_mount_is_replaced_if_somebody_changed_the_store_meanwhile() {
    let Some(mut served) = Served::new(&[]) else {
        return;
    };
    fs::write(served.path("file"), b"before").unwrap();
    let mut open = File::options()
        .append(true)
        .open(served.path("file"))
        .unwrap();
    served.kill();
    let vfs = served.open_store();
    let root = Caller::root();
    vfs.unlink(&root, lockstep_vfs::NodeId::ROOT, b"file")
        .unwrap();
    vfs.close().unwrap();
    served.start();
    assert!(open.write_all(b"x").is_err());
    assert_eq!(fs::read_dir(served.path("")).unwrap().count(), 0);
    served.stop();
}

#[test]
fn a_mount_that_is_served_is_not_handed_over() {
    let Some(mut served) = Served::new(&[]) else {
        return;
    };
    let store = served.dir.path().join("store");
    let taken = lockstep_holder::Holder::take(&store, "a thief");
    assert_eq!(taken.err().unwrap().kind(), ErrorKind::WouldBlock);
    fs::write(served.path("file"), b"served on").unwrap();
    served.kill();
    served.start();
    assert_eq!(fs::read(served.path("file")).unwrap(), b"served on");
    served.stop();
}
